"""``lakemem consolidate``: each option is a rule of the policy."""

from __future__ import annotations

import pytest
from psycopg.conninfo import make_conninfo

from lakemem import Lakebase, Memory
from lakemem.cli import main
from tests.support.rows import Rows


@pytest.fixture
def filled(target: Lakebase) -> Lakebase:
    with Memory(target) as memory:
        for name in ("alice", "bob"):
            user = memory.for_user(name)
            for text in ("Ada likes tea", "Ada likes tea.", "Ada likes trains"):
                user.save(None, text, duplicates=None)
            user.save("key", 1)
    return target


def consolidate(target: Lakebase, *options: str) -> int:
    return main(["consolidate", "--dsn", make_conninfo(**target.parameters), *options])


@pytest.mark.parametrize(
    ("options", "merged", "decayed", "closed"),
    [
        ((), 2, 0, 0),
        (("--keep-duplicates",), 0, 0, 0),
        (("--max-facts", "1"), 2, 0, 4),
        (("--max-turns", "0"), 2, 0, 0),
        (("--half-life-days", "1", "--keep-duplicates"), 0, 8, 0),
    ],
)
def test_each_option_is_a_rule(
    filled: Lakebase,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    merged: int,
    decayed: int,
    closed: int,
) -> None:
    for name in ("alice", "bob"):
        Rows(filled, f"user:{name}")("UPDATE lakemem.memories SET valid_from = valid_from - interval '2 days'")
    said = (
        f"merged {merged} facts, let the importance of {decayed} memories fall, closed {closed} beyond a cap; "
        "of 2 owners\n"
    )
    assert consolidate(filled, *options, "--dry-run") == 0
    assert capsys.readouterr().out == f"would have {said}"
    assert consolidate(filled, *options) == 0
    assert capsys.readouterr().out == said


def test_what_is_beyond_a_cap_is_erased_only_when_asked(filled: Lakebase) -> None:
    assert consolidate(filled, "--max-facts", "0") == 0
    with Memory(filled) as memory:
        assert len(memory.for_user("alice").history("key")) == 1
        memory.for_user("alice").save("other", 1)
    assert consolidate(filled, "--max-facts", "0", "--erase") == 0
    with Memory(filled) as memory:
        assert memory.for_user("alice").history("other") == []
        assert len(memory.for_user("alice").history("key")) == 1


def test_a_rule_that_cannot_be_is_a_line_on_stderr(filled: Lakebase, capsys: pytest.CaptureFixture[str]) -> None:
    assert consolidate(filled, "--half-life-days", "0") == 1
    assert capsys.readouterr().err.startswith("lakemem: half_life must be above zero")
