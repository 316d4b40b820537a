"""What `lakemem import` says, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lakemem import ConfigurationError, Lakebase
from lakemem.cli import main
from lakemem.commands.import_sources import source_of, watching
from lakemem.importing import Owners, Report
from tests.importing.conftest import Import, dsn


@pytest.mark.parametrize(
    ("options", "name", "named", "owner"),
    [
        ({"user": "ada"}, "thread", [], "user:ada"),
        ({"user": "ada"}, "thread", ["bob", "eve"], "user:ada"),
        ({"scope": "team"}, "thread", [], "scope:team"),
        ({"pattern": "^(?:chat)-(.+)-"}, "chat-ada-7", [], "user:ada"),
        ({"pattern": "(chat)-(?P<user>.+)-"}, "chat-ada-7", [], "user:ada"),
        ({"pattern": "^chat-(.+)-"}, "other-ada-7", [], None),
        ({"pattern": "chat(-ada)?"}, "chat", [], None),
        ({"metadata_key": "u"}, "thread", ["ada"], "user:ada"),
        ({"metadata_key": "u"}, "thread", [], None),
        ({"metadata_key": "u"}, "thread", ["ada", "bob"], None),
        ({"metadata_key": "u", "pattern": "^(.+)-"}, "ada-1", [], "user:ada"),
        ({"metadata_key": "u", "pattern": "^(.+)-"}, "ada-1", ["bob"], "user:bob"),
        ({"users": {"t1": "ada"}}, "t1", [], "user:ada"),
        ({"users": {"t1": "ada"}}, "t2", [], None),
        ({"users": {"a": "ada"}, "pattern": "^(.)-"}, "a-1", [], "user:ada"),
        ({"users": {"a": "ada"}, "pattern": "^(.)-"}, "b-1", [], None),
        ({"users": {"x": "ada"}, "metadata_key": "u"}, "t", ["x"], "user:ada"),
    ],
)
def test_the_owner_is_whom_the_options_name(
    options: dict[str, object], name: str, named: list[str], owner: str | None
) -> None:
    assert Owners.of(**options).owner_of(name, named) == owner  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"user": "a", "scope": "b"},
        {"user": "a", "pattern": "(.)"},
        {"scope": "a", "users": {}},
        {"pattern": "no group"},
        {"pattern": "("},
    ],
)
def test_options_that_name_nobody_or_several_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Owners.of(**options)  # type: ignore[arg-type]


def test_a_source_without_the_tables_is_said(run_import: Import, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_import("--user", "alice") == 1
    assert "--source-schema" in capsys.readouterr().err


def test_a_target_without_lakemems_tables_is_said(
    source: Lakebase, empty_target: Lakebase, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", "--from", dsn(source), "--dsn", dsn(empty_target), "--user", "alice"]) == 1
    assert "lakemem migrate" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', None])
def test_a_list_of_users_that_is_none_is_refused(
    run_import: Import, tmp_path: Path, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "users.json"
    if text is not None:
        path.write_text(text)
    assert run_import("--users", str(path)) == 1
    assert "users.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("postgresql://ada@localhost/agents", "dsn"),
        ("host=localhost dbname=agents", "dsn"),
        ("my-instance", "instance"),
        ("projects/p/branches/b", "branch"),
        ("projects/p/branches/b/endpoints/e", "endpoint"),
    ],
)
def test_a_source_is_named_as_any_target(name: str, kind: str) -> None:
    assert source_of(name).kind == kind


def test_no_password_of_a_source_is_repeated(capsys: pytest.CaptureFixture[str], target: Lakebase) -> None:
    unreachable = "postgresql://ada:s3cret@127.0.0.1:1/agents"
    assert main(["import", "--from", unreachable, "--dsn", dsn(target), "--user", "alice"]) == 1
    printed = capsys.readouterr()
    assert "s3cret" not in printed.out + printed.err


class Terminal:
    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report("threads", units=3)
    with watching() as watcher:
        watcher.began("threads", 3)
        watcher.advanced(report)
        watcher.ended(report)
    assert capsys.readouterr().err.splitlines() == ["threads: 3 to look at", "threads: done"]
    monkeypatch.setattr(sys, "stderr", Terminal())
    with watching() as bars:
        bars.began("threads", 3)
        bars.advanced(report)
        bars.ended(report)
        assert type(bars) is not type(watcher)
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with watching() as lines:
        assert type(lines) is type(watcher)
