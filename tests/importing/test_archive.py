"""`lakemem import archive`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from lakemem import Lakebase, Memory
from lakemem.cli import main
from tests.importing.conftest import dsn

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def archive(source: Lakebase, tmp_path: Path) -> Path:
    file = tmp_path / "ada.jsonl"
    Memory(source).setup()
    with Memory(source) as memory:
        ada = memory.for_user("ada")
        ada.thread("t").append([{"content": "Gr\u00fc\u00dfe \u2028\x00"}])
        ada.save("pet", "a dog")
        ada.save("pet", "a cat")
    assert main(["export", "--user", "ada", "--output", str(file), "--vectors", "--dsn", dsn(source)]) == 0
    return file


def test_an_archive_becomes_another_users(
    archive: Path, target: Lakebase, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    capsys.readouterr()
    assert main(["import", "archive", str(archive), "--user", "eve", "--dsn", dsn(target)]) == 0
    assert capsys.readouterr().out == "new: 1 threads, 1 items, 2 versions of memories, 0 checkpoints, 0 runs\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(archive.read_text()))
    assert main(["import", "archive", "-", "--user", "eve", "--dsn", dsn(target)]) == 0
    assert capsys.readouterr().out == "new: 0 threads, 0 items, 0 versions of memories, 0 checkpoints, 0 runs\n"
    again = tmp_path / "eve.jsonl"
    assert main(["export", "--user", "eve", "--output", str(again), "--vectors", "--dsn", dsn(target)]) == 0
    assert again.read_text() == archive.read_text()
    with Memory(target) as memory:
        assert list(memory.for_user("ada").export()) == []


def test_an_embedder_gives_vectors(archive: Path, target: Lakebase) -> None:
    command = ["import", "archive", str(archive), "--scope", "team", "--dsn", dsn(target)]
    assert main([*command, "--embedder", "tests.support.embedders:TopicEmbedder"]) == 0
    with Memory(target) as memory:
        [record] = memory.for_scope("team").items()
        assert (record.value, record.embedded) == ("a cat", True)


def test_what_is_no_archive_is_refused_by_its_line(target: Lakebase, tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "bad"
    whose = ["--user", "ada", "--dsn", dsn(target)]
    for content, told in (
        (b"{}\n", "line 1: its kind"),
        (b"\xff\xfe\n", "not in UTF-8"),
        (b"secret", "line 1: it is not JSON"),
    ):
        file.write_bytes(content)
        assert main(["import", "archive", str(file), *whose]) == 1
        complaint = capsys.readouterr().err
        assert told in complaint
        assert "secret" not in complaint
    assert main(["import", "archive", str(tmp_path / "missing"), *whose]) == 1
    assert "cannot be read" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["import", "archive", str(file), "--dsn", dsn(target)])


def test_an_import_without_a_source_says_what_there_is(target: Lakebase, capsys: Captured) -> None:
    assert main(["import", "--user", "ada", "--dsn", dsn(target)]) == 1
    assert "--from" in capsys.readouterr().err
