"""Threads of LangGraph, as its own Postgres saver writes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import START, StateGraph, add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, StateSnapshot, interrupt

from lakemem import AsyncMemory, AsyncScopedMemory, Lakebase
from lakemem.integrations.langgraph import AsyncLakebaseSaver
from tests.conftest import connect
from tests.importing.conftest import Import, dsn
from tests.langgraph.running import config, told

Graph = CompiledStateGraph[Any, Any, Any, Any]


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    count: int
    note: str
    seen: set[str]


class Inner(TypedDict, total=False):
    note: str
    answer: str


async def think(state: State) -> State:
    count = state.get("count", 0) + 1
    return {"messages": [AIMessage(f"thought {count}")], "count": count, "seen": {"a", str(count)}}


async def ask(state: Inner) -> Inner:
    return {"note": "x" * 3000, "answer": interrupt("what now?")}


async def say(state: Inner) -> Inner:
    return {"note": f"answered {state['answer']}"}


async def beside(state: State) -> State:
    return {"messages": [AIMessage("beside")]}


def graph_on(saver: BaseCheckpointSaver[Any]) -> Graph:
    """Stops in a subgraph, while a node beside it has written already."""
    inner = StateGraph(Inner).add_node(ask).add_node(say).add_edge(START, "ask").add_edge("ask", "say").compile()
    outer = StateGraph(State).add_node(think).add_node("inner", inner).add_node(beside)
    outer.add_edge(START, "think").add_edge("think", "inner").add_edge("think", "beside")
    return outer.compile(checkpointer=saver)


@pytest.fixture
async def postgres_saver(source: Lakebase) -> AsyncIterator[AsyncPostgresSaver]:
    async with AsyncPostgresSaver.from_conn_string(dsn(source)) as saver:
        await saver.setup()
        yield saver


@pytest.fixture
async def alice(target: Lakebase) -> AsyncIterator[AsyncScopedMemory]:
    async with AsyncMemory(target) as memory:
        yield memory.for_user("alice")


async def history(graph: Graph, thread: RunnableConfig) -> list[StateSnapshot]:
    return [snapshot async for snapshot in graph.aget_state_history(thread)]


async def talk(graph: Graph, thread: RunnableConfig) -> None:
    """Two turns: the first is answered, the second waits for an answer."""
    await graph.ainvoke({"messages": [HumanMessage("hello \U0001f333")]}, thread)
    await graph.ainvoke(Command(resume="first"), thread)
    await graph.ainvoke({"messages": [HumanMessage("again")]}, thread)


async def test_a_thread_goes_on_where_it_stopped(
    postgres_saver: AsyncPostgresSaver, alice: AsyncScopedMemory, run_import: Import
) -> None:
    thread = config("t")
    there = graph_on(postgres_saver)
    await talk(there, thread)
    assert run_import("--user", "alice") == 0
    here = graph_on(AsyncLakebaseSaver(alice))

    assert await history(here, thread) == await history(there, thread)
    state, expected = await here.aget_state(thread, subgraphs=True), await there.aget_state(thread, subgraphs=True)
    assert told(state) == told(expected)
    assert state.interrupts[0].value == "what now?"
    assert {task.name for task in state.tasks if task.result is None} == {"inner"}

    answer = await here.ainvoke(Command(resume="second"), thread)
    assert told(answer) == told(await there.ainvoke(Command(resume="second"), thread))
    assert answer["note"] == "answered second"
    assert told(await history(here, thread)) == told(await history(there, thread))


async def test_any_imported_checkpoint_can_be_gone_back_to(
    postgres_saver: AsyncPostgresSaver, alice: AsyncScopedMemory, run_import: Import
) -> None:
    thread = config("t")
    there = graph_on(postgres_saver)
    await talk(there, thread)
    run_import("--user", "alice")
    here = graph_on(AsyncLakebaseSaver(alice))
    earlier = [snapshot.config for snapshot in await history(there, thread) if snapshot.values.get("count") == 1]
    assert len(earlier) > 1
    for place in earlier:
        assert told(await here.ainvoke(None, place)) == told(await there.ainvoke(None, place))


async def test_the_saver_returns_the_same_tuples(
    postgres_saver: AsyncPostgresSaver, alice: AsyncScopedMemory, run_import: Import
) -> None:
    await talk(graph_on(postgres_saver), config("t"))
    run_import("--user", "alice")
    imported = [tuple_ async for tuple_ in AsyncLakebaseSaver(alice).alist(None)]
    given = [tuple_ async for tuple_ in postgres_saver.alist(None)]
    assert len(imported) == len(given) > 10
    for mine, theirs in zip(imported, given, strict=True):
        # Its own saver does not order what tasks wrote.
        assert sorted(mine.pending_writes or [], key=repr) == sorted(theirs.pending_writes or [], key=repr)
        assert mine._replace(pending_writes=None) == theirs._replace(pending_writes=None)


async def test_a_second_import_brings_what_is_new_and_nothing_twice(
    postgres_saver: AsyncPostgresSaver, alice: AsyncScopedMemory, run_import: Import, capsys: pytest.CaptureFixture[str]
) -> None:
    thread, there = config("t"), graph_on(postgres_saver)
    await there.ainvoke({"messages": [HumanMessage("hello")]}, thread)
    run_import("--user", "alice")
    capsys.readouterr()
    run_import("--user", "alice")
    assert "came over: nothing new" in capsys.readouterr().out
    await there.ainvoke(Command(resume="late"), thread)
    run_import("--user", "alice")
    assert told(await history(graph_on(AsyncLakebaseSaver(alice)), thread)) == told(await history(there, thread))


async def test_metadata_says_whose_a_thread_is(
    postgres_saver: AsyncPostgresSaver, target: Lakebase, run_import: Import, capsys: pytest.CaptureFixture[str]
) -> None:
    there = graph_on(postgres_saver)
    for thread_id, user in (("1", "ada"), ("2", "bob"), ("3", None), ("4", "ada"), ("4", "bob")):
        named = {} if user is None else {"user_id": user}
        await there.ainvoke({"messages": [HumanMessage("hello")]}, config(thread_id, **named))
    assert run_import("--user-metadata", "user_id") == 0
    assert "left behind: 2 whose owner is not known" in capsys.readouterr().out
    async with AsyncMemory(target) as memory:
        for user, threads in (("ada", ["1"]), ("bob", ["2"])):
            assert [info.thread_id for info in await memory.for_user(user).threads()] == threads
            state = await graph_on(AsyncLakebaseSaver(memory)).aget_state(config(threads[0], user_id=user))
            assert state.values["count"] == 1


async def test_tables_of_an_older_library_come_over_too(
    postgres_saver: AsyncPostgresSaver, source: Lakebase, alice: AsyncScopedMemory, run_import: Import
) -> None:
    """Without `task_path`, and without plain values in the checkpoint itself."""
    there = graph_on(postgres_saver)
    await there.ainvoke({"messages": [HumanMessage("hello")]}, config("t"))
    expected = await there.aget_state(config("t"))
    with connect(source) as connection:
        connection.execute("ALTER TABLE checkpoint_writes DROP COLUMN task_path")
        connection.execute(
            "UPDATE checkpoints SET checkpoint = checkpoint - 'channel_values' WHERE parent_checkpoint_id IS NULL"
        )
    assert run_import("--user", "alice") == 0
    state = await graph_on(AsyncLakebaseSaver(alice)).aget_state(config("t"))
    # The order in which tasks wrote was in `task_path`.
    assert sorted(map(told, state.values["messages"])) == sorted(map(told, expected.values["messages"]))
    assert (state.values["count"], state.next) == (expected.values["count"], expected.next)


async def test_threads_keep_the_times_of_their_checkpoints(
    postgres_saver: AsyncPostgresSaver, alice: AsyncScopedMemory, run_import: Import
) -> None:
    there = graph_on(postgres_saver)
    await there.ainvoke({"messages": [HumanMessage("hello")]}, config("t"))
    times = [
        snapshot.created_at
        async for snapshot in there.aget_state_history(
            config("t"),
        )
    ]
    run_import("--user", "alice")
    [info] = await alice.threads()
    assert info.created_at.isoformat() == min(time for time in times if time)
    assert info.updated_at.isoformat() >= max(time for time in times if time)
