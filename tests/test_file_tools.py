"""The file tool, called by a model through each framework, and as Anthropic's SDK has it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from agents import Agent, RunConfig, Runner
from anthropic.lib.tools import BetaAbstractMemoryTool, BetaAsyncAbstractMemoryTool, ToolError
from anthropic.tools import BetaLocalFilesystemMemoryTool
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from lakemem import AsyncMemory, ConfigurationError, Lakebase, Memory, RequestContext
from lakemem.integrations.anthropic import memory_tool
from lakemem.integrations.tools import create_memory_tools
from lakemem.testing import DatabaseFactory
from tests.openai_agents.models import PlannedModel, answered_tools
from tests.support.examples import examples
from tests.test_tools import PlannedChatModel


def somebody() -> str:
    return f"ada {uuid.uuid4()}"


COMMANDS = [
    {"command": "create", "path": "/memories/a.md", "file_text": "blue"},
    {"command": "str_replace", "path": "/memories/a.md", "old_str": "blue", "new_str": "red"},
    {"command": "view", "path": "/memories/a.md"},
    {"command": "view", "path": "/memories/../a.md"},
]
ANSWERS = [
    "File created successfully at: /memories/a.md",
    "The memory file has been edited. Here is the snippet showing the change (with line numbers):\n     1\tred",
    "Here's the content of /memories/a.md with line numbers:\n     1\tred",
    'Error: path "/memories/../a.md" is not allowed: a part of it is made of dots',
]


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all tests here."""
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture
async def memory(target: Lakebase) -> AsyncIterator[AsyncMemory]:
    async with AsyncMemory(target) as memory:
        yield memory


@pytest.mark.parametrize("serves_every_user", [True, False])
async def test_an_agent_of_the_agents_sdk_keeps_files(memory: AsyncMemory, serves_every_user: bool) -> None:
    user_id = somebody()

    def plan(model: PlannedModel, items: list[Any]) -> list[Any]:
        answered = len(answered_tools(items))
        if answered == len(COMMANDS):
            return [model.says("done")]
        nothing = dict.fromkeys(tool.params_json_schema["properties"])
        return [model.calls("memory", json.dumps({**nothing, **COMMANDS[answered]}))]

    [tool] = create_memory_tools(
        memory if serves_every_user else memory.for_user(user_id), "openai-agents", kind="files", namespace=("work",)
    )
    model = PlannedModel(plan)
    agent: Agent[Any] = Agent(name="Assistant", tools=[tool], model=model)
    context = RequestContext(thread_id="1", user_id=user_id) if serves_every_user else None
    await Runner.run(agent, "Go on", context=context, run_config=RunConfig(tracing_disabled=True))
    assert answered_tools(model.inputs[-1]) == ANSWERS
    [record] = await memory.for_user(user_id).items()
    assert (record.namespace, record.key, record.value) == (("work", "files"), "a.md", "red")
    assert tool.strict_json_schema
    assert set(tool.params_json_schema["required"]) == set(tool.params_json_schema["properties"])


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("serves_every_user", [True, False])
async def test_a_graph_keeps_files(memory: AsyncMemory, is_async: bool, serves_every_user: bool) -> None:
    user_id = somebody()
    with Memory(memory.target) as sync_memory:
        root: Any = memory if is_async else sync_memory
        [tool] = create_memory_tools(root if serves_every_user else root.for_user(user_id), "langgraph", kind="files")
        answers = []
        for command in COMMANDS:
            model = PlannedChatModel(wanted=[("memory", command)])
            builder = StateGraph(MessagesState)
            builder.add_node("assistant", lambda state, model=model: {"messages": [model.invoke(state["messages"])]})
            builder.add_node("tools", ToolNode([tool]))
            builder.add_edge(START, "assistant")
            builder.add_conditional_edges("assistant", tools_condition)
            builder.add_edge("tools", "assistant")
            graph = builder.compile()
            config: Any = {"configurable": {"user_id": user_id}}
            given: Any = {"messages": [("user", "Go on")]}
            state = await graph.ainvoke(given, config) if is_async else graph.invoke(given, config)
            answers.append(state["messages"][-2].content)
    assert answers == ANSWERS
    [record] = await memory.for_user(user_id).items()
    assert (record.key, record.value) == ("a.md", "red")
    assert set(convert_to_openai_tool(tool)["function"]["parameters"]["properties"]) >= {"command", "path"}


async def test_what_keeps_no_files_is_refused(memory: AsyncMemory) -> None:
    for wrong in ({"kind": "folders"}, {"kind": None}):
        with pytest.raises(ConfigurationError, match="kind"):
            create_memory_tools(memory, "langgraph", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        create_memory_tools(object(), "openai-agents", kind="files")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="for_user"):
        memory_tool(memory)  # type: ignore[call-overload]


class Claude:
    """The Messages API, for a model that makes each of its calls in turn."""

    def __init__(self, commands: list[dict[str, Any]]) -> None:
        self.commands = commands
        self.requests: list[dict[str, Any]] = []

    def __call__(self, request: Any) -> Any:
        body = json.loads(request.content)
        self.requests.append(body)
        said: list[dict[str, Any]] = [{"type": "text", "text": "done"}]
        if self.commands:
            said = [
                {
                    "type": "tool_use",
                    "id": f"toolu_{len(self.requests)}",
                    "name": "memory",
                    "input": self.commands.pop(0),
                }
            ]
        return httpx2.Response(
            200,
            json={
                "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": said,
                "stop_reason": "tool_use" if said[0]["type"] == "tool_use" else "end_turn", "stop_sequence": None,
                "usage": {"input_tokens": 1, "output_tokens": 1},
            },
        )  # fmt: skip

    @property
    def results(self) -> list[tuple[Any, bool]]:
        """What came back for each call, and whether as an error."""
        blocks = [block for request in self.requests[1:] for block in request["messages"][-1]["content"]]
        return [(block["content"], bool(block.get("is_error"))) for block in blocks]


def outcome(text: str) -> tuple[str, bool]:
    return text, text.startswith("Error")


async def test_the_sdk_runs_the_tool_for_an_async_memory(memory: AsyncMemory) -> None:
    user_id = somebody()
    claude = Claude(list(COMMANDS))
    client = anthropic.AsyncAnthropic(
        api_key="k", http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(claude)), max_retries=0
    )
    tool = memory_tool(memory.for_user(user_id), cache_control={"type": "ephemeral"})
    assert isinstance(tool, BetaAsyncAbstractMemoryTool)
    runner = client.beta.messages.tool_runner(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "Go on"}], tools=[tool]
    )
    await runner.until_done()
    assert claude.results == [outcome(text) for text in ANSWERS]
    assert claude.requests[0]["tools"] == [
        {"type": "memory_20250818", "name": "memory", "cache_control": {"type": "ephemeral"}}
    ]


async def test_the_sdk_runs_the_tool_for_a_sync_memory(memory: AsyncMemory) -> None:
    user_id = somebody()

    def run() -> None:
        with Memory(memory.target) as sync_memory:
            tool = memory_tool(sync_memory.for_user(user_id))
            assert isinstance(tool, BetaAbstractMemoryTool)
            client = anthropic.Anthropic(
                api_key="k", http_client=httpx2.Client(transport=httpx2.MockTransport(claude)), max_retries=0
            )
            client.beta.messages.tool_runner(
                model="m", max_tokens=9, messages=[{"role": "user", "content": "Go on"}], tools=[tool]
            ).until_done()

    claude = Claude(list(COMMANDS))
    await asyncio.to_thread(run)
    assert claude.results == [outcome(text) for text in ANSWERS]


names = st.sampled_from(["a", "b"])
paths = names.map("/memories/{}".format)
lines = st.text(alphabet="xy", min_size=1, max_size=3)
# A carriage return within a line is shown as an escape, for it can pass for the end of it. And where the last line
# is blank, the SDK's own tool loses it with an insertion.
file_texts = (
    st.lists(st.sampled_from(["x", "y", "\n", "\r\n"]), max_size=9)
    .map("".join)
    .filter(lambda text: not f"\n{text}".endswith("\n\n"))
)
steps = st.lists(
    st.one_of(
        st.fixed_dictionaries({"command": st.just("create"), "path": paths, "file_text": file_texts}),
        st.fixed_dictionaries(
            {
                "command": st.just("str_replace"),
                "path": paths,
                "old_str": st.sampled_from(["x", "y", "xy", "x\n"]),
                "new_str": st.text("xyz\n", max_size=4),
            }
        ),
        st.fixed_dictionaries(
            {"command": st.just("insert"), "path": paths, "insert_line": st.integers(-1, 6), "insert_text": lines}
        ),
        st.fixed_dictionaries({"command": st.just("view"), "path": paths}),
        st.fixed_dictionaries({"command": st.just("delete"), "path": paths}),
        st.fixed_dictionaries({"command": st.just("rename"), "old_path": paths, "new_path": paths}),
    ),
    min_size=4,
    max_size=20,
)


def ends_blank(file: Path) -> bool:
    """Whether the last line of a file is blank."""
    text = file.read_bytes().decode() if file.is_file() else ""
    return text == "\n" or text.endswith("\n\n")


@settings(max_examples=examples(60))
@given(steps=steps)
def test_the_answers_are_those_of_the_sdks_own_tool(
    target: Lakebase, tmp_path: Path, steps: list[dict[str, Any]]
) -> None:
    """Word for word, but for how an error is said."""
    folder = tmp_path / str(uuid.uuid4())
    theirs = BetaLocalFilesystemMemoryTool(str(folder))
    with Memory(target) as memory:
        user = memory.for_user(str(uuid.uuid4()))
        mine = memory_tool(user)
        for step in steps:
            if step["command"] == "insert" and ends_blank(folder / step["path"][1:]):
                continue
            answers = []
            for tool in (mine, theirs):
                try:
                    answers.append(tool.call(step))
                except ToolError:
                    answers.append("refused")
            assert answers[0] == answers[1], step
        stored = {record.key: record.value for record in user.items()}
    assert stored == {path.name: path.read_bytes().decode() for path in (folder / "memories").iterdir()}
