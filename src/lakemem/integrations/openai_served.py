"""The OpenAI Agents SDK: an agent that is served, and goes on from its session when its process has died."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from lakemem._async.threads import AsyncThread
from lakemem.answering import Answering, answering
from lakemem.errors import InvalidInputError, MissingExtraError
from lakemem.recalling import Recall
from lakemem.responses import Event, Item, last_question, read_request
from lakemem.run_context import RunContext

try:
    from agents import Agent, Handoff, ItemHelpers, RunConfig, RunHooks
    from agents.lifecycle import RunHooksBase
    from agents.tool_context import ToolContext

    from lakemem.integrations import openai_approvals as approvals
    from lakemem.integrations.openai_runner import Prepared, Translation, arguments_of, events_of, prepared
except ImportError as error:
    raise MissingExtraError("openai-agents", "lakemem.integrations.openai_served") from error

if TYPE_CHECKING:
    from agents import RunContextWrapper, Tool
    from openai.types.responses import ResponseFunctionToolCall

NOT_KNOWN = "This call was interrupted: it is not known whether it was carried out."

TELLING = 5.0
"""Seconds to wait until a client has been told of a call, before its result is told at the end of the turn."""


class SdkAgent:
    """An agent of the SDK as :func:`lakemem.server.create_app` serves it.

    The thread of the request is the run's session. An attempt that follows another one goes on after the last turn
    that the session has, with the results of the calls that were finished since: those are not made again.

    Args:
        agent: whom to ask.
        recall: what to recall for each request; see :func:`~lakemem.integrations.openai_agents.respond`.
        run_config, options: further arguments of ``Runner.run_streamed``, such as ``max_turns``.
    """

    def __init__(
        self,
        agent: Agent[Any],
        *,
        recall: Recall | bool = True,
        run_config: RunConfig | None = None,
        hooks: RunHooks[Any] | None = None,
        **options: Any,
    ) -> None:
        self._agent = agent
        self._recall = recall
        self._run_config = run_config
        self._hooks = hooks
        self._options = options

    def check(self, request: Mapping[str, Any]) -> None:
        """Raise InvalidInputError for a request without anything to answer."""
        read_request(request)

    def answer(self, context: RunContext) -> AsyncGenerator[Event, None]:
        """Give the events of one attempt."""
        return events_of(lambda: self._prepared(context))

    async def _prepared(self, context: RunContext) -> Prepared:
        request = read_request(context.request)
        asked = await answering(request, context.memory, None, None)
        run = await self._continued(asked, context) if context.attempt > 1 else None
        if run is None:
            run = await prepared(
                self._agent, request, context.memory, None, None, self._recall, self._run_config, self._options
            )
        return replace(run, hooks=lambda translation: _Results(translation, context, self._hooks))

    async def _continued(self, asked: Answering, context: RunContext) -> Prepared | None:
        """Go on after what an earlier attempt has stored; None where it stored nothing, or waits for its answer."""
        if context.was_asked and await self._waits(asked, context):
            context.keep(len(context.earlier))
            return None
        thread = asked.user.thread(context.thread_id)
        stored = await _stored_since(thread, context)
        if not stored:
            return None
        answer = stored[max((place + 1 for place, item in enumerate(stored) if _is_said_to(item)), default=0) :]
        missing = context.keep_what_is_in(answer)
        lost = [] if missing else _with_results(context.earlier[context.kept :])
        context.keep(context.kept + len(lost))
        settled = [_unknown_result(call_id) for call_id in _without_result([*answer, *lost])]
        if added := [*lost, *settled]:
            await thread.append(added)
        question = last_question(asked.request.items or stored)
        recalled = await asked.recall(question, self._recall)
        whole = [*answer, *added]
        return Prepared(
            agent_after(self._agent, whole),
            asked,
            {**arguments_of(asked, [], recalled, self._run_config), **self._options},
            question,
            found=[*missing, *settled],
            is_over=bool(whole) and whole[-1].get("type", "message") == "message",
        )

    async def _waits(self, asked: Answering, context: RunContext) -> bool:
        """Whether the run still waits for the answer that it now has."""
        try:
            await approvals.find(asked)
        except InvalidInputError:
            if context.attempt == context.run.asked_by + 1:
                raise
            return False
        return True


class _Results(RunHooks[Any]):
    """Tells of the result of each call as soon as it is there, for a process may end before the turn does.

    What else happens goes to the hooks of whoever serves the agent.
    """

    def __init__(self, translation: Translation, context: RunContext, theirs: RunHooks[Any] | None) -> None:
        self._translation = translation
        self._context = context
        self._theirs = theirs
        self._told = {item.get("call_id") for item in context.earlier[: context.kept]}

    async def on_tool_end(self, context: RunContextWrapper[Any], agent: Agent[Any], tool: Tool, result: object) -> None:
        if isinstance(context, ToolContext) and context.tool_call is not None:
            await self._tell(context.tool_call, result)
        if self._theirs is not None:
            await self._theirs.on_tool_end(context, agent, tool, result)

    async def _tell(self, call: ResponseFunctionToolCall, result: object) -> None:
        if call.call_id not in self._told:
            try:
                # It is told of by who reads the events of the run, which is not the one who runs it.
                await asyncio.wait_for(self._translation.call_is_told(call.call_id), TELLING)
            except TimeoutError:
                return
        item = cast("Item", dict(ItemHelpers.tool_call_output_item(call, result)))
        for event in self._translation.result(item):
            await self._context.emit(event)


def _passed_on(name: str) -> Callable[..., Any]:
    async def call(self: _Results, *arguments: Any, **named: Any) -> None:
        if self._theirs is not None:
            await getattr(self._theirs, name)(*arguments, **named)

    return call


for _name in vars(RunHooksBase):
    if _name.startswith("on_") and _name not in vars(_Results):
        setattr(_Results, _name, _passed_on(_name))


async def _stored_since(thread: AsyncThread, context: RunContext) -> list[Item]:
    """The items that this run has stored in its thread, where it is the only one."""
    began = context.run.started_at
    limit = 100
    while True:
        found = await thread.messages(limit)
        ours = [message for message in found if began is None or message.created_at >= began]
        if len(ours) < limit:
            return [message.item for message in ours]
        limit *= 4


def _is_said_to(item: Item) -> bool:
    """Whether it is a message to the agent."""
    return item.get("type", "message") == "message" and item.get("role") != "assistant"


def _with_results(items: Sequence[Item]) -> list[Item]:
    """The items up to the last result of a call: what comes after it is of no use, since its turn had not ended."""
    results = [place for place, item in enumerate(items) if item.get("type") == "function_call_output"]
    return list(items[: results[-1] + 1]) if results else []


def _without_result(items: Sequence[Item]) -> list[str]:
    """The calls without a result: models refuse a conversation with such a call."""
    results = {item.get("call_id") for item in items if item.get("type") == "function_call_output"}
    calls = [str(item["call_id"]) for item in items if item.get("type") == "function_call"]
    return [call_id for call_id in calls if call_id not in results]


def _unknown_result(call_id: str) -> Item:
    return {"type": "function_call_output", "call_id": call_id, "output": NOT_KNOWN}


def agent_after(agent: Agent[Any], items: Sequence[Item]) -> Agent[Any]:
    """The agent that goes on after these items, where some of them hand over to another."""
    results = {item.get("call_id") for item in items if item.get("type") == "function_call_output"}
    for item in items:
        if item.get("type") == "function_call" and item.get("call_id") in results:
            agent = _targets(agent).get(str(item.get("name")), agent)
    return agent


def _targets(agent: Agent[Any]) -> dict[str, Agent[Any]]:
    """To whom an agent hands over, by the name of the tool that does it."""
    targets: dict[str, Agent[Any]] = {}
    for each in agent.handoffs:
        if isinstance(each, Agent):
            targets[Handoff.default_tool_name(each)] = each
        else:
            # The SDK has no public way from a handoff to its agent that does not hand over.
            target = each._agent_ref() if each._agent_ref is not None else None
            if isinstance(target, Agent):
                targets[each.tool_name] = target
    return targets
