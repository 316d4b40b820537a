"""Items that expire: when, what puts it off, and what erases them."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import psycopg
import pytest
from langgraph.store.base import GetOp, ListNamespacesOp, Op, PutOp, SearchOp

from lakemem import AsyncMemory, ConfigurationError, InvalidInputError, Lakebase, Memory
from lakemem.integrations.langgraph import AsyncLakebaseStore, LakebaseStore
from lakemem.operations import store as operations
from tests.faults import AsyncPoll, Proxy
from tests.langgraph.stores import Store, run, store_of
from tests.support.rows import Rows

PUT = PutOp(("t",), "k", {"text": "needle", "n": 1}, ttl=10)
OFTEN: Any = {"sweep_interval_minutes": 0.0005}
EXPIRE: Any = "UPDATE lakemem.memories SET expires_at = now() WHERE key = %s"


@pytest.fixture
def rows(target: Lakebase) -> Rows:
    return Rows(target, "user:alice")


def minutes_left(rows: Rows, key: str = "k") -> float:
    [(minutes,)] = rows(
        "SELECT extract(epoch FROM expires_at - now()) / 60 FROM lakemem.memories WHERE key = %s AND valid_to IS NULL",
        key,
    )
    return float(minutes)


async def call(store: Store, name: str, *args: Any, **options: Any) -> Any:
    """A method of LangGraph's, in the world of the store."""
    if isinstance(store, LakebaseStore):
        return await asyncio.to_thread(lambda: getattr(store, name)(*args, **options))
    return await getattr(store, f"a{name}")(*args, **options)


READS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("get", (("t",), "k"), {}),
    ("search", (("t",),), {}),
    ("search", (("t",),), {"query": "needle"}),
]


@pytest.mark.parametrize(
    ("ttl", "refresh", "left"),
    [
        (None, None, 1),
        (None, True, 10),
        ({}, None, 10),
        ({"refresh_on_read": True}, False, 1),
        ({"refresh_on_read": False}, None, 1),
        ({"refresh_on_read": False}, True, 10),
    ],
)
async def test_reads_put_the_end_off_if_the_store_or_the_call_says_so(
    memory: AsyncMemory | Memory, rows: Rows, ttl: Any, refresh: bool | None, left: int
) -> None:
    store = store_of(memory, "alice", ttl=ttl)
    await run(store, PUT, PutOp(("t",), "forever", {"text": "needle"}), PUT._replace(key="other", ttl=7))
    assert minutes_left(rows) == pytest.approx(10, abs=0.5)
    for name, args, options in READS:
        rows("UPDATE lakemem.memories SET expires_at = now() + interval '1 minute' WHERE lifetime IS NOT NULL")
        assert await call(store, name, *args, **options, refresh_ttl=refresh)
        assert minutes_left(rows) == pytest.approx(left, abs=0.5)
    others = 7 if left == 10 else 1
    assert minutes_left(rows, "other") == pytest.approx(others, abs=0.5), "each has its own time to live"
    assert rows("SELECT expires_at FROM lakemem.memories WHERE key = 'forever'") == [(None,)]


async def test_what_has_expired_is_not_there_and_what_is_put_then_begins_anew(
    memory: AsyncMemory | Memory, rows: Rows
) -> None:
    store = store_of(memory, "alice", ttl={"default_ttl": 5})
    await call(store, "put", ("t",), "k", {"text": "needle"})
    await call(store, "put", ("gone",), "k2", {"text": "needle"}, ttl=None)
    assert minutes_left(rows) == pytest.approx(5, abs=0.5)
    [first] = await run(store, GetOp(("t",), "k"))
    rows(EXPIRE, "k")
    reads: list[Op] = [GetOp(("t",), "k"), SearchOp(("t",)), SearchOp(("t",), query="needle"), ListNamespacesOp()]
    assert await run(store, *reads) == [None, [], [], [("gone",)]]
    assert rows("SELECT count(*) FROM lakemem.memories WHERE expires_at > now()") == [(0,)], "no read revives it"
    await run(store, PUT._replace(value=None))
    assert rows("SELECT 1 FROM lakemem.memory_events WHERE action = 'delete'") == [], "there was nothing to delete"
    await run(store, PUT._replace(ttl=None))
    [again] = await run(store, GetOp(("t",), "k"))
    assert again.created_at == again.updated_at > first.created_at
    assert rows("SELECT expires_at, lifetime FROM lakemem.memories WHERE key = 'k' AND valid_to IS NULL") == [
        (None, None)
    ]


async def test_an_update_keeps_the_time_to_live_unless_it_gives_an_end(async_memory: AsyncMemory, rows: Rows) -> None:
    store, alice = AsyncLakebaseStore(async_memory.for_user("alice"), ttl={}), async_memory.for_user("alice")
    await store.abatch([PUT])
    first = await store.aget(("t",), "k")
    await alice.update("k", {"n": 2}, namespace=("t",))
    rows("UPDATE lakemem.memories SET expires_at = now() + interval '1 minute' WHERE valid_to IS NULL")
    second = await store.aget(("t",), "k")
    assert first is not None
    assert second is not None
    assert (second.value, second.created_at) == ({"n": 2}, first.created_at)
    assert minutes_left(rows) == pytest.approx(10, abs=0.5)
    await alice.update("k", {"n": 3}, namespace=("t",), expires_in=120)
    await store.aget(("t",), "k")
    assert minutes_left(rows) == pytest.approx(2, abs=0.5)


async def test_a_read_does_not_wait_for_who_writes_the_same_item(async_memory: AsyncMemory, rows: Rows) -> None:
    store = AsyncLakebaseStore(async_memory.for_user("alice"), ttl={})
    await store.abatch([PUT])
    with rows.connect() as writer, writer.transaction():
        writer.execute("UPDATE lakemem.memories SET importance = 1")
        found = await asyncio.wait_for(store.abatch([GetOp(("t",), "k"), SearchOp(("t",))]), 5)
    assert found[0] is not None
    assert found[1]


@pytest.mark.parametrize(
    "ttl",
    [
        {"omit_expired": False},
        {"default_ttl": 0},
        {"default_ttl": float("nan")},
        {"default_ttl": "5"},
        {"sweep_interval_minutes": -1},
        {"sweep_interval_minutes": True},
        {"refresh": True},
    ],
)
async def test_a_ttl_that_lakemem_cannot_keep_is_refused(memory: AsyncMemory | Memory, ttl: Any) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(ttl))):
        store_of(memory, "alice", ttl=ttl)


@pytest.mark.parametrize("ttl", [0, -1, float("inf"), float("nan")])
async def test_a_time_to_live_is_above_zero(memory: AsyncMemory | Memory, ttl: float) -> None:
    with pytest.raises(InvalidInputError, match="ttl"):
        await run(store_of(memory, "alice"), PUT._replace(ttl=ttl))


async def sweep(store: Store) -> int:
    if isinstance(store, LakebaseStore):
        return await asyncio.to_thread(store.sweep_ttl)
    return await store.sweep_ttl()


async def test_a_sweep_erases_what_has_expired_with_all_its_versions(
    memory: AsyncMemory | Memory, target: Lakebase, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "SWEPT_AT_ONCE", 2)
    bobs = Rows(target, "user:bob")
    for user in ("alice", "bob"):
        store = store_of(memory, user)
        puts = [PUT._replace(key=f"k{number}") for number in range(5)]
        await run(store, *puts, PUT._replace(key="alive"), PUT._replace(key="forever", ttl=None))
        await run(store, *puts[:2])
    for each in (rows, bobs):
        each("UPDATE lakemem.memories SET expires_at = now() WHERE key LIKE 'k%%'")
    alices = store_of(memory, "alice")
    with rows.connect() as reader, reader.transaction():
        reader.execute("SELECT FROM lakemem.memories WHERE key = 'k4' FOR UPDATE")
        assert await sweep(alices) == 4, "what somebody else works on is left alone"
    assert await sweep(alices) == 1
    assert await sweep(alices) == 0
    kept: Any = "SELECT key, count(*) FROM lakemem.memories GROUP BY key ORDER BY key"
    assert rows(kept) == [("alive", 1), ("forever", 1)]
    assert len(bobs(kept)) == 7, "those of others are theirs"
    everybodys = store_of(memory)
    assert await sweep(everybodys) == 5
    assert bobs(kept) == [("alive", 1), ("forever", 1)]
    erased: Any = "SELECT key, max(version) FROM lakemem.memory_events WHERE action = 'erase' GROUP BY key ORDER BY key"
    assert bobs(erased) == [("k0", 2), ("k1", 2), ("k2", 1), ("k3", 1), ("k4", 1)]


async def test_who_sweeps_sees_what_has_expired_and_no_more(memory: AsyncMemory | Memory, target: Lakebase) -> None:
    alices = Rows(target, "user:alice")
    await run(store_of(memory, "alice"), PUT, PUT._replace(key="alive"), PUT._replace(key="forever", ttl=None))
    alices(EXPIRE, "k")
    sweeper = Rows(target, "expired")
    assert sweeper("SELECT owner, key FROM lakemem.memories") == [("user:alice", "k")]
    assert sweeper("DELETE FROM lakemem.memories RETURNING key") == []
    assert sweeper("UPDATE lakemem.memories SET importance = 1 RETURNING key") == []
    assert sweeper("SELECT * FROM lakemem.memory_events") == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sweeper("INSERT INTO lakemem.applied_writes (owner, write_id) VALUES ('user:alice', gen_random_uuid())")


@pytest.fixture
def expired(target: Lakebase) -> Any:
    """Puts an expired item there; then says whether it is still there."""
    rows = Rows(target, "user:alice")

    async def is_there(memory: AsyncMemory | Memory | None = None) -> bool:
        if memory is not None:
            await run(store_of(memory, "alice"), PUT._replace(key=str(uuid.uuid4())))
            rows("UPDATE lakemem.memories SET expires_at = now()")
        return bool(rows("SELECT 1 FROM lakemem.memories"))

    return is_there


async def test_a_task_sweeps_until_it_is_stopped(async_memory: AsyncMemory, expired: Any) -> None:
    store = AsyncLakebaseStore(async_memory, ttl=OFTEN)
    task = await store.start_ttl_sweeper()
    assert await store.start_ttl_sweeper() is task
    for _ in range(2):
        await expired(async_memory)
        await AsyncPoll.until(lambda: _not(expired()))
    assert await store.stop_ttl_sweeper(timeout=10)
    assert task.done()
    assert await store.stop_ttl_sweeper()
    again = await store.start_ttl_sweeper(sweep_interval_minutes=60)
    assert again is not task
    again.cancel()
    await asyncio.wait([again])
    assert again.cancelled()


async def test_a_thread_sweeps_until_it_is_stopped(target: Lakebase, expired: Any) -> None:
    with Memory(target) as memory:
        store = LakebaseStore(memory, ttl=OFTEN)
        done = store.start_ttl_sweeper()
        assert store.start_ttl_sweeper() is done
        for _ in range(2):
            await expired(memory)
            await AsyncPoll.until(lambda: _not(expired()))
        assert await asyncio.to_thread(store.stop_ttl_sweeper, 10)
        assert done.done()
        assert store.stop_ttl_sweeper()
        again = store.start_ttl_sweeper(60)
        again.cancel()
        assert await asyncio.to_thread(store.stop_ttl_sweeper, 10)
        last = store.start_ttl_sweeper()
    # It ends when the memory is closed.
    await asyncio.to_thread(last.result, 10)


async def test_a_sweeper_outlives_an_outage_and_says_so(
    target: Lakebase, expired: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with Proxy(target) as proxy:
        async with AsyncMemory(proxy.target, timeout=1) as memory:
            store = AsyncLakebaseStore(memory)
            await expired(memory)
            proxy.refuse()
            await store.start_ttl_sweeper(0.0005)
            await AsyncPoll.until(lambda: _said(caplog, "sweep"))
            proxy.restore()
            await AsyncPoll.until(lambda: _not(expired()))
            assert await store.stop_ttl_sweeper(timeout=10)


async def test_a_sweeper_needs_an_open_memory_and_an_interval(target: Lakebase) -> None:
    with pytest.raises(ConfigurationError, match="not open"):
        await AsyncLakebaseStore(AsyncMemory(target)).start_ttl_sweeper()
    with Memory(target) as memory, pytest.raises(ConfigurationError, match="sweep_interval_minutes"):
        LakebaseStore(memory).start_ttl_sweeper(0)


async def _not(holds: Any) -> bool:
    return not await holds


async def _said(caplog: pytest.LogCaptureFixture, word: str) -> bool:
    return word in caplog.text
