"""Saves that wait at the same moment go to Postgres together, and fail one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from lakemem import AsyncMemory, Lakebase, LakememError, MemoryRecord, StorageUnavailableError
from lakemem.gathering import Gathering
from lakemem.operations import Operation, drafting, memories
from tests.support.locks import wait_until_blocked
from tests.support.proxy import Proxy
from tests.support.rows import Rows

USERS = [f"user-{number}" for number in range(16)]
MAY = datetime(2026, 5, 1, tzinfo=UTC)
VARIED: list[dict[str, Any]] = [
    {"value": "tea"},
    {"value": {"text": "käse \x00 \ud800 \U0001f600", "n": 1e300}, "text": "a text"},
    {"value": None, "metadata": {"b": 1.5, "a": ["x"], "c": None}},
    {"value": [1, "two"], "namespace": ("food", "drinks"), "importance": 0.123456},
    {"value": "tea", "thread_id": "t", "position": 7, "occurred_at": MAY},
    {"value": "tea", "expires_in": 3600.5},
    {"value": "acme", "valid_from": MAY, "sources": ["k1", "k2"]},
    {"value": "said", "trust": "model"},
]


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
                    await asyncio.to_thread(wait_until_blocked, server, 2)
                proxy.cut()
                failed = await asyncio.wait_for(waiting, 10)
            assert all(isinstance(error, StorageUnavailableError) for error in failed)
            # The next ones go on.
            assert [record.version for record in await save_for_all(memory, "next")] == [1] * 16


async def test_what_is_saved_together_is_what_is_saved_alone(
    memory: AsyncMemory, target: Lakebase, monkeypatch: Any
) -> None:
    merged = sizes_of_merges(monkeypatch)
    alone = [await memory.for_user("alone").save(f"k{place}", **given) for place, given in enumerate(VARIED)]
    assert not merged
    together = await asyncio.gather(
        *[memory.for_user(f"user-{place}").save(f"k{place}", **given) for place, given in enumerate(VARIED)]
    )
    assert sum(merged) == len(VARIED)
    for place, (one, other, given) in enumerate(zip(alone, together, VARIED, strict=True)):
        user = memory.for_user(f"user-{place}")
        assert timeless(other) == replace(timeless(one), owner=user.owner)
        assert timeless(one) == replace(timeless(other), owner="user:alone")
        namespace = given.get("namespace", ())
        stored = await user.get(f"k{place}", namespace=namespace)
        assert stored == replace(other, outcome=None)
        if other.expires_at is not None:
            assert (other.expires_at - other.valid_from).total_seconds() == pytest.approx(3600.5)
        audited = Rows(target, user.owner)("SELECT action, key, version FROM lakemem.memory_events")
        assert audited == [("save", f"k{place}", 1)]


async def test_saves_of_new_and_of_known_memories_go_together(memory: AsyncMemory, monkeypatch: Any) -> None:
    for user in USERS[::2]:
        await memory.for_user(user).save("drink", "coffee")
    for user in USERS[::4]:
        await memory.for_user(user).save("drink", f"tea of {user}")
    merged = sizes_of_merges(monkeypatch)
    saved = await save_for_all(memory)
    assert sum(merged) == len(USERS)
    outcomes = ["unchanged", "saved", "saved", "saved"] * 4
    assert [(record.version, record.outcome) for record in saved] == list(zip([2, 1] * 8, outcomes, strict=True))
    for user, record in zip(USERS, saved, strict=True):
        assert [one.version for one in await memory.for_user(user).history("drink")] == [2, 1][-record.version :]


async def test_saves_and_items_of_threads_go_together_each_to_its_owner(memory: AsyncMemory) -> None:
    async def work(user: str) -> None:
        mine = memory.for_user(user)
        await asyncio.gather(mine.save("drink", user), mine.thread("t").append([{"role": "user", "content": user}]))

    for _ in range(3):
        await asyncio.gather(*[work(user) for user in USERS])
    for user in USERS:
        items = await memory.for_user(user).thread("t").items()
        assert [item["content"] for item in items] == [user] * 3
        assert [record.value for record in await memory.for_user(user).items()] == [user]


async def test_what_comes_at_once_is_shared_out_to_the_lanes() -> None:
    ran: list[int] = []

    async def run(operation: Operation[Any]) -> Any:
        ran.append(len(operation.parts) or 1)
        await asyncio.sleep(0.01)
        return [part.fallback for part in operation.parts] if operation.parts else operation.fallback

    gathering = Gathering(run)
    await asyncio.gather(*[gathering.run(one_save(user, merge=False)) for user in USERS])
    await gathering.run(one_save("alone"))
    assert ran == [8, 8, 1]


async def test_lanes_come_back_from_those_who_are_cancelled_at_any_moment(memory: AsyncMemory) -> None:
    await save_for_all(memory, "first")
    for turns in range(12):
        saves = [asyncio.create_task(memory.for_user(user).save("drink", turns)) for user in USERS[: 1 + turns % 3]]
        for _ in range(turns):
            await asyncio.sleep(0)
        for save in saves:
            save.cancel()
        await asyncio.gather(*saves, return_exceptions=True)
    saved = await asyncio.wait_for(save_for_all(memory, "last"), 5)
    assert [record.version for record in saved] == [1] * len(USERS)


def one_save(user: str, *, merge: bool = True) -> Operation[MemoryRecord]:
    draft = drafting.draft(
        "drink", "tea", namespace=(), text=None, metadata=None, importance=0.5, thread_id=None, position=None,
        occurred_at=None, expires_in=None,
    )  # fmt: skip
    operation = memories.save(f"user:{user}", draft, drafting.Embedded())
    return operation if merge else replace(operation, merge=None)


def sizes_of_merges(monkeypatch: Any) -> list[int]:
    """How many saves each statement for several of them had."""
    sizes: list[int] = []
    merge = memories.save_all

    def noted(saves: Sequence[Operation[MemoryRecord]]) -> Operation[list[MemoryRecord]]:
        sizes.append(len(saves))
        return merge(saves)

    monkeypatch.setattr(memories, "save_all", noted)
    return sizes


def timeless(record: MemoryRecord) -> MemoryRecord:
    """Without the moments that a clock told."""
    return replace(
        record,
        valid_from=MAY if record.valid_from == MAY else datetime.max,
        created_at=None,
        expires_at=None if record.expires_at is None else datetime.max,
    )
