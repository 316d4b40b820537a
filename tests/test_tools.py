"""The memory tools, called by a model through each framework."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
from agents import Agent, RunConfig, Runner, UserError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent, tools_condition

from lakemem import AsyncMemory, ConfigurationError, Lakebase, Memory, RequestContext, degrading
from lakemem.embedding import CallableEmbedder
from lakemem.integrations import langgraph, openai_agents
from lakemem.integrations.tools import create_memory_tools
from tests.conftest import connect
from tests.openai_agents.models import PlannedModel, answered_tools

NAMES = ["save_memory", "get_memory", "search_memories", "list_memories", "update_memory", "delete_memory"]
FRAMEWORKS = ["openai-agents", "langgraph", "langgraph without asyncio"]
NOBODY_LISTENS = "postgresql://ada:secret@127.0.0.1:1/agents"
UNAVAILABLE = {"error": "memory is not available at the moment; answer without it"}

Call = tuple[str, Any]


class Framework(Protocol):
    """Runs what a model wants to have called, at once, in a run of a user, and returns what the model is told."""

    async def calls(self, user_id: str | None, *calls: Call) -> list[Any]: ...


@dataclass
class AgentsSDK:
    memory: Any
    namespace: tuple[str, ...] = ()

    async def calls(self, user_id: str | None, *calls: Call) -> list[Any]:
        def plan(model: PlannedModel, items: list[Any]) -> list[Any]:
            answers = answered_tools(items)
            if answers:
                return [model.says("done")]
            return [model.calls(name, given if isinstance(given, str) else json.dumps(given)) for name, given in calls]

        model = PlannedModel(plan)
        tools = openai_agents.memory_tools(self.memory, namespace=self.namespace)
        agent: Agent[Any] = Agent(name="Assistant", tools=tools, model=model)
        context = None if user_id is None else RequestContext(thread_id="1", user_id=user_id)
        config = RunConfig(tracing_disabled=True)
        result = await Runner.run(agent, "Go on", context=context, run_config=config)
        assert result.final_output == "done"
        return [json.loads(text) for text in answered_tools(model.inputs[-1])]


class PlannedChatModel(BaseChatModel):
    """Calls tools, and says "done" when it has their answers."""

    wanted: list[Any]

    def bind_tools(self, tools: Any, **kwargs: Any) -> PlannedChatModel:
        return self

    @property
    def _llm_type(self) -> str:
        return "planned"

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        message = AIMessage("done")
        if not isinstance(messages[-1], ToolMessage):
            calls = [
                {"name": name, "args": given, "id": f"call {place}", "type": "tool_call"}
                for place, (name, given) in enumerate(self.wanted)
            ]
            message = AIMessage("", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=message)])


@dataclass
class LangGraph:
    memory: Any
    namespace: tuple[str, ...] = ()

    async def calls(self, user_id: str | None, *calls: Call) -> list[Any]:
        model = PlannedChatModel(wanted=list(calls))
        builder = StateGraph(MessagesState)
        builder.add_node("assistant", lambda state: {"messages": [model.invoke(state["messages"])]})
        builder.add_node("tools", ToolNode(langgraph.memory_tools(self.memory, namespace=self.namespace)))
        builder.add_edge(START, "assistant")
        builder.add_conditional_edges("assistant", tools_condition)
        builder.add_edge("tools", "assistant")
        graph = builder.compile()
        config: Any = {"configurable": {} if user_id is None else {"user_id": user_id}}
        input: Any = {"messages": [("user", "Go on")]}
        if isinstance(self.memory, AsyncMemory) or "Async" in type(self.memory).__name__:
            state = await graph.ainvoke(input, config)
        else:
            state = await asyncio.to_thread(lambda: graph.invoke(input, config))
        *_, last = state["messages"]
        assert last.content == "done"
        return [json.loads(str(message.content)) for message in state["messages"] if isinstance(message, ToolMessage)]


@dataclass
class Worlds:
    """The frameworks, each with a memory of its world."""

    kind: str
    memory: AsyncMemory | Memory

    def framework(self, memory: Any = None, namespace: tuple[str, ...] = ()) -> Framework:
        memory = self.memory if memory is None else memory
        return AgentsSDK(memory, namespace) if self.kind == "openai-agents" else LangGraph(memory, namespace)

    def make(self, target: Lakebase, **options: Any) -> Any:
        return (Memory if "without" in self.kind else AsyncMemory)(target, **options)


@pytest.fixture(params=FRAMEWORKS)
async def worlds(request: pytest.FixtureRequest, target: Lakebase) -> AsyncIterator[Worlds]:
    if "without" in request.param:
        with Memory(target) as memory:
            yield Worlds(request.param, memory)
    else:
        async with AsyncMemory(target) as async_memory:
            yield Worlds(request.param, async_memory)


@pytest.fixture
def framework(worlds: Worlds) -> Framework:
    """With tools that serve every user."""
    return worlds.framework()


def without_times(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {
            name: without_times(part) for name, part in answer.items() if name not in ("saved_at", "score", "said_by")
        }
    return [without_times(part) for part in answer] if isinstance(answer, list) else answer


# What a model is shown.


@pytest.fixture
def shown(target: Lakebase) -> list[list[dict[str, Any]]]:
    """The tools as each framework shows them."""
    sdk = [
        {"name": tool.name, "description": tool.description, "parameters": tool.params_json_schema}
        for tool in create_memory_tools(AsyncMemory(target), "openai-agents")
    ]
    graphs = [
        [convert_to_openai_tool(tool)["function"] for tool in create_memory_tools(memory, "langgraph")]
        for memory in (AsyncMemory(target), Memory(target), Memory(target).for_user("a"))
    ]
    return [sdk, *graphs]


def test_both_frameworks_show_the_same_six_tools(shown: list[list[dict[str, Any]]]) -> None:
    assert [tool["name"] for tool in shown[0]] == NAMES
    for tools in shown:
        assert [{**tool, "parameters": None} for tool in tools] == [{**tool, "parameters": None} for tool in shown[0]]
        for tool, first in zip(tools, shown[0], strict=True):
            assert tool["parameters"]["properties"] == first["parameters"]["properties"]


def test_a_model_is_never_asked_whose_memory_it_is(shown: list[list[dict[str, Any]]]) -> None:
    for tool in [tool for tools in shown for tool in tools]:
        parameters = tool["parameters"]
        assert set(parameters["properties"]) <= {"key", "value", "query"}
        assert parameters["additionalProperties"] is False
        assert sorted(parameters["required"]) == sorted(parameters["properties"])


@pytest.mark.parametrize("name", ["agents", "", None])
def test_another_framework_is_refused(target: Lakebase, name: Any) -> None:
    with pytest.raises(ConfigurationError, match="'openai-agents' or 'langgraph'"):
        create_memory_tools(AsyncMemory(target), name)


def test_the_agents_sdk_refuses_a_sync_memory(target: Lakebase) -> None:
    for memory in (Memory(target), Memory(target).for_user("a")):
        with pytest.raises(ConfigurationError, match="give an AsyncMemory"):
            create_memory_tools(memory, "openai-agents")


# What the tools do.


async def test_the_tools_save_find_correct_and_forget(framework: Framework) -> None:
    call = framework.calls
    assert await call("ada", ("save_memory", {"key": "pet", "value": "Ada has a dog, 🦆 and \x00."})) == [
        {"saved": "pet"}
    ]
    assert without_times(await call("ada", ("get_memory", {"key": "pet"}))) == [
        {"memory": {"key": "pet", "value": "Ada has a dog, 🦆 and \x00."}}
    ]
    [found] = await call("ada", ("search_memories", {"query": "Which dog?"}))
    assert without_times(found) == {"memories": [{"key": "pet", "value": "Ada has a dog, 🦆 and \x00."}]}
    assert found["memories"][0]["score"] == 1.0
    assert await call("ada", ("update_memory", {"key": "pet", "value": "Ada has a cat."})) == [{"updated": "pet"}]
    assert await call("ada", ("save_memory", {"key": "city", "value": "Ada lives in Łódź."})) == [{"saved": "city"}]
    assert without_times(await call("ada", ("list_memories", {}))) == [
        {
            "memories": [
                {"key": "city", "value": "Ada lives in Łódź."},
                {"key": "pet", "value": "Ada has a cat."},
            ]
        }
    ]
    assert await call("ada", ("delete_memory", {"key": "pet"})) == [{"deleted": "pet"}]
    assert await call("ada", ("get_memory", {"key": "pet"})) == [{"memory": None}]
    assert await call("ada", ("search_memories", {"query": "cat"})) == [{"memories": []}]


async def test_another_users_memories_cannot_be_reached(framework: Framework) -> None:
    await framework.calls("ada", ("save_memory", {"key": "pet", "value": "Ada has a dog."}))
    told = await framework.calls(
        "bob",
        ("get_memory", {"key": "pet"}),
        ("search_memories", {"query": "dog"}),
        ("list_memories", {}),
        ("update_memory", {"key": "pet", "value": "taken over"}),
        ("delete_memory", {"key": "pet"}),
    )
    assert told[:3] == [{"memory": None}, {"memories": []}, {"memories": []}]
    assert ["no memory under this key" in answer["error"] for answer in told[3:]] == [True, True]
    [hers] = await framework.calls("ada", ("get_memory", {"key": "pet"}))
    assert hers["memory"]["value"] == "Ada has a dog."


@pytest.mark.parametrize("extra", ["user_id", "user", "owner", "scope", "namespace", "config", "self", "run_manager"])
async def test_a_model_cannot_say_whose_memory_it_is(framework: Framework, extra: str) -> None:
    told = await framework.calls(
        "bob",
        ("save_memory", {"key": "pet", "value": "a cat", extra: "ada"}),
        ("list_memories", {extra: "ada"}),
        ("save_memory", {"key": "k", "value": "v", extra: {"configurable": {"user_id": "ada"}}}),
    )
    assert told == [
        {"error": "save_memory takes exactly: key, value"},
        {"error": "list_memories takes exactly: no arguments"},
        {"error": "save_memory takes exactly: key, value"},
    ]
    for user in ("ada", "bob"):
        assert await framework.calls(user, ("list_memories", {})) == [{"memories": []}]


BAD_ARGUMENTS: list[tuple[str, dict[str, Any], str]] = [
    ("save_memory", {}, "takes exactly: key, value"),
    ("save_memory", {"key": "pet"}, "takes exactly: key, value"),
    ("save_memory", {"key": "pet", "value": None}, "value must be a string"),
    ("save_memory", {"key": "pet", "value": {"a": 1}}, "value must be a string"),
    ("save_memory", {"key": 7, "value": "x"}, "key must be a string"),
    ("save_memory", {"key": "", "value": "x"}, "key must not be empty"),
    ("save_memory", {"key": "x" * 300, "value": "x"}, "300 characters"),
    ("save_memory", {"key": "a\x00b", "value": "x"}, "control characters"),
    ("save_memory", {"key": "pet", "value": "x" * 2_000_000}, "takes 2,000,002 bytes"),
    ("get_memory", {"key": ["pet"]}, "key must be a string"),
    ("search_memories", {"query": "  "}, "query must not be empty"),
    ("search_memories", {"question": "dog"}, "takes exactly: query"),
    ("list_memories", {"limit": 3}, "takes exactly: no arguments"),
    ("update_memory", {"key": "never there", "value": "x"}, "no memory under this key"),
    ("delete_memory", {"key": "never there"}, "no memory under this key"),
]


async def test_bad_arguments_are_answered_with_what_is_wrong_with_them(framework: Framework) -> None:
    told = await framework.calls("ada", *((name, given) for name, given, _ in BAD_ARGUMENTS))
    for answer, (_, _, says) in zip(told, BAD_ARGUMENTS, strict=True):
        assert list(answer) == ["error"]
        assert says in answer["error"]


@pytest.mark.parametrize("text", ["", "null", "[]", '"pet"', "7", "{", '{"key": "pet"', "not JSON"])
async def test_arguments_that_are_no_json_object_are_answered_too(target: Lakebase, text: str) -> None:
    async with AsyncMemory(target) as memory:
        [answer] = await AgentsSDK(memory).calls("ada", ("save_memory", text))
    assert "save_memory takes" in answer["error"]


async def test_half_a_character_in_a_memory_does_not_stop_a_run(target: Lakebase, framework: Framework) -> None:
    with Memory(target) as memory:
        memory.for_user("ada").save("pet", "half \ud83e")
    [told] = await framework.calls("ada", ("get_memory", {"key": "pet"}))
    assert told["memory"]["value"] == "half ?"


async def test_tools_that_a_model_calls_at_once_do_not_disturb_each_other(framework: Framework) -> None:
    saves = [("save_memory", {"key": f"key {number % 4}", "value": f"value {number}"}) for number in range(16)]
    told = await framework.calls("ada", *saves)
    assert told == [{"saved": f"key {number % 4}"} for number in range(16)]
    [listed] = await framework.calls("ada", ("list_memories", {}))
    assert sorted(memory["key"] for memory in listed["memories"]) == ["key 0", "key 1", "key 2", "key 3"]


async def test_tools_for_one_user_need_no_context_and_follow_none(worlds: Worlds) -> None:
    framework = worlds.framework(worlds.memory.for_user("ada"))
    await framework.calls(None, ("save_memory", {"key": "pet", "value": "a dog"}))
    [told] = await framework.calls("bob", ("get_memory", {"key": "pet"}))
    assert told["memory"]["value"] == "a dog"
    assert await worlds.framework().calls("bob", ("get_memory", {"key": "pet"})) == [{"memory": None}]


async def test_tools_keep_to_their_namespace(worlds: Worlds) -> None:
    work = worlds.framework(namespace=("work",))
    home = worlds.framework(namespace=("home",))
    await work.calls("ada", ("save_memory", {"key": "place", "value": "the office"}))
    await home.calls("ada", ("save_memory", {"key": "place", "value": "the garden"}))
    for framework, value in ((work, "the office"), (home, "the garden")):
        found = await framework.calls("ada", ("list_memories", {}), ("search_memories", {"query": "place"}))
        assert [[memory["value"] for memory in answer["memories"]] for answer in found] == [[value], [value]]


async def test_a_run_that_does_not_say_its_user_stops(framework: Framework) -> None:
    """A mistake of the program, and none of the model."""
    with pytest.raises((ConfigurationError, UserError), match="user_id"):
        await framework.calls(None, ("list_memories", {}))


@pytest.mark.parametrize("context", [{"user_id": "ada"}, RequestContext(thread_id="1", user_id="ada")])
async def test_the_agents_sdk_takes_the_user_from_any_context_that_has_one(target: Lakebase, context: Any) -> None:
    async with AsyncMemory(target) as memory:
        await memory.for_user("ada").save("pet", "a dog")
        model = PlannedModel(
            lambda model, items: (
                [model.says(answered_tools(items)[0])] if answered_tools(items) else [model.calls("list_memories")]
            )
        )
        agent: Agent[Any] = Agent(name="Assistant", tools=openai_agents.memory_tools(memory), model=model)
        result = await Runner.run(agent, "?", context=context, run_config=RunConfig(tracing_disabled=True))
    assert "a dog" in str(result.final_output)


# While memory is down.

EVERY_CALL: list[Call] = [
    ("save_memory", {"key": "pet", "value": "a dog"}),
    ("get_memory", {"key": "pet"}),
    ("search_memories", {"query": "dog"}),
    ("list_memories", {}),
    ("update_memory", {"key": "pet", "value": "a cat"}),
    ("delete_memory", {"key": "pet"}),
]


async def test_a_tool_that_cannot_reach_memory_says_so(worlds: Worlds, target: Lakebase) -> None:
    """Here the tables are gone."""
    with connect(target) as connection:
        connection.execute("DROP SCHEMA lakemem CASCADE")
    assert await worlds.framework().calls("ada", *EVERY_CALL) == [UNAVAILABLE] * 6


@asynccontextmanager
async def opened(memory: AsyncMemory | Memory) -> AsyncIterator[None]:
    if isinstance(memory, AsyncMemory):
        async with memory:
            yield
    else:
        with memory:
            yield


async def test_with_a_degrading_memory_reads_say_so_and_writes_are_accepted(worlds: Worlds) -> None:
    memory = degrading(worlds.make(Lakebase.dsn(NOBODY_LISTENS)), cooldown=60.0)
    async with opened(memory):
        told = await worlds.framework(memory).calls("ada", *EVERY_CALL)
    assert told == [{"saved": "pet"}, UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, {"updated": "pet"}, {"deleted": "pet"}]


async def test_a_broken_embedder_stops_the_run(worlds: Worlds, target: Lakebase) -> None:
    """A mistake of the program is never an answer to the model."""
    embedder = CallableEmbedder(lambda texts: [[1.0]] * len(texts), model="broken", dimensions=2)
    memory = worlds.make(target, embedder=embedder)
    async with opened(memory):
        with pytest.raises(Exception, match="announces 2 dimensions"):
            await worlds.framework(memory).calls("ada", ("save_memory", {"key": "pet", "value": "a dog"}))


async def test_tools_of_a_sync_memory_work_in_a_graph_that_runs_on_asyncio(target: Lakebase) -> None:
    with Memory(target) as memory:
        builder = StateGraph(MessagesState)
        builder.add_node("tools", ToolNode(langgraph.memory_tools(memory)))
        builder.add_edge(START, "tools")
        call = {"name": "save_memory", "args": {"key": "pet", "value": "a dog"}, "id": "1", "type": "tool_call"}
        input: Any = {"messages": [AIMessage("", tool_calls=[call])]}
        await builder.compile().ainvoke(input, {"configurable": {"user_id": "ada"}})
        assert [record.value for record in memory.for_user("ada").items()] == ["a dog"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_prebuilt_agent_remembers_across_its_threads(target: Lakebase) -> None:
    def agent(memory: AsyncMemory, *calls: Call) -> Any:
        tools = langgraph.memory_tools(memory)
        saver = langgraph.AsyncLakebaseSaver(memory)
        return create_react_agent(PlannedChatModel(wanted=list(calls)), tools, checkpointer=saver)

    async with AsyncMemory(target) as memory:
        told = {}
        for user, thread, call in [
            ("ada", "1", ("save_memory", {"key": "pet", "value": "a dog"})),
            ("ada", "2", ("get_memory", {"key": "pet"})),
            ("bob", "2", ("get_memory", {"key": "pet"})),
        ]:
            config: Any = {"configurable": {"thread_id": thread, "user_id": user}}
            state = await agent(memory, call).ainvoke({"messages": [("user", "Go on")]}, config)
            told[user, thread] = json.loads(state["messages"][-2].content)
            assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai"]
    assert told["ada", "2"]["memory"]["value"] == "a dog"
    assert told["bob", "2"] == {"memory": None}
