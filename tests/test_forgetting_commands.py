"""`lakemem erase`, `hold` and `audit`, and an export that comes back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from lakemem import Lakebase, Memory
from lakemem.cli import main


def test_from_a_hold_to_the_log_of_an_erasure(
    target: Lakebase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dsn = ["--dsn", make_conninfo(**target.parameters)]
    ada = ["--user", "ada@example.com", *dsn]
    archive = tmp_path / "ada.jsonl"
    with Memory(target) as memory:
        user = memory.for_user("ada@example.com")
        user.save("colour", "blue")
        user.thread("t").append([{"n": 1}])

        assert main(["hold", "place", "--name", "case 17", "--by", "legal", "--reason", "a claim", *ada]) == 0
        assert capsys.readouterr().out.startswith("on hold since 20")
        assert main(["hold", "list", *ada]) == 0
        [hold] = map(json.loads, capsys.readouterr().out.splitlines())
        assert (hold["name"], hold["placed_by"], hold["reason"]) == ("case 17", "legal", "a claim")
        assert main(["erase", "--yes", *ada]) == 1
        assert "a legal hold is on this owner" in capsys.readouterr().err
        assert main(["hold", "release", "--name", "case 18", "--by", "legal", *ada]) == 1
        assert "no hold of this name" in capsys.readouterr().err
        assert main(["hold", "release", "--name", "case 17", "--by", "legal", *ada]) == 0
        assert capsys.readouterr().out == "released; 0 holds are left\n"

        assert main(["export", *ada, "--output", str(archive)]) == 0
        assert main(["erase", *ada]) == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out) == {"memories": 1, "memory_events": 4, "thread_items": 1, "threads": 1}
        assert "nothing was erased" in printed.err
        assert user.get("colour") is not None
        assert main(["erase", "--reason", "case 17", "--requested-by", "dpo", "--yes", "--vacuum", *ada]) == 0
        receipt = json.loads(capsys.readouterr().out)
        assert (receipt["counts"]["memories"], receipt["reason"]) == (1, "case 17")
        assert user.residue() == {}

        assert main(["import", "archive", str(archive), *ada]) == 0
        assert "new: 1 threads, 1 items, 1 versions of memories" in capsys.readouterr().out
        assert user.thread("t").items() == [{"n": 1}]

    assert main(["audit", *ada]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["action"] for event in events] == ["save", "hold", "release", "export", "erase_all", "save"]
    assert main(["audit", "--erased", receipt["owner"], *dsn]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == events[:5]
    assert events[4]["details"] == receipt["counts"]
    assert main(["audit", "--erased", "user:ada@example.com", *dsn]) == 1
    assert "erased must be the owner of a receipt" in capsys.readouterr().err
