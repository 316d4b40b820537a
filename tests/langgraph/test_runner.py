"""From a request to an answer with a graph: streamed and not, on real checkpoints and memories."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import date
from typing import Any, Literal

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent, tools_condition
from langgraph.types import interrupt
from typing_extensions import TypedDict

from lakemem import (
    AsyncMemory,
    ConfigurationError,
    IdentityError,
    InvalidInputError,
    Lakebase,
    Memory,
    StorageUnavailableError,
    degrading,
)
from lakemem.demo.langgraph import ScriptedChatModel
from lakemem.demo.script import INTRODUCTION, LONG_TERM_QUESTION, SHORT_TERM_QUESTION
from lakemem.integrations.langgraph import (
    AsyncLakebaseSaver,
    LakebaseSaver,
    memory_tools,
    recalled,
    recalling_prompt,
    respond,
    stream,
)
from lakemem.recalling import Recall
from tests.answers import SlowEmbedder, asked, check_stream, checked, is_well, running, text_of
from tests.faults.polling import AsyncPoll
from tests.faults.proxy import Proxy
from tests.requests_to_refuse import REFUSED
from tests.support.rows import Rows

Plan = Callable[[list[BaseMessage]], AIMessage]
NO_WORDS: dict[str, Any] = {"name": "weather", "args": {"city": "Oslo"}, "type": "tool_call"}


class PlannedChat(BaseChatModel):
    """Says what `plan` makes of all that it is sent, word by word, and keeps what it was sent."""

    plan: Any
    inputs: list[list[BaseMessage]]
    after_words: Any = None

    @property
    def _llm_type(self) -> str:
        return "planned"

    def bind_tools(self, tools: Any, **kwargs: Any) -> PlannedChat:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.inputs.append(messages)
        message = self.plan(messages)
        message.usage_metadata = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        self.inputs.append(messages)
        message: AIMessage = self.plan(messages)
        words = str(message.text).split(" ")
        for place, word in enumerate(words):
            last = place == len(words) - 1
            chunk = AIMessageChunk(content=word if last else f"{word} ", id=message.id)
            if last:
                chunk.usage_metadata = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
                chunk.tool_calls = message.tool_calls
                chunk.tool_call_chunks = [
                    {"name": call["name"], "args": json.dumps(call["args"]), "id": call["id"], "index": index}
                    for index, call in enumerate(message.tool_calls)
                ]
            yield ChatGenerationChunk(message=chunk)
            if self.after_words is not None:
                await self.after_words()


def said_by_user(messages: Sequence[BaseMessage]) -> list[str]:
    return [str(message.text) for message in messages if isinstance(message, HumanMessage)]


def echo(messages: list[BaseMessage]) -> AIMessage:
    return AIMessage(f"You said: {said_by_user(messages)[-1]}")


def forecast(messages: list[BaseMessage]) -> AIMessage:
    """Call the tool once in each turn, and say what came of it."""
    if isinstance(messages[-1], ToolMessage):
        return AIMessage(f"There is {messages[-1].text}")
    return AIMessage("", tool_calls=[{**NO_WORDS, "id": f"call {len(messages)}"}])  # type: ignore[list-item]


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"sun in {city}"


def chat(plan: Plan = echo, *, checkpointer: Any = None, tools: Sequence[Any] = (weather,), model: Any = None) -> Any:
    """A graph with instructions, and its model."""
    model = model or PlannedChat(plan=plan, inputs=[])

    async def assistant(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        instructions = SystemMessage("Be brief." + recalled(config))
        return {"messages": [await model.ainvoke([instructions, *state["messages"]])]}

    builder = StateGraph(MessagesState)
    builder.add_node("assistant", assistant)
    builder.add_node("tools", ToolNode(list(tools), handle_tool_errors=False))
    builder.add_edge(START, "assistant")
    builder.add_conditional_edges("assistant", tools_condition)
    builder.add_edge("tools", "assistant")
    return builder.compile(checkpointer=checkpointer), model


async def answered(graph: Any, request: Any, *, streamed: bool, **options: Any) -> dict[str, Any]:
    """The answer, made of JSON and valid to MLflow; of a stream that of its last event."""
    # On a machine that stands still for a while, what is recalled is waited for.
    options.setdefault("recall", Recall(deadline=60))
    if not streamed:
        return checked(await respond(graph, request, **options))
    events = [event async for event in stream(graph, request, **options)]
    check_stream(events)
    answer = events[-1]["response"]
    assert events[-1]["custom_outputs"] == answer["custom_outputs"]
    return checked(answer)


async def stored(memory: AsyncMemory, user_id: str = "ada", thread_id: str = "t") -> list[BaseMessage]:
    saver = AsyncLakebaseSaver(memory.for_user(user_id))
    found = await saver.aget_tuple({"configurable": {"thread_id": thread_id}})
    return [] if found is None else list(found.checkpoint["channel_values"].get("messages", []))


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def streamed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
async def memory(async_memory: AsyncMemory) -> AsyncMemory:
    return async_memory


async def test_a_graph_remembers_in_the_thread_and_across_threads_but_not_across_users(
    memory: AsyncMemory, streamed: bool
) -> None:
    tools = memory_tools(memory)
    graph, _ = chat(tools=tools, model=ScriptedChatModel().bind_tools(tools))

    async def ask(request: dict[str, Any]) -> dict[str, Any]:
        return await answered(graph, request, streamed=streamed, memory=memory)

    first = await ask(asked(INTRODUCTION, thread_id=None))
    assert "I have noted: preferred_workspace, answer_style, name" in text_of(first)
    kinds = [item["type"] for item in first["output"]]
    assert kinds == [*["function_call"] * 3, *["function_call_output"] * 3, "message"]
    thread_id = first["custom_outputs"]["thread_id"]
    assert first["custom_outputs"] == {"thread_id": thread_id}

    second = await ask(asked(SHORT_TERM_QUESTION, thread_id))
    assert second["custom_outputs"] == {"thread_id": thread_id}
    assert text_of(second) == f'You began with: "{INTRODUCTION}"'
    assert "analytics-eu" in text_of(await ask(asked(LONG_TERM_QUESTION, None)))

    bob = await ask(asked(SHORT_TERM_QUESTION, thread_id, user_id="bob"))
    assert text_of(bob) == f'You began with: "{SHORT_TERM_QUESTION}"'
    assert text_of(await ask(asked(LONG_TERM_QUESTION, None, user_id="bob"))) == "I know nothing about you yet."


async def test_the_checkpoints_are_where_the_graph_says(memory: AsyncMemory, target: Lakebase, streamed: bool) -> None:
    """A checkpointer of the graph's own stays; one that says there is none, too."""
    with Memory(target) as sync_memory:
        for checkpointer, seen in [
            (None, 3),
            (AsyncLakebaseSaver(memory), 3),
            (AsyncLakebaseSaver(memory.for_user("ada")), 3),
            (LakebaseSaver(sync_memory), 3),
            (InMemorySaver(), 3),
            (False, 1),
        ]:
            graph, model = chat(checkpointer=checkpointer)
            for text in ("One", "Two"):
                await answered(graph, asked(text, f"{checkpointer}"), streamed=streamed, memory=memory)
            assert len(model.inputs[-1]) == 1 + seen, checkpointer
            assert graph.checkpointer is checkpointer


async def test_a_request_of_mlflow_is_answered_as_a_dict_is(memory: AsyncMemory, streamed: bool) -> None:
    responses = pytest.importorskip("mlflow.types.responses", exc_type=ImportError)
    request = responses.ResponsesAgentRequest(
        input=[{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}],
        context={"conversation_id": "monday", "user_id": "ada"},
    )
    graph, _ = chat()
    answer = await answered(graph, request, streamed=streamed, memory=memory)
    assert text_of(answer) == "You said: Hello"
    assert answer["custom_outputs"] == {"thread_id": "monday"}
    assert len(await stored(memory, thread_id="monday")) == 2


async def test_a_deployed_app_answers_nobody_whose_token_is_not_verified(
    memory: AsyncMemory, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    monkeypatch.setenv("DATABRICKS_APP_NAME", "assistant")
    graph, model = chat()
    headers = {"X-Forwarded-Access-Token": "token of ada"}
    with pytest.raises(IdentityError):
        await answered(graph, asked("Hello"), streamed=streamed, memory=memory, headers=headers)
    assert model.inputs == []
    request = asked("Hello", user_id="eve")
    await answered(graph, request, streamed=streamed, memory=memory, headers=headers, identify=lambda token: "ada")
    assert len(await stored(memory)) == 2
    assert await memory.for_user("eve").threads() == []


async def test_a_request_that_cannot_be_answered_is_refused_before_anything_runs(memory: AsyncMemory) -> None:
    graph, model = chat()
    for request, reason in REFUSED.values():
        with pytest.raises(InvalidInputError, match=reason):
            await respond(graph, request, memory=memory)
        with pytest.raises(InvalidInputError, match=reason):
            await anext(stream(graph, request, memory=memory))
    assert model.inputs == []
    assert await memory.for_user("local-user").threads() == []


async def test_a_graph_without_messages_and_a_memory_of_another_kind_are_refused(
    memory: AsyncMemory, target: Lakebase
) -> None:
    class Numbers(TypedDict):
        number: int

    builder = StateGraph(Numbers).add_node("node", lambda state: {"number": 1}).add_edge(START, "node")
    with pytest.raises(ConfigurationError, match="no messages"):
        await respond(builder.compile(), asked("Hello"), memory=memory)
    graph, _ = chat()
    for wrong in (Memory(target), memory.for_scope("team"), None):
        with pytest.raises(ConfigurationError, match="a request is answered"):
            await respond(graph, asked("Hello"), memory=wrong)  # type: ignore[arg-type]


async def test_what_a_client_says_again_is_not_stored_again(memory: AsyncMemory, streamed: bool) -> None:
    graph, _ = chat(forecast)
    shown: list[dict[str, Any]] = []
    for turn in range(3):
        shown.append({"role": "user", "content": f"And in {turn}?"})
        answer = await answered(graph, asked(shown), streamed=streamed, memory=memory)
        shown += [item for item in answer["output"] if item["type"] == "message"]
    messages = await stored(memory)
    assert said_by_user(messages) == [f"And in {turn}?" for turn in range(3)]
    assert len(messages) == 3 * 4

    new = [{"role": "user", "content": "And now?"}, {"role": "user", "content": "Well?"}]
    await answered(graph, asked([*shown[2:], *new]), streamed=streamed, memory=memory)
    assert said_by_user(await stored(memory))[3:] == ["And now?", "Well?"]
    for text in ("Well?", "Well?"):
        await answered(graph, asked(text), streamed=streamed, memory=memory)
    assert said_by_user(await stored(memory))[-3:] == ["Well?"] * 3


# Recall


async def test_memories_that_fit_are_in_the_instructions_and_nowhere_in_the_database(
    memory: AsyncMemory, target: Lakebase, streamed: bool
) -> None:
    await memory.for_user("ada").save("tea", "Ada takes her tea without sugar.")
    await memory.for_user("bob").save("tea", "Bob takes his tea with honey.")
    graph, model = chat()
    await answered(graph, asked("How do I take my tea?"), streamed=streamed, memory=memory)
    [instructions, _] = model.inputs[-1]
    assert instructions.text.startswith("Be brief.\n\nWhat is remembered")
    assert '"value": "Ada takes her tea without sugar."' in instructions.text
    assert "honey" not in instructions.text

    rows = Rows(target, "user:ada")
    for table in ("checkpoints", "checkpoint_blobs", "checkpoint_segments", "checkpoint_writes", "thread_items"):
        found = [str(row) for (row,) in rows(f"SELECT t::text FROM lakemem.{table} AS t")]  # type: ignore[arg-type]
        assert found or table not in ("checkpoints", "checkpoint_writes")
        assert b"without sugar".hex() not in "".join(found), table
        assert "without sugar" not in "".join(found), table

    await answered(graph, asked("How do I take my tea?"), streamed=streamed, memory=memory, recall=False)
    assert model.inputs[-1][0].text == "Be brief."
    await answered(graph, asked("tea"), streamed=streamed, memory=memory, recall=Recall(namespace=("other",)))
    assert model.inputs[-1][0].text == "Be brief."


async def test_prompts_and_nodes_find_what_is_recalled(memory: AsyncMemory, streamed: bool) -> None:
    await memory.for_user("ada").save("tea", "Ada likes tea.")
    model = PlannedChat(plan=echo, inputs=[])
    agent = create_react_agent(model, [weather], prompt=recalling_prompt("Be brief."))
    await answered(agent, asked("tea?"), streamed=streamed, memory=memory)
    assert "Ada likes tea." in model.inputs[-1][0].text
    assert [message.type for message in await stored(memory)] == ["human", "ai"]

    def node(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(recalled())]}

    graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()
    answer = await answered(graph, asked("tea?", "2"), streamed=streamed, memory=memory)
    assert "Ada likes tea." in text_of(answer)
    state = await graph.ainvoke({"messages": [("user", "tea?")]})
    assert state["messages"][-1].text == ""


# Streams


async def test_a_stream_says_what_the_whole_answer_says(memory: AsyncMemory) -> None:
    answers = []
    for thread_id, streamed in [("1", False), ("2", True)]:
        graph, _ = chat(forecast)
        answer = await answered(graph, asked("Well?", thread_id), streamed=streamed, memory=memory)
        assert answer["usage"]["input_tokens"] == 6  # of two calls
        assert answer["usage"]["total_tokens"] == 10
        answers.append([{name: part for name, part in item.items() if name != "id"} for item in answer["output"]])
    assert answers[0] == answers[1]
    assert [item["type"] for item in answers[0]] == ["function_call", "function_call_output", "message"]
    assert answers[0][0]["arguments"] == '{"city": "Oslo"}'


async def test_a_message_that_a_node_makes_of_what_its_model_said_is_streamed_once(memory: AsyncMemory) -> None:
    model = PlannedChat(plan=echo, inputs=[])

    async def node(state: MessagesState) -> dict[str, Any]:
        said = await model.ainvoke(state["messages"])
        return {"messages": [AIMessage(said.text)]}

    graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()
    events = [event async for event in stream(graph, asked("one two"), memory=memory)]
    check_stream(events)
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert deltas == ["You ", "said: ", "one ", "two"]


@pytest.mark.parametrize("how", ["closed", "cancelled", "closed at once"])
async def test_a_stream_that_is_left_early_leaves_no_run_behind(
    memory: AsyncMemory, how: Literal["closed", "cancelled", "closed at once"]
) -> None:
    graph, model = chat(forecast)
    reached = asyncio.Event()

    async def wait_for_ever() -> None:
        if isinstance(model.inputs[-1][-1], ToolMessage):
            reached.set()
            await asyncio.Event().wait()

    model.after_words = wait_for_ever
    before = running()

    async def read() -> None:
        async with aclosing(stream(graph, asked("How is it?"), memory=memory)) as events:
            async for event in events:
                if how == "closed at once" or (how == "closed" and event["type"] == "response.output_text.delta"):
                    return

    reading = asyncio.create_task(read())
    if how == "cancelled":
        await asyncio.wait_for(reached.wait(), 10)
        reading.cancel()
    await asyncio.wait([reading], timeout=10)
    assert reading.done()

    async def nothing_runs() -> bool:
        return running() <= before

    # LangGraph finishes a write that is on its way.
    await AsyncPoll.until(nothing_runs)
    # The steps that were over are stored.
    kinds = [message.type for message in await stored(memory)]
    assert kinds == ([] if how == "closed at once" else ["human", "ai", "tool"])
    model.after_words = None
    assert text_of(await answered(graph, asked("Again?"), streamed=True, memory=memory)) == "There is sun in Oslo"


@pytest.mark.parametrize("where", ["model", "tool"])
async def test_a_failure_is_the_last_event_and_the_thread_stays_of_use(
    memory: AsyncMemory, streamed: bool, where: str
) -> None:
    @tool
    def weather(city: str) -> str:
        """Tell the weather."""
        raise RuntimeError("the secret of the tool")

    def plan(messages: list[BaseMessage]) -> AIMessage:
        if said_by_user(messages)[-1] == "Again":
            calls = {call["id"] for message in messages for call in getattr(message, "tool_calls", [])}
            results = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
            return AIMessage(f"{len(calls)} calls, {len(calls - results)} without a result")
        if where == "model":
            raise RuntimeError("the secret of the model")
        return forecast(messages)

    graph, _ = chat(plan, tools=[weather])
    events: list[dict[str, Any]] = []

    async def read() -> None:
        async for event in stream(graph, asked("Try"), memory=memory):
            events.append(event)  # noqa: PERF401 - it does not come to the end

    with pytest.raises(RuntimeError, match=f"the secret of the {where}"):
        await (read() if streamed else respond(graph, asked("Try"), memory=memory))
    if streamed:
        assert events[-1]["type"] == "response.failed"
        assert events[-1]["custom_outputs"] == {"thread_id": "t"}
        assert events[-1]["response"]["error"]["message"] == "the agent failed (RuntimeError)"
        assert "secret" not in json.dumps(events)
    again = await answered(graph, asked("Again"), streamed=streamed, memory=memory)
    assert text_of(again) == ("0 calls, 0 without a result" if where == "model" else "1 calls, 0 without a result")
    assert said_by_user(await stored(memory)) == ["Try", "Again"]


async def test_two_requests_on_one_thread_at_once_are_both_answered(memory: AsyncMemory, streamed: bool) -> None:
    graph, _ = chat()
    texts = [f"question {number}" for number in range(8)]
    answers = await asyncio.gather(
        *(answered(graph, asked(text, "busy"), streamed=streamed, memory=memory) for text in texts)
    )
    assert [text_of(answer) for answer in answers] == [f"You said: {text}" for text in texts]
    # LangGraph goes on from the newest checkpoint; what the others said is in the history alone.
    config: RunnableConfig = {"configurable": {"thread_id": "busy", "user_id": "ada"}}
    history = [found async for found in AsyncLakebaseSaver(memory).alist(config)]
    said = {text for found in history for text in said_by_user(found.checkpoint["channel_values"].get("messages", []))}
    assert said == set(texts)
    after = await answered(graph, asked("After", "busy"), streamed=streamed, memory=memory)
    assert text_of(after) == "You said: After"


# Interrupts


def payment() -> Any:
    """A graph whose tool asks before it pays."""

    @tool
    def weather(city: str) -> str:
        """Pay."""
        decision = interrupt({"pay": city, "by": date(2030, 1, 2)})
        return f"payment {decision}"

    return chat(forecast, tools=[weather])[0]


async def test_a_graph_asks_and_goes_on_with_the_answer(memory: AsyncMemory, streamed: bool) -> None:
    await memory.for_user("ada").save("pay", "Ada pays at once.")
    waits = await answered(payment(), asked("Pay"), streamed=streamed, memory=memory)
    [question] = waits["custom_outputs"]["interrupts"]
    assert question["value"] == {"pay": "Oslo", "by": "2030-01-02"}
    assert [item["type"] for item in waits["output"]] == ["function_call"]

    with pytest.raises(InvalidInputError, match="does not wait"):
        await answered(payment(), asked([], user_id="bob", resume="approved"), streamed=streamed, memory=memory)
    # Another process has a graph of its own. What a client sends along is not said again.
    for resume in ("approved", {question["id"]: "approved"}):
        request = asked([{"role": "user", "content": "Pay"}], resume=resume)
        if resume == "approved":
            done = await answered(payment(), request, streamed=streamed, memory=memory)
            assert text_of(done) == "There is payment approved"
            assert done["custom_outputs"] == {"thread_id": "t"}
            assert [item["type"] for item in done["output"]] == ["function_call_output", "message"]
        else:
            with pytest.raises(InvalidInputError, match="does not wait"):
                await answered(payment(), request, streamed=streamed, memory=memory)
    assert said_by_user(await stored(memory)) == ["Pay"]


async def test_who_says_something_else_has_dropped_the_question(memory: AsyncMemory, streamed: bool) -> None:
    await answered(payment(), asked("Pay"), streamed=streamed, memory=memory)
    graph, model = chat(lambda messages: AIMessage("As you like."))
    answer = await answered(graph, asked("No."), streamed=streamed, memory=memory)
    assert text_of(answer) == "As you like."
    assert answer["custom_outputs"] == {"thread_id": "t"}
    [_, _, call, result, _] = model.inputs[-1]
    assert result.tool_call_id == call.tool_calls[0]["id"]
    assert "not carried out" in result.text
    with pytest.raises(InvalidInputError, match="does not wait"):
        await answered(payment(), asked([], resume="approved"), streamed=streamed, memory=memory)


async def test_a_graph_stops_at_a_breakpoint_and_goes_on(memory: AsyncMemory, streamed: bool) -> None:
    builder = StateGraph(MessagesState)
    builder.add_node("one", lambda state: {"messages": [AIMessage("one")]})
    builder.add_node("two", lambda state: {"messages": [AIMessage("two")]})
    builder.add_edge(START, "one")
    builder.add_edge("one", "two")
    graph = builder.compile(interrupt_before=["two"])
    stopped = await answered(graph, asked("Go"), streamed=streamed, memory=memory)
    assert stopped["custom_outputs"] == {"thread_id": "t", "interrupts": []}
    assert text_of(stopped) == "one"
    done = await answered(graph, asked([], resume=True), streamed=streamed, memory=memory)
    assert text_of(done) == "two"
    assert len(done["output"]) == 1
    assert done["custom_outputs"] == {"thread_id": "t"}


# Without memory


async def test_the_graph_answers_while_memory_is_down_and_what_was_said_is_stored_later(
    target: Lakebase, streamed: bool
) -> None:
    with Proxy(target) as proxy:
        down = degrading(AsyncMemory(proxy.target), deadline=1.0, cooldown=0.05)
        async with down as memory:
            graph, _ = chat()
            first = await answered(graph, asked("One"), streamed=streamed, memory=memory)
            assert first["custom_outputs"] == {"thread_id": "t"}
            history = [{"role": "user", "content": "One"}, *first["output"]]

            proxy.refuse()
            began = time.perf_counter()
            request = asked([*history, {"role": "user", "content": "Two"}])
            second = await answered(graph, request, streamed=streamed, memory=memory)
            assert time.perf_counter() - began < 5
            assert text_of(second) == "You said: Two"
            assert second["custom_outputs"] == {"thread_id": "t", "memory": "degraded"}
            with pytest.raises(StorageUnavailableError, match="memory is down"):
                await answered(graph, asked([], resume=True), streamed=streamed, memory=memory)

            proxy.restore()
            await AsyncPoll.until(lambda: is_well(memory))
            assert said_by_user(await stored(memory)) == ["Two"]
            third = await answered(graph, asked("Three"), streamed=streamed, memory=memory)
            assert third["custom_outputs"] == {"thread_id": "t"}


async def test_without_degrading_the_outage_is_an_error(target: Lakebase, streamed: bool) -> None:
    with Proxy(target) as proxy:
        async with AsyncMemory(proxy.target, timeout=1.0) as memory:
            proxy.refuse()
            graph, model = chat()
            with pytest.raises(StorageUnavailableError):
                await answered(graph, asked("Hello"), streamed=streamed, memory=memory)
            assert model.inputs == []


async def test_memories_that_come_late_are_not_waited_for(target: Lakebase, streamed: bool) -> None:
    embedder = SlowEmbedder()
    async with AsyncMemory(target, embedder=embedder) as memory:
        await memory.for_user("ada").save("hello", "Ada says hello.")
        graph, model = chat()
        recall = Recall(deadline=0.1)
        with embedder.held():
            async with asyncio.timeout(8):
                answer = await answered(graph, asked("Hello"), streamed=streamed, memory=memory, recall=recall)
        assert answer["custom_outputs"] == {"thread_id": "t"}
        assert model.inputs[-1][0].text == "Be brief."
        assert len(await stored(memory)) == 2
