"""The OpenAI Agents SDK: from a request to an answer, with the thread and the memories of its user."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, cast

from lakemem._async.memory import AsyncMemory
from lakemem._async.scoped import AsyncScopedMemory
from lakemem.answering import Answering, answering
from lakemem.context import Identify
from lakemem.errors import MissingExtraError
from lakemem.integrations.openai_session import LakebaseSession
from lakemem.recalling import Context, Recall
from lakemem.responses import (
    AgentRequest,
    Event,
    Item,
    ResponseEvents,
    last_question,
    new_id,
    read_request,
    response,
    usage_of,
)

try:
    from agents import RunConfig, Runner
    from agents.items import HandoffOutputItem, ToolApprovalItem, ToolCallOutputItem
    from agents.models.fake_id import FAKE_RESPONSES_ID
    from agents.run import CallModelData, ModelInputData

    from lakemem.integrations import openai_approvals as approvals
except ImportError as error:
    raise MissingExtraError("openai-agents", "lakemem.integrations.openai_runner") from error

if TYPE_CHECKING:
    from agents import Agent, RunHooks, RunResult, RunResultStreaming, StreamEvent, Usage
    from agents.items import RunItem

_OF_ONE_MODEL_CALL = {f"response.{part}" for part in ("created", "in_progress", "queued")}
_END_OF_A_MODEL_CALL = {f"response.{part}" for part in ("completed", "incomplete", "failed")}
_ID_PREFIXES = {"message": "msg", "function_call": "fc", "reasoning": "rs"}


async def respond(
    agent: Agent[Any],
    request: Any,
    *,
    memory: AsyncMemory | AsyncScopedMemory,
    headers: Mapping[str, str] | None = None,
    identify: Identify | None = None,
    recall: Recall | bool = True,
    run_config: RunConfig | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Answer a request with an agent that has the thread of the request and the memories of its user.

    The thread is the run's session. Memories that fit the user's last message stand at the end of the instructions
    of each agent of this run, those that are handed over to included; they are not stored, and no agent is changed.
    The run's context is the :class:`~lakemem.RequestContext`, so that ``memory_tools(memory)`` work.

    Args:
        agent: whom to ask.
        request: the parsed body: a dict, or an MLflow ``ResponsesAgentRequest``.
        memory: open; with ``memory.for_user(...)`` the user is that one, who has to be verified then.
        headers: the HTTP headers of the request.
        identify: see :func:`~lakemem.resolve_user_id`; it may block.
        recall: what to recall; False for nothing.
        run_config, options: further arguments of ``Runner.run``, such as ``max_turns``.

    Returns:
        The answer in the shape of the Responses API, with ``custom_outputs``: the ``thread_id`` to send along with
        the next request, ``memory: "degraded"`` for an answer without memory, and the ``interrupts`` that a tool's
        approval waits for.

    Raises:
        InvalidInputError: the request is not one that can be answered. Nothing ran, and nothing was written.
        IdentityError: deployed, and no verified user.
        StorageError: memory is down, and is not a :func:`~lakemem.degrading` one.
    """
    run = await prepared(agent, read_request(request), memory, headers, identify, recall, run_config, options)
    result = await Runner.run(run.agent, **run.arguments)
    events = ResponseEvents()
    return response(
        events.id,
        events.created_at,
        _output(result.new_items),
        status="completed",
        usage=_usage(result.context_wrapper.usage),
        custom_outputs=await run.custom_outputs(result),
    )


def stream(
    agent: Agent[Any],
    request: Any,
    *,
    memory: AsyncMemory | AsyncScopedMemory,
    headers: Mapping[str, str] | None = None,
    identify: Identify | None = None,
    recall: Recall | bool = True,
    run_config: RunConfig | None = None,
    **options: Any,
) -> AsyncGenerator[Event, None]:
    """Answer a request as :func:`respond` does, and give the events of the Responses API as they come.

    The last one is ``response.completed`` with the whole answer, its usage and its ``custom_outputs``. Where the run
    fails it is ``response.failed``, and the error is raised after it. To close the stream early, or to cancel who
    reads it, cancels the run: the thread then has what the user said, and each turn of the agent's that was over.

    Raises:
        InvalidInputError: at the call itself, if the request cannot be answered; all else at the first event.
    """
    asked = read_request(request)
    return events_of(lambda: prepared(agent, asked, memory, headers, identify, recall, run_config, options))


async def events_of(prepare: Callable[[], Awaitable[Prepared]]) -> AsyncGenerator[Event, None]:
    """Run an agent, and give the events of one answer."""
    run = await prepare()
    events = ResponseEvents()
    translation = Translation(events)
    yield events.created()
    for event in [event for item in run.found for event in events.item(item)]:
        yield event
    if run.is_over:
        yield events.completed(None, run.answering.custom_outputs())
        return
    hooks: dict[str, Any] = {} if run.hooks is None else {"hooks": run.hooks(translation)}
    result = Runner.run_streamed(run.agent, **run.arguments, **hooks)
    try:
        async with aclosing(cast("AsyncGenerator[StreamEvent, None]", result.stream_events())) as happenings:
            try:
                async for happening in happenings:
                    for event in translation.of(happening):
                        yield event
            finally:
                if not result.is_complete:
                    result.cancel()
    except Exception as failure:
        yield events.failed(failure, run.answering.custom_outputs())
        raise
    except BaseException:
        # Closed or cancelled. What the SDK has cancelled is over when its events are read to their end.
        with suppress(Exception):
            async for _ in result.stream_events():
                pass
        raise
    yield events.completed(_usage(result.context_wrapper.usage), await run.custom_outputs(result))


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """A run of a request: the agent with the arguments for the SDK's Runner, whom it is for, and the user's words.

    Attributes:
        found: items of the answer that an earlier attempt has made, and that no client has.
        is_over: whether there is nothing to run any more.
        hooks: what to tell of the run while it goes on.
    """

    agent: Agent[Any]
    answering: Answering
    arguments: dict[str, Any]
    question: str
    found: Sequence[Item] = ()
    is_over: bool = False
    hooks: Callable[[Translation], RunHooks[Any]] | None = None

    async def custom_outputs(self, result: RunResult | RunResultStreaming) -> dict[str, Any]:
        """What goes to the client beside the answer. A run that waits for approvals is stored."""
        waits = await approvals.keep(self.answering, result, self.question) if result.interruptions else None
        return self.answering.custom_outputs(waits)


async def prepared(
    agent: Agent[Any],
    request: AgentRequest,
    memory: AsyncMemory | AsyncScopedMemory,
    headers: Mapping[str, str] | None,
    identify: Identify | None,
    recall: Recall | bool,
    run_config: RunConfig | None,
    options: dict[str, Any],
) -> Prepared:
    """Make a run of a request."""
    asked = await answering(request, memory, headers, identify)
    input: Any
    if request.resumes:
        waiting = await approvals.find(asked)
        question = waiting.question
        recalled = await asked.recall(question, recall)
        # The last step before the run: what is resumed is used up.
        input = await approvals.resume(asked, agent, waiting)
    else:
        question = last_question(request.items)
        input, recalled = await asyncio.gather(
            asked.new_items(asked.user.thread(asked.context.thread_id)), asked.recall(question, recall)
        )
    return Prepared(agent, asked, {**arguments_of(asked, input, recalled, run_config), **options}, question)


def arguments_of(asked: Answering, input: Any, recalled: Context, run_config: RunConfig | None) -> dict[str, Any]:
    """What the SDK's Runner is given to answer a request."""
    return {
        "input": input,
        "context": asked.context,
        "session": LakebaseSession(asked.user.thread(asked.context.thread_id)),
        "run_config": _with_memories(run_config or RunConfig(), recalled, asked),
    }


def _with_memories(run_config: RunConfig, recalled: Context, answering: Answering) -> RunConfig:
    """The caller's config with memories at the end of the instructions, and the SDK's traces grouped by thread."""
    theirs = run_config.call_model_input_filter

    async def filtered(data: CallModelData[Any]) -> ModelInputData:
        answering.look()  # The session was just read.
        asked = data.model_data if theirs is None else theirs(data)
        model_input = await asked if inspect.isawaitable(asked) else asked
        return ModelInputData(input=model_input.input, instructions=recalled.after(model_input.instructions))

    group_id = run_config.group_id or answering.context.thread_id
    return dataclasses.replace(run_config, call_model_input_filter=filtered, group_id=group_id)


class Translation:
    """From what the SDK tells of a run to the events of one answer.

    A run may call the model many times, and each call counts its items from 0.
    """

    def __init__(self, events: ResponseEvents) -> None:
        self._events = events
        self._first_place: int | None = None
        self._ids: dict[int, str] = {}
        self._calls: dict[str, asyncio.Event] = {}
        self._results: set[str] = set()

    async def call_is_told(self, call_id: str) -> None:
        """Wait until the client has been told of a call."""
        await self._calls.setdefault(call_id, asyncio.Event()).wait()

    def result(self, item: Item) -> list[Event]:
        """The events of a tool's result, which is told of once."""
        if item.get("call_id") in self._results:
            return []
        self._results.add(str(item.get("call_id")))
        return self._events.item(item)

    def of(self, happening: StreamEvent) -> list[Event]:
        if happening.type == "raw_response_event":
            return self._of_model(happening.data.model_dump(mode="json", exclude_unset=True))
        if happening.type == "run_item_stream_event" and _answers_a_call(happening.item):
            return self.result(_item(happening.item))
        return []

    def _tell(self, item: Item) -> None:
        if item.get("type") == "function_call":
            self._calls.setdefault(str(item.get("call_id")), asyncio.Event()).set()

    def _of_model(self, event: Event) -> list[Event]:
        kind = event.pop("type")
        event.pop("sequence_number", None)
        if self._first_place is None:
            self._first_place = self._events.next_place
        if kind in _OF_ONE_MODEL_CALL:
            return []
        if kind in _END_OF_A_MODEL_CALL:
            return self._end_of_call(event["response"].get("output") or [], self._first_place)
        if "output_index" in event:
            number = event["output_index"]
            place = self._first_place + number
            self._events.take(place)
            event["output_index"] = place
            if event.get("item_id") == FAKE_RESPONSES_ID:
                event["item_id"] = self._id(number, event)
            if isinstance(item := event.get("item"), dict):
                event["item"] = self._named(item, number)
                if kind == "response.output_item.done":
                    self._tell(event["item"])
                    return [self._events.done(event["item"], place)]
        return [self._events.event(kind, **event)]

    def _end_of_call(self, output: list[Item], first_place: int) -> list[Event]:
        """Give what the model did not stream."""
        for item in output:
            self._tell(item)
        events = [
            event
            for number, item in enumerate(output)
            if not self._events.is_done(place := first_place + number)
            for event in self._events.item(self._named(item, number), place=place)
        ]
        self._first_place = None
        self._ids.clear()
        return events

    def _named(self, item: Item, number: int) -> Item:
        return {**item, "id": self._id(number, item)} if item.get("id") == FAKE_RESPONSES_ID else item

    def _id(self, number: int, item: Item) -> str:
        return self._ids.setdefault(number, new_id(_ID_PREFIXES.get(item.get("type", ""), "item")))


def _answers_a_call(item: RunItem) -> bool:
    return isinstance(item, ToolCallOutputItem | HandoffOutputItem)


def _output(items: list[RunItem]) -> list[Item]:
    # A tool that waits for its approval is there as the call, too.
    return [_item(item) for item in items if not isinstance(item, ToolApprovalItem)]


def _item(item: RunItem) -> Item:
    """An item as JSON has it. A model that is not OpenAI's own gives all its items one and the same id."""
    plain = cast("Item", dict(item.to_input_item()))
    if plain.get("id") == FAKE_RESPONSES_ID:
        plain["id"] = new_id(_ID_PREFIXES.get(plain.get("type", ""), "item"))
    return plain


def _usage(usage: Usage) -> dict[str, Any]:
    return usage_of(
        usage.input_tokens,
        usage.output_tokens,
        cached=usage.input_tokens_details.cached_tokens,
        reasoning=usage.output_tokens_details.reasoning_tokens,
    )
