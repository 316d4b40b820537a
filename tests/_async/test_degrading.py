"""An agent whose memory fails it, on a real Postgres behind a proxy that breaks where it is told."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from lakemem import (
    AsyncMemory,
    AsyncScopedMemory,
    ConfigurationError,
    ConflictError,
    InvalidInputError,
    Lakebase,
    MemoryNotFoundError,
    StorageUnavailableError,
    degrading,
)
from lakemem.testing.concurrency import agather
from lakemem.waiting import monotonic
from tests.conftest import connect
from tests.faults import AsyncPoll, Fault, Proxy

DEADLINE = 0.4
SLACK = 5.0
"""What a machine may add that is busy, or stands still for a while. Without a deadline it takes ten seconds or more."""


@pytest.fixture
def proxy(target: Lakebase) -> Iterator[Proxy]:
    with Proxy(target) as proxy:
        yield proxy


def robust(target: Lakebase, **bounds: Any) -> AsyncMemory:
    """A degrading memory with little patience."""
    bounds = {"deadline": DEADLINE, "open_deadline": 3.0, "cooldown": 0.05, **bounds}
    return degrading(AsyncMemory(target, max_size=4), **bounds)


async def recovered(memory: AsyncMemory) -> None:
    """Return once memory is well again, and has stored what it kept."""

    async def well() -> bool:
        return (await memory.health()).status == "ok"

    await AsyncPoll.until(well)


def reads(user: AsyncScopedMemory) -> list[Callable[[], Awaitable[Any]]]:
    thread = user.thread("t")
    return [
        lambda: user.get("k"),
        lambda: user.items(),
        lambda: user.search("what?"),
        lambda: user.threads(),
        lambda: user.threads(filter={"a": 1}),
        lambda: user.search_threads("what?"),
        lambda: thread.items(),
        lambda: thread.messages(3),
        lambda: thread.info(),
        lambda: user.checkpoints.get("t", ""),
        lambda: user.checkpoints.list(thread_id="t"),
    ]


async def check_reads(memory: AsyncMemory) -> None:
    """Every read returns nothing, and in time."""
    for read in reads(memory.for_user("alice")):
        started = monotonic()
        assert not await read()
        assert monotonic() - started < DEADLINE + SLACK


async def write_a_turn(memory: AsyncMemory) -> None:
    user = memory.for_user("alice")
    for n in range(5):
        await user.thread("t").append([{"n": n}, {"n": n, "reply": True}])
    await user.save("city", "Rome")
    await user.save("city", "Oslo")
    await user.save("food", "soup")
    assert await user.delete("food")


async def check_the_turn_is_stored_once(target: Lakebase) -> None:
    async with AsyncMemory(target) as memory:
        user = memory.for_user("alice")
        messages = await user.thread("t").messages()
        assert [message.position for message in messages] == list(range(1, 11))
        assert [message.item["n"] for message in messages] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        [city] = await user.items()
        assert (city.key, city.value, city.version) == ("city", "Oslo", 2)


def rename_database(admin_dsn: str, old: str, new: str) -> None:
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [old])
        rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
        connection.execute(rename.format(sql.Identifier(old), sql.Identifier(new)))


async def test_a_missing_database_costs_nothing_that_is_written(target: Lakebase, admin_dsn: str) -> None:
    name = str(target.database)
    rename_database(admin_dsn, name, f"{name}_gone")
    async with robust(target) as memory:
        try:
            await check_reads(memory)
            await write_a_turn(memory)
            assert "does not exist" in (await memory.health()).detail
        finally:
            rename_database(admin_dsn, f"{name}_gone", name)
        await recovered(memory)
    await check_the_turn_is_stored_once(target)


async def test_missing_tables_cost_nothing_that_is_written(empty_target: Lakebase) -> None:
    async with robust(empty_target) as memory:
        await check_reads(memory)
        await write_a_turn(memory)
        assert "lakemem migrate" in (await memory.health()).detail
        await AsyncMemory(empty_target).setup()
        await recovered(memory)
    await check_the_turn_is_stored_once(empty_target)


async def test_tables_that_go_missing_cost_nothing_that_is_written(target: Lakebase) -> None:
    async with robust(target) as memory:
        with connect(target) as connection:
            connection.execute("ALTER SCHEMA lakemem RENAME TO hidden")
            await check_reads(memory)
            await write_a_turn(memory)
            assert (await memory.health()).status == "degraded"
            connection.execute("ALTER SCHEMA hidden RENAME TO lakemem")
        await recovered(memory)
    await check_the_turn_is_stored_once(target)


def slow_down(proxy: Proxy) -> None:
    proxy.delay = 1.5 * DEADLINE


OUTAGES = [Proxy.refuse, Proxy.black_hole, slow_down]


@pytest.mark.parametrize("break_down", [Proxy.refuse, Proxy.black_hole])
async def test_a_server_out_of_reach_from_the_start_costs_nothing_that_is_written(
    target: Lakebase, proxy: Proxy, break_down: Callable[[Proxy], None]
) -> None:
    break_down(proxy)
    async with robust(proxy.target, open_deadline=DEADLINE) as memory:
        await check_reads(memory)
        await write_a_turn(memory)
        proxy.restore()
        await recovered(memory)
    await check_the_turn_is_stored_once(target)


@pytest.mark.parametrize("break_down", OUTAGES)
async def test_a_server_that_goes_out_of_reach_costs_nothing_that_is_written(
    target: Lakebase, proxy: Proxy, break_down: Callable[[Proxy], None]
) -> None:
    async with robust(proxy.target) as memory:
        await memory.for_user("bob").thread("t").append([{"n": 0}])
        break_down(proxy)
        await check_reads(memory)
        await write_a_turn(memory)
        assert (await memory.health()).pending_writes == 9
        proxy.restore()
        await recovered(memory)
        thread = memory.for_user("alice").thread("t")

        async def is_found() -> bool:
            return len(await thread.items()) == 10

        await AsyncPoll.until(is_found)
    await check_the_turn_is_stored_once(target)


async def test_opening_is_over_at_its_deadline(proxy: Proxy) -> None:
    proxy.black_hole()
    started = monotonic()
    async with robust(proxy.target, open_deadline=DEADLINE):
        assert monotonic() - started < DEADLINE + SLACK


async def test_only_one_caller_waits_for_a_server_that_is_silent(proxy: Proxy) -> None:
    async with robust(proxy.target, cooldown=60.0) as memory:
        user = memory.for_user("alice")
        proxy.black_hole()
        started = monotonic()
        for _ in range(40):
            assert await user.get("k") is None
        # If each waited, it would be 16 s.
        assert monotonic() - started < DEADLINE + SLACK
        proxy.restore()


def hits(marker: bytes, *faults: Fault) -> Callable[[bytes], Fault]:
    """Faults that befall the first requests with this marker, one each, and no other."""
    coming = iter(faults)
    return lambda request: next(coming, "none") if marker in request else "none"


@pytest.mark.parametrize("fault", ["before", "after"])
async def test_a_write_cut_off_from_its_answer_is_repeated_at_once_and_applied_once(
    target: Lakebase, proxy: Proxy, fault: Fault
) -> None:
    async with robust(proxy.target) as memory:
        thread = memory.for_user("alice").thread("t")
        for text in ("first", "second", "third"):
            proxy.fault = hits(text.encode(), fault)
            await thread.append([{"text": text}])
            assert (await memory.health()).pending_writes == 0
    async with AsyncMemory(target) as plain:
        items = await plain.for_user("alice").thread("t").items()
    assert [item["text"] for item in items] == ["first", "second", "third"]


async def test_a_write_whose_repetition_is_cut_off_too_waits_and_is_applied_once(
    target: Lakebase, proxy: Proxy
) -> None:
    async with robust(proxy.target) as memory:
        user = memory.for_user("alice")
        thread = user.thread("t")
        for place, text in enumerate(["first", "second", "third"]):
            proxy.fault = hits(text.encode(), "before", "before")
            await thread.append([{"text": text}])
            assert (await memory.health()).pending_writes == 1, "the fault did not hit"
            await recovered(memory)
            assert [item["text"] for item in await thread.items()][place:] == [text]
        proxy.fault = hits(b"Oslo", "before", "before")
        assert (await user.save("city", "Oslo")).version == 0
        await recovered(memory)
        proxy.fault = hits(b"checkpoint-1", "before", "before")
        await user.checkpoints.delete_thread("checkpoint-1")
        assert await thread.pop() is None, "it has to wait behind the write before it"
        await recovered(memory)
    async with AsyncMemory(target) as plain:
        user = plain.for_user("alice")
        assert [message.position for message in await user.thread("t").messages()] == [1, 2]
        city = await user.get("city")
        assert city is not None
        assert city.version == 1


async def test_a_replay_cut_off_from_its_answer_is_applied_once(target: Lakebase, proxy: Proxy) -> None:
    proxy.refuse()
    async with robust(proxy.target) as memory:
        thread = memory.for_user("alice").thread("t")
        for n in range(4):
            await thread.append([{"text": f"item-{n}"}])
        proxy.fault = hits(b"item-2", "after", "before")
        proxy.restore()
        await recovered(memory)
        assert [item["text"] for item in await thread.items()] == ["item-0", "item-1", "item-2", "item-3"]


@pytest.mark.parametrize("seed", range(3))
async def test_no_write_is_lost_or_doubled_whenever_the_connection_breaks(
    target: Lakebase, proxy: Proxy, seed: int
) -> None:
    chance = random.Random(seed)
    proxy.fault = lambda request: (
        chance.choice(["none", "none", "before", "after"]) if re.search(rb"writer-\d", request) else "none"
    )

    async def write(writer: int) -> None:
        for n in range(15):
            await memory.for_user(f"u{writer}").thread("t").append([{"by": f"writer-{writer}", "n": n}])

    async with robust(proxy.target, cooldown=0.01) as memory:
        await agather([lambda writer=writer: write(writer) for writer in range(3)])
        proxy.fault = lambda request: "none"
        await recovered(memory)
    async with AsyncMemory(target) as plain:
        for writer in range(3):
            messages = await plain.for_user(f"u{writer}").thread("t").messages()
            assert [(message.position, message.item["n"]) for message in messages] == [(n + 1, n) for n in range(15)]


async def test_health_and_the_flag_for_the_client_say_how_things_stand(proxy: Proxy) -> None:
    async with robust(proxy.target, cooldown=0.05) as memory:
        health = await memory.health()
        assert (health.status, health.custom_outputs, health.pending_writes) == ("ok", {}, 0)
        proxy.refuse()
        health = await memory.health()
        assert (health.status, health.custom_outputs) == ("degraded", {"memory": "degraded"})
        assert health.detail
        await memory.for_user("alice").save("k", 1)
        assert (await memory.health()).pending_writes == 1
        proxy.restore()
        await recovered(memory)
        health = await memory.health()
        assert (health.detail, health.custom_outputs, health.pending_writes) == ("", {}, 0)


async def test_health_alone_notices_that_the_database_is_back(proxy: Proxy) -> None:
    async with robust(proxy.target) as memory:
        proxy.refuse()
        assert not await memory.for_user("alice").items()
        assert (await memory.health()).status == "degraded"
        proxy.restore()
        await recovered(memory)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message.split(",")[0].split(";")[0] for record in caplog.records if record.name == "lakemem"]


async def test_each_change_of_state_is_warned_of_once(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with robust(proxy.target) as memory:
        user = memory.for_user("alice")
        for _ in range(2):
            proxy.refuse()
            for n in range(5):
                await user.save(f"k{n}", n)
                await user.items()
                await memory.health()
            proxy.restore()
            await recovered(memory)
    assert warnings_in(caplog) == ["memory is degraded", "memory is back"] * 2


async def test_no_log_and_no_health_holds_a_secret_or_a_text(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "lakemem")
    proxy.refuse()
    target = Lakebase.dsn(f"postgresql://ada:hush@127.0.0.1:{proxy.target.parameters['port']}/agents")
    async with robust(target, max_writes=1) as memory:
        user = memory.for_user("alice")
        await user.save("k", "confidential")
        await user.save("k", "confidential")
        said = f"{await memory.health()} {memory!r}"
    assert len(caplog.records) == 3
    assert not re.search("hush|confidential", said + caplog.text)


async def test_mistakes_of_a_program_are_raised_while_memory_is_down(proxy: Proxy) -> None:
    proxy.refuse()
    async with robust(proxy.target) as memory:
        user = memory.for_user("alice")
        with pytest.raises(InvalidInputError):
            await user.save("k", float("nan"))
        with pytest.raises(InvalidInputError):
            await user.items(limit=-1)
        with pytest.raises(InvalidInputError):
            memory.for_user("")
        with pytest.raises(TypeError):
            await user.save()  # type: ignore[call-arg]
        assert (await memory.health()).pending_writes == 0


async def test_refusals_of_the_database_are_raised_while_it_is_up(proxy: Proxy) -> None:
    async with robust(proxy.target) as memory:
        user = memory.for_user("alice")
        with pytest.raises(MemoryNotFoundError):
            await user.update("nothing", 1)
        await user.save("k", 1)
        with pytest.raises(ConflictError):
            await user.update("k", 2, expected_version=7)
        assert (await memory.health()).status == "ok"


async def test_a_memory_that_is_not_open_is_a_mistake_of_a_program(target: Lakebase) -> None:
    memory = robust(target)
    user = memory.for_user("alice")
    with pytest.raises(ConfigurationError, match="not open"):
        await user.save("k", 1)
    async with memory:
        await user.save("k", 1)
    with pytest.raises(ConfigurationError, match="not open"):
        await user.get("k")
    async with memory:
        assert await user.get("k") is not None


async def test_closing_stores_what_it_can(target: Lakebase, proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    async with robust(proxy.target, cooldown=60.0) as memory:
        proxy.fault = hits(b"Oslo", "before", "before")
        assert (await memory.for_user("alice").save("city", "Oslo")).version == 0
    assert "not stored" not in caplog.text
    async with AsyncMemory(target) as plain:
        assert await plain.for_user("alice").get("city") is not None


async def test_closing_says_how_much_is_not_stored(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    proxy.refuse()
    async with robust(proxy.target) as memory:
        await memory.for_user("alice").save("k", 1)
        await memory.for_user("alice").save("l", 1)
    assert "memory is closed while 2 accepted writes are not stored" in caplog.text
    assert (await memory.health()).pending_writes == 2


async def test_a_memory_opened_again_stores_what_it_still_holds(proxy: Proxy) -> None:
    proxy.refuse()
    memory = robust(proxy.target)
    async with memory:
        await memory.for_user("alice").save("k", 1)
    proxy.restore()
    async with memory:
        await recovered(memory)
        assert await memory.for_user("alice").get("k") is not None


async def test_changes_of_a_thread_are_replayed_in_their_order(proxy: Proxy) -> None:
    proxy.refuse()
    async with robust(proxy.target) as memory:
        thread = memory.for_user("alice").thread("t")
        await thread.append([{"n": n} for n in range(4)])
        info = await thread.update(title="Plans", metadata={"a": 1}, expires_in=60)
        assert (info.thread_id, info.title, info.metadata, info.lifetime) == ("t", "Plans", {"a": 1}, 60)
        assert await thread.rewind(to=2) == 0
        await thread.append([{"n": 9}])
        await thread.update(title="Other")
        proxy.restore()
        await recovered(memory)
        assert [(message.position, message.item["n"]) for message in await thread.messages()] == [
            (1, 0),
            (2, 1),
            (5, 9),
        ]
        stored = await thread.info()
        assert stored is not None
        assert (stored.title, stored.metadata, stored.lifetime) == ("Other", {"a": 1}, 60)


async def test_what_nothing_can_stand_in_for_is_raised_and_overtakes_no_write(proxy: Proxy) -> None:
    async with robust(proxy.target, cooldown=60.0) as memory:
        user = memory.for_user("alice")
        thread = user.thread("t")

        async def export() -> list[Any]:
            return [record async for record in user.export()]

        await thread.append([{"n": 1}])
        assert len(await export()) == 2
        assert await (await thread.fork(at=1, thread_id="f")).items() == [{"n": 1}]
        proxy.refuse()
        for _ in range(2):
            with pytest.raises(StorageUnavailableError):
                await thread.fork(at=1)
            with pytest.raises(StorageUnavailableError):
                await export()
        assert (await memory.health()).pending_writes == 0
        await thread.append([{"n": 2}])
        proxy.restore()
        with pytest.raises(StorageUnavailableError, match="put off"):
            await thread.fork(at=1)
        with pytest.raises(StorageUnavailableError, match="put off"):
            await export()
    async with AsyncMemory(proxy.target) as plain:
        assert len(await plain.for_user("alice").threads()) == 2


async def test_a_fork_that_is_too_slow_is_raised(proxy: Proxy) -> None:
    async with robust(proxy.target) as memory:
        thread = memory.for_user("alice").thread("t")
        await thread.append([{"n": 1}])
        proxy.black_hole()
        with pytest.raises(StorageUnavailableError):
            await thread.fork(at=1)


async def test_a_full_buffer_refuses_and_counts(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    proxy.refuse()
    async with robust(proxy.target, max_writes=2) as memory:
        thread = memory.for_user("alice").thread("t")
        for n in range(4):
            assert await thread.append([{"n": n}]) == range(0)
        health = await memory.health()
        assert (health.pending_writes, health.refused_writes) == (2, 2)
        assert caplog.text.count("a write was refused") == 2
        proxy.restore()
        await recovered(memory)
        assert await thread.items() == [{"n": 0}, {"n": 1}]


async def test_a_write_that_is_refused_for_good_does_not_hold_up_the_others(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.refuse()
    async with robust(proxy.target) as memory:
        user = memory.for_user("alice")
        await user.update("nothing", "confidential")
        await user.save("k", 1)
        proxy.restore()
        await recovered(memory)
        assert (await memory.health()).failed_writes == 1
        assert [record.key for record in await user.items()] == ["k"]
    assert "an accepted write was refused for good: there is no memory under this key" in caplog.text


async def test_a_replayed_write_that_meets_a_conflict_is_tried_again(target: Lakebase, proxy: Proxy) -> None:
    with connect(target) as connection:
        database = sql.Identifier(str(target.database))
        connection.execute(sql.SQL("ALTER DATABASE {} SET lock_timeout = '20ms'").format(database))
    tries: list[bytes] = []

    def count(request: bytes) -> Fault:
        if b"contested" in request:
            tries.append(request)
        return "none"

    async def tried_twice() -> bool:
        return len(tries) >= 2

    proxy.refuse()
    async with robust(proxy.target) as memory:
        thread = memory.for_user("alice").thread("t")
        await thread.append([{"text": "contested"}])
        with connect(target) as connection, connection.transaction():
            connection.execute("LOCK TABLE lakemem.thread_items IN ACCESS EXCLUSIVE MODE")
            proxy.fault = count
            proxy.restore()
            await AsyncPoll.until(tried_twice)
        await recovered(memory)
        assert (await memory.health()).failed_writes == 0
        assert await thread.items() == [{"text": "contested"}]


# async only:
import asyncio  # noqa: E402

from agents import set_tracing_disabled  # noqa: E402
from langgraph.graph import START, MessagesState, StateGraph  # noqa: E402

from lakemem import Memory  # noqa: E402
from lakemem.integrations.langgraph import AsyncLakebaseSaver, LakebaseSaver  # noqa: E402
from lakemem.integrations.openai_agents import LakebaseSession  # noqa: E402


@pytest.mark.parametrize("call", ["read", "write"])
async def test_cancellation_is_passed_on_at_once(proxy: Proxy, call: str) -> None:
    async with robust(proxy.target, deadline=10.0) as memory:
        user = memory.for_user("alice")
        reached = asyncio.Event()
        loop = asyncio.get_running_loop()

        def notice(request: bytes) -> Fault:
            loop.call_soon_threadsafe(reached.set)
            return "none"

        proxy.fault = notice
        proxy.black_hole()
        task = asyncio.create_task(user.get("k") if call == "read" else user.save("k", 1))
        await reached.wait()
        started = monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert monotonic() - started < SLACK
        proxy.restore()
        await recovered(memory)
        assert (await memory.health()).pending_writes == 0


async def test_a_session_answers_while_memory_is_down(target: Lakebase, proxy: Proxy) -> None:
    set_tracing_disabled(True)
    proxy.refuse()
    async with robust(proxy.target) as memory:
        session = LakebaseSession(memory.for_user("alice").thread("t"))
        await session.add_items([{"role": "user", "content": "Hello"}])
        assert await session.get_items() == []
        assert await session.pop_item() is None
        await session.add_items([{"role": "user", "content": "Hello again"}])
        proxy.restore()
        await recovered(memory)
        assert await session.get_items() == [{"role": "user", "content": "Hello again"}]


def echo() -> StateGraph[Any, Any, Any, Any]:
    builder = StateGraph(MessagesState)
    builder.add_node("echo", lambda state: {"messages": [("ai", state["messages"][-1].content)]})
    builder.add_edge(START, "echo")
    return builder


CONFIG: Any = {"configurable": {"thread_id": "t", "user_id": "alice"}}
HELLO: Any = {"messages": [("user", "Hello")]}


async def test_a_graph_answers_while_memory_is_down(proxy: Proxy) -> None:
    proxy.refuse()
    async with robust(proxy.target) as memory:
        graph = echo().compile(checkpointer=AsyncLakebaseSaver(memory))
        for _ in range(2):
            assert len((await graph.ainvoke(HELLO, CONFIG))["messages"]) == 2
        proxy.restore()
        await recovered(memory)
        assert len((await graph.ainvoke(HELLO, CONFIG))["messages"]) == 4


def test_a_graph_answers_while_a_sync_memory_is_down(proxy: Proxy) -> None:
    proxy.refuse()
    with degrading(Memory(proxy.target), deadline=DEADLINE) as memory:
        graph = echo().compile(checkpointer=LakebaseSaver(memory))
        assert len(graph.invoke(HELLO, CONFIG)["messages"]) == 2


# end async only
