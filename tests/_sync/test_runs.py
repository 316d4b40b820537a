# Generated from tests/_async/test_runs.py by tools/unasync.py: edit that file, then run `make generate`.
"""Runs in Postgres: how one is begun, claimed, fenced, appended to, and ended. Operations play the workers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from lakemem import (
    ConflictError,
    CursorExpiredError,
    InvalidInputError,
    Lakebase,
    Memory,
    QueueFullError,
    Run,
    RunError,
    RunFailure,
    RunNotFoundError,
    ScopedMemory,
    Swept,
    ThreadBusyError,
)
from lakemem.operations import running
from lakemem.operations.running import Claimed, Ending, Outcome, Position, Receipt
from lakemem.operations.runs import channel_of
from lakemem.testing.concurrency import gather
from tests.support.rows import Rows

ASKED = {"input": "What is new?", "nul": "\x00", "b": 1, "a": 2}


class Workers:
    """Workers, as far as Postgres can tell."""

    def __init__(self, memory: Memory) -> None:
        self._storage = memory._storage

    def due(self, *, takes_over: bool = True) -> list[str]:
        return self._storage.run(running.due(takes_over=takes_over, besides=[]))

    def claim(
        self,
        owner: str,
        *,
        lease: float = 60.0,
        takes_over: bool = True,
        worker: int | None = None,
        max_attempts: int = 9,
        per_owner: int | None = None,
        failure_events: Sequence[str] = (),
    ) -> Claimed | None:
        return self._storage.run(
            running.claim(
                owner,
                worker=worker,
                lease=lease,
                takes_over=takes_over,
                max_attempts=max_attempts,
                per_owner=per_owner,
                failure_events=failure_events,
            )
        )

    def claimed(self, owner: str, **options: Any) -> Position:
        claimed = self.claim(owner, **options)
        assert claimed is not None
        return position_of(claimed.run)

    def append(
        self, position: Position, *events: str, ending: Ending | None = None, failure_events: Sequence[str] = ()
    ) -> Receipt:
        return self._storage.run(
            running.append(position, events, lease=60.0, ending=ending, failure_events=failure_events)
        )

    def end(
        self, position: Position, outcome: Outcome, *events: str, failure_events: Sequence[str] = (), **options: Any
    ) -> Receipt:
        ending = Ending(outcome=outcome, **options)
        return self.append(position, *events, ending=ending, failure_events=failure_events)


def position_of(run: Run) -> Position:
    return Position(owner=run.owner, run_id=run.run_id, attempt=run.attempt, last_sequence=run.last_sequence)


def advanced(position: Position, count: int) -> Position:
    return Position(
        owner=position.owner,
        run_id=position.run_id,
        attempt=position.attempt,
        last_sequence=position.last_sequence + count,
    )


def stored(user: ScopedMemory, run_id: str) -> list[tuple[int, int, str]]:
    return [(event.sequence_number, event.attempt, event.text) for event in user.runs.events(run_id)]


def status_of(user: ScopedMemory, run_id: str) -> str | None:
    run = user.runs.get(run_id)
    return None if run is None else run.status


@pytest.fixture
def workers(memory: Memory) -> Workers:
    return Workers(memory)


@pytest.fixture
def rows(target: Lakebase, alice: ScopedMemory) -> Rows:
    return Rows(target, alice.owner)


def let_lapse(rows: Rows) -> None:
    """Let every lease end now."""
    rows("UPDATE lakemem.runs SET leased_until = now() - interval '1 second' WHERE status = 'in_progress'")


def test_a_run_is_queued_with_all_that_was_said_of_it(alice: ScopedMemory) -> None:
    run = alice.runs.create(
        ASKED, run_id="mine", thread_id="t", previous_run_id="before", kind="invoke", background=False,
        timeout=60.0, max_attempts=3, metadata={"a": 1},
    )  # fmt: skip
    assert run == alice.runs.get("mine")
    assert (run.run_id, run.owner, run.thread_id, run.previous_run_id) == ("mine", alice.owner, "t", "before")
    assert (run.status, run.kind, run.background, run.attempt, run.last_sequence) == ("queued", "invoke", False, 0, -1)
    assert list(run.request.items()) == list(ASKED.items())
    assert (run.max_attempts, run.metadata, run.error, run.output) == (3, {"a": 1}, None, None)
    assert timedelta(seconds=59) < run.deadline - run.created_at < timedelta(seconds=61)
    assert "What is new" not in repr(run)


def test_to_others_a_run_does_not_exist(alice: ScopedMemory, bob: ScopedMemory) -> None:
    run_id = (alice.runs.create(ASKED)).run_id
    assert bob.runs.get(run_id) is None
    assert bob.runs.list() == []
    assert bob.runs.cancel(run_id) is None
    assert bob.runs.delete(run_id) is False
    with pytest.raises(RunNotFoundError):
        bob.runs.events(run_id)
    with pytest.raises(RunNotFoundError):
        bob.runs.resume(run_id, "yes")
    with pytest.raises(RunNotFoundError):
        bob.runs.retry(run_id)
    assert status_of(alice, run_id) == "queued"


@pytest.mark.parametrize(
    "wrong",
    [
        {"request": "hello"}, {"request": {"a": float("nan")}}, {"run_id": ""}, {"thread_id": "\n"}, {"kind": "both"},
        {"delay": -1.0},
        {"timeout": 0}, {"timeout": None}, {"max_attempts": 0}, {"max_attempts": 101}, {"on_busy": "wait"},
        {"max_queued": -1}, {"idempotency_key": ""}, {"metadata": {"a": "\x00"}},
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(alice: ScopedMemory, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        alice.runs.create(**{"request": ASKED, **wrong})
    assert alice.runs.list() == []


def test_runs_are_listed_the_newest_first_page_by_page(alice: ScopedMemory) -> None:
    made = [(alice.runs.create({"n": n}, thread_id="t" if n % 2 else None)).run_id for n in range(5)][::-1]
    alice.runs.cancel(made[0])
    assert [run.run_id for run in alice.runs.list()] == made
    assert [run.run_id for run in alice.runs.list(2)] == made[:2]
    assert [run.run_id for run in alice.runs.list(2, after=made[1])] == made[2:4]
    assert [run.run_id for run in alice.runs.list(thread_id="t")] == [made[1], made[3]]
    assert [run.run_id for run in alice.runs.list(status="cancelled")] == made[:1]


def test_the_same_key_again_is_the_same_run_however_many_ask_at_once(alice: ScopedMemory) -> None:
    def create() -> Run:
        return alice.runs.create(ASKED, idempotency_key="once", max_queued=1)

    runs = gather([create] * 6)
    assert len({run.run_id for run in runs}) == 1 == len(alice.runs.list())
    with pytest.raises(ConflictError):
        alice.runs.create({"input": "another"}, idempotency_key="once")


def test_a_key_is_its_owners_own(alice: ScopedMemory, bob: ScopedMemory) -> None:
    mine = alice.runs.create(ASKED, idempotency_key="once")
    assert (bob.runs.create(ASKED, idempotency_key="once")).run_id != mine.run_id


def test_an_id_is_given_once(alice: ScopedMemory) -> None:
    alice.runs.create(ASKED, run_id="mine")
    with pytest.raises(ConflictError):
        alice.runs.create(ASKED, run_id="mine")


def test_a_run_can_begin_later(alice: ScopedMemory, workers: Workers, rows: Rows) -> None:
    run = alice.runs.create(ASKED, delay=30.0)
    assert workers.due() == []
    assert workers.claim(alice.owner) is None
    rows("UPDATE lakemem.runs SET run_after = run_after - interval '30 s'")
    position = workers.claimed(alice.owner)
    workers.end(position, "waiting", question="1")
    assert (alice.runs.resume(run.run_id, 2, delay=30.0)).status == "queued"
    assert workers.due() == []


def test_the_queue_of_an_owner_has_a_limit(alice: ScopedMemory, bob: ScopedMemory) -> None:
    for _ in range(2):
        alice.runs.create(ASKED, max_queued=2)
    with pytest.raises(QueueFullError) as refused:
        alice.runs.create(ASKED, max_queued=2)
    assert refused.value.retry_after > 0
    bob.runs.create(ASKED, max_queued=2)


def test_the_runs_of_a_thread_go_one_after_the_other(alice: ScopedMemory, workers: Workers) -> None:
    first = alice.runs.create(ASKED, thread_id="t")
    second = alice.runs.create(ASKED, thread_id="t")
    elsewhere = alice.runs.create(ASKED, thread_id="u")
    begun = [workers.claimed(alice.owner) for _ in range(2)]
    assert [position.run_id for position in begun] == [first.run_id, elsewhere.run_id]
    assert workers.claim(alice.owner) is None
    workers.end(begun[0], "completed")
    assert (workers.claimed(alice.owner)).run_id == second.run_id


def test_a_busy_thread_refuses_a_run_that_is_not_to_wait(alice: ScopedMemory, workers: Workers) -> None:
    alice.runs.create(ASKED, thread_id="t", on_busy="reject")
    with pytest.raises(ThreadBusyError):
        alice.runs.create(ASKED, thread_id="t", on_busy="reject")
    workers.end(workers.claimed(alice.owner), "completed")
    alice.runs.create(ASKED, thread_id="t", on_busy="reject")


def test_a_run_can_interrupt_the_others_of_its_thread(alice: ScopedMemory, workers: Workers) -> None:
    begun = alice.runs.create(ASKED, thread_id="t")
    position = workers.claimed(alice.owner)
    queued = alice.runs.create(ASKED, thread_id="t")
    elsewhere = alice.runs.create(ASKED, thread_id="u")
    newest = alice.runs.create(ASKED, thread_id="t", on_busy="interrupt")
    assert status_of(alice, queued.run_id) == "cancelled"
    assert status_of(alice, elsewhere.run_id) == "queued"
    assert (workers.append(position, "{}")).cancel_requested
    assert (workers.claimed(alice.owner)).run_id == elsewhere.run_id
    assert workers.claim(alice.owner) is None
    workers.end(advanced(position, 1), "cancelled")
    assert status_of(alice, begun.run_id) == "cancelled"
    assert (workers.claimed(alice.owner)).run_id == newest.run_id


def test_exactly_one_of_many_workers_claims_a_run(alice: ScopedMemory, workers: Workers) -> None:
    alice.runs.create(ASKED)

    def claim() -> Claimed | None:
        return workers.claim(alice.owner)

    assert sum(claimed is not None for claimed in gather([claim] * 8)) == 1


def test_workers_see_of_others_only_what_is_due(
    alice: ScopedMemory, bob: ScopedMemory, workers: Workers, target: Lakebase, rows: Rows
) -> None:
    alice.runs.create(ASKED)
    bob.runs.create(ASKED)
    assert workers.due() == [alice.owner, bob.owner]
    workers.claimed(alice.owner)
    assert workers.due() == [bob.owner]
    assert Rows(target, "runs")("SELECT owner FROM lakemem.runs") == [(bob.owner,)]
    let_lapse(rows)
    assert sorted(workers.due()) == [alice.owner, bob.owner]
    assert workers.due(takes_over=False) == [bob.owner]


def test_how_many_runs_of_an_owner_are_in_progress_can_be_limited(
    alice: ScopedMemory, workers: Workers, rows: Rows
) -> None:
    for _ in range(2):
        alice.runs.create(ASKED)
    begun = workers.claimed(alice.owner, per_owner=1)
    assert workers.claim(alice.owner, per_owner=1) is None
    let_lapse(rows)
    assert (workers.claimed(alice.owner, per_owner=1)).run_id == begun.run_id


def test_events_are_numbered_from_zero_without_gaps_over_all_attempts(
    alice: ScopedMemory, workers: Workers, rows: Rows
) -> None:
    run_id = (alice.runs.create(ASKED)).run_id
    first = workers.claimed(alice.owner)
    assert workers.append(first, '{"n": "\\u0000"}', '{"n":1}') == Receipt("in_progress", 1, False)
    let_lapse(rows)
    second = workers.claimed(alice.owner)
    assert (second.attempt, second.last_sequence) == (2, 1)
    workers.append(second, '{"n":2}')
    assert stored(alice, run_id) == [(0, 1, '{"n": "\\u0000"}'), (1, 1, '{"n":1}'), (2, 2, '{"n":2}')]
    assert [event.event for event in alice.runs.events(run_id, after=0, limit=1)] == [{"n": 1}]


def test_who_lost_the_lease_adds_nothing_and_ends_nothing(alice: ScopedMemory, workers: Workers, rows: Rows) -> None:
    run_id = (alice.runs.create(ASKED)).run_id
    first = workers.claimed(alice.owner)
    let_lapse(rows)
    second = workers.claimed(alice.owner)
    assert (workers.append(first, "{}")).status is None
    for outcome in ("completed", "failed", "released", "erred", "waiting", "cancelled"):
        assert (workers.end(first, outcome)).status is None
    assert stored(alice, run_id) == []
    assert status_of(alice, run_id) == "in_progress"
    assert (workers.append(second, "{}")).status == "in_progress"


def test_a_lease_that_nobody_took_is_still_its_workers(alice: ScopedMemory, workers: Workers, rows: Rows) -> None:
    alice.runs.create(ASKED)
    position = workers.claimed(alice.owner)
    let_lapse(rows)
    assert (workers.append(position, "{}")).status == "in_progress"
    assert workers.claim(alice.owner) is None


def test_an_append_whose_answer_was_lost_is_made_once(alice: ScopedMemory, workers: Workers) -> None:
    run_id = (alice.runs.create(ASKED)).run_id
    position = workers.claimed(alice.owner)
    receipts = [workers.append(position, '{"n":0}', '{"n":1}') for _ in range(3)]
    assert receipts == [Receipt("in_progress", 1, False)] * 3
    ending = Ending(outcome="completed", output="[1]")
    receipts = [workers.append(advanced(position, 2), '{"n":2}', ending=ending) for _ in range(3)]
    assert receipts == [Receipt("completed", 2, False)] * 3
    assert [number for number, _, _ in stored(alice, run_id)] == [0, 1, 2]
    # Another end is no repetition.
    assert (workers.append(advanced(position, 2), '{"n":2}', ending=Ending(outcome="failed"))).status is None


def test_the_last_events_and_the_end_are_stored_together(alice: ScopedMemory, workers: Workers) -> None:
    run_id = (alice.runs.create(ASKED, metadata={"a": 1, "b": 1})).run_id
    position = workers.claimed(alice.owner)
    workers.append(position, "{}", ending=Ending(outcome="completed", output='["x"]', metadata='{"b":2}'))
    run = alice.runs.get(run_id)
    assert run is not None
    assert (run.status, run.output, run.metadata, run.last_sequence) == ("completed", ["x"], {"a": 1, "b": 2}, 0)
    assert run.has_ended
    assert run.started_at is not None
    assert run.completed_at is not None
    assert run.created_at <= run.started_at <= run.completed_at


def test_a_failed_attempt_is_tried_again_after_a_pause_until_the_attempts_are_used_up(
    alice: ScopedMemory, workers: Workers, rows: Rows
) -> None:
    run_id = (alice.runs.create(ASKED, max_attempts=2)).run_id
    failure = RunFailure("handler_failed", "the agent failed (ValueError)")
    position = workers.claimed(alice.owner)
    ending = {"failure": failure, "max_attempts": 9, "pause": 30.0}
    assert (workers.end(position, "erred", **ending)).status == "queued"
    assert workers.due() == []
    assert workers.claim(alice.owner) is None
    ((pause,),) = rows("SELECT extract(epoch FROM run_after - now())::float8 FROM lakemem.runs")
    assert 15 < pause < 40
    rows("UPDATE lakemem.runs SET run_after = now()")
    assert (workers.end(workers.claimed(alice.owner), "erred", **ending)).status == "failed"
    run = alice.runs.get(run_id)
    assert run is not None
    assert (run.error, run.attempts_used) == (failure, 2)


def test_a_run_that_kills_its_processes_takes_no_third(
    alice: ScopedMemory, workers: Workers, rows: Rows, memory: Memory
) -> None:
    run_id = (alice.runs.create(ASKED)).run_id
    for _ in range(2):
        workers.claimed(alice.owner)
        let_lapse(rows)
    assert workers.due() == [alice.owner]
    assert workers.claim(alice.owner) is None
    run = alice.runs.get(run_id)
    assert run is not None
    assert run.status == "failed"
    assert run.error is not None
    assert run.error.code == "attempts_exhausted"
    assert workers.due() == []
    assert [each.run_id for each in memory._storage.run(running.dead())] == [run_id]
    again = alice.runs.retry(run_id)
    assert (again.status, again.attempts_used, again.error) == ("queued", 0, None)
    assert (workers.claimed(alice.owner)).attempt == 3
    with pytest.raises(RunError):
        alice.runs.retry(run_id)


LAST_WORDS = ("error", "response.failed")


def words(code: str, message: str) -> list[dict[str, Any]]:
    return [{"type": kind, "code": code, "message": message, "param": None} for kind in LAST_WORDS]


def test_a_failure_is_among_the_events_of_its_run(alice: ScopedMemory, workers: Workers) -> None:
    run_id = (alice.runs.create(ASKED, max_attempts=2)).run_id
    ending = {"failure": RunFailure("c", 'of "Ada"'), "max_attempts": 9, "failure_events": LAST_WORDS}
    first = workers.claimed(alice.owner)
    assert workers.end(first, "erred", '{"n":0}', **ending) == Receipt("queued", 0, False)
    second = workers.claimed(alice.owner)
    receipt = workers.end(second, "erred", '{"n":1}', **ending)
    # Its answer may have been lost.
    assert receipt == Receipt("failed", 3, False) == workers.end(second, "erred", '{"n":1}', **ending)
    events = alice.runs.events(run_id)
    assert [event.event for event in events] == [{"n": 0}, {"n": 1}, *words("c", 'of "Ada"')]
    assert [(event.sequence_number, event.attempt) for event in events] == [(0, 1), (1, 2), (2, 2), (3, 2)]


def test_what_is_tried_again_goes_on_behind_its_failure(alice: ScopedMemory, workers: Workers) -> None:
    run_id = (alice.runs.create(ASKED)).run_id
    failure = {"failure": RunFailure("c", "no"), "failure_events": LAST_WORDS}
    workers.end(workers.claimed(alice.owner), "failed", '{"n":0}', **failure)
    before = stored(alice, run_id)
    assert (alice.runs.retry(run_id)).last_sequence == 2
    workers.end(workers.claimed(alice.owner), "completed", '{"n":1}')
    assert stored(alice, run_id) == [*before, (3, 2, '{"n":1}')]


@pytest.mark.parametrize(
    ("column", "code"), [("leased_until", "attempts_exhausted"), ("deadline", "timeout"), ("cancel_requested_at", None)]
)
def test_who_ends_the_run_of_another_worker_says_so_in_its_events(
    alice: ScopedMemory, workers: Workers, rows: Rows, column: str, code: str | None
) -> None:
    run_id = (alice.runs.create(ASKED, max_attempts=1)).run_id
    position = workers.claimed(alice.owner)
    workers.append(position, '{"n":0}')
    rows(f"UPDATE lakemem.runs SET {column} = now() - interval '1 minute'")
    assert workers.claim(alice.owner, failure_events=LAST_WORDS) is None
    run = alice.runs.get(run_id)
    assert run is not None
    events = [event.event for event in alice.runs.events(run_id)]
    if code is None:
        assert (run.status, events) == ("cancelled", [{"n": 0}])
    else:
        assert run.error is not None
        assert (run.status, run.error.code, run.last_sequence) == ("failed", code, 2)
        assert events == [{"n": 0}, *words(code, run.error.message)]


def test_a_worker_may_allow_fewer_attempts_than_a_run(alice: ScopedMemory, workers: Workers, rows: Rows) -> None:
    run_id = (alice.runs.create(ASKED, max_attempts=9)).run_id
    workers.claimed(alice.owner)
    let_lapse(rows)
    assert workers.claim(alice.owner, max_attempts=1) is None
    assert status_of(alice, run_id) == "failed"


def test_a_run_that_is_handed_over_goes_on_at_once_and_uses_no_attempt(alice: ScopedMemory, workers: Workers) -> None:
    run_id = (alice.runs.create(ASKED, max_attempts=1)).run_id
    for number in range(1, 4):
        position = workers.claimed(alice.owner)
        assert position.attempt == number
        assert (workers.append(position, "{}", ending=Ending(outcome="released"))).status == "queued"
    run = alice.runs.get(run_id)
    assert run is not None
    assert (run.attempt, run.attempts_used, run.last_sequence) == (3, 0, 2)


def test_a_queued_run_is_cancelled_at_once_and_stays_so(alice: ScopedMemory, workers: Workers) -> None:
    run_id = (alice.runs.create(ASKED)).run_id
    cancelled = alice.runs.cancel(run_id)
    assert cancelled is not None
    assert cancelled.status == "cancelled"
    assert alice.runs.cancel(run_id) == cancelled
    assert workers.claim(alice.owner) is None
    assert alice.runs.cancel("another") is None


def test_a_run_in_progress_is_cancelled_by_its_worker(alice: ScopedMemory, workers: Workers) -> None:
    run_id = (alice.runs.create(ASKED)).run_id
    position = workers.claimed(alice.owner)
    asked = alice.runs.cancel(run_id)
    assert asked is not None
    assert (asked.status, asked.cancel_requested) == ("in_progress", True)
    assert (workers.append(position, "{}")).cancel_requested
    # Whatever the worker makes of it, it is not tried again.
    assert (workers.end(advanced(position, 1), "erred", max_attempts=9)).status == "cancelled"


def test_a_run_whose_worker_died_is_cancelled_by_another(alice: ScopedMemory, workers: Workers, rows: Rows) -> None:
    run_id = (alice.runs.create(ASKED)).run_id
    workers.claimed(alice.owner)
    alice.runs.cancel(run_id)
    let_lapse(rows)
    assert workers.claim(alice.owner) is None
    assert status_of(alice, run_id) == "cancelled"


def test_a_run_that_ended_before_it_was_cancelled_has_ended(alice: ScopedMemory, workers: Workers) -> None:
    run_id = (alice.runs.create(ASKED)).run_id
    position = workers.claimed(alice.owner)
    alice.runs.cancel(run_id)
    assert (workers.end(position, "completed", output="[]")).status == "completed"


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_out_of_time_fails_whoever_has_it(alice: ScopedMemory, workers: Workers, rows: Rows, begun: bool) -> None:
    run_id = (alice.runs.create(ASKED, timeout=60)).run_id
    if begun:
        workers.claimed(alice.owner)
    rows("UPDATE lakemem.runs SET deadline = now() - interval '20 seconds'")
    assert workers.due() == [alice.owner]
    assert workers.claim(alice.owner) is None
    run = alice.runs.get(run_id)
    assert run is not None
    assert run.error is not None
    assert (run.status, run.error.code) == ("failed", "timeout")


def test_a_worker_is_told_how_much_time_is_left_by_the_clock_of_the_database(
    alice: ScopedMemory, workers: Workers
) -> None:
    alice.runs.create(ASKED, timeout=100)
    claimed = workers.claim(alice.owner)
    assert claimed is not None
    assert 90 < claimed.remaining <= 100


def test_a_run_waits_for_a_person_and_goes_on_with_the_answer(
    alice: ScopedMemory, workers: Workers, rows: Rows
) -> None:
    run_id = (alice.runs.create(ASKED, thread_id="t", max_attempts=1, timeout=100)).run_id
    with pytest.raises(RunError):
        alice.runs.resume(run_id, "yes")
    position = workers.claimed(alice.owner)
    assert (workers.append(position, "{}", ending=Ending(outcome="waiting", question='"Pay?"'))).status == "waiting"
    waiting = alice.runs.get(run_id)
    assert waiting is not None
    assert (waiting.status, waiting.question, waiting.answer, waiting.asked_by) == ("waiting", "Pay?", None, 1)
    assert not waiting.has_ended
    rows("UPDATE lakemem.runs SET waiting_since = now() - interval '50 s', deadline = now() - interval '10 s'")
    assert workers.due() == []
    for _ in range(2):
        resumed = alice.runs.resume(run_id, {"ok": True})
        assert (resumed.status, resumed.answer) == ("queued", {"ok": True})
    claimed = workers.claim(alice.owner)
    assert claimed is not None
    assert (claimed.run.attempt, claimed.run.answer, claimed.run.attempts_used) == (2, {"ok": True}, 1)
    assert 30 < claimed.remaining <= 40


def test_while_a_run_waits_its_thread_is_free(alice: ScopedMemory, workers: Workers) -> None:
    waiting = alice.runs.create(ASKED, thread_id="t")
    workers.end(workers.claimed(alice.owner), "waiting", question="1")
    other = alice.runs.create(ASKED, thread_id="t", on_busy="reject")
    position = workers.claimed(alice.owner)
    assert position.run_id == other.run_id
    alice.runs.resume(waiting.run_id, "yes")
    assert workers.claim(alice.owner) is None
    workers.end(position, "completed")
    assert (workers.claimed(alice.owner)).run_id == waiting.run_id


def test_a_waiting_run_can_be_cancelled(alice: ScopedMemory, workers: Workers) -> None:
    run_id = (alice.runs.create(ASKED)).run_id
    workers.end(workers.claimed(alice.owner), "waiting", question="1")
    cancelled = alice.runs.cancel(run_id)
    assert cancelled is not None
    assert cancelled.status == "cancelled"


def test_a_run_that_is_deleted_takes_its_events_and_its_worker_with_it(
    alice: ScopedMemory, workers: Workers, rows: Rows
) -> None:
    run_id = (alice.runs.create(ASKED)).run_id
    position = workers.claimed(alice.owner)
    workers.append(position, "{}")
    assert alice.runs.delete(run_id) is True
    assert alice.runs.delete(run_id) is False
    assert (workers.append(advanced(position, 1), "{}")).status is None
    assert rows("SELECT FROM lakemem.run_events") == []
    with pytest.raises(RunNotFoundError):
        alice.runs.events(run_id)


def test_events_that_were_swept_are_not_passed_over(alice: ScopedMemory, workers: Workers, rows: Rows) -> None:
    run_id = (alice.runs.create(ASKED)).run_id
    workers.append(workers.claimed(alice.owner), "{}", "{}", ending=Ending(outcome="completed"))
    rows("DELETE FROM lakemem.run_events")
    rows("UPDATE lakemem.runs SET first_sequence = 2")
    for after in (-1, 0):
        with pytest.raises(CursorExpiredError):
            alice.runs.events(run_id, after=after)
    assert alice.runs.events(run_id, after=1) == []


def test_what_is_told_to_whoever_listens_names_nobody(alice: ScopedMemory, workers: Workers, target: Lakebase) -> None:
    with Rows(target, "nobody").connect() as connection:
        connection.execute(f"LISTEN {channel_of('lakemem')}")
        alice.runs.create(ASKED, run_id="secret run", thread_id="secret thread")
        workers.claimed(alice.owner)
        alice.runs.cancel("secret run")
        payloads = [note.payload for note in connection.notifies(timeout=1, stop_after=2)]
    assert [payload.split()[1] for payload in payloads] == ["queued", "moved"]
    assert not any("secret" in payload or "alice" in payload for payload in payloads)


def test_a_sweep_removes_old_runs_and_the_events_of_others(
    alice: ScopedMemory, bob: ScopedMemory, workers: Workers, target: Lakebase, memory: Memory
) -> None:
    made = {}
    for user in (alice, bob):
        for days in (0, 10, 40):
            run_id = (user.runs.create({})).run_id
            workers.append(workers.claimed(user.owner), "{}", "{}", ending=Ending(outcome="completed"))
            Rows(target, user.owner)(
                "UPDATE lakemem.runs SET completed_at = now() - make_interval(days => %s) WHERE run_id = %s",
                days,
                run_id,
            )
            made[user.owner, days] = run_id
        begun = (user.runs.create({})).run_id
        workers.append(workers.claimed(user.owner), "{}")
        made[user.owner, -1] = begun
    assert memory.sweep() == Swept(runs=2, run_events=4)
    assert memory.sweep() == Swept()
    for user in (alice, bob):
        assert user.runs.get(made[user.owner, 40]) is None
        assert status_of(user, made[user.owner, 10]) == "completed"
        with pytest.raises(CursorExpiredError):
            user.runs.events(made[user.owner, 10])
        assert len(user.runs.events(made[user.owner, 0])) == 2
        assert len(user.runs.events(made[user.owner, -1])) == 1
    assert (memory.sweep(keep_runs=None, keep_run_events=None)) == Swept()
    assert (memory.sweep(keep_runs=1e-6)).runs == 4
    with pytest.raises(InvalidInputError):
        memory.sweep(keep_runs=0)
