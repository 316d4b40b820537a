"""The pool of connections: what happens to a caller when the server, the network or the caller itself goes away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from lakemem import (
    AsyncMemory,
    AsyncScopedMemory,
    ConfigurationError,
    InvalidInputError,
    Lakebase,
    StorageUnavailableError,
)
from lakemem.testing import DatabaseFactory
from lakemem.testing.concurrency import agather
from lakemem.waiting import acall_blocking
from tests.support.locks import wait_until_alone, wait_until_blocked
from tests.support.proxy import Proxy
from tests.support.rows import Rows


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all tests here: each begins a thread of its own."""
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture
async def memory(target: Lakebase) -> AsyncIterator[AsyncMemory]:
    """A memory with one connection, which each call needs."""
    async with AsyncMemory(target, max_size=1, timeout=5) as memory:
        yield memory


@pytest.fixture
def server(target: Lakebase) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A look at the server past the pool."""
    with psycopg.connect(make_conninfo(**target.parameters), autocommit=True) as connection:
        yield connection


def terminate_others(server: psycopg.Connection[Any]) -> int:
    """End the server's side of all other connections to this database, and wait until each is gone."""
    ended = server.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    ).fetchall()
    return len(ended)


class Blocker:
    """Holds the row of a thread, so that whoever appends to it waits."""

    def __init__(self, target: Lakebase, user: AsyncScopedMemory, thread_id: str) -> None:
        self._rows = Rows(target, user.owner)
        self._thread_id = thread_id

    def __enter__(self) -> Blocker:
        self._connection = self._rows.connect()
        self._connection.autocommit = False
        self._connection.execute("SELECT set_config('lakemem.owner', %s, true)", [self._rows._owner])
        self._connection.execute("SELECT FROM lakemem.threads WHERE thread_id = %s FOR UPDATE", [self._thread_id])
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


async def test_connections_that_the_server_ended_while_idle_are_not_noticed(
    target: Lakebase, server: psycopg.Connection[Any]
) -> None:
    async with AsyncMemory(target, min_size=3, max_size=3) as memory:
        alice = memory.for_user("idle")
        await agather([alice.threads] * 3)
        for _ in range(2):
            assert terminate_others(server) >= 1
            await agather([lambda: alice.thread("t").append([{}])] * 3)
        assert len(await alice.thread("t").items()) == 6


async def test_a_network_that_failed_while_idle_is_not_noticed(target: Lakebase) -> None:
    with Proxy(target) as proxy:
        async with AsyncMemory(proxy.target, max_size=1) as memory:
            alice = memory.for_user("cut")
            await alice.thread("t").append([{"n": 1}])
            proxy.cut()
            assert await alice.thread("t").append([{"n": 2}]) == range(2, 3)


async def test_a_write_whose_connection_ends_in_the_middle_is_a_retryable_error(
    memory: AsyncMemory, target: Lakebase, server: psycopg.Connection[Any]
) -> None:
    thread = memory.for_user("middle").thread("t")
    await thread.append([{"n": 1}])

    def end_it() -> None:
        wait_until_blocked(server)
        server.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )

    async def append() -> StorageUnavailableError:
        with pytest.raises(StorageUnavailableError) as caught:
            await thread.append([{"n": 2}])
        return caught.value

    with Blocker(target, memory.for_user("middle"), "t"):
        errors = await agather([append, lambda: acall_blocking(end_it)])
    assert [error.retryable for error in errors if error is not None] == [True]
    assert await thread.append([{"n": 3}]) == range(2, 3), "the call that failed wrote nothing"
    assert await thread.items() == [{"n": 1}, {"n": 3}]


async def test_a_read_whose_network_fails_is_made_again(target: Lakebase, server: psycopg.Connection[Any]) -> None:
    with Proxy(target) as proxy:
        async with AsyncMemory(proxy.target, max_size=1) as memory:
            user = memory.for_user("middle of the network")
            await user.save("color", "green")
            lock = psycopg.connect(make_conninfo(**target.parameters))
            lock.execute("LOCK TABLE lakemem.memories IN ACCESS EXCLUSIVE MODE")

            def cut() -> None:
                wait_until_blocked(server)
                proxy.cut()
                lock.close()

            records, _ = await agather([user.items, lambda: acall_blocking(cut)])
            assert [record.value for record in records] == ["green"]


async def test_a_network_that_fails_in_the_middle_of_a_call_is_a_retryable_error(
    target: Lakebase, server: psycopg.Connection[Any]
) -> None:
    with Proxy(target) as proxy:
        async with AsyncMemory(proxy.target, max_size=1) as memory:
            user = memory.for_user("middle of the network")
            await user.thread("t").append([{"n": 1}])

            async def append() -> None:
                with pytest.raises(StorageUnavailableError) as caught:
                    await user.thread("t").append([{"n": 2}])
                assert caught.value.retryable

            def cut() -> None:
                wait_until_blocked(server)
                proxy.cut()

            with Blocker(target, user, "t"):
                await agather([append, lambda: acall_blocking(cut)])
            assert await user.thread("t").items(limit=1) in ([{"n": 1}], [{"n": 2}])


async def test_a_pool_that_is_exhausted_is_a_clear_error_in_time(
    target: Lakebase, server: psycopg.Connection[Any]
) -> None:
    async with AsyncMemory(target, max_size=1, timeout=0.2) as memory:
        user = memory.for_user("exhausted")
        await user.thread("t").append([{"n": 1}])
        released = threading.Event()

        def release_later() -> None:
            with Blocker(target, user, "t"):
                held.set()
                released.wait(timeout=30)

        held = threading.Event()

        async def read() -> None:
            await acall_blocking(held.wait)
            await acall_blocking(lambda: wait_until_blocked(server))
            started = time.monotonic()
            with pytest.raises(StorageUnavailableError, match="max_size") as caught:
                await user.threads()
            assert caught.value.retryable
            assert 0.1 < time.monotonic() - started < 8
            released.set()

        async def append() -> None:
            await acall_blocking(held.wait)
            await user.thread("t").append([{"n": 2}])

        await agather([lambda: acall_blocking(release_later), append, read])
        assert len(await user.thread("t").items()) == 2


async def test_more_calls_than_connections_wait_for_their_turn(target: Lakebase) -> None:
    with Proxy(target) as proxy:
        async with AsyncMemory(proxy.target, max_size=1) as memory:
            user = memory.for_user("queue")
            await user.threads()
            proxy.reset()
            await agather([lambda: user.thread("t").append([{}])] * 25)
            assert proxy.connections == 0
            assert [message.position for message in await user.thread("t").messages()] == list(range(1, 26))


async def test_no_more_connections_are_opened_than_allowed(target: Lakebase) -> None:
    with Proxy(target) as proxy:
        async with AsyncMemory(proxy.target, min_size=1, max_size=3) as memory:
            proxy.reset()
            user = memory.for_user("many")
            await agather([user.threads] * 30)
            assert proxy.connections <= 3


async def test_a_memory_that_is_not_open_says_so(target: Lakebase) -> None:
    memory = AsyncMemory(target)
    user = memory.for_user("closed")
    for _ in ("before", "after"):
        with pytest.raises(ConfigurationError, match="not open"):
            await user.get("key")
        with pytest.raises(ConfigurationError, match="not open"):
            await user.thread("t").append([{}])
        await memory.open()
        assert await user.get("key") is None
        await memory.close()
    # What is wrong in itself is said first.
    with pytest.raises(InvalidInputError):
        await user.get("")


async def test_open_and_close_may_be_called_twice(target: Lakebase, server: psycopg.Connection[Any]) -> None:
    memory = AsyncMemory(target)
    await memory.close()
    await agather([memory.open] * 3)
    await memory.open()
    assert (await memory.health()).status == "ok"
    await agather([memory.close] * 3)
    await memory.close()
    wait_until_alone(server)


async def test_close_gives_the_connections_back_also_after_an_error(
    target: Lakebase, server: psycopg.Connection[Any]
) -> None:
    memory = AsyncMemory(target, min_size=2)

    async def work() -> None:
        async with memory:
            await memory.for_user("error").threads()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    wait_until_alone(server)
    assert (await memory.health()).status == "ok", "health needs no open memory"


async def test_a_server_that_is_not_there_is_a_retryable_error_without_the_password(target: Lakebase) -> None:
    login = {**target.parameters, "host": "127.0.0.1", "port": "1", "password": "hush"}
    memory = AsyncMemory(Lakebase.dsn(make_conninfo(**login)))
    with pytest.raises(StorageUnavailableError) as caught:
        await memory.open()
    assert caught.value.retryable
    assert "hush" not in str(caught.value)
    health = await memory.health()
    assert health.status == "down"
    assert "hush" not in f"{health} {memory!r}"
    with pytest.raises(ConfigurationError, match="not open"):
        await memory.for_user("alice").threads()


# async only:
async def test_a_call_that_is_cancelled_gives_its_connection_back_and_writes_nothing(
    memory: AsyncMemory, target: Lakebase, server: psycopg.Connection[Any]
) -> None:
    user = memory.for_user("cancelled")
    await user.thread("t").append([{"n": 1}])
    for _ in range(3):
        with Blocker(target, user, "t"):
            task = asyncio.create_task(user.thread("t").append([{"n": 2}]))
            await asyncio.to_thread(wait_until_blocked, server)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await user.thread("t").items() == [{"n": 1}]
    pool = memory._storage._pool  # type: ignore[attr-defined]
    async with pool.connection() as connection:
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert connection.info.pipeline_status == psycopg.pq.PipelineStatus.OFF
    assert pool.get_stats()["pool_size"] == 1


async def test_a_call_that_is_cancelled_at_any_moment_leaves_the_memory_usable(memory: AsyncMemory) -> None:
    thread = memory.for_user("cancelled anywhere").thread("t")
    for step in range(30):
        task = asyncio.create_task(thread.append([{"step": step}]))
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    positions = [message.position for message in await thread.messages()]
    assert positions == list(range(1, len(positions) + 1)), "a write is there as a whole, or not at all"
    assert await thread.append([{}]) == range(len(positions) + 1, len(positions) + 2)


async def test_a_caller_that_gives_up_while_it_waits_for_a_connection_takes_none(
    memory: AsyncMemory, target: Lakebase, server: psycopg.Connection[Any]
) -> None:
    user = memory.for_user("gave up")
    await user.thread("t").append([{"n": 1}])
    with Blocker(target, user, "t"):
        holder = asyncio.create_task(user.thread("t").append([{"n": 2}]))
        await asyncio.to_thread(wait_until_blocked, server)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await user.threads()
    assert await holder == range(2, 3)
    assert len(await user.threads()) == 1


@pytest.mark.parametrize("someone_waits", [False, True])
async def test_a_call_that_is_cancelled_while_it_gives_its_connection_back_loses_nothing(
    memory: AsyncMemory, target: Lakebase, server: psycopg.Connection[Any], someone_waits: bool
) -> None:
    user = memory.for_user(f"cancelled at the end {someone_waits}")
    await user.thread("t").append([{"n": 1}])
    pool = memory._storage._pool  # type: ignore[attr-defined]
    with Blocker(target, user, "t"):
        task = asyncio.create_task(user.thread("t").append([{"n": 2}]))
        await asyncio.to_thread(wait_until_blocked, server)
        waiting = [asyncio.create_task(user.threads())] if someone_waits else []
        await asyncio.sleep(0.05)
        await pool._lock.acquire()
    for _ in range(3):
        await asyncio.sleep(0.05)
        task.cancel()
    assert not task.done(), "it is giving its connection back"
    pool._lock.release()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(20):
        for each in waiting:
            assert len(await each) == 1
        assert len(await user.thread("t").items()) == 2
    assert pool.get_stats()["pool_available"] == 1


# end async only
