"""Code that was written for the Databricks packages, on lakemem."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any, TypedDict

import pytest
from agents import set_tracing_disabled
from langchain_core.embeddings import Embeddings
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.config import get_store
from langgraph.graph import START, StateGraph
from psycopg.conninfo import make_conninfo

from lakemem import AsyncMemory, Lakebase, Memory, SchemaError, SchemaOutdatedError, StorageUnavailableError
from lakemem.compat import (
    AsyncCheckpointSaver,
    AsyncDatabricksSession,
    AsyncDatabricksStore,
    CheckpointSaver,
    DatabricksStore,
    LongTermMemory,
    MemoryItem,
    ShortTermMemory,
    close_shared_pools,
)
from lakemem.compat.pools import SharedMemories
from lakemem.compat.sessions import _SHARED

ITEM: Any = {"role": "user", "content": "hello"}
AGAIN: Any = {"role": "user", "content": "again"}


class Letters(Embeddings):
    """Texts that share letters are close."""

    model = "letters"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(text.count(letter)) + 0.01 for letter in "abcdefghijklmnop"] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class State(TypedDict, total=False):
    count: int


def step(state: State) -> State:
    return {"count": state.get("count", 0) + 1}


def graph(**options: Any) -> Any:
    return StateGraph(State).add_node("step", step).add_edge(START, "step").compile(**options)


def test_a_class_of_one_framework_does_not_load_the_other() -> None:
    script = "import sys; from lakemem.compat import {}; print(sorted({{'agents', 'langgraph'}} & set(sys.modules)))"
    for name, loaded in (
        ("AsyncDatabricksSession", "['agents']"),
        ("LongTermMemory", "[]"),
        ("DatabricksStore", "['langgraph']"),
    ):
        done = subprocess.run([sys.executable, "-c", script.format(name)], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == loaded


async def test_a_session_creates_its_tables_and_remembers(empty_target: Lakebase) -> None:
    set_tracing_disabled(True)
    session = AsyncDatabricksSession("t", target=empty_target, session_settings={"limit": 1})
    await session.add_items([ITEM, AGAIN])
    assert await AsyncDatabricksSession("t", target=empty_target).get_items() == [ITEM, AGAIN]
    assert await session.get_items() == [AGAIN]
    assert await AsyncDatabricksSession("t", target=empty_target, user="ada").get_items() == []
    with Memory(empty_target) as memory:
        assert [thread.thread_id for thread in memory.for_scope("shared").threads()] == ["t"]


async def test_a_session_that_may_not_create_tables_says_what_to_do(empty_target: Lakebase) -> None:
    with pytest.raises(SchemaOutdatedError, match="lakemem migrate"):
        await AsyncDatabricksSession("t", target=empty_target, create_tables=False).get_items()


async def test_sessions_share_a_pool_when_database_login_and_options_are_the_same(target: Lakebase) -> None:
    for number in range(5):
        await AsyncDatabricksSession(str(number), target=target).add_items([ITEM])
    # Whose the data is is no matter of the login.
    await AsyncDatabricksSession("1", target=target, user="ada").add_items([ITEM])
    assert len(_SHARED) == 1
    await AsyncDatabricksSession("1", target=target, max_size=3).get_items()
    assert len(_SHARED) == 2
    own = AsyncDatabricksSession("1", target=target, use_cached_engine=False)
    assert await own.get_items() == [ITEM]
    assert len(_SHARED) == 2
    await own.close()
    await close_shared_pools()
    assert len(_SHARED) == 0
    # A session outlives the pool.
    assert await AsyncDatabricksSession("1", target=target).get_items() == [ITEM]


def test_sessions_work_on_one_event_loop_after_another(target: Lakebase) -> None:
    session = AsyncDatabricksSession("t", target=target)

    async def turn() -> list[Any]:
        await session.add_items([ITEM])
        items = await session.get_items()
        await close_shared_pools()
        return list(items)

    assert [len(asyncio.run(turn())) for _ in range(3)] == [1, 2, 3]


class Recorded:
    """A memory that only knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def close(self) -> None:
        self.closed.set()


async def test_only_a_few_pools_are_kept_and_the_least_used_is_closed() -> None:
    memories, made = SharedMemories(size=2), [Recorded() for _ in range(3)]
    first = memories.memory("a", lambda: made[0])  # type: ignore[arg-type, return-value]
    memories.memory("b", lambda: made[1])  # type: ignore[arg-type, return-value]
    assert memories.memory("a", pytest.fail) is first
    memories.memory("c", lambda: made[2])  # type: ignore[arg-type, return-value]
    assert len(memories) == 2
    async with asyncio.timeout(5):
        await made[1].closed.wait()
    assert not made[0].closed.is_set()
    await memories.close()
    assert (len(memories), made[0].closed.is_set(), made[2].closed.is_set()) == (0, True, True)


def test_pools_of_loops_that_ended_are_forgotten() -> None:
    memories = SharedMemories()

    async def use() -> int:
        memories.memory("a", Recorded)  # type: ignore[arg-type]
        return len(memories)

    assert [asyncio.run(use()) for _ in range(3)] == [1, 1, 1]


async def test_sessions_that_begin_at_once_make_one_pool(target: Lakebase) -> None:
    sessions = [AsyncDatabricksSession(str(number), target=target) for number in range(20)]
    await asyncio.gather(*(session.add_items([ITEM]) for session in sessions))
    assert len(_SHARED) == 1
    assert [len(await session.get_items()) for session in sessions] == [1] * 20


def test_a_checkpointer_is_used_as_before(empty_target: Lakebase) -> None:
    with CheckpointSaver(target=empty_target, max_size=2) as saver:
        saver.setup()
        saver.setup()
        config = {"configurable": {"thread_id": "t"}}
        assert [graph(checkpointer=saver).invoke({}, config)["count"] for _ in range(2)] == [1, 2]
    with CheckpointSaver(target=empty_target) as again, CheckpointSaver(target=empty_target, user="ada") as hers:
        assert graph(checkpointer=again).get_state(config).values == {"count": 2}
        assert graph(checkpointer=hers).get_state(config).values == {}


async def test_an_async_checkpointer_is_used_as_before(empty_target: Lakebase) -> None:
    async with AsyncCheckpointSaver(target=empty_target) as saver:
        await saver.setup()
        config = {"configurable": {"thread_id": "t"}}
        assert [(await graph(checkpointer=saver).ainvoke({}, config))["count"] for _ in range(2)] == [1, 2]


def test_a_checkpointer_without_tables_says_what_to_do(empty_target: Lakebase) -> None:
    with CheckpointSaver(target=empty_target) as saver, pytest.raises(SchemaOutdatedError, match="setup"):
        saver.get_tuple({"configurable": {"thread_id": "t"}})


def test_a_schema_with_langgraphs_own_tables_is_refused(empty_target: Lakebase) -> None:
    """The Databricks packages put them where `schema` says: there lakemem's have no room."""
    with PostgresSaver.from_conn_string(make_conninfo(**empty_target.parameters)) as theirs:
        theirs.setup()
    with CheckpointSaver(target=empty_target, schema="public") as saver, pytest.raises(SchemaError, match="of its own"):
        saver.setup()
    with CheckpointSaver(target=empty_target, schema="memory") as saver:
        saver.setup()
        assert list(saver.list(None)) == []


def test_a_store_is_used_as_before(empty_target: Lakebase) -> None:
    with DatabricksStore(
        target=empty_target, embeddings=Letters(), embedding_dims=16, embedding_fields=["text"]
    ) as store:
        store.setup()
        for key, text in (("1", "aaa"), ("2", "bbb")):
            store.put(("user_memories", "ada"), key, {"text": text, "noise": "bbbbbbb"})
        [found, *_] = store.search(("user_memories",), query="aaaa", limit=1)
        assert (found.key, found.value["text"]) == ("1", "aaa")
        store.delete(("user_memories", "ada"), "1")
        assert store.get(("user_memories", "ada"), "1") is None
    with Memory(empty_target) as memory:
        [record] = memory.for_scope("shared").items()
        assert (record.key, record.embedded) == ("2", True)


async def test_an_async_store_serves_a_graph(target: Lakebase) -> None:
    async def note(state: State) -> State:
        await get_store().aput(("notes",), "n", {"count": 7})
        return {"count": 1}

    async with AsyncDatabricksStore(target=target, scope="team") as store:
        compiled = StateGraph(State).add_node(note).add_edge(START, "note").compile(store=store)
        await compiled.ainvoke({})
        item = await store.aget(("notes",), "n")
        assert item is not None
    async with AsyncMemory(target) as memory:
        assert [record.value for record in await memory.for_scope("team").items()] == [{"count": 7}]


def test_short_term_memory_lends_its_checkpointer(empty_target: Lakebase) -> None:
    memory = ShortTermMemory(target=empty_target)
    memory.setup()
    thread_id = memory.resolve_thread_id({"thread_id": "t"}, "conversation")
    assert (thread_id, memory.resolve_thread_id(None, "conversation")) == ("t", "conversation")
    assert memory.generate_thread_id() != memory.generate_thread_id()
    for count in (1, 2):
        with memory.get_checkpointer() as checkpointer:
            answer = graph(checkpointer=checkpointer).invoke({}, memory.get_checkpoint_config(thread_id))
        assert answer == {"count": count}
    memory.close()


def test_long_term_memory_keeps_each_users_own(empty_target: Lakebase) -> None:
    memory = LongTermMemory(target=empty_target, embeddings=Letters(), embedding_dims=16)
    memory.setup()
    # The examples give these two the same namespace.
    ada, other = "a.b@example.com", "a-b@example.com"
    assert memory.save_memory(ada, "preferred_workspace", {"value": "prod"}).startswith("Successfully saved")
    memory.save_memory(ada, "lunch", {"value": "soup"})
    memory.save_memory(other, "lunch", {"value": "cake"})
    [best, *_] = memory.search_memories(ada, "Which workspace is preferred?", limit=2)
    assert isinstance(best, MemoryItem)
    assert (best.key, best.value) == ("preferred_workspace", {"value": "prod"})
    assert best.to_dict()["score"] == best.score is not None
    assert memory.get_memory(ada, "lunch") == {"value": "soup"}
    assert memory.get_memory(other, "preferred_workspace") is None
    assert memory.list_memories(ada) == ["lunch", "preferred_workspace"]
    assert memory.list_memories(ada, prefix="pref") == ["preferred_workspace"]
    assert [item.key for item in memory.search_memories(ada, "")] == ["lunch", "preferred_workspace"]
    assert memory.delete_memory(ada, "lunch").startswith("Successfully deleted")
    assert (memory.get_memory(ada, "lunch"), memory.get_memory(other, "lunch")) == (None, {"value": "cake"})
    memory.close()


async def test_a_database_that_is_down_is_said_at_the_first_use() -> None:
    """Constructors ask nobody, so that an app starts without its database."""
    down = Lakebase.dsn("postgresql://ada:s3cret@127.0.0.1:1/agents")
    session = AsyncDatabricksSession("t", target=down)
    with pytest.raises(StorageUnavailableError) as refused:
        await session.get_items()
    assert "s3cret" not in str(refused.value)
    with CheckpointSaver(target=down) as saver, pytest.raises(StorageUnavailableError):
        saver.get_tuple({"configurable": {"thread_id": "t"}})
