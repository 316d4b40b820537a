"""LangGraph: from a request to an answer, with the checkpoints and the memories of its user."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from lakemem._async.memory import AsyncMemory
from lakemem._async.scoped import AsyncScopedMemory
from lakemem.answering import Answering, answering
from lakemem.context import Identify
from lakemem.errors import ConfigurationError, InvalidInputError, MissingExtraError, StorageUnavailableError
from lakemem.recalling import Context, Recall
from lakemem.responses import AgentRequest, Event, Item, ResponseEvents, last_question, new_id, read_request

try:
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, SystemMessage, ToolMessage
    from langchain_core.runnables import RunnableConfig
    from langgraph.config import get_config
    from langgraph.types import Command, Interrupt, StateSnapshot

    from lakemem.integrations.langgraph_messages import items_of, messages_of, unanswered_calls, usage_of_messages
    from lakemem.integrations.langgraph_savers import AsyncLakebaseSaver
except ImportError as error:
    raise MissingExtraError("langgraph", "lakemem.integrations.langgraph_runner") from error

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

Graph: TypeAlias = "CompiledStateGraph[Any, Any, Any, Any]"
Happening: TypeAlias = tuple[Literal["values", "updates", "messages"], Any]

RECALLED = "lakemem_recalled"
"""Where the config of a run has what is recalled."""

INTERRUPT = "__interrupt__"
"""What LangGraph's streams call an interrupt."""

NOT_CARRIED_OUT = "This call was not carried out: it was interrupted."


def recalled(config: RunnableConfig | None = None) -> str:
    """Return the memories of this run for the model's instructions; empty where there are none.

    Call it in a node, in a prompt function of ``create_react_agent``, or in a middleware of ``create_agent``::

        async def assistant(state: MessagesState, config: RunnableConfig):
            instructions = SystemMessage(INSTRUCTIONS + recalled(config))
            return {"messages": [await model.ainvoke([instructions, *state["messages"]])]}

    What is recalled is in the config of the run alone: no checkpoint has it.

    Args:
        config: of the node; by default that of the code that runs now.
    """
    if config is None:
        config = get_config()
    found = config.get("configurable", {}).get(RECALLED)
    return f"\n\n{found.text}" if isinstance(found, Context) and found.text else ""


def recalling_prompt(instructions: str) -> Callable[[Mapping[str, Any], RunnableConfig], list[BaseMessage]]:
    """Return a ``prompt`` for ``create_react_agent``: instructions with what is recalled, and then the messages."""

    def prompt(state: Mapping[str, Any], config: RunnableConfig) -> list[BaseMessage]:
        return [SystemMessage(instructions + recalled(config)), *state["messages"]]

    return prompt


async def respond(
    graph: Graph,
    request: Any,
    *,
    memory: AsyncMemory | AsyncScopedMemory,
    headers: Mapping[str, str] | None = None,
    identify: Identify | None = None,
    recall: Recall | bool = True,
    config: RunnableConfig | None = None,
) -> dict[str, Any]:
    """Answer a request with a graph that has the thread of the request and the memories of its user.

    Args:
        graph: compiled, with ``messages`` in its state. One without a checkpointer gets an ``AsyncLakebaseSaver`` on
            `memory` for this run; one that was compiled with ``checkpointer=False`` has no history.
        request: the parsed body: a dict, or an MLflow ``ResponsesAgentRequest``. ``custom_inputs.resume`` answers
            what an ``interrupt`` asked; the input then counts for nothing.
        memory: open; with ``memory.for_user(...)`` the user is that one, who has to be verified then.
        headers: the HTTP headers of the request.
        identify: see :func:`~lakemem.resolve_user_id`; it may block.
        recall: what to recall for :func:`recalled`; False for nothing.
        config: of the run, such as a recursion limit or callbacks.

    Returns:
        The answer in the shape of the Responses API, with ``custom_outputs``: the ``thread_id`` to send along with
        the next request, ``memory: "degraded"`` for an answer without memory, and ``interrupts``, a list of what the
        graph asks (``id``, ``value``), while it waits; the list is empty at a breakpoint.

    Raises:
        InvalidInputError: the request is not one that can be answered. Nothing ran, and nothing was written.
        IdentityError: deployed, and no verified user.
        ConfigurationError: the graph's state has no messages.
        StorageError: memory is down, and is not a :func:`~lakemem.degrading` one.
    """
    run = await prepared(graph, read_request(request), memory, headers, identify, recall, config)
    progress = Progress(ResponseEvents(), run.before)
    async for happening in run.happenings("values", "updates"):
        progress.of(happening)
    answer: dict[str, Any] = progress.completed(run.answering)["response"]
    return answer


def stream(
    graph: Graph,
    request: Any,
    *,
    memory: AsyncMemory | AsyncScopedMemory,
    headers: Mapping[str, str] | None = None,
    identify: Identify | None = None,
    recall: Recall | bool = True,
    config: RunnableConfig | None = None,
) -> AsyncGenerator[Event, None]:
    """Answer a request as :func:`respond` does, and give the events of the Responses API as they come.

    The last one is ``response.completed`` with the whole answer, its usage and its ``custom_outputs``. Where the
    graph fails it is ``response.failed``, and the error is raised after it. To close the stream early, or to cancel
    who reads it, cancels the graph; its checkpoints have each step that was over.

    The words of every model that the graph calls are streamed. Tag one whose words are not the agent's own with
    LangGraph's ``nostream``.

    Raises:
        InvalidInputError: at the call itself, if the request cannot be answered; all else at the first event.
    """
    asked = read_request(request)
    return events_of(lambda: prepared(graph, asked, memory, headers, identify, recall, config))


async def events_of(prepare: Callable[[], Awaitable[Prepared]]) -> AsyncGenerator[Event, None]:
    """Run a graph, and give the events of one answer."""
    run = await prepare()
    events = ResponseEvents()
    progress = Progress(events, run.before, run.answered)
    yield events.created()
    for event in [event for item in run.found for event in events.item(item)]:
        yield event
    try:
        async with aclosing(run.happenings("values", "updates", "messages")) as happenings:
            async for happening in happenings:
                for event in progress.of(happening):
                    yield event
    except Exception as failure:
        yield events.failed(failure, run.answering.custom_outputs())
        raise
    yield progress.completed(run.answering)


@dataclass(frozen=True, slots=True)
class Placed:
    """A graph with its checkpointer, and the config and the state of the thread that a request belongs to."""

    answering: Answering
    graph: Graph
    config: RunnableConfig
    snapshot: StateSnapshot | None

    @property
    def messages(self) -> list[BaseMessage]:
        return [] if self.snapshot is None else list(self.snapshot.values.get("messages", []))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run of a request: the graph with its input and config, and the messages that are there.

    Attributes:
        before: the messages that are there.
        answered: those of them that belong to the answer, from an earlier attempt at it.
        found: the items of the answer that are there, and that no client has.
        is_over: whether there is nothing to run any more.
        interrupts: what the graph waits for, where that is known.
        durability: when a checkpoint has to be stored.
    """

    answering: Answering
    graph: Graph
    input: Any
    config: RunnableConfig
    before: Sequence[BaseMessage]
    answered: Sequence[BaseMessage] = ()
    found: Sequence[Item] = ()
    is_over: bool = False
    interrupts: Sequence[Interrupt] | None = None
    durability: Literal["sync", "async", "exit"] | None = None

    async def happenings(self, *modes: Literal["values", "updates", "messages"]) -> AsyncGenerator[Happening, None]:
        if self.is_over:
            if self.interrupts is not None:
                yield "updates", {INTERRUPT: self.interrupts}
            return
        streamed = self.graph.astream(self.input, self.config, stream_mode=list(modes), durability=self.durability)
        async with aclosing(cast("AsyncGenerator[Happening, None]", streamed)) as happenings:
            async for happening in happenings:
                yield happening


async def placed(
    graph: Graph,
    request: AgentRequest,
    memory: AsyncMemory | AsyncScopedMemory,
    headers: Mapping[str, str] | None,
    identify: Identify | None,
    config: RunnableConfig | None,
) -> Placed:
    """Find the thread of a request, and what its graph has come to."""
    if "messages" not in graph.channels:
        raise ConfigurationError("the graph's state has no messages: they are what a request adds to, and the answer")
    asked = await answering(request, memory, headers, identify)
    if graph.checkpointer is None:
        graph = graph.copy({"checkpointer": AsyncLakebaseSaver(asked.user)})
    whose = {"thread_id": asked.context.thread_id, "user_id": asked.context.user_id}
    merged = cast(RunnableConfig, {**(config or {})})
    merged["configurable"] = {**merged.get("configurable", {}), **whose}
    snapshot = None
    if graph.checkpointer:
        snapshot = await graph.aget_state(merged)
        asked.look()
    return Placed(asked, graph, merged, snapshot)


async def prepared(
    graph: Graph,
    request: AgentRequest,
    memory: AsyncMemory | AsyncScopedMemory,
    headers: Mapping[str, str] | None,
    identify: Identify | None,
    recall: Recall | bool,
    config: RunnableConfig | None,
) -> Prepared:
    """Make a run of a request."""
    return await begun(await placed(graph, request, memory, headers, identify, config), recall)


async def begun(place: Placed, recall: Recall | bool, *, name: Callable[[int], str] | None = None) -> Prepared:
    """Make a run that begins with the request.

    Args:
        name: gives the ids of the messages that the request adds.
    """
    asked, before = place.answering, place.messages
    input: Any
    if asked.request.resumes:
        snapshot = place.snapshot
        input = _resumed(asked, bool(snapshot and snapshot.next), snapshot.interrupts if snapshot else ())
        question = question_of(before)
    else:
        new = _new_messages(asked, before, name or (lambda _: new_id("msg")))
        input, before = {"messages": new}, [*before, *new]
        question = last_question(asked.request.items)
    return Prepared(asked, place.graph, input, await recalling(place, question, recall), before)


async def recalling(place: Placed, question: str, recall: Recall | bool) -> RunnableConfig:
    """The config of a run, with what is recalled for a question."""
    found = await place.answering.recall(question, recall)
    return {**place.config, "configurable": {**place.config.get("configurable", {}), RECALLED: found}}


def question_of(messages: Iterable[BaseMessage]) -> str:
    """The user's last words in a conversation."""
    return last_question([item for message in messages for item in items_of(message)])


def _resumed(asked: Answering, waits: bool, interrupts: Sequence[Interrupt]) -> Command[Any] | None:
    """The input that answers what the graph waits for; at a breakpoint it waits for no more than to go on."""
    if not waits and asked.is_degraded:
        raise StorageUnavailableError("memory is down, and with it what the graph waits for: resume when it is back")
    if not waits:
        raise InvalidInputError("custom_inputs.resume answers nothing: this thread does not wait for an answer")
    return Command(resume=asked.request.resume) if interrupts else None


def _new_messages(asked: Answering, before: Sequence[BaseMessage], name: Callable[[int], str]) -> list[BaseMessage]:
    """The messages that the thread does not have. Calls that a run left without a result get one first."""
    new = messages_of(asked.new_beside([item for message in before for item in items_of(message)]))
    answered = {message.tool_call_id for message in new if isinstance(message, ToolMessage)}
    left = [str(call["id"]) for call in unanswered_calls(before) if call["id"] not in answered]
    results = [ToolMessage(NOT_CARRIED_OUT, tool_call_id=call_id, status="error") for call_id in left]
    return [message.model_copy(update={"id": name(place)}) for place, message in enumerate((*results, *new))]


class Progress:
    """From what a graph tells of its run to the events of one answer."""

    def __init__(
        self, events: ResponseEvents, before: Iterable[BaseMessage], answered: Iterable[BaseMessage] = ()
    ) -> None:
        self._events = events
        self._known = {_name(place, message) for place, message in enumerate(before)}
        self._new = list(answered)
        self._interrupts: list[dict[str, Any]] | None = None

    def of(self, happening: Happening) -> list[Event]:
        mode, told = happening
        if mode == "messages":
            chunk, _ = told
            text = str(chunk.text) if isinstance(chunk, AIMessageChunk) else ""
            return self._events.delta(chunk.id, text) if text and chunk.id else []
        if mode == "updates":
            if INTERRUPT in told:
                self._interrupts = asked_by(told[INTERRUPT])
            return []
        return [
            event
            for place, message in enumerate(told.get("messages", []))
            if (name := _name(place, message)) not in self._known
            for event in self._added(name, message)
        ]

    def completed(self, answering: Answering) -> Event:
        return self._events.completed(usage_of_messages(self._new), answering.custom_outputs(self._interrupts))

    def _added(self, name: str, message: BaseMessage) -> list[Event]:
        self._known.add(name)
        if not isinstance(message, AIMessage | ToolMessage):
            return []
        self._new.append(message)
        # A node may make a message of its own from what its model has said.
        if isinstance(message, AIMessage) and (streamed := self._events.streamed(str(message.text))):
            message = message.model_copy(update={"id": streamed})
        return [event for item in items_of(message) for event in self._events.item(item)]


def _name(place: int, message: BaseMessage) -> str:
    """What tells a message from others; only `add_messages` sees to it that each has an id."""
    return message.id or f"{place}"


def asked_by(interrupts: Iterable[Interrupt]) -> list[dict[str, Any]]:
    """Interrupts as JSON can say them."""
    return [{"id": each.id, "value": json.loads(json.dumps(each.value, default=str))} for each in interrupts]
