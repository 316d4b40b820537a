"""Runs in Postgres: how one is begun, claimed, fenced, appended to, and ended. Operations play the workers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from lakemem import (
    AsyncMemory,
    AsyncScopedMemory,
    ConflictError,
    CursorExpiredError,
    InvalidInputError,
    Lakebase,
    QueueFullError,
    Run,
    RunError,
    RunFailure,
    RunNotFoundError,
    Swept,
    ThreadBusyError,
)
from lakemem.operations import running
from lakemem.operations.running import Claimed, Ending, Outcome, Position, Receipt
from lakemem.operations.runs import channel_of
from lakemem.testing.concurrency import agather
from tests.support.rows import Rows

ASKED = {"input": "What is new?", "nul": "\x00", "b": 1, "a": 2}


class Workers:
    """Workers, as far as Postgres can tell."""

    def __init__(self, memory: AsyncMemory) -> None:
        self._storage = memory._storage

    async def due(self, *, takes_over: bool = True) -> list[str]:
        return await self._storage.run(running.due(takes_over=takes_over, besides=[]))

    async def claim(
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
        return await self._storage.run(
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

    async def claimed(self, owner: str, **options: Any) -> Position:
        claimed = await self.claim(owner, **options)
        assert claimed is not None
        return position_of(claimed.run)

    async def append(
        self, position: Position, *events: str, ending: Ending | None = None, failure_events: Sequence[str] = ()
    ) -> Receipt:
        return await self._storage.run(
            running.append(position, events, lease=60.0, ending=ending, failure_events=failure_events)
        )

    async def end(
        self, position: Position, outcome: Outcome, *events: str, failure_events: Sequence[str] = (), **options: Any
    ) -> Receipt:
        ending = Ending(outcome=outcome, **options)
        return await self.append(position, *events, ending=ending, failure_events=failure_events)


def position_of(run: Run) -> Position:
    return Position(owner=run.owner, run_id=run.run_id, attempt=run.attempt, last_sequence=run.last_sequence)


def advanced(position: Position, count: int) -> Position:
    return Position(
        owner=position.owner,
        run_id=position.run_id,
        attempt=position.attempt,
        last_sequence=position.last_sequence + count,
    )


async def stored(user: AsyncScopedMemory, run_id: str) -> list[tuple[int, int, str]]:
    return [(event.sequence_number, event.attempt, event.text) for event in await user.runs.events(run_id)]


async def status_of(user: AsyncScopedMemory, run_id: str) -> str | None:
    run = await user.runs.get(run_id)
    return None if run is None else run.status


@pytest.fixture
def workers(memory: AsyncMemory) -> Workers:
    return Workers(memory)


@pytest.fixture
def rows(target: Lakebase, alice: AsyncScopedMemory) -> Rows:
    return Rows(target, alice.owner)


def let_lapse(rows: Rows) -> None:
    """Let every lease end now."""
    rows("UPDATE lakemem.runs SET leased_until = now() - interval '1 second' WHERE status = 'in_progress'")


async def test_a_run_is_queued_with_all_that_was_said_of_it(alice: AsyncScopedMemory) -> None:
    run = await alice.runs.create(
        ASKED, run_id="mine", thread_id="t", previous_run_id="before", kind="invoke", background=False,
        timeout=60.0, max_attempts=3, metadata={"a": 1},
    )  # fmt: skip
    assert run == await alice.runs.get("mine")
    assert (run.run_id, run.owner, run.thread_id, run.previous_run_id) == ("mine", alice.owner, "t", "before")
    assert (run.status, run.kind, run.background, run.attempt, run.last_sequence) == ("queued", "invoke", False, 0, -1)
    assert list(run.request.items()) == list(ASKED.items())
    assert (run.max_attempts, run.metadata, run.error, run.output) == (3, {"a": 1}, None, None)
    assert timedelta(seconds=59) < run.deadline - run.created_at < timedelta(seconds=61)
    assert "What is new" not in repr(run)


async def test_to_others_a_run_does_not_exist(alice: AsyncScopedMemory, bob: AsyncScopedMemory) -> None:
    run_id = (await alice.runs.create(ASKED)).run_id
    assert await bob.runs.get(run_id) is None
    assert await bob.runs.list() == []
    assert await bob.runs.cancel(run_id) is None
    assert await bob.runs.delete(run_id) is False
    with pytest.raises(RunNotFoundError):
        await bob.runs.events(run_id)
    with pytest.raises(RunNotFoundError):
        await bob.runs.resume(run_id, "yes")
    with pytest.raises(RunNotFoundError):
        await bob.runs.retry(run_id)
    assert await status_of(alice, run_id) == "queued"


@pytest.mark.parametrize(
    "wrong",
    [
        {"request": "hello"}, {"request": {"a": float("nan")}}, {"run_id": ""}, {"thread_id": "\n"}, {"kind": "both"},
        {"delay": -1.0},
        {"timeout": 0}, {"timeout": None}, {"max_attempts": 0}, {"max_attempts": 101}, {"on_busy": "wait"},
        {"max_queued": -1}, {"idempotency_key": ""}, {"metadata": {"a": "\x00"}},
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused(alice: AsyncScopedMemory, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        await alice.runs.create(**{"request": ASKED, **wrong})
    assert await alice.runs.list() == []


async def test_runs_are_listed_the_newest_first_page_by_page(alice: AsyncScopedMemory) -> None:
    made = [(await alice.runs.create({"n": n}, thread_id="t" if n % 2 else None)).run_id for n in range(5)][::-1]
    await alice.runs.cancel(made[0])
    assert [run.run_id for run in await alice.runs.list()] == made
    assert [run.run_id for run in await alice.runs.list(2)] == made[:2]
    assert [run.run_id for run in await alice.runs.list(2, after=made[1])] == made[2:4]
    assert [run.run_id for run in await alice.runs.list(thread_id="t")] == [made[1], made[3]]
    assert [run.run_id for run in await alice.runs.list(status="cancelled")] == made[:1]


async def test_the_same_key_again_is_the_same_run_however_many_ask_at_once(alice: AsyncScopedMemory) -> None:
    async def create() -> Run:
        return await alice.runs.create(ASKED, idempotency_key="once", max_queued=1)

    runs = await agather([create] * 6)
    assert len({run.run_id for run in runs}) == 1 == len(await alice.runs.list())
    with pytest.raises(ConflictError):
        await alice.runs.create({"input": "another"}, idempotency_key="once")


async def test_a_key_is_its_owners_own(alice: AsyncScopedMemory, bob: AsyncScopedMemory) -> None:
    mine = await alice.runs.create(ASKED, idempotency_key="once")
    assert (await bob.runs.create(ASKED, idempotency_key="once")).run_id != mine.run_id


async def test_an_id_is_given_once(alice: AsyncScopedMemory) -> None:
    await alice.runs.create(ASKED, run_id="mine")
    with pytest.raises(ConflictError):
        await alice.runs.create(ASKED, run_id="mine")


async def test_a_run_can_begin_later(alice: AsyncScopedMemory, workers: Workers, rows: Rows) -> None:
    run = await alice.runs.create(ASKED, delay=30.0)
    assert await workers.due() == []
    assert await workers.claim(alice.owner) is None
    rows("UPDATE lakemem.runs SET run_after = run_after - interval '30 s'")
    position = await workers.claimed(alice.owner)
    await workers.end(position, "waiting", question="1")
    assert (await alice.runs.resume(run.run_id, 2, delay=30.0)).status == "queued"
    assert await workers.due() == []


async def test_the_queue_of_an_owner_has_a_limit(alice: AsyncScopedMemory, bob: AsyncScopedMemory) -> None:
    for _ in range(2):
        await alice.runs.create(ASKED, max_queued=2)
    with pytest.raises(QueueFullError) as refused:
        await alice.runs.create(ASKED, max_queued=2)
    assert refused.value.retry_after > 0
    await bob.runs.create(ASKED, max_queued=2)


async def test_the_runs_of_a_thread_go_one_after_the_other(alice: AsyncScopedMemory, workers: Workers) -> None:
    first = await alice.runs.create(ASKED, thread_id="t")
    second = await alice.runs.create(ASKED, thread_id="t")
    elsewhere = await alice.runs.create(ASKED, thread_id="u")
    begun = [await workers.claimed(alice.owner) for _ in range(2)]
    assert [position.run_id for position in begun] == [first.run_id, elsewhere.run_id]
    assert await workers.claim(alice.owner) is None
    await workers.end(begun[0], "completed")
    assert (await workers.claimed(alice.owner)).run_id == second.run_id


async def test_a_busy_thread_refuses_a_run_that_is_not_to_wait(alice: AsyncScopedMemory, workers: Workers) -> None:
    await alice.runs.create(ASKED, thread_id="t", on_busy="reject")
    with pytest.raises(ThreadBusyError):
        await alice.runs.create(ASKED, thread_id="t", on_busy="reject")
    await workers.end(await workers.claimed(alice.owner), "completed")
    await alice.runs.create(ASKED, thread_id="t", on_busy="reject")


async def test_a_run_can_interrupt_the_others_of_its_thread(alice: AsyncScopedMemory, workers: Workers) -> None:
    begun = await alice.runs.create(ASKED, thread_id="t")
    position = await workers.claimed(alice.owner)
    queued = await alice.runs.create(ASKED, thread_id="t")
    elsewhere = await alice.runs.create(ASKED, thread_id="u")
    newest = await alice.runs.create(ASKED, thread_id="t", on_busy="interrupt")
    assert await status_of(alice, queued.run_id) == "cancelled"
    assert await status_of(alice, elsewhere.run_id) == "queued"
    assert (await workers.append(position, "{}")).cancel_requested
    assert (await workers.claimed(alice.owner)).run_id == elsewhere.run_id
    assert await workers.claim(alice.owner) is None
    await workers.end(advanced(position, 1), "cancelled")
    assert await status_of(alice, begun.run_id) == "cancelled"
    assert (await workers.claimed(alice.owner)).run_id == newest.run_id


async def test_exactly_one_of_many_workers_claims_a_run(alice: AsyncScopedMemory, workers: Workers) -> None:
    await alice.runs.create(ASKED)

    async def claim() -> Claimed | None:
        return await workers.claim(alice.owner)

    assert sum(claimed is not None for claimed in await agather([claim] * 8)) == 1


async def test_workers_see_of_others_only_what_is_due(
    alice: AsyncScopedMemory, bob: AsyncScopedMemory, workers: Workers, target: Lakebase, rows: Rows
) -> None:
    await alice.runs.create(ASKED)
    await bob.runs.create(ASKED)
    assert await workers.due() == [alice.owner, bob.owner]
    await workers.claimed(alice.owner)
    assert await workers.due() == [bob.owner]
    assert Rows(target, "runs")("SELECT owner FROM lakemem.runs") == [(bob.owner,)]
    let_lapse(rows)
    assert sorted(await workers.due()) == [alice.owner, bob.owner]
    assert await workers.due(takes_over=False) == [bob.owner]


async def test_how_many_runs_of_an_owner_are_in_progress_can_be_limited(
    alice: AsyncScopedMemory, workers: Workers, rows: Rows
) -> None:
    for _ in range(2):
        await alice.runs.create(ASKED)
    begun = await workers.claimed(alice.owner, per_owner=1)
    assert await workers.claim(alice.owner, per_owner=1) is None
    let_lapse(rows)
    assert (await workers.claimed(alice.owner, per_owner=1)).run_id == begun.run_id


async def test_events_are_numbered_from_zero_without_gaps_over_all_attempts(
    alice: AsyncScopedMemory, workers: Workers, rows: Rows
) -> None:
    run_id = (await alice.runs.create(ASKED)).run_id
    first = await workers.claimed(alice.owner)
    assert await workers.append(first, '{"n": "\\u0000"}', '{"n":1}') == Receipt("in_progress", 1, False)
    let_lapse(rows)
    second = await workers.claimed(alice.owner)
    assert (second.attempt, second.last_sequence) == (2, 1)
    await workers.append(second, '{"n":2}')
    assert await stored(alice, run_id) == [(0, 1, '{"n": "\\u0000"}'), (1, 1, '{"n":1}'), (2, 2, '{"n":2}')]
    assert [event.event for event in await alice.runs.events(run_id, after=0, limit=1)] == [{"n": 1}]


async def test_who_lost_the_lease_adds_nothing_and_ends_nothing(
    alice: AsyncScopedMemory, workers: Workers, rows: Rows
) -> None:
    run_id = (await alice.runs.create(ASKED)).run_id
    first = await workers.claimed(alice.owner)
    let_lapse(rows)
    second = await workers.claimed(alice.owner)
    assert (await workers.append(first, "{}")).status is None
    for outcome in ("completed", "failed", "released", "erred", "waiting", "cancelled"):
        assert (await workers.end(first, outcome)).status is None
    assert await stored(alice, run_id) == []
    assert await status_of(alice, run_id) == "in_progress"
    assert (await workers.append(second, "{}")).status == "in_progress"


async def test_a_lease_that_nobody_took_is_still_its_workers(
    alice: AsyncScopedMemory, workers: Workers, rows: Rows
) -> None:
    await alice.runs.create(ASKED)
    position = await workers.claimed(alice.owner)
    let_lapse(rows)
    assert (await workers.append(position, "{}")).status == "in_progress"
    assert await workers.claim(alice.owner) is None


async def test_an_append_whose_answer_was_lost_is_made_once(alice: AsyncScopedMemory, workers: Workers) -> None:
    run_id = (await alice.runs.create(ASKED)).run_id
    position = await workers.claimed(alice.owner)
    receipts = [await workers.append(position, '{"n":0}', '{"n":1}') for _ in range(3)]
    assert receipts == [Receipt("in_progress", 1, False)] * 3
    ending = Ending(outcome="completed", output="[1]")
    receipts = [await workers.append(advanced(position, 2), '{"n":2}', ending=ending) for _ in range(3)]
    assert receipts == [Receipt("completed", 2, False)] * 3
    assert [number for number, _, _ in await stored(alice, run_id)] == [0, 1, 2]
    # Another end is no repetition.
    assert (await workers.append(advanced(position, 2), '{"n":2}', ending=Ending(outcome="failed"))).status is None


async def test_the_last_events_and_the_end_are_stored_together(alice: AsyncScopedMemory, workers: Workers) -> None:
    run_id = (await alice.runs.create(ASKED, metadata={"a": 1, "b": 1})).run_id
    position = await workers.claimed(alice.owner)
    await workers.append(position, "{}", ending=Ending(outcome="completed", output='["x"]', metadata='{"b":2}'))
    run = await alice.runs.get(run_id)
    assert run is not None
    assert (run.status, run.output, run.metadata, run.last_sequence) == ("completed", ["x"], {"a": 1, "b": 2}, 0)
    assert run.has_ended
    assert run.started_at is not None
    assert run.completed_at is not None
    assert run.created_at <= run.started_at <= run.completed_at


async def test_a_failed_attempt_is_tried_again_after_a_pause_until_the_attempts_are_used_up(
    alice: AsyncScopedMemory, workers: Workers, rows: Rows
) -> None:
    run_id = (await alice.runs.create(ASKED, max_attempts=2)).run_id
    failure = RunFailure("handler_failed", "the agent failed (ValueError)")
    position = await workers.claimed(alice.owner)
    ending = {"failure": failure, "max_attempts": 9, "pause": 30.0}
    assert (await workers.end(position, "erred", **ending)).status == "queued"
    assert await workers.due() == []
    assert await workers.claim(alice.owner) is None
    ((pause,),) = rows("SELECT extract(epoch FROM run_after - now())::float8 FROM lakemem.runs")
    assert 15 < pause < 40
    rows("UPDATE lakemem.runs SET run_after = now()")
    assert (await workers.end(await workers.claimed(alice.owner), "erred", **ending)).status == "failed"
    run = await alice.runs.get(run_id)
    assert run is not None
    assert (run.error, run.attempts_used) == (failure, 2)


async def test_a_run_that_kills_its_processes_takes_no_third(
    alice: AsyncScopedMemory, workers: Workers, rows: Rows, memory: AsyncMemory
) -> None:
    run_id = (await alice.runs.create(ASKED)).run_id
    for _ in range(2):
        await workers.claimed(alice.owner)
        let_lapse(rows)
    assert await workers.due() == [alice.owner]
    assert await workers.claim(alice.owner) is None
    run = await alice.runs.get(run_id)
    assert run is not None
    assert run.status == "failed"
    assert run.error is not None
    assert run.error.code == "attempts_exhausted"
    assert await workers.due() == []
    assert [each.run_id for each in await memory._storage.run(running.dead())] == [run_id]
    again = await alice.runs.retry(run_id)
    assert (again.status, again.attempts_used, again.error) == ("queued", 0, None)
    assert (await workers.claimed(alice.owner)).attempt == 3
    with pytest.raises(RunError):
        await alice.runs.retry(run_id)


LAST_WORDS = ("error", "response.failed")


def words(code: str, message: str) -> list[dict[str, Any]]:
    return [{"type": kind, "code": code, "message": message, "param": None} for kind in LAST_WORDS]


async def test_a_failure_is_among_the_events_of_its_run(alice: AsyncScopedMemory, workers: Workers) -> None:
    run_id = (await alice.runs.create(ASKED, max_attempts=2)).run_id
    ending = {"failure": RunFailure("c", 'of "Ada"'), "max_attempts": 9, "failure_events": LAST_WORDS}
    first = await workers.claimed(alice.owner)
    assert await workers.end(first, "erred", '{"n":0}', **ending) == Receipt("queued", 0, False)
    second = await workers.claimed(alice.owner)
    receipt = await workers.end(second, "erred", '{"n":1}', **ending)
    # Its answer may have been lost.
    assert receipt == Receipt("failed", 3, False) == await workers.end(second, "erred", '{"n":1}', **ending)
    events = await alice.runs.events(run_id)
    assert [event.event for event in events] == [{"n": 0}, {"n": 1}, *words("c", 'of "Ada"')]
    assert [(event.sequence_number, event.attempt) for event in events] == [(0, 1), (1, 2), (2, 2), (3, 2)]


async def test_what_is_tried_again_goes_on_behind_its_failure(alice: AsyncScopedMemory, workers: Workers) -> None:
    run_id = (await alice.runs.create(ASKED)).run_id
    failure = {"failure": RunFailure("c", "no"), "failure_events": LAST_WORDS}
    await workers.end(await workers.claimed(alice.owner), "failed", '{"n":0}', **failure)
    before = await stored(alice, run_id)
    assert (await alice.runs.retry(run_id)).last_sequence == 2
    await workers.end(await workers.claimed(alice.owner), "completed", '{"n":1}')
    assert await stored(alice, run_id) == [*before, (3, 2, '{"n":1}')]


@pytest.mark.parametrize(
    ("column", "code"), [("leased_until", "attempts_exhausted"), ("deadline", "timeout"), ("cancel_requested_at", None)]
)
async def test_who_ends_the_run_of_another_worker_says_so_in_its_events(
    alice: AsyncScopedMemory, workers: Workers, rows: Rows, column: str, code: str | None
) -> None:
    run_id = (await alice.runs.create(ASKED, max_attempts=1)).run_id
    position = await workers.claimed(alice.owner)
    await workers.append(position, '{"n":0}')
    rows(f"UPDATE lakemem.runs SET {column} = now() - interval '1 minute'")
    assert await workers.claim(alice.owner, failure_events=LAST_WORDS) is None
    run = await alice.runs.get(run_id)
    assert run is not None
    events = [event.event for event in await alice.runs.events(run_id)]
    if code is None:
        assert (run.status, events) == ("cancelled", [{"n": 0}])
    else:
        assert run.error is not None
        assert (run.status, run.error.code, run.last_sequence) == ("failed", code, 2)
        assert events == [{"n": 0}, *words(code, run.error.message)]


async def test_a_worker_may_allow_fewer_attempts_than_a_run(
    alice: AsyncScopedMemory, workers: Workers, rows: Rows
) -> None:
    run_id = (await alice.runs.create(ASKED, max_attempts=9)).run_id
    await workers.claimed(alice.owner)
    let_lapse(rows)
    assert await workers.claim(alice.owner, max_attempts=1) is None
    assert await status_of(alice, run_id) == "failed"


async def test_a_run_that_is_handed_over_goes_on_at_once_and_uses_no_attempt(
    alice: AsyncScopedMemory, workers: Workers
) -> None:
    run_id = (await alice.runs.create(ASKED, max_attempts=1)).run_id
    for number in range(1, 4):
        position = await workers.claimed(alice.owner)
        assert position.attempt == number
        assert (await workers.append(position, "{}", ending=Ending(outcome="released"))).status == "queued"
    run = await alice.runs.get(run_id)
    assert run is not None
    assert (run.attempt, run.attempts_used, run.last_sequence) == (3, 0, 2)


async def test_a_queued_run_is_cancelled_at_once_and_stays_so(alice: AsyncScopedMemory, workers: Workers) -> None:
    run_id = (await alice.runs.create(ASKED)).run_id
    cancelled = await alice.runs.cancel(run_id)
    assert cancelled is not None
    assert cancelled.status == "cancelled"
    assert await alice.runs.cancel(run_id) == cancelled
    assert await workers.claim(alice.owner) is None
    assert await alice.runs.cancel("another") is None


async def test_a_run_in_progress_is_cancelled_by_its_worker(alice: AsyncScopedMemory, workers: Workers) -> None:
    run_id = (await alice.runs.create(ASKED)).run_id
    position = await workers.claimed(alice.owner)
    asked = await alice.runs.cancel(run_id)
    assert asked is not None
    assert (asked.status, asked.cancel_requested) == ("in_progress", True)
    assert (await workers.append(position, "{}")).cancel_requested
    # Whatever the worker makes of it, it is not tried again.
    assert (await workers.end(advanced(position, 1), "erred", max_attempts=9)).status == "cancelled"


async def test_a_run_whose_worker_died_is_cancelled_by_another(
    alice: AsyncScopedMemory, workers: Workers, rows: Rows
) -> None:
    run_id = (await alice.runs.create(ASKED)).run_id
    await workers.claimed(alice.owner)
    await alice.runs.cancel(run_id)
    let_lapse(rows)
    assert await workers.claim(alice.owner) is None
    assert await status_of(alice, run_id) == "cancelled"


async def test_a_run_that_ended_before_it_was_cancelled_has_ended(alice: AsyncScopedMemory, workers: Workers) -> None:
    run_id = (await alice.runs.create(ASKED)).run_id
    position = await workers.claimed(alice.owner)
    await alice.runs.cancel(run_id)
    assert (await workers.end(position, "completed", output="[]")).status == "completed"


@pytest.mark.parametrize("begun", [False, True])
async def test_a_run_out_of_time_fails_whoever_has_it(
    alice: AsyncScopedMemory, workers: Workers, rows: Rows, begun: bool
) -> None:
    run_id = (await alice.runs.create(ASKED, timeout=60)).run_id
    if begun:
        await workers.claimed(alice.owner)
    rows("UPDATE lakemem.runs SET deadline = now() - interval '20 seconds'")
    assert await workers.due() == [alice.owner]
    assert await workers.claim(alice.owner) is None
    run = await alice.runs.get(run_id)
    assert run is not None
    assert run.error is not None
    assert (run.status, run.error.code) == ("failed", "timeout")


async def test_a_worker_is_told_how_much_time_is_left_by_the_clock_of_the_database(
    alice: AsyncScopedMemory, workers: Workers
) -> None:
    await alice.runs.create(ASKED, timeout=100)
    claimed = await workers.claim(alice.owner)
    assert claimed is not None
    assert 90 < claimed.remaining <= 100


async def test_a_run_waits_for_a_person_and_goes_on_with_the_answer(
    alice: AsyncScopedMemory, workers: Workers, rows: Rows
) -> None:
    run_id = (await alice.runs.create(ASKED, thread_id="t", max_attempts=1, timeout=100)).run_id
    with pytest.raises(RunError):
        await alice.runs.resume(run_id, "yes")
    position = await workers.claimed(alice.owner)
    assert (
        await workers.append(position, "{}", ending=Ending(outcome="waiting", question='"Pay?"'))
    ).status == "waiting"
    waiting = await alice.runs.get(run_id)
    assert waiting is not None
    assert (waiting.status, waiting.question, waiting.answer, waiting.asked_by) == ("waiting", "Pay?", None, 1)
    assert not waiting.has_ended
    rows("UPDATE lakemem.runs SET waiting_since = now() - interval '50 s', deadline = now() - interval '10 s'")
    assert await workers.due() == []
    for _ in range(2):
        resumed = await alice.runs.resume(run_id, {"ok": True})
        assert (resumed.status, resumed.answer) == ("queued", {"ok": True})
    claimed = await workers.claim(alice.owner)
    assert claimed is not None
    assert (claimed.run.attempt, claimed.run.answer, claimed.run.attempts_used) == (2, {"ok": True}, 1)
    assert 30 < claimed.remaining <= 40


async def test_while_a_run_waits_its_thread_is_free(alice: AsyncScopedMemory, workers: Workers) -> None:
    waiting = await alice.runs.create(ASKED, thread_id="t")
    await workers.end(await workers.claimed(alice.owner), "waiting", question="1")
    other = await alice.runs.create(ASKED, thread_id="t", on_busy="reject")
    position = await workers.claimed(alice.owner)
    assert position.run_id == other.run_id
    await alice.runs.resume(waiting.run_id, "yes")
    assert await workers.claim(alice.owner) is None
    await workers.end(position, "completed")
    assert (await workers.claimed(alice.owner)).run_id == waiting.run_id


async def test_a_waiting_run_can_be_cancelled(alice: AsyncScopedMemory, workers: Workers) -> None:
    run_id = (await alice.runs.create(ASKED)).run_id
    await workers.end(await workers.claimed(alice.owner), "waiting", question="1")
    cancelled = await alice.runs.cancel(run_id)
    assert cancelled is not None
    assert cancelled.status == "cancelled"


async def test_a_run_that_is_deleted_takes_its_events_and_its_worker_with_it(
    alice: AsyncScopedMemory, workers: Workers, rows: Rows
) -> None:
    run_id = (await alice.runs.create(ASKED)).run_id
    position = await workers.claimed(alice.owner)
    await workers.append(position, "{}")
    assert await alice.runs.delete(run_id) is True
    assert await alice.runs.delete(run_id) is False
    assert (await workers.append(advanced(position, 1), "{}")).status is None
    assert rows("SELECT FROM lakemem.run_events") == []
    with pytest.raises(RunNotFoundError):
        await alice.runs.events(run_id)


async def test_events_that_were_swept_are_not_passed_over(
    alice: AsyncScopedMemory, workers: Workers, rows: Rows
) -> None:
    run_id = (await alice.runs.create(ASKED)).run_id
    await workers.append(await workers.claimed(alice.owner), "{}", "{}", ending=Ending(outcome="completed"))
    rows("DELETE FROM lakemem.run_events")
    rows("UPDATE lakemem.runs SET first_sequence = 2")
    for after in (-1, 0):
        with pytest.raises(CursorExpiredError):
            await alice.runs.events(run_id, after=after)
    assert await alice.runs.events(run_id, after=1) == []


async def test_what_is_told_to_whoever_listens_names_nobody(
    alice: AsyncScopedMemory, workers: Workers, target: Lakebase
) -> None:
    with Rows(target, "nobody").connect() as connection:
        connection.execute(f"LISTEN {channel_of('lakemem')}")
        await alice.runs.create(ASKED, run_id="secret run", thread_id="secret thread")
        await workers.claimed(alice.owner)
        await alice.runs.cancel("secret run")
        payloads = [note.payload for note in connection.notifies(timeout=1, stop_after=2)]
    assert [payload.split()[1] for payload in payloads] == ["queued", "moved"]
    assert not any("secret" in payload or "alice" in payload for payload in payloads)


async def test_a_sweep_removes_old_runs_and_the_events_of_others(
    alice: AsyncScopedMemory, bob: AsyncScopedMemory, workers: Workers, target: Lakebase, memory: AsyncMemory
) -> None:
    made = {}
    for user in (alice, bob):
        for days in (0, 10, 40):
            run_id = (await user.runs.create({})).run_id
            await workers.append(await workers.claimed(user.owner), "{}", "{}", ending=Ending(outcome="completed"))
            Rows(target, user.owner)(
                "UPDATE lakemem.runs SET completed_at = now() - make_interval(days => %s) WHERE run_id = %s",
                days,
                run_id,
            )
            made[user.owner, days] = run_id
        begun = (await user.runs.create({})).run_id
        await workers.append(await workers.claimed(user.owner), "{}")
        made[user.owner, -1] = begun
    assert await memory.sweep() == Swept(runs=2, run_events=4)
    assert await memory.sweep() == Swept()
    for user in (alice, bob):
        assert await user.runs.get(made[user.owner, 40]) is None
        assert await status_of(user, made[user.owner, 10]) == "completed"
        with pytest.raises(CursorExpiredError):
            await user.runs.events(made[user.owner, 10])
        assert len(await user.runs.events(made[user.owner, 0])) == 2
        assert len(await user.runs.events(made[user.owner, -1])) == 1
    assert (await memory.sweep(keep_runs=None, keep_run_events=None)) == Swept()
    assert (await memory.sweep(keep_runs=1e-6)).runs == 4
    with pytest.raises(InvalidInputError):
        await memory.sweep(keep_runs=0)
