"""Behind a pooler that lends servers by the transaction, a call meets another one each time, and what others left."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from lakemem import AsyncMemory, AsyncRunner, Attempt, Lakebase, StorageError
from lakemem.operations import threads
from tests.faults.polling import AsyncPoll
from tests.faults.test_runs import Workers, check, received
from tests.isolation.pgbouncer import PgBouncer
from tests.support.rows import Rows
from tests.support.run_history import read


@pytest.fixture
async def memory(bouncer: PgBouncer) -> AsyncIterator[AsyncMemory]:
    async with AsyncMemory(bouncer.target) as memory:
        yield memory


def connected(target: Lakebase) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(make_conninfo(**target.parameters), autocommit=True, prepare_threshold=None)


def rows(target: Lakebase, statement: str) -> list[tuple[Any, ...]]:
    with connected(target) as connection:
        return connection.execute(statement).fetchall()  # type: ignore[arg-type]


async def test_many_clients_on_few_servers_have_each_their_own(bouncer: PgBouncer) -> None:
    async def work(memory: AsyncMemory, name: str) -> None:
        user = memory.for_user(name)
        for number in range(5):
            await user.save(f"key {number}", f"{name} {number}")
            record = await user.get(f"key {number}")
            assert record is not None
            assert record.value == f"{name} {number}"
            assert {hit.record.value.split()[0] for hit in await user.search(name)} == {name}
            await user.thread("t").append([{"of": name}])
        assert await user.thread("t").items() == [{"of": name}] * 5
        assert len(await user.items()) == 5

    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(AsyncMemory(bouncer.target, max_size=5)) for _ in range(3)]
        await asyncio.gather(*(work(memory, f"u{m}x{n}") for m, memory in enumerate(opened) for n in range(8)))


async def test_a_statement_that_another_schema_prepared_is_not_taken_for_ones_own(target: Lakebase) -> None:
    async with AsyncExitStack() as stack:
        bouncer = stack.enter_context(PgBouncer(target, servers=2))
        opened = {}
        for schema in ("one", "two"):
            await AsyncMemory(target, schema=schema).setup()
            async with AsyncMemory(target, schema=schema) as memory:
                await memory.for_user("ada").save("where", schema)
            opened[schema] = await stack.enter_async_context(
                AsyncMemory(bouncer.target, schema=schema, min_size=1, max_size=1)
            )
        first, second = (stack.enter_context(connected(bouncer.target)) for _ in range(2))

        async def where(schema: str) -> object:
            record = await opened[schema].for_user("ada").get("where")
            return record and record.value

        # Whoever is in a transaction has a server, and leaves the other one.
        first.execute("BEGIN")
        assert await where("one") == "one"
        second.execute("BEGIN")
        first.execute("COMMIT")
        assert await where("two") == "two"
        assert await where("one") == "one"
        second.execute("COMMIT")


async def test_no_owner_stays_on_a_server(memory: AsyncMemory, bouncer: PgBouncer, target: Lakebase) -> None:
    ada = memory.for_user("ada")
    await ada.save("colour", "blue")
    await asyncio.gather(*(ada.save(f"key {n}", "blue") for n in range(20)))
    sleeping = asyncio.create_task(memory._storage.run(threads.append("user:ada", "t", [{"n": 1}] * 20_000)))
    await asyncio.sleep(0.02)
    sleeping.cancel()
    await asyncio.gather(sleeping, return_exceptions=True)
    with pytest.raises(StorageError):
        await memory._storage.run(threads.append("user:ada", "\x00", [{}]))
    query = "SELECT pg_backend_pid(), current_setting('lakemem.owner', true), (SELECT count(*) FROM lakemem.memories)"
    # Whoever is in a transaction has a server of its own.
    with connected(bouncer.target) as first, connected(bouncer.target) as second:
        found = []
        for connection in (first, second):
            connection.execute("BEGIN")
            found += connection.execute(query).fetchall()
    assert len({pid for pid, _, _ in found}) == 2
    assert {(setting or "", count) for _, setting, count in found} == {("", 0)}
    assert (await ada.get("colour")) is not None


async def test_tables_are_made_and_upgraded_through_it(empty_target: Lakebase) -> None:
    with PgBouncer(empty_target) as bouncer:
        applied = await asyncio.gather(*(AsyncMemory(bouncer.target).setup() for _ in range(4)))
        names = [name for each in applied for name in each]
        assert len(names) == len(set(names)) > 5
        async with AsyncMemory(bouncer.target) as memory:
            assert (await memory.health()).status == "ok"


async def test_runs_are_worked_on_and_tailed_by_polling_and_no_lock_is_left(
    bouncer: PgBouncer, memory: AsyncMemory, target: Lakebase
) -> None:
    async def handle(attempt: Attempt) -> Any:
        for n in range(3):
            await attempt.emit({"n": n})
            await attempt.flush()
            await asyncio.sleep(0.3)

    async with AsyncMemory(bouncer.target) as working:
        runner = AsyncRunner(working, handle)
        await runner.start()
        runs = memory.for_user("ada").runs
        run = await runs.create({}, run_id=f"r {uuid.uuid4()}")
        async with asyncio.timeout(20):
            events = [event.event async for event in runs.tail(run.run_id)]
        assert events == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert not memory._storage.tails.hears
        assert working._storage.tails.pulse.worker is None
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
        assert rows(target, held) == [(0,)]
        await runner.stop()


async def test_runs_of_a_worker_that_was_killed_are_taken_over_when_their_leases_end(
    bouncer: PgBouncer, memory: AsyncMemory, target: Lakebase, tmp_path: Path
) -> None:
    """Without a session of its own it holds no lock, of which Postgres could tell that it has gone."""
    ada, seen = memory.for_user("ada"), Rows(target, "user:ada")
    workers = Workers(bouncer.target, tmp_path)
    try:
        workers.start(2, LEASE="4", CAUTION="0.1")
        runs = [await ada.runs.create({"count": 40, "pause": 0.05}, max_attempts=9) for _ in range(6)]
        tails = [asyncio.create_task(received(ada, run)) for run in runs]
        await workers.emitted(60)
        left = list(read(workers.kill_busiest()))
        assert set(seen("SELECT status, worker FROM lakemem.runs")) == {("in_progress", None)}
        found = seen("SELECT run_id, leased_until FROM lakemem.runs WHERE attempt = 1 AND run_id = ANY(%s)", left)
        for run_id, leased_until in found:
            at = "SELECT attempt, clock_timestamp() < %s FROM lakemem.runs WHERE run_id = %s"
            async with asyncio.timeout(30):
                while (state := seen(at, leased_until, run_id)[0])[0] == 1:
                    await asyncio.sleep(0.01)
            assert state == (2, False), "it was taken over while its worker might have been there"
        got = await asyncio.gather(*tails)
        ended = [await check(ada, run, workers.history(run), events) for run, events in zip(runs, got, strict=True)]
        assert {run.run_id for run in ended if run.attempt > 1} >= {run_id for run_id, _ in found} != set()
        assert sum(run.attempt == 1 for run in ended) == len(runs) - len(left)
    finally:
        workers.stop()


async def test_without_it_notifications_are_heard_and_the_lock_is_held(target: Lakebase) -> None:
    """What the test before looks at can be otherwise."""

    async def handle(attempt: Attempt) -> Any:
        pass

    async with AsyncMemory(target) as memory:
        runner = AsyncRunner(memory, handle)
        await runner.start()

        async def holds() -> bool:
            return memory._storage.tails.hears and memory._storage.tails.pulse.worker is not None

        await AsyncPoll.until(holds)
        await runner.stop()
