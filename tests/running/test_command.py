"""``lakemem runs``."""

from __future__ import annotations

import json
import threading
import time

import pytest
from psycopg.conninfo import make_conninfo

from lakemem import Lakebase, Memory
from lakemem.cli import main
from lakemem.operations import running
from lakemem.operations.running import Ending, Position
from tests.support.rows import Rows

Captured = pytest.CaptureFixture[str]


class Commands:
    def __init__(self, target: Lakebase, captured: Captured) -> None:
        self._dsn = make_conninfo(**target.parameters)
        self._captured = captured

    def __call__(self, action: str, *arguments: str, user: str | None = "alice") -> tuple[int, str, str]:
        whose = [] if user is None else ["--user", user]
        code = main(["runs", action, *arguments, *whose, "--dsn", self._dsn])
        return code, *self._captured.readouterr()


@pytest.fixture
def runs(target: Lakebase, capsys: Captured) -> Commands:
    return Commands(target, capsys)


def claim(memory: Memory) -> None:
    take = running.claim("user:alice", worker=None, lease=60, takes_over=True, max_attempts=2, per_owner=None)
    memory._storage.run(take)


def append(memory: Memory, run_id: str, after: int, *events: str, ending: Ending | None = None) -> None:
    at = Position(owner="user:alice", run_id=run_id, attempt=1, last_sequence=after)
    assert memory._storage.run(running.append(at, events, lease=60, ending=ending)).status is not None


def test_runs_are_listed_shown_and_cancelled(target: Lakebase, runs: Commands) -> None:
    with Memory(target) as memory:
        user = memory.for_user("alice")
        first, second = (user.runs.create({"n": n}, thread_id="t").run_id for n in range(2))
    code, printed, _ = runs("list")
    assert code == 0
    assert [line.split()[2:4] for line in printed.splitlines()] == [[second, "queued"], [first, "queued"]]
    assert runs("cancel", first) == (0, "cancelled\n", "")
    assert [line.split()[2] for line in runs("list", "--status", "cancelled")[1].splitlines()] == [first]
    assert runs("list", "--thread", "u") == (0, "", "")
    shown = json.loads(runs("show", second)[1])
    assert (shown["status"], shown["request"], shown["events"]) == ("queued", {"n": 1}, 0)


def test_a_tail_prints_what_is_there_and_what_comes(
    target: Lakebase, runs: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who appends here tells nobody of it.
    monkeypatch.setattr("lakemem.tails.HEARING_POLL", 0.2)
    with Memory(target) as memory:
        run_id = memory.for_user("alice").runs.create({}).run_id
        claim(memory)
        append(memory, run_id, -1, '{"n":0}', '{"n":1}')

        def end() -> None:
            time.sleep(0.5)
            append(memory, run_id, 1, '{"n":2}', ending=Ending(outcome="completed"))

        thread = threading.Thread(target=end)
        thread.start()
        assert runs("tail", run_id, "--after", "0") == (0, '{"n":1}\n{"n":2}\n', "completed\n")
        thread.join()


def test_what_was_given_up_is_listed_for_all_and_tried_again(target: Lakebase, runs: Commands) -> None:
    with Memory(target) as memory:
        run_id = memory.for_user("alice").runs.create({}, max_attempts=1).run_id
        claim(memory)
        Rows(target, "user:alice")("UPDATE lakemem.runs SET leased_until = now() - interval '1 s'")
        claim(memory)
    (line,) = runs("list", "--dead", user=None)[1].splitlines()
    assert line.split()[2:5] == ["user:alice", run_id, "failed"]
    assert line.endswith("attempts_exhausted")
    assert runs("retry", run_id) == (0, "queued\n", "")
    code, _, told = runs("retry", run_id)
    assert (code, told) == (1, "lakemem: only a run that failed can be tried again\n")


def test_a_run_of_nobody_or_of_somebody_else_is_not_there(target: Lakebase, runs: Commands) -> None:
    with Memory(target) as memory:
        run_id = memory.for_user("alice").runs.create({}).run_id
    for action in ("show", "cancel", "tail", "retry"):
        code, printed, told = runs(action, run_id, user="bob")
        assert (code, printed, told) == (1, "", "lakemem: there is no such run\n")
    assert "--user USER" in runs("list", user=None)[2]
