"""A worker in this process: what a handler does, and what is done to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from lakemem import (
    AsyncMemory,
    AsyncRunner,
    AsyncScopedMemory,
    Attempt,
    ConfigurationError,
    InvalidInputError,
    Lakebase,
    LeaseLostError,
    Memory,
    Run,
    RunError,
    RunFailure,
    StorageUnavailableError,
)
from lakemem.operations.runs import lock_of
from lakemem.running import execution
from lakemem.running import runner as runner_module
from tests.conftest import connect
from tests.faults import proxy as faults
from tests.support.proxy import Proxy
from tests.support.rows import Rows

RunWith = Callable[..., Any]


async def tailed(user: AsyncScopedMemory, run: Run, *, after: int = -1) -> list[tuple[int, Any]]:
    async with asyncio.timeout(20):
        return [(event.sequence_number, event.event["n"]) async for event in user.runs.tail(run.run_id, after=after)]


async def ended(user: AsyncScopedMemory, run: Run) -> Run:
    """The run once it has come to rest."""
    await tailed(user, run, after=2**62)
    return await as_it_is(user, run)


async def as_it_is(user: AsyncScopedMemory, run: Run) -> Run:
    found = await user.runs.get(run.run_id)
    assert found is not None
    return found


async def count(attempt: Attempt) -> None:
    for n in range(attempt.request["count"]):
        await attempt.emit({"n": n})


async def test_a_run_is_worked_on_and_its_events_come_as_they_are_emitted(
    alice: AsyncScopedMemory, run_with: RunWith
) -> None:
    go_on = asyncio.Event()

    async def handle(attempt: Attempt) -> None:
        assert (attempt.owner, attempt.number, attempt.is_recovery) == (alice.owner, 1, False)
        await attempt.memory.save("colour", "blue")
        await attempt.emit({"n": 0})
        await go_on.wait()
        await attempt.emit({"n": 1})
        await attempt.complete([{"answer": 42}], metadata={"tokens": 7})

    await run_with(handle)
    run = await alice.runs.create({}, metadata={"a": 1})
    events = alice.runs.tail(run.run_id)
    async with asyncio.timeout(10):
        assert (await anext(events)).event == {"n": 0}
        go_on.set()
        assert [(event.sequence_number, event.event) async for event in events] == [(1, {"n": 1})]
    found = await alice.runs.get(run.run_id)
    assert found is not None
    assert (found.status, found.output, found.metadata) == ("completed", [{"answer": 42}], {"a": 1, "tokens": 7})
    assert await alice.get("colour") is not None


async def test_many_runs_of_many_owners_are_each_given_in_order_and_once(
    memory: AsyncMemory, run_with: RunWith
) -> None:
    await run_with(count, concurrency=16)
    users = [memory.for_user(f"user {n}") for n in range(16)]
    runs = [await user.runs.create({"count": 3_000}) for user in users]
    for events in await asyncio.gather(*(tailed(user, run) for user, run in zip(users, runs, strict=True))):
        assert events == [(n, n) for n in range(3_000)]
    for user, run in zip(users, runs, strict=True):
        page = await user.runs.events(run.run_id, after=2_500)
        assert [(event.sequence_number, event.event["n"]) for event in page] == [(n, n) for n in range(2_501, 3_000)]


async def test_a_tail_goes_on_behind_any_number(alice: AsyncScopedMemory, run_with: RunWith) -> None:
    await run_with(count)
    run = await alice.runs.create({"count": 20})
    await ended(alice, run)
    for after in range(-1, 21):
        assert await tailed(alice, run, after=after) == [(n, n) for n in range(after + 1, 20)]


async def test_a_slow_reader_misses_nothing(
    alice: AsyncScopedMemory, run_with: RunWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakemem.tails.KEPT_EVENTS", 10)
    go_on = asyncio.Event()

    async def handle(attempt: Attempt) -> None:
        await attempt.emit({"n": 0})
        await go_on.wait()
        for n in range(1, 700):
            await attempt.emit({"n": n})

    await run_with(handle)
    run = await alice.runs.create({})
    events = alice.runs.tail(run.run_id)
    assert (await anext(events)).sequence_number == 0
    go_on.set()
    await ended(alice, run)
    assert [event.sequence_number async for event in events] == list(range(1, 700))


async def test_a_handler_that_emits_faster_than_can_be_stored_is_held_up(
    alice: AsyncScopedMemory, run_with: RunWith
) -> None:
    most = 0

    async def handle(attempt: Attempt) -> None:
        nonlocal most
        for n in range(10_000):
            await attempt.emit({"n": n})
            most = max(most, len(attempt._journal.texts))

    await run_with(handle)
    run = await alice.runs.create({})
    assert (await ended(alice, run)).last_sequence == 9_999
    assert 100 < most <= 2_000


async def test_a_run_that_fails_is_tried_again_and_told_so(alice: AsyncScopedMemory, run_with: RunWith) -> None:
    seen: list[tuple[int, bool, list[Any]]] = []

    async def handle(attempt: Attempt) -> None:
        seen.append((attempt.number, attempt.is_recovery, [event.event["n"] async for event in attempt.previous]))
        await attempt.emit({"n": attempt.number})
        raise ValueError("SELECT secret")

    await run_with(handle, pause=0.01)
    run = await alice.runs.create({})
    found = await ended(alice, run)
    assert seen == [(1, False, []), (2, True, [1])]
    assert found.status == "failed"
    assert found.error == RunFailure("handler_failed", "the agent failed (ValueError)")
    assert await tailed(alice, run) == [(0, 1), (1, 2)]


async def test_a_handler_can_say_to_the_client_why_the_run_failed(alice: AsyncScopedMemory, run_with: RunWith) -> None:
    async def handle(attempt: Attempt) -> None:
        raise RunError("the workspace is closed", code="closed")

    await run_with(handle)
    found = await ended(alice, await alice.runs.create({}))
    assert (found.status, found.attempt) == ("failed", 1)
    assert found.error == RunFailure("closed", "the workspace is closed")


async def test_after_its_end_an_attempt_can_do_nothing_more(alice: AsyncScopedMemory, run_with: RunWith) -> None:
    errors: list[str] = []

    async def handle(attempt: Attempt) -> None:
        await attempt.complete(["first"])
        for call in (attempt.emit({"n": 1}), attempt.complete(["second"]), attempt.wait_for("?"), attempt.flush()):
            try:
                await call
            except RunError as error:
                errors.append(error.code)

    await run_with(handle)
    found = await ended(alice, await alice.runs.create({}))
    assert (found.output, found.last_sequence) == (["first"], -1)
    await asyncio.sleep(0)
    assert errors == ["attempt_ended"] * 4


@pytest.mark.parametrize("event", ["text", {"n": float("inf")}, {1: 2}, {"n": "x" * 5_000_000}])
async def test_what_is_no_event_is_refused_and_the_others_are_stored(
    alice: AsyncScopedMemory, run_with: RunWith, event: Any
) -> None:
    async def handle(attempt: Attempt) -> None:
        await attempt.emit({"n": "\x00 \ud800"})
        with pytest.raises(InvalidInputError):
            await attempt.emit(event)
        await attempt.emit({"n": 1})

    await run_with(handle)
    run = await alice.runs.create({})
    assert await tailed(alice, run) == [(0, "\x00 \ud800"), (1, 1)]


async def test_a_run_waits_for_a_person_and_goes_on_in_its_stream(alice: AsyncScopedMemory, run_with: RunWith) -> None:
    async def handle(attempt: Attempt) -> None:
        assert not attempt.is_recovery
        if attempt.answer is None:
            await attempt.emit({"n": "may I?"})
            await attempt.wait_for({"pay": 10})
        else:
            await attempt.emit({"n": attempt.answer})

    await run_with(handle)
    run = await alice.runs.create({}, max_attempts=1)
    assert await tailed(alice, run) == [(0, "may I?")]
    waiting = await alice.runs.get(run.run_id)
    assert waiting is not None
    assert (waiting.status, waiting.question) == ("waiting", {"pay": 10})
    await alice.runs.resume(run.run_id, "yes")
    assert await tailed(alice, run) == [(0, "may I?"), (1, "yes")]
    assert (await ended(alice, run)).status == "completed"


async def test_a_run_is_cancelled_while_its_handler_works(alice: AsyncScopedMemory, run_with: RunWith) -> None:
    begun, cleaned = asyncio.Event(), asyncio.Event()

    async def handle(attempt: Attempt) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            assert attempt.cancelled.is_set()
            await attempt.emit({"n": "bye"})
            cleaned.set()

    # It is told, and does not find out when it renews its lease next.
    await run_with(handle, lease=120)
    run = await alice.runs.create({})
    await begun.wait()
    await alice.runs.cancel(run.run_id)
    assert await tailed(alice, run) == [(0, "bye")]
    assert cleaned.is_set()
    assert (await ended(alice, run)).status == "cancelled"


async def test_a_handler_that_does_not_hear_is_left_to_itself(
    alice: AsyncScopedMemory, run_with: RunWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "GRACE", 0.2)
    begun, may_end = asyncio.Event(), asyncio.Event()
    fenced: list[bool] = []

    async def handle(attempt: Attempt) -> None:
        begun.set()
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()
        try:
            await attempt.emit({"n": 1})
        except RunError:
            fenced.append(True)

    await run_with(handle)
    run = await alice.runs.create({})
    await begun.wait()
    await alice.runs.cancel(run.run_id)
    assert (await ended(alice, run)).status == "cancelled"
    may_end.set()
    async with asyncio.timeout(20):
        while not fenced:
            await asyncio.sleep(0.01)


async def test_a_run_out_of_time_fails_and_its_handler_is_cancelled(
    alice: AsyncScopedMemory, run_with: RunWith
) -> None:
    cancelled = asyncio.Event()

    async def handle(attempt: Attempt) -> None:
        await attempt.emit({"n": 0})
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    await run_with(handle)
    run = await alice.runs.create({}, timeout=3)
    found = await ended(alice, run)
    assert cancelled.is_set()
    assert (found.status, found.last_sequence) == ("failed", 0)
    assert found.error is not None
    assert found.error.code == "timeout"


@pytest.mark.parametrize("how", ["taken", "deleted"])
async def test_a_lost_lease_cancels_the_handler(
    alice: AsyncScopedMemory, run_with: RunWith, target: Lakebase, how: str
) -> None:
    begun, refused = asyncio.Event(), asyncio.Event()

    async def handle(attempt: Attempt) -> None:
        if attempt.number > 1:
            return
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            with contextlib.suppress(LeaseLostError):
                await attempt.emit({"n": 0})
                await attempt.flush()
                raise AssertionError("it was stored")
            refused.set()

    await run_with(handle, lease=1.0)
    run = await alice.runs.create({})
    await begun.wait()
    if how == "deleted":
        await alice.runs.delete(run.run_id)
    else:
        Rows(target, alice.owner)("UPDATE lakemem.runs SET attempt = attempt + 1, worker = 0, touched_at = now()")
    async with asyncio.timeout(20):
        await refused.wait()


async def test_a_handler_that_blocks_the_event_loop_keeps_its_run(
    alice: AsyncScopedMemory, run_with: RunWith, target: Lakebase
) -> None:
    async def handle(attempt: Attempt) -> None:
        await attempt.emit({"n": 0})
        await attempt.flush()
        time.sleep(4.5)
        ((left,),) = Rows(target, alice.owner)(
            "SELECT extract(epoch FROM leased_until - now())::float8 FROM lakemem.runs"
        )
        await attempt.emit({"n": left > 0.3})

    await run_with(handle, lease=4.0)
    run = await alice.runs.create({})
    assert await tailed(alice, run) == [(0, 0), (1, True)]
    assert (await ended(alice, run)).attempt == 1


async def test_it_works_on_so_many_at_once_and_on_the_next_at_once_after(
    alice: AsyncScopedMemory, run_with: RunWith
) -> None:
    at_once = most = 0

    async def handle(attempt: Attempt) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1

    runner = await run_with(handle, concurrency=2, poll=30.0)
    runs = [await alice.runs.create({}) for _ in range(8)]
    assert {(await ended(alice, run)).status for run in runs} == {"completed"}
    assert most == 2
    assert runner.running <= 2
    assert await runner.backlog() == 0


async def test_a_process_takes_a_run_before_others_and_whatever_its_delay(
    alice: AsyncScopedMemory, run_with: RunWith, target: Lakebase
) -> None:
    begun = []

    async def handle(attempt: Attempt) -> None:
        begun.append(attempt.run.run_id)
        await asyncio.sleep(60)

    here = await run_with(handle, concurrency=2)
    async with AsyncMemory(target) as elsewhere:
        other = AsyncRunner(elsewhere, count)
        await other.start()
        first = await alice.runs.create({"count": 1}, thread_id="t", delay=60)
        assert await here.take(first)
        # Somebody has it; its thread is busy; there is no room.
        assert not await other.take(first)
        assert not await here.take(await alice.runs.create({"count": 1}, thread_id="t", delay=60))
        assert here.has_room
        assert await here.take(await alice.runs.create({"count": 1}, delay=60))
        assert not here.has_room
        last = await alice.runs.create({"count": 1}, delay=0.3)
        assert not await here.take(last)
        # Nobody told that its delay is over.
        async with asyncio.timeout(10):
            assert (await ended(alice, last)).status == "completed"
        assert begun[0] == first.run_id
        assert last.run_id not in begun
        await other.stop(0)


async def test_stopped_it_waits_for_what_ends_in_time(memory: AsyncMemory, alice: AsyncScopedMemory) -> None:
    begun = asyncio.Event()

    async def handle(attempt: Attempt) -> None:
        begun.set()
        await asyncio.sleep(0.3)
        await attempt.complete(["done"])

    runner = AsyncRunner(memory, handle)
    await runner.start()
    run = await alice.runs.create({})
    await begun.wait()
    queued = await alice.runs.create({}, thread_id="t")
    await runner.stop(5)
    assert (await ended(alice, run)).output == ["done"]
    later = await alice.runs.get(queued.run_id)
    assert later is not None
    assert later.status in ("queued", "completed")


async def test_stopped_it_hands_over_what_does_not_end_in_time(
    memory: AsyncMemory, alice: AsyncScopedMemory, target: Lakebase
) -> None:
    begun = asyncio.Event()

    async def handle(attempt: Attempt) -> None:
        await attempt.emit({"n": attempt.number})
        begun.set()
        if attempt.number == 1:
            await asyncio.sleep(60)

    runner = AsyncRunner(memory, handle, poll=30.0)
    await runner.start()
    run = await alice.runs.create({}, max_attempts=1)
    await begun.wait()
    async with AsyncMemory(target) as elsewhere:
        other = AsyncRunner(elsewhere, handle, poll=30.0)
        await other.start()
        # It hears only what it listens to.
        while not elsewhere._storage.tails.hears:
            await asyncio.sleep(0.01)
        # Both without waiting: for the handler it would be a minute, for the next look of the other half of one.
        async with asyncio.timeout(15):
            await runner.stop(0.6)
            assert await tailed(alice, run) == [(0, 1), (1, 2)]
        found = await ended(alice, run)
        assert (found.status, found.attempt, found.attempts_used) == ("completed", 2, 1)
        await other.stop(0)


async def test_a_tail_of_another_process_is_told_of_each_event(
    target: Lakebase, run_with: RunWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It does not come upon them by looking.
    monkeypatch.setattr("lakemem.tails.HEARING_POLL", 60.0)
    seen, go_on = asyncio.Event(), asyncio.Event()

    async def handle(attempt: Attempt) -> None:
        await go_on.wait()
        for n in range(40):
            await attempt.emit({"n": n})
            await seen.wait()
            seen.clear()

    await run_with(handle)
    async with AsyncMemory(target) as elsewhere:
        alice = elsewhere.for_user("alice")
        run = await alice.runs.create({})
        tails = elsewhere._storage.tails
        tails.start()
        while not tails.hears:
            await asyncio.sleep(0.01)
        go_on.set()
        async with asyncio.timeout(30):
            async for _ in alice.runs.tail(run.run_id):
                seen.set()


async def test_where_nothing_is_heard_tails_and_workers_poll(
    target: Lakebase, monkeypatch: pytest.MonkeyPatch, memory: AsyncMemory
) -> None:
    monkeypatch.setattr("lakemem.tails.RunTails._heard", lambda self, payload, was_idle: None)
    async with AsyncMemory(target) as elsewhere:
        runner = AsyncRunner(elsewhere, count)
        await runner.start()
        alice = memory.for_user("alice")
        run = await alice.runs.create({"count": 700})
        assert await tailed(alice, run) == [(n, n) for n in range(700)]
        assert not memory._storage.tails.hears
        await runner.stop(0)


async def at_rest(proxy: Proxy) -> None:
    """Wait until what was begun is done, and count from zero."""
    async with asyncio.timeout(30):
        while True:
            proxy.reset()
            await asyncio.sleep(0.5)
            if proxy.statements < 10:
                break
    proxy.reset()


async def test_a_thousand_idle_tails_and_two_workers_cost_next_to_nothing(
    memory: AsyncMemory, target: Lakebase
) -> None:
    """Fewer than five statements a second in all, whosever runs are under way."""

    async def think(attempt: Attempt) -> None:
        await asyncio.sleep(60)

    users = [f"user {n}" for n in range(20)]
    with Proxy(target) as proxy:
        async with AsyncMemory(proxy.target) as one, AsyncMemory(proxy.target) as other:
            runners = [AsyncRunner(each, think) for each in (one, other)]
            for runner in runners:
                await runner.start()
            runs = {user: await memory.for_user(user).runs.create({}) for user in users}
            tails = [
                asyncio.ensure_future(anext(each.for_user(user).runs.tail(runs[user].run_id)))
                for each in (one, other) for user in users for _ in range(25)
            ]  # fmt: skip
            while sum(runner.running for runner in runners) < 20 or not all(
                each._storage.tails.hears for each in (one, other)
            ):
                await asyncio.sleep(0.05)
            await at_rest(proxy)
            await asyncio.sleep(3)
            # Nobody has room, then one has.
            assert proxy.statements < 5 * 3
            await memory.for_user(users[0]).runs.delete(runs[users[0]].run_id)
            while sum(runner.running for runner in runners) == 20:
                await asyncio.sleep(0.05)
            await at_rest(proxy)
            await asyncio.sleep(3)
            assert proxy.statements < 5 * 3
            assert len(tails) == 1_000
            for task in tails:
                task.cancel()
            await asyncio.gather(*tails, return_exceptions=True)
            for runner in runners:
                await runner.stop(0)


async def test_a_memory_has_one_runner_at_a_time(memory: AsyncMemory, run_with: RunWith) -> None:
    first = await run_with(count)
    with pytest.raises(ConfigurationError):
        await AsyncRunner(memory, count).start()
    await first.stop(0)
    await run_with(count)


async def test_a_worker_whose_own_connection_is_gone_keeps_its_runs(
    alice: AsyncScopedMemory, run_with: RunWith, target: Lakebase, memory: AsyncMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handle(attempt: Attempt) -> None:
        await asyncio.sleep(6)
        await attempt.emit({"n": attempt.number})

    await run_with(handle, lease=4)
    run = await alice.runs.create({})
    while (await alice.runs.get(run.run_id)).attempt == 0:  # type: ignore[union-attr]
        await asyncio.sleep(0.02)

    def refused(*args: object, **kwargs: object) -> object:
        raise StorageUnavailableError("no more connections")

    monkeypatch.setattr("lakemem.pulse.Pulse._logged_in", refused)
    with connect(target) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'lakemem runs' AND datname = current_database()"
        )
    async with AsyncMemory(target) as elsewhere:
        monkeypatch.undo()
        monkeypatch.setattr(runner_module, "CAUTION", 0.0)
        monkeypatch.setattr(memory._storage.tails.pulse, "_logged_in", refused)
        other = AsyncRunner(elsewhere, handle)
        await other.start()
        assert await tailed(alice, run) == [(0, 1)]
        await other.stop(0)


async def test_a_run_names_the_lock_of_its_worker_although_it_was_claimed_before_that_was_held(
    alice: AsyncScopedMemory, run_with: RunWith, target: Lakebase, memory: AsyncMemory
) -> None:
    async def handle(attempt: Attempt) -> None:
        await asyncio.sleep(60)

    rows = Rows(target, alice.owner)
    run = await alice.runs.create({})
    with rows.connect() as connection:
        connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [lock_of(alice.owner)])
        runner = await run_with(handle, lease=60)
        while memory._storage.tails.pulse.worker is None:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
    async with asyncio.timeout(12):
        while rows("SELECT worker FROM lakemem.runs") != [(memory._storage.tails.pulse.worker,)]:
            await asyncio.sleep(0.01)
    assert runner.running == 1
    assert (await as_it_is(alice, run)).attempt == 1


async def test_an_append_names_the_lock_of_its_worker(
    alice: AsyncScopedMemory, run_with: RunWith, target: Lakebase, memory: AsyncMemory
) -> None:
    go_on = asyncio.Event()

    async def handle(attempt: Attempt) -> None:
        await go_on.wait()
        await attempt.emit({"n": 0})
        await attempt.flush()
        await attempt.emit({"n": rows("SELECT worker FROM lakemem.runs") == [(memory._storage.tails.pulse.worker,)]})

    rows = Rows(target, alice.owner)
    await run_with(handle, lease=60)
    while memory._storage.tails.pulse.worker is None:
        await asyncio.sleep(0.01)
    run = await alice.runs.create({})
    while (await as_it_is(alice, run)).attempt == 0:
        await asyncio.sleep(0.01)
    rows("UPDATE lakemem.runs SET worker = NULL")
    go_on.set()
    assert await tailed(alice, run) == [(0, 0), (1, True)]


async def test_what_a_worker_left_is_taken_over_at_once_although_nothing_queued_of_its_owner_can_begin(
    alice: AsyncScopedMemory, run_with: RunWith, target: Lakebase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "BARREN", 60.0)
    rows = Rows(target, alice.owner)
    busy, left = [await alice.runs.create({"count": 1}, thread_id=thread) for thread in ("busy", "left")]
    rows(
        "UPDATE lakemem.runs SET status = 'in_progress', attempt = 1, touched_at = now(), leased_until = now() +"
        " make_interval(secs => CASE thread_id WHEN 'busy' THEN 60 ELSE 2 END)"
    )
    behind = await alice.runs.create({"count": 1}, thread_id="busy")
    await run_with(count, poll=0.2)
    async with asyncio.timeout(10):
        assert (await ended(alice, left)).attempt == 2
    assert [(await as_it_is(alice, run)).attempt for run in (busy, behind)] == [1, 0]


async def test_a_memory_is_closed_although_its_own_connection_does_not_answer(target: Lakebase) -> None:
    with faults.Proxy(target) as proxy:
        memory = AsyncMemory(proxy.target)
        await memory.open()
        runner = AsyncRunner(memory, count, poll=0.05)
        await runner.start()
        while not memory._storage.tails.pulse.connected_for:
            await asyncio.sleep(0.01)
        proxy.half_open()
        # Long enough for it to have asked something.
        await asyncio.sleep(0.3)
        async with asyncio.timeout(15):
            await runner.stop(0)
            await memory.close()


async def test_a_connection_of_its_own_that_does_not_answer_is_replaced(
    target: Lakebase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakemem.pulse.ANSWER_WITHIN", 0.3)
    with faults.Proxy(target) as proxy:
        async with AsyncMemory(proxy.target) as memory:
            runner = AsyncRunner(memory, count, poll=0.05)
            await runner.start()
            pulse = memory._storage.tails.pulse
            async with asyncio.timeout(20):
                while not pulse.connected_for:
                    await asyncio.sleep(0.01)
                first = pulse._connection
                proxy.half_open()
                while pulse.connected_for:
                    await asyncio.sleep(0.01)
                proxy.is_half_open = False
                while not pulse.connected_for or pulse._connection is first:
                    await asyncio.sleep(0.01)
            await runner.stop(0)


async def test_a_memory_that_is_not_open_has_no_runner(target: Lakebase) -> None:
    with pytest.raises(ConfigurationError):
        await AsyncRunner(AsyncMemory(target), count).start()


@pytest.mark.parametrize(
    "wrong", [{"lease": 0}, {"heartbeat": 6.0}, {"batch_delay": 0.03}, {"max_attempts": 0}, {"poll": None}]
)
async def test_numbers_that_cannot_be_are_refused(memory: AsyncMemory, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        AsyncRunner(memory, count, **wrong)


async def test_logs_of_a_failure_say_nothing_of_the_request(
    alice: AsyncScopedMemory, run_with: RunWith, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(attempt: Attempt) -> None:
        raise ValueError("it failed")

    with caplog.at_level(logging.DEBUG, logger="lakemem"):
        await run_with(handle, pause=0.01)
        await ended(alice, await alice.runs.create({"secret": "canary"}))
    assert "canary" not in caplog.text


async def test_the_run_of_a_user_who_is_erased_ends_and_writes_nothing_more(
    alice: AsyncScopedMemory, memory: AsyncMemory, target: Lakebase, run_with: RunWith
) -> None:
    """Not as its events, and not by whatever memory its handler has of the same database."""
    began, erased, refused = asyncio.Event(), asyncio.Event(), []
    tasks = []

    async def handle(attempt: Attempt) -> None:
        await attempt.memory.save("before", 1)
        await attempt.emit({"n": 0})
        # What the handler has begun goes on when it is cancelled itself.
        tasks.append(asyncio.create_task(write_late(attempt)))
        began.set()
        await asyncio.sleep(60)

    async def write_late(attempt: Attempt) -> None:
        await erased.wait()
        another = Memory(target)
        for write in (
            lambda: attempt.memory.save("after", 1),
            lambda: memory.for_user(alice.owner.partition(":")[2]).thread("t").append([{"n": 1}]),
            lambda: asyncio.to_thread(in_thread, another),
            lambda: attempt.flush(),
        ):
            try:
                await write()
            except LeaseLostError:
                refused.append(write)

    def in_thread(another: Memory) -> None:
        with another:
            another.for_user(alice.owner.partition(":")[2]).save("after", 1)

    await run_with(handle)
    await alice.runs.create({})
    async with asyncio.timeout(30):
        await began.wait()
        receipt = await alice.erase()
        erased.set()
        while len(refused) < 4:
            await asyncio.sleep(0.01)
    assert receipt.counts["runs"] == 1
    await asyncio.sleep(0.2)
    assert await alice.residue() == {}
    await alice.save("later", 1)
    assert [record.key for record in await alice.items()] == ["later"]
