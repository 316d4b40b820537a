"""The command line: what it prints, where, and its exit code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

import lakemem
from lakemem import Lakebase, Memory
from lakemem.cli import main
from lakemem.commands import migrate
from tests.conftest import connect

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _nothing_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("LAKE", "PG", "DATABRICKS_")):
            monkeypatch.delenv(name)


def dsn(target: Lakebase, **changed: str) -> str:
    return make_conninfo(**{**target.parameters, **changed})


def run(*arguments: str) -> int:
    """The exit code; argparse leaves with SystemExit."""
    try:
        return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


def schemas(target: Lakebase) -> set[str]:
    with connect(target) as connection:
        rows = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)'")
        return {str(name) for (name,) in rows} - {"public"}


def complaint(capsys: Captured) -> str:
    """The one line that a person is told."""
    printed, told = capsys.readouterr()
    assert printed == ""
    assert told.startswith("lakemem: ")
    assert told.endswith("\n")
    assert len(told.splitlines()) == 1
    return told


# Help.


def test_help_says_what_each_command_is_for(capsys: Captured) -> None:
    assert run("--help") == 0
    printed, told = capsys.readouterr()
    assert told == ""
    assert re.search(r"^ +demo +talk to an agent that remembers", printed, re.MULTILINE)
    assert re.search(r"^ +migrate +create or upgrade lakemem's tables", printed, re.MULTILINE)


@pytest.mark.parametrize(
    ("command", "says"), [("demo", "--langgraph"), ("migrate", "--sql"), ("migrate", "--dsn"), ("migrate", "--schema")]
)
def test_each_command_has_its_own_help(capsys: Captured, command: str, says: str) -> None:
    assert run(command, "--help") == 0
    assert says in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys: Captured) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"lakemem {lakemem.__version__}\n"


@pytest.mark.parametrize("command", [[], ["nope"], ["migrate", "--nope"], ["demo", "--langgraph", "now"]])
def test_a_call_that_is_not_understood_shows_the_usage_and_ends_with_2(capsys: Captured, command: list[str]) -> None:
    assert run(*command) == 2
    printed, told = capsys.readouterr()
    assert printed == ""
    assert told.startswith("usage: lakemem ")
    assert "Traceback" not in told


@pytest.mark.parametrize(
    "argument", ["postgresql://ada:hunter2@host/db", "--dns=postgresql://ada:hunter2@host/db", "-dhunter2"]
)
def test_an_argument_in_the_wrong_place_is_not_repeated_for_it_may_hold_a_password(
    capsys: Captured, argument: str
) -> None:
    assert run("migrate", argument) == 2
    told = capsys.readouterr().err
    assert "hunter2" not in told
    assert "--dsn" in told


def test_it_runs_as_a_script_and_as_a_module() -> None:
    script = Path(sys.executable).with_name("lakemem")
    for command in ([str(script)], [sys.executable, "-m", "lakemem"]):
        done = subprocess.run([*command, "migrate", "--dsn", "not a DSN"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("lakemem: the DSN is not a Postgres connection string")
        assert len(done.stderr.splitlines()) == 1


def test_an_interrupted_command_ends_without_a_traceback(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(migrate, "run", interrupted)
    assert run("migrate") == 130
    assert capsys.readouterr() == ("", "")


# lakemem migrate.


def test_migrate_makes_the_tables_once(empty_target: Lakebase, capsys: Captured) -> None:
    assert run("migrate", "--dsn", dsn(empty_target)) == 0
    first, told = capsys.readouterr()
    *applied, last = first.splitlines()
    assert applied[0] == "applied 0001_initial"
    assert all(re.fullmatch(r"applied \d{4}_\w+", line) for line in applied)
    assert re.fullmatch(r"schema lakemem on Postgres at .*, database .* is up to date", last)
    assert told == ""

    assert run("migrate", "--dsn", dsn(empty_target)) == 0
    assert capsys.readouterr().out == f"{last}\n"
    with Memory(empty_target) as memory:
        assert memory.for_user("ada").save("pet", "a dog").version == 1


def test_migrate_takes_the_database_from_the_environment(
    empty_target: Lakebase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEMEM_DSN", dsn(empty_target))
    assert run("migrate", "--schema", "Other Schema") == 0
    assert schemas(empty_target) == {"Other Schema"}
    with Memory(empty_target, schema="Other Schema") as memory:
        assert memory.health().status == "ok"


def test_the_script_for_a_dba_needs_no_database_and_makes_the_same_tables(
    empty_target: Lakebase, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("LAKEMEM_DSN", "postgresql://ada:hunter2@127.0.0.1:1/agents")
    assert run("migrate", "--sql", "--schema", 'It\'s "mine"') == 0
    script, told = capsys.readouterr()
    assert told == ""
    assert "hunter2" not in script
    assert schemas(empty_target) == set()

    with connect(empty_target) as connection:
        connection.execute(script)
    assert schemas(empty_target) == {'It\'s "mine"'}
    assert run("migrate", "--dsn", dsn(empty_target), "--schema", 'It\'s "mine"') == 0
    assert "applied" not in capsys.readouterr().out
    with Memory(empty_target, schema='It\'s "mine"') as memory:
        assert memory.for_user("ada").save("pet", "a dog").version == 1


def test_tables_of_a_newer_lakemem_are_not_called_up_to_date(target: Lakebase, capsys: Captured) -> None:
    with connect(target) as connection:
        connection.execute("INSERT INTO lakemem.migrations (number, name, checksum) VALUES (9999, 'later', 'x')")
    assert run("migrate", "--dsn", dsn(target)) == 1
    assert "upgrade the package" in complaint(capsys)


@pytest.mark.parametrize("options", [[], ["--sql"]])
@pytest.mark.parametrize("schema", ["", "a\x00b", "x" * 300])
def test_a_schema_that_cannot_be_named_is_refused(capsys: Captured, schema: str, options: list[str]) -> None:
    nowhere = "postgresql://ada:hunter2@127.0.0.1:1/agents"
    assert run("migrate", "--dsn", nowhere, "--schema", schema, *options) == 1
    assert "schema" in complaint(capsys)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("postgresql://ada:hunter2@127.0.0.1:1/agents", "Postgres cannot be reached"),
        ("postgresql://ada:hunter2@nowhere.invalid/agents", "Postgres cannot be reached"),
        ("host=/no/such/folder user=ada password=hunter2", "Postgres cannot be reached"),
        ("postgresql://ada:hunter2@[::1/agents", "not a Postgres connection string"),
        ("ada:hunter2", "not a Postgres connection string"),
        ("", "the DSN is empty"),
    ],
)
@pytest.mark.parametrize("given", ["argument", "environment"])
def test_a_database_that_cannot_be_reached_is_one_line_without_a_password(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, where: str, says: str, given: str
) -> None:
    if given == "environment":
        # An empty variable counts as none.
        monkeypatch.setenv("LAKEMEM_DSN", where or " not a DSN ")
        says = says if where else "not a Postgres connection string"
    assert run("migrate", *(["--dsn", where] if given == "argument" else [])) == 1
    told = complaint(capsys)
    assert says in told
    assert "hunter2" not in told


def test_a_database_that_is_not_there_is_told_apart_from_a_server_that_is_not(
    target: Lakebase, capsys: Captured
) -> None:
    assert run("migrate", "--dsn", dsn(target, dbname="no_such_database")) == 1
    assert 'database "no_such_database" does not exist' in complaint(capsys)


def test_settings_that_contradict_each_other_are_named(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEBASE_AUTOSCALING_PROJECT", "p")
    assert run("migrate") == 1
    told = complaint(capsys)
    assert "LAKEBASE_AUTOSCALING_PROJECT is set" in told
    assert "LAKEBASE_AUTOSCALING_BRANCH is not" in told


# Export.


def test_an_export_is_lines_of_json_with_their_kinds(target: Lakebase, tmp_path: Path, capsys: Captured) -> None:
    with Memory(target) as memory:
        thread = memory.for_user("ada").thread("t")
        thread.append([{"b": "Grüße \u2028\x00\ud83e", "a": 1}, {"n": 2}])
        thread.update(title="A title", metadata={"x": [1]})
        memory.for_user("ada").thread("u").append([{"n": 3}])
        memory.for_user("ada").save("colour", "blue")
        memory.for_user("bob").thread("t").append([{"secret": "of bob"}])
        memory.for_scope("team").thread("s").append([{"n": 4}])
        expected = list(memory.for_user("ada").export())
        times = [message.created_at.isoformat() for message in thread.messages()]
    assert run("export", "--user", "ada", "--dsn", dsn(target)) == 0
    printed, told = capsys.readouterr()
    assert told == "exported 2 threads with 3 items, 1 versions of memories, 0 checkpoints, and 0 runs\n"
    assert printed.isascii()
    lines = printed.splitlines()
    assert [json.loads(line) for line in lines] == expected
    assert [(record["kind"], record["thread_id"]) for record in expected] == [
        ("thread", "t"), ("item", "t"), ("item", "t"), ("thread", "u"), ("item", "u"), ("memory", None),
    ]  # fmt: skip
    assert (expected[0]["title"], expected[0]["metadata"]) == ("A title", {"x": [1]})
    assert list(expected[1]["item"].items()) == [("b", "Grüße \u2028\x00\ud83e"), ("a", 1)]
    assert [(record["position"], record["created_at"]) for record in expected[1:3]] == [(1, times[0]), (2, times[1])]

    file = tmp_path / "ada.jsonl"
    assert run("export", "--user", "ada", "--thread", "u", "--output", str(file), "--dsn", dsn(target)) == 0
    assert file.read_text().splitlines() == lines[3:5]
    assert run("export", "--scope", "team", "--dsn", dsn(target)) == 0
    assert '"n": 4' in capsys.readouterr().out
    assert run("export", "--user", "nobody", "--dsn", dsn(target)) == 0
    told = "exported 0 threads with 0 items, 0 versions of memories, 0 checkpoints, and 0 runs\n"
    assert capsys.readouterr() == ("", told)


def test_an_export_that_cannot_be_made_says_why(target: Lakebase, tmp_path: Path, capsys: Captured) -> None:
    assert run("export", "--user", "ada", "--thread", "t", "--dsn", dsn(target)) == 1
    assert "no thread" in complaint(capsys)
    assert run("export", "--user", "ada", "--output", str(tmp_path), "--dsn", dsn(target)) == 1
    assert "cannot be written" in complaint(capsys)
    for wrong in ([], ["--user", "a", "--scope", "b"]):
        assert run("export", *wrong, "--dsn", dsn(target)) == 2
        capsys.readouterr()
