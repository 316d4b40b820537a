"""``lakemem quarantine``: what is held back is shown without its text, and decided on."""

from __future__ import annotations

import json

import pytest
from psycopg.conninfo import make_conninfo

from lakemem import Guard, Lakebase, Memory, ProposedWrite, QuarantinedWrite
from lakemem.cli import main


class Everything:
    def flag(self, write: ProposedWrite) -> str | None:
        return "doubtful \x1b[2J"


@pytest.fixture
def held(target: Lakebase) -> list[QuarantinedWrite]:
    with Memory(target, guard=Guard(policy=Everything())) as memory:
        for view in (memory.for_user("ada"), memory.for_user("bob"), memory.for_scope("team")):
            view.save("a", "hush \x1b[2J", trust="tool")
        return [view.quarantine.list()[0] for view in (memory.for_user("ada"), memory.for_user("bob"))]


def quarantine(target: Lakebase, action: str, *options: str) -> int:
    return main(["quarantine", action, "--dsn", make_conninfo(**target.parameters), *options])


def test_it_lists_what_is_held_back_without_the_texts(
    target: Lakebase, held: list[QuarantinedWrite], capsys: pytest.CaptureFixture[str]
) -> None:
    assert quarantine(target, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1] for line in lines] == ["user:ada", "user:bob", "scope:team"]
    assert "hush" not in "".join(lines)
    assert "\x1b" not in "".join(lines)
    assert quarantine(target, "list", "--user", "ada", "--json") == 0
    [line] = capsys.readouterr().out.splitlines()
    assert "\x1b" not in line
    assert json.loads(line)["text"] == "a: hush \x1b[2J"
    assert quarantine(target, "list", "--scope", "team", "--limit", "0") == 0
    assert capsys.readouterr().out == ""


def test_it_releases_and_rejects(
    target: Lakebase, held: list[QuarantinedWrite], capsys: pytest.CaptureFixture[str]
) -> None:
    ada, bob = held
    assert quarantine(target, "release", ada.id) == 1
    assert "--user USER, or --scope SCOPE" in capsys.readouterr().err
    assert quarantine(target, "release", "--user", "bob", ada.id) == 1
    assert quarantine(target, "release", "--user", "ada", ada.id) == 0
    assert capsys.readouterr().out == "stored as version 1\n"
    assert quarantine(target, "reject", "--user", "bob", bob.id) == 0
    assert quarantine(target, "reject", "--user", "bob", bob.id) == 1
    with Memory(target) as memory:
        assert [record.trust for record in memory.for_user("ada").items()] == ["tool"]
        assert memory.for_user("bob").items() == []
