"""``lakemem consolidate``: each option is a rule of the policy."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from lakemem import ConfigurationError, Lakebase, Matcher, Memory
from lakemem.cli import main
from lakemem.commands.consolidate import matcher_of
from tests.support.embedders import TopicEmbedder
from tests.support.rows import Rows

MODULE = """
import time
from tests.support.matchers import WordMatcher

def fail(pairs):
    raise ValueError("a dog")

def stall(pairs):
    time.sleep(2)

matcher = WordMatcher()
made = lambda: WordMatcher()
failing = WordMatcher(fail)
slow = WordMatcher(stall)
no_matcher = 3
"""


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


@pytest.fixture
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app_with_matchers.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "app_with_matchers", raising=False)


@pytest.fixture
def with_dogs(target: Lakebase, _folder: None) -> Lakebase:
    with Memory(target, embedder=TopicEmbedder()) as memory:
        user = memory.for_user("alice")
        for text in ("Ada has a dog", "Ada owns a puppy", "Ada has a cat", "Ada likes pizza"):
            user.save(None, text, duplicates=None)
    Rows(target, "user:alice")("UPDATE lakemem.memories SET valid_from = valid_from - interval '2 days'")
    return target


@pytest.mark.parametrize(
    ("options", "candidates", "merged", "failed"),
    [
        (("matcher",), 3, 1, 0),
        (("made", "--keep-duplicates"), 3, 1, 0),
        (("matcher", "--similarity", "0"), 6, 1, 0),
        (("matcher", "--max-pairs", "1"), 1, 0, 0),
        (("matcher", "--match-days", "1"), 0, 0, 0),
        (("matcher", "--match-days", "3"), 3, 1, 0),
        (("failing",), 3, 0, 1),
        (("slow", "--deadline", "0.05"), 3, 0, 1),
    ],
)
def test_a_matcher_is_asked_as_the_options_say(
    with_dogs: Lakebase,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    candidates: int,
    merged: int,
    failed: int,
) -> None:
    options = ("--matcher", f"app_with_matchers:{options[0]}", *options[1:])
    assert consolidate(with_dogs, *options, "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[1:] == [f"would ask about {candidates} pairs"]
    assert consolidate(with_dogs, *options) == 0
    changed, asked = capsys.readouterr().out.splitlines()
    assert changed.startswith(f"merged {merged} facts")
    assert asked == f"asked about {candidates} pairs; 0 answers dropped, {failed} questions failed"


@pytest.mark.usefixtures("_folder")
def test_a_matcher_is_an_object_or_what_makes_one() -> None:
    assert isinstance(matcher_of("app_with_matchers:matcher"), Matcher)
    assert isinstance(matcher_of("app_with_matchers:WordMatcher"), Matcher)
    assert isinstance(matcher_of("app_with_matchers:made"), Matcher)
    with pytest.raises(ConfigurationError, match="no_matcher is no matcher: it needs match"):
        matcher_of("app_with_matchers:no_matcher")
