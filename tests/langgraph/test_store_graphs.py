"""Graphs whose nodes and tools use a store."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.config import get_store
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedStore, ToolNode
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore

from lakemem import AsyncMemory, Memory
from lakemem.integrations.langgraph import AsyncLakebaseStore, LakebaseStore
from tests.langgraph.running import Running


class State(TypedDict):
    said: str


async def greet(state: State) -> State:
    store = get_store()
    await store.aput(("facts",), "name", {"name": state["said"]})
    item = await store.aget(("facts",), "name")
    assert item is not None
    return {"said": f"hello {item.value['name']}"}


def greet_blocking(state: State) -> State:
    store = get_store()
    store.put(("facts",), "name", {"name": state["said"]})
    item = store.get(("facts",), "name")
    assert item is not None
    return {"said": f"hello {item.value['name']}"}


def greet_by_runtime(state: State, runtime: Runtime[Any]) -> State:
    assert runtime.store is not None
    runtime.store.put(("facts",), "name", {"name": state["said"]})
    [item] = runtime.store.search(("facts",), filter={"name": state["said"]})
    return {"said": f"hello {item.value['name']}"}


@tool
def remember(name: str, store: Annotated[Any, InjectedStore()]) -> str:
    """Remember a name."""
    store.put(("facts",), "name", {"name": name})
    return f"{store.get(('facts',), 'name').value['name']} in {store.list_namespaces()}"


def store_for(memory: AsyncMemory | Memory) -> BaseStore:
    return AsyncLakebaseStore(memory) if isinstance(memory, AsyncMemory) else LakebaseStore(memory)


async def invoke(memory: AsyncMemory | Memory, builder: Any, given: Any, user: str) -> Any:
    running = Running(builder, None, store=store_for(memory))  # type: ignore[arg-type]
    running.blocks = isinstance(memory, Memory)
    return await running.invoke(given, {"configurable": {"user_id": user}})


async def names_of(memory: AsyncMemory | Memory, *users: str) -> list[Any]:
    """What stands in the memories of users."""
    records = [
        await memory.for_user(user).get("name", namespace=("facts",))
        if isinstance(memory, AsyncMemory)
        else memory.for_user(user).get("name", namespace=("facts",))
        for user in users
    ]
    return [None if record is None else record.value["name"] for record in records]


@pytest.mark.parametrize("node", [greet, greet_blocking, greet_by_runtime])
async def test_within_a_graph_the_config_says_whose_items_they_are(memory: AsyncMemory | Memory, node: Any) -> None:
    """A sync node of an async graph runs on a thread, and uses the store all the same."""
    if isinstance(memory, Memory) and node is greet:
        pytest.skip("a graph that runs without asyncio has no async nodes")
    builder = StateGraph(State).add_node("greet", node).add_edge(START, "greet")
    for user in ("ada", "bob"):
        assert await invoke(memory, builder, {"said": user}, user) == {"said": f"hello {user}"}
    assert await names_of(memory, "ada", "bob", "eve") == ["ada", "bob", None]


async def test_a_tool_is_given_the_store(memory: AsyncMemory | Memory) -> None:
    builder = StateGraph(MessagesState).add_node("tools", ToolNode([remember])).add_edge(START, "tools")
    call = {"name": "remember", "args": {"name": "Ada"}, "id": "1"}
    state = await invoke(memory, builder, {"messages": [AIMessage("", tool_calls=[call])]}, "ada")
    assert state["messages"][-1].content == "Ada in [('facts',)]"
    assert await names_of(memory, "ada", "bob") == ["Ada", None]


async def test_a_blocking_store_serves_an_async_graph_on_threads(memory: AsyncMemory | Memory) -> None:
    if isinstance(memory, AsyncMemory):
        pytest.skip("this is about the other one")
    builder = StateGraph(State).add_node("greet", greet).add_edge(START, "greet")
    graph = builder.compile(store=LakebaseStore(memory))
    assert await graph.ainvoke({"said": "ada"}, {"configurable": {"user_id": "ada"}}) == {"said": "hello ada"}
    assert await names_of(memory, "ada") == ["ada"]
