"""The savers themselves: whose threads they show, what they refuse, and how they stand beside each other."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from cryptography.fernet import Fernet
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple, create_checkpoint, empty_checkpoint
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, StateGraph

from lakemem import AsyncMemory, ConfigurationError, InvalidInputError, Lakebase, Memory
from lakemem.integrations.langgraph import AsyncLakebaseSaver, LakebaseSaver
from tests.conftest import connect
from tests.faults import AsyncPoll
from tests.langgraph.conftest import Saver, saver_of
from tests.langgraph.running import config
from tests.langgraph.test_graphs import Log, says


async def put(saver: Saver, place: RunnableConfig, values: dict[str, Any], **metadata: Any) -> RunnableConfig:
    """Store a checkpoint in which all values are new, and return its config."""
    checkpoint = create_checkpoint(empty_checkpoint(), None, 0)
    versions: dict[str, str | int | float] = {name: saver.get_next_version(None, None) for name in values}
    checkpoint |= {"channel_values": values, "channel_versions": versions}
    configurable = {"checkpoint_ns": "", **place["configurable"]}
    stamped: Any = {"source": "loop", "step": 1, "parents": {}, **metadata}
    return await saver.aput({**place, "configurable": configurable}, checkpoint, stamped, versions)


async def listed(saver: Saver, place: RunnableConfig | None, **options: Any) -> list[CheckpointTuple]:
    return [found async for found in saver.alist(place, **options)]


async def got(saver: Saver, place: RunnableConfig) -> CheckpointTuple:
    found = await saver.aget_tuple(place)
    assert found is not None
    return found


# Whose threads.


async def test_a_thread_is_not_there_for_another_user(memory: AsyncMemory | Memory) -> None:
    hers, his = saver_of(memory, "alice"), saver_of(memory, "bob")
    stored = await put(hers, config("same"), {"secret": ["alice's"]})
    await hers.aput_writes(stored, [("secret", "pending")], "task")

    assert await his.aget_tuple(config("same")) is None
    assert await his.aget_tuple(stored) is None
    assert await listed(his, None) == []
    assert await listed(his, config("same")) == []
    await his.adelete_thread("same")
    await put(his, config("same"), {"secret": ["bob's"]})

    found = await got(hers, config("same"))
    assert found.checkpoint["channel_values"] == {"secret": ["alice's"]}
    assert found.pending_writes == [("task", "secret", "pending")]


async def test_one_saver_serves_every_user_that_a_config_names(memory: AsyncMemory | Memory) -> None:
    saver = saver_of(memory)
    for user in ("alice", "bob"):
        await put(saver, config("same", user_id=user), {"name": [user]})
    for user in ("alice", "bob"):
        found = await got(saver, config("same", user_id=user))
        assert found.checkpoint["channel_values"] == {"name": [user]}
        # The config that comes back leads to the same user again.
        assert found.config["configurable"]["user_id"] == user
        assert await got(saver, found.config) == found
        assert len(await listed(saver, config("same", user_id=user))) == 1
    assert await saver.aget_tuple(config("same", user_id="carol")) is None
    assert (await got(saver_of(memory, "bob"), config("same"))).checkpoint["channel_values"] == {"name": ["bob"]}


async def test_a_saver_for_every_user_refuses_a_config_without_one(memory: AsyncMemory | Memory) -> None:
    saver = saver_of(memory)
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: saver.aget_tuple(config()),
        lambda: listed(saver, config()),
        lambda: listed(saver, None),
        lambda: put(saver, config(), {}),
        lambda: saver.aput_writes(config(checkpoint_ns="", checkpoint_id="1"), [("a", 1)], "task"),
        lambda: saver.adelete_thread("1"),
    ]
    for call in calls:
        with pytest.raises(ConfigurationError, match=r"user_id.*for_user"):
            await call()


async def test_a_user_in_the_config_does_not_open_another_users_threads(memory: AsyncMemory | Memory) -> None:
    """A saver for one user is for that user, whatever a config says."""
    await put(saver_of(memory, "alice"), config("1"), {"a": [1]})
    assert await saver_of(memory, "bob").aget_tuple(config("1", user_id="alice")) is None


# What is stored.

ODD_METADATA: dict[str, Any] = {
    "nul": "a\x00b",
    "unicode": "Łódź 你好 🦆",
    "surrogate": "half \ud83e",
    "quotes": "\"'\\ {} %s $1",
    "nothing": None,
    "deep": {"list": [1, 2.5, True, None, {"\x00key": "\x00"}]},
    "big": 2**70,
    "empty": "",
}


async def test_odd_metadata_comes_back_without_what_postgres_cannot_index(saver: Saver) -> None:
    await put(saver, config(), {}, **ODD_METADATA)
    metadata: Any = (await got(saver, config())).metadata
    assert {name: metadata[name] for name in ODD_METADATA} == {
        **ODD_METADATA,
        "nul": "ab",
        "surrogate": "half ?",
        "deep": {"list": [1, 2.5, True, None, {"key": ""}]},
    }


@pytest.mark.parametrize("name", ODD_METADATA)
async def test_a_filter_finds_odd_metadata(saver: Saver, name: str) -> None:
    await put(saver, config(), {}, **ODD_METADATA)
    await put(saver, config(), {}, other="metadata")
    [found] = await listed(saver, config(), filter={name: ODD_METADATA[name]})
    assert "unicode" in (found.metadata or {})


@pytest.mark.parametrize("bad", [float("nan"), {1, 2}, {1: "x"}, "x" * 1_100_000])
async def test_metadata_that_is_not_json_is_refused_before_anything_is_written(saver: Saver, bad: object) -> None:
    with pytest.raises(InvalidInputError, match="checkpoint metadata"):
        await put(saver, config(), {"a": [1]}, bad=bad)
    assert await listed(saver, None) == []


async def test_a_large_state_comes_back_whole(saver: Saver) -> None:
    values = {
        "bytes": bytes(range(256)) * 20_000,
        "text": "ä🦆\x00" * 500_000,
        "list": [{"n": n, "text": "x" * 100} for n in range(20_000)],
        "small": "x",
    }
    await put(saver, config(), values)
    assert (await got(saver, config())).checkpoint["channel_values"] == values


async def test_a_long_text_is_stored_once_and_not_with_every_checkpoint(saver: Saver, target: Lakebase) -> None:
    class State(Log):
        document: str

    builder = StateGraph(State)
    names = [str(number) for number in range(8)]
    for name, before in zip(names, [START, *names], strict=False):
        builder.add_node(name, says(name))
        builder.add_edge(before, name)
    graph = builder.compile(checkpointer=saver)
    state = await graph.ainvoke({"log": [], "document": "long" * 25_000}, config(), durability="sync")
    assert state["log"] == names
    with connect(target) as connection:
        connection.execute("SELECT set_config('lakemem.owner', 'user:alice', false)")
        rows = connection.execute(
            "SELECT (SELECT count(*) FROM lakemem.checkpoints), (SELECT sum(octet_length(checkpoint)) FROM"
            " lakemem.checkpoints), (SELECT count(*) FROM lakemem.checkpoint_blobs WHERE channel = 'document')"
        ).fetchone()
    assert rows is not None
    checkpoints, size, documents = rows
    assert (checkpoints, documents) == (10, 1)
    assert int(str(size)) < 100_000


async def test_a_thread_that_is_deleted_is_gone_with_all_its_namespaces(saver: Saver) -> None:
    for place in (config("1"), config("1", checkpoint_ns="inner:x"), config("2")):
        stored = await put(saver, place, {"a": [1]})
        await saver.aput_writes(stored, [("a", 2)], "task")
    await saver.adelete_thread("1")
    await saver.adelete_thread("never there")
    assert [found.config["configurable"]["thread_id"] for found in await listed(saver, None)] == ["2"]
    assert await saver.aget_tuple(config("1", checkpoint_ns="inner:x")) is None
    # Nothing is left behind that a new checkpoint of the same name would find.
    stored = await put(saver, config("1"), {})
    assert (await got(saver, stored)).pending_writes == []


@pytest.mark.parametrize("thread_id", ["", "  ", "a\x00b", "x" * 256])
async def test_a_thread_id_that_cannot_be_stored_is_refused(saver: Saver, thread_id: str) -> None:
    with pytest.raises(InvalidInputError, match="thread_id"):
        await put(saver, config(thread_id), {})
    with pytest.raises(InvalidInputError, match="thread_id"):
        await saver.aget_tuple(config(thread_id))


async def test_a_thread_id_may_be_a_number(saver: Saver) -> None:
    await put(saver, {"configurable": {"thread_id": 7}}, {"a": [1]})
    assert (await got(saver, config("7"))).config["configurable"]["thread_id"] == "7"
    assert len(await listed(saver, {"configurable": {"thread_id": 7}})) == 1


async def test_of_two_errors_of_a_task_the_last_counts_and_of_two_results_the_first(saver: Saver) -> None:
    stored = await put(saver, config(), {})
    writes = [("a", 1), ("__error__", "first"), ("b", 2), ("__error__", "second")]
    await saver.aput_writes(stored, writes, "task")
    await saver.aput_writes(stored, [("a", 10), ("__error__", "third")], "task")
    assert (await got(saver, stored)).pending_writes == [
        ("task", "__error__", "third"),
        ("task", "a", 1),
        ("task", "b", 2),
    ]


class FernetCipher:
    def __init__(self) -> None:
        self._fernet = Fernet(Fernet.generate_key())

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        return "fernet", self._fernet.encrypt(plaintext)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        return self._fernet.decrypt(ciphertext)


async def test_an_encrypted_state_is_stored_without_a_word_in_the_clear(
    memory: AsyncMemory | Memory, target: Lakebase
) -> None:
    serde = EncryptedSerializer(FernetCipher(), JsonPlusSerializer())
    saver = saver_of(memory, "alice")
    encrypted: Saver = type(saver)(saver._memory, serde=serde)  # type: ignore[arg-type]
    stored = await put(encrypted, config(), {"list": ["the secret"], "text": "the secret"})
    await encrypted.aput_writes(stored, [("a", "the secret")], "task")
    found = await got(encrypted, config())
    assert found.checkpoint["channel_values"] == {"list": ["the secret"], "text": "the secret"}
    with connect(target) as connection:
        connection.execute("SELECT set_config('lakemem.owner', 'user:alice', false)")
        for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
            rows = connection.execute(f"SELECT * FROM lakemem.{table}").fetchall()
            assert rows
            assert "secret" not in repr(rows)


# Beside each other.

GATE = 42


def wait_in_postgres(target: Lakebase, until: str) -> None:
    """Let every checkpoint and every write of a task wait in Postgres, once it is inserted."""
    with connect(target) as connection:
        connection.execute(
            f"CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM {until}; RETURN NULL; END $$"
        )
        for table in ("checkpoints", "checkpoint_writes"):
            connection.execute(f"CREATE TRIGGER wait AFTER INSERT ON lakemem.{table} EXECUTE FUNCTION wait()")


@pytest.mark.parametrize("what", ["puts", "writes", "a put and a write"])
async def test_calls_on_one_saver_run_beside_each_other(target: Lakebase, saver: Saver, what: str) -> None:
    stored = await put(saver, config(), {})
    calls: list[Callable[[], Awaitable[Any]]]
    if what == "puts":
        calls = [partial(put, saver, config(f"thread {thread}"), {"a": [1]}) for thread in range(4)]
    elif what == "writes":
        calls = [partial(saver.aput_writes, stored, [("a", 1)], f"task {task}") for task in range(4)]
    else:
        calls = [partial(put, saver, config("other"), {"a": [1]}), partial(saver.aput_writes, stored, [("a", 1)], "t")]
    wait_in_postgres(target, f"pg_advisory_xact_lock_shared({GATE})")
    with connect(target) as keeper:
        keeper.execute(f"SELECT pg_advisory_lock({GATE})")
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        running: list[asyncio.Task[Any]] = []

        async def all_wait() -> bool:
            return keeper.execute(waiting).fetchone() == (len(running),)

        # One after the other: those of one moment may go together.
        for call in calls:
            running.append(asyncio.create_task(call()))
            await AsyncPoll.until(all_wait)
    await asyncio.gather(*running)


async def test_a_cancelled_call_leaves_the_saver_whole(target: Lakebase, async_memory: AsyncMemory) -> None:
    """What was cancelled is stored whole or not at all, and its connection serves the next call or none."""
    saver = AsyncLakebaseSaver(async_memory.for_user("alice"))
    wait_in_postgres(target, "pg_sleep(1)")
    calls = [asyncio.create_task(put(saver, config(str(n)), {"a": [n]})) for n in range(15)]
    await asyncio.sleep(0.05)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert any(call.cancelled() for call in calls)
    with connect(target) as connection:
        connection.execute("DROP FUNCTION wait CASCADE")
    await asyncio.gather(*(put(saver, config(str(n)), {"a": [n]}) for n in range(20, 40)))
    found = await listed(saver, None)
    values = {int(each.config["configurable"]["thread_id"]): each.checkpoint["channel_values"] for each in found}
    assert values.keys() >= set(range(20, 40))
    assert all(stored == {"a": [number]} for number, stored in values.items())


# Each in its world.


async def test_the_async_saver_says_that_it_has_no_sync_methods(async_memory: AsyncMemory) -> None:
    saver = AsyncLakebaseSaver(async_memory.for_user("alice"))
    stored = await put(saver, config(), {"a": [1]})
    calls: list[Callable[[], object]] = [
        lambda: saver.get_tuple(stored),
        lambda: saver.get(stored),
        lambda: saver.list(None),
        lambda: saver.list(stored, limit=1),
        lambda: saver.put(stored, empty_checkpoint(), {}, {}),
        lambda: saver.put_writes(stored, [("a", 1)], "task", "path"),
        lambda: saver.delete_thread("1"),
        lambda: saver.get_delta_channel_history(config=stored, channels=["a"]),
    ]
    for call in calls:
        with pytest.raises(NotImplementedError, match=r"ainvoke.*LakebaseSaver\(Memory"):
            call()
    assert len(await listed(saver, None)) == 1


async def test_a_graph_that_is_called_without_asyncio_is_told_what_to_do(async_memory: AsyncMemory) -> None:
    builder = StateGraph(Log)
    builder.add_node("one", says("one"))
    builder.add_edge(START, "one")
    graph = builder.compile(checkpointer=AsyncLakebaseSaver(async_memory.for_user("alice")))
    with pytest.raises(NotImplementedError, match="call ainvoke"):
        await asyncio.to_thread(lambda: graph.invoke({"log": []}, config()))


def test_both_worlds_of_the_sync_saver_see_the_same(target: Lakebase) -> None:
    with Memory(target) as memory:
        saver = LakebaseSaver(memory.for_user("alice"))
        stored = asyncio.run(put(saver, config(), {"a": [1]}))
        saver.put_writes(stored, [("a", 1)], "task")
        assert saver.get_tuple(stored) == asyncio.run(saver.aget_tuple(stored))
        assert [*saver.list(None)] == asyncio.run(listed(saver, None)) == [saver.get_tuple(stored)]
        saver.delete_thread("1")
        assert asyncio.run(listed(saver, None)) == []


@pytest.mark.parametrize("scoped", [True, False])
def test_a_saver_refuses_a_memory_of_the_other_world(target: Lakebase, scoped: bool) -> None:
    sync_memory, async_memory = Memory(target), AsyncMemory(target)
    with pytest.raises(ConfigurationError, match=r"needs an AsyncMemory.*LakebaseSaver"):
        AsyncLakebaseSaver(sync_memory.for_user("a") if scoped else sync_memory)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"needs a Memory.*AsyncLakebaseSaver"):
        LakebaseSaver(async_memory.for_user("a") if scoped else async_memory)  # type: ignore[arg-type]


def test_a_memory_that_was_opened_on_another_event_loop_is_refused_at_once(target: Lakebase) -> None:
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    memory = AsyncMemory(target)
    saver = AsyncLakebaseSaver(memory.for_user("alice"))
    first.run_until_complete(memory.open())
    try:
        with pytest.raises(ConfigurationError, match="opened on another event loop"):
            second.run_until_complete(saver.aget_tuple(config()))
        assert first.run_until_complete(saver.aget_tuple(config())) is None
    finally:
        first.run_until_complete(memory.close())
        first.close()
        second.close()


def test_a_memory_can_be_opened_again_on_the_next_event_loop(target: Lakebase) -> None:
    memory = AsyncMemory(target)
    saver = AsyncLakebaseSaver(memory.for_user("alice"))

    async def turn(number: int) -> int:
        async with memory:
            await put(saver, config(), {"a": [number]})
            return len(await listed(saver, None))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [asyncio.run(turn(number)) for number in range(3)] == [1, 2, 3]


async def test_a_saver_on_a_memory_that_is_not_open_says_so(target: Lakebase) -> None:
    for saver in (
        AsyncLakebaseSaver(AsyncMemory(target).for_user("alice")),
        LakebaseSaver(Memory(target).for_user("alice")),
    ):
        with pytest.raises(ConfigurationError, match="not open"):
            await saver.aget_tuple(config())


async def test_a_long_list_comes_in_pages_without_gaps(memory: AsyncMemory | Memory) -> None:
    saver = saver_of(memory, "alice")
    stored = [await put(saver, config("1"), {"n": number}) for number in range(120)]
    # The same ids once more, in another thread.
    await saver.acopy_thread("1", "2")
    ids = [each["configurable"]["checkpoint_id"] for each in reversed(stored)]
    assert [each.checkpoint["id"] for each in await listed(saver, config("1"))] == ids
    everything = [each.checkpoint["id"] for each in await listed(saver, None)]
    assert everything == [each for each in ids for _ in range(2)]
    for limit in (0, 1, 49, 50, 51, 101, 500):
        assert [each.checkpoint["id"] for each in await listed(saver, config("2"), limit=limit)] == ids[:limit]
    with pytest.raises(InvalidInputError):
        await listed(saver, config("1"), limit=-1)
