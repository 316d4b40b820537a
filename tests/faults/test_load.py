"""Many callers on few connections, callers that go away at any moment, and servers that do not answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from lakemem import AsyncMemory, Lakebase, StorageUnavailableError
from lakemem._async import exchange as exchanging
from lakemem.testing import DatabaseFactory
from tests.conftest import connect
from tests.faults.proxy import Proxy
from tests.support.locks import wait_until_blocked

TASKS = 1_000


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all tests here."""
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture
def proxy(target: Lakebase) -> Iterator[Proxy]:
    with Proxy(target) as proxy:
        yield proxy


@pytest.fixture
def server(target: Lakebase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(make_conninfo(**target.parameters), autocommit=True) as connection:
        yield connection


def pool_of(memory: AsyncMemory) -> Any:
    return memory._storage._pool  # type: ignore[attr-defined]


@asynccontextmanager
async def blocked(target: Lakebase, server: psycopg.Connection[Any], count: int) -> AsyncIterator[None]:
    """Let every operation wait, and go on once `count` of them do; at the end, let them through."""
    with connect(target) as connection:
        connection.execute("BEGIN; LOCK TABLE lakemem.thread_items, lakemem.memories IN ACCESS EXCLUSIVE MODE")
        try:
            yield
            await asyncio.to_thread(wait_until_blocked, server, count)
        finally:
            connection.execute("ROLLBACK")


async def test_a_thousand_tasks_on_ten_connections_take_their_turns(
    target: Lakebase, server: psycopg.Connection[Any]
) -> None:
    given: list[int] = []
    async with AsyncMemory(target, min_size=10, max_size=10, timeout=60) as memory:
        user = memory.for_user("many")
        pool = pool_of(memory)
        take = pool.getconn

        async def noted() -> Any:
            connection = await take()
            given.append(int(str(asyncio.current_task().get_name())))  # type: ignore[union-attr]
            return connection

        await user.thread("t").append([{"n": 1}])
        pool.getconn = noted
        async with blocked(target, server, 10):
            tasks = [asyncio.create_task(user.thread("t").items(), name=str(number)) for number in range(TASKS)]
            await asyncio.sleep(0)
        assert await asyncio.gather(*tasks) == [[{"n": 1}]] * TASKS
        assert pool.get_stats()["pool_size"] == 10
    assert sorted(given) == list(range(TASKS))
    # Ten are given out at once.
    assert max(abs(place - number) for place, number in enumerate(given)) < 10


async def test_a_thousand_writes_on_ten_connections_are_all_made(
    target: Lakebase, server: psycopg.Connection[Any]
) -> None:
    async with AsyncMemory(target, min_size=10, max_size=10, timeout=60) as memory:
        user = memory.for_user("many writes")
        async with blocked(target, server, 2):
            tasks = [
                asyncio.create_task(user.thread(f"t{number % 50}").append([{"n": number}])) for number in range(TASKS)
            ]
        await asyncio.gather(*tasks)
        found = [message.item["n"] for number in range(50) for message in await user.thread(f"t{number}").messages()]
        assert sorted(found) == list(range(TASKS))


async def test_of_a_thousand_tasks_those_who_cannot_have_a_connection_are_told_so_in_time(
    target: Lakebase, server: psycopg.Connection[Any]
) -> None:
    async with AsyncMemory(target, min_size=10, max_size=10, timeout=1.0) as memory:
        user = memory.for_user("late")
        await user.threads()

        async def work(number: int) -> float:
            began = time.monotonic()
            thread = user.thread(f"t{number}")
            with pytest.raises(StorageUnavailableError, match="no database connection was free in time") as caught:
                await (thread.append([{"n": number}]) if number % 2 else thread.items())
            assert caught.value.retryable
            return time.monotonic() - began

        async with blocked(target, server, 10):
            first = [asyncio.create_task(user.thread("t").items()) for _ in range(10)]
            await asyncio.to_thread(wait_until_blocked, server, 10)
            waited = await asyncio.wait_for(asyncio.gather(*[work(number) for number in range(TASKS)]), 60)
        assert await asyncio.gather(*first) == [[]] * 10
        assert min(waited) > 0.9
        assert max(waited) < 20.0
        assert await user.threads() == [], "whoever was told so has written nothing"
        assert await user.thread("after").append([{}]) == range(1, 2), "the pool is as good as before"


async def test_a_call_that_is_cancelled_at_any_await_leaves_no_connection_dirty(target: Lakebase) -> None:
    chance = random.Random(7)
    async with AsyncMemory(target, min_size=2, max_size=2) as memory:
        user = memory.for_user("cancelled")
        thread = user.thread("t")
        calls = [
            lambda: thread.append([{"n": 1}, {"n": 2}]),
            lambda: user.save("k", chance.random()),
            lambda: user.get("k"),
            lambda: thread.items(),
            lambda: user.remember([{"role": "user", "content": f"{chance.random()}"}], thread_id="r"),
            lambda: user.runs.create({"n": 1}),
        ]
        for step in range(240):
            tasks = [asyncio.create_task(chance.choice(calls)()) for _ in range(3)]
            # First at each step of the loop, then at any moment of the exchange.
            for _ in range(step % 40):
                await asyncio.sleep(0)
            if step >= 80:
                await asyncio.sleep(chance.uniform(0, 0.004))
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                assert not isinstance(outcome, Exception), outcome
        pool = pool_of(memory)
        assert pool.get_stats()["pool_size"] == 2
        for connection in [await pool.getconn() for _ in range(2)]:
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            assert connection.info.pipeline_status == psycopg.pq.PipelineStatus.OFF
            setting = await (await connection.execute("SELECT current_setting('lakemem.owner', true)")).fetchone()
            assert setting in [("",), (None,)], "nobody's rows can be seen with it"
            await pool.putconn(connection)
        numbers = [message.item["n"] for message in await thread.messages()]
        assert numbers == [1, 2] * (len(numbers) // 2)


@pytest.mark.parametrize("is_refused", [False, True], ids=["silent", "refused"])
@pytest.mark.parametrize("call", ["read", "write"])
async def test_a_cancelled_call_ends_although_the_server_does_not_answer(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, call: str, is_refused: bool
) -> None:
    monkeypatch.setattr(exchanging, "_CANCEL_TIMEOUT", 0.3)
    async with AsyncMemory(proxy.target, max_size=1) as memory:
        user = memory.for_user("silence")
        await user.save("k", 1)
        proxy.black_hole()
        if is_refused:
            # The request to cancel has nowhere to go.
            proxy.fault = lambda request: "before" if request.startswith(b"\0\0\0\x10\x04\xd2\x16\x2e") else "none"
        task = asyncio.create_task(user.get("k") if call == "read" else user.save("k", 2))
        await asyncio.sleep(0.2)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=20)
        assert done, "it hangs"
        assert task.cancelled()
        proxy.restore()
        record = await user.get("k")
        assert record is not None
        assert record.value == 1


async def test_an_answer_that_cannot_be_read_is_a_connection_that_failed(proxy: Proxy) -> None:
    async with AsyncMemory(proxy.target, max_size=1) as memory:
        user = memory.for_user("noise")
        await user.thread("t").append([{"text": "x" * 200}])
        proxy.answer = lambda answer: answer[:-100] + b"x" * 100 if b"xxxx" in answer else answer
        with pytest.raises(StorageUnavailableError) as caught:
            await user.thread("t").items()
        assert caught.value.retryable
        proxy.answer = lambda answer: answer
        assert len(await user.thread("t").items()) == 1
