"""Saves that wait at the same moment go to Postgres together, and fail one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from lakemem import AsyncMemory, Lakebase, LakememError, StorageUnavailableError
from tests.support.locks import wait_until_blocked
from tests.support.proxy import Proxy

USERS = [f"user-{number}" for number in range(16)]


@pytest.fixture
async def memory(target: Lakebase) -> AsyncIterator[AsyncMemory]:
    async with AsyncMemory(target) as memory:
        yield memory


@pytest.fixture
def server(target: Lakebase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(make_conninfo(**target.parameters), autocommit=True) as connection:
        yield connection


async def save_for_all(memory: AsyncMemory, key: str = "drink") -> list[Any]:
    return await asyncio.gather(
        *[memory.for_user(user).save(key, f"tea of {user}") for user in USERS], return_exceptions=True
    )


@contextmanager
def refusing(server: psycopg.Connection[Any], owner: str) -> Iterator[None]:
    """Let Postgres refuse what this owner writes."""
    server.execute(f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.owner = '{owner}' THEN RAISE EXCEPTION 'no' USING ERRCODE = '23514'; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON lakemem.memories FOR EACH ROW EXECUTE FUNCTION refuse();
    """)
    yield
    server.execute("DROP TRIGGER refuse ON lakemem.memories; DROP FUNCTION refuse()")


async def test_saves_of_many_users_at_once_share_round_trips(target: Lakebase) -> None:
    with Proxy(target) as proxy:
        async with AsyncMemory(proxy.target) as memory:
            await save_for_all(memory, "first")
            proxy.reset()
            saved = await save_for_all(memory)
            assert proxy.round_trips < len(USERS) / 2
            assert [record.value for record in saved] == [f"tea of {user}" for user in USERS]
            for user in USERS:
                assert {record.value for record in await memory.for_user(user).items()} == {f"tea of {user}"}


async def test_a_save_that_is_refused_takes_nobody_with_it(
    memory: AsyncMemory, server: psycopg.Connection[Any]
) -> None:
    with refusing(server, "user:user-7"):
        saved = await save_for_all(memory)
    refused = saved.pop(7)
    assert isinstance(refused, LakememError)
    assert [record.version for record in saved] == [1] * 15
    assert await memory.for_user("user-7").get("drink") is None


async def test_what_is_saved_under_the_same_key_at_once_becomes_versions(memory: AsyncMemory) -> None:
    alice = memory.for_user("alice")
    saved = await asyncio.gather(*[alice.save("drink", number) for number in range(20)])
    assert sorted(record.version for record in saved) == list(range(1, 21))
    assert len(await alice.history("drink")) == 20


async def test_a_save_that_is_cancelled_while_it_waits_is_not_made(
    memory: AsyncMemory, server: psycopg.Connection[Any]
) -> None:
    saves = [asyncio.create_task(memory.for_user(user).save("drink", "tea")) for user in USERS]
    await asyncio.sleep(0)
    saves[9].cancel()
    done = await asyncio.gather(*saves, return_exceptions=True)
    assert isinstance(done.pop(9), asyncio.CancelledError)
    assert {record.version for record in done} == {1}
    assert await memory.for_user("user-9").get("drink") is None


async def test_a_save_that_waits_for_another_process_holds_up_nobody_for_long(
    memory: AsyncMemory, target: Lakebase, server: psycopg.Connection[Any]
) -> None:
    with psycopg.connect(make_conninfo(**target.parameters)) as erasing:
        erasing.execute("SELECT pg_advisory_xact_lock(hashtextextended('lakemem writes of user:stuck', 0))")
        stuck = [asyncio.create_task(memory.for_user("stuck").save(str(number), "tea")) for number in range(4)]
        await asyncio.to_thread(wait_until_blocked, server, 2)
        saved = await asyncio.wait_for(save_for_all(memory), 5)
        assert [record.version for record in saved] == [1] * 16
        assert not any(save.done() for save in stuck)
    assert [record.version for record in await asyncio.gather(*stuck)] == [1] * 4


async def test_a_connection_that_breaks_is_told_to_all_who_wait_for_it(target: Lakebase) -> None:
    with Proxy(target) as proxy:
        async with AsyncMemory(proxy.target, timeout=5) as memory:
            await save_for_all(memory, "first")
            with psycopg.connect(make_conninfo(**target.parameters)) as erasing:
                for user in USERS:
                    erasing.execute(
                        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"lakemem writes of user:{user}"]
                    )
                waiting = asyncio.create_task(save_for_all(memory))
                with psycopg.connect(make_conninfo(**target.parameters), autocommit=True) as server:
                    await asyncio.to_thread(wait_until_blocked, server, 3)
                proxy.cut()
                failed = await asyncio.wait_for(waiting, 10)
            assert all(isinstance(error, StorageUnavailableError) for error in failed)
            # The next ones go on.
            assert [record.version for record in await save_for_all(memory, "next")] == [1] * 16
