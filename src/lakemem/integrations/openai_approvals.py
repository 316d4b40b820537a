"""The OpenAI Agents SDK: runs that wait for a tool's approval, from one request to the next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agents import RunContextWrapper, RunState

from lakemem.answering import Answering
from lakemem.errors import InvalidInputError, StorageUnavailableError
from lakemem.operations.checkpoints import Address, Blob

if TYPE_CHECKING:
    from agents import Agent, RunResult, RunResultStreaming
    from agents.items import ToolApprovalItem

NAMESPACE = "openai-agents"
"""The checkpoints of a thread that are not LangGraph's."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run that waits.

    Attributes:
        state: the SDK's state of it, as JSON. It decides which tools are called, and so no client ever has it.
        question: what the user had said.
        position: the last item of the thread at that time; None where it was not known.
    """

    state: dict[str, Any] = field(repr=False)
    question: str = field(repr=False)
    position: int | None


async def keep(answering: Answering, result: RunResult | RunResultStreaming, question: str) -> list[dict[str, Any]]:
    """Store a run that waits for approvals, and return them for the client."""
    state = result.to_state().to_json(context_serializer=lambda _: {})
    waiting = {"state": state, "question": question, "position": await _last_position(answering)}
    await answering.user.checkpoints.put(
        _address(answering),
        parent_checkpoint_id=None,
        checkpoint=Blob("json", json.dumps(waiting).encode()),
        metadata="{}",
        channel_versions="{}",
        blobs={},
    )
    return [
        {"id": item.call_id, "value": {"tool": item.name, "arguments": item.arguments}} for item in result.interruptions
    ]


async def find(answering: Answering) -> Waiting:
    """Return the run that a request answers.

    Raises:
        InvalidInputError: no run waits, or the conversation has gone on since.
        StorageUnavailableError: memory is down.
    """
    address = _address(answering)
    stored = await answering.user.checkpoints.get(address.thread_id, NAMESPACE, address.checkpoint_id)
    if stored is None and answering.look():
        raise StorageUnavailableError("memory is down, and with it the run that waits: resume when it is back")
    waiting = None if stored is None else Waiting(**json.loads(stored.checkpoint.data))
    if waiting is None or waiting.position not in (None, await _last_position(answering)):
        raise _nothing_waits()
    return waiting


async def resume(answering: Answering, agent: Agent[Any], waiting: Waiting) -> RunState[Any, Any]:
    """Return the state to run on, with the decisions of the request. A run is resumed once.

    Raises:
        InvalidInputError: a decision is none, or somebody has resumed the run.
    """
    context = RunContextWrapper(answering.context)
    state = await RunState.from_json(agent, waiting.state, context_override=context)
    for item, decision in _decisions(answering.request.resume, state.get_interruptions()):
        if decision is True:
            state.approve(item)
        else:
            state.reject(item, rejection_message=decision or None)
    if await answering.user.checkpoints.take(_address(answering)) is None:
        raise _nothing_waits()
    return state


def _decisions(resume: Any, waiting: list[ToolApprovalItem]) -> list[tuple[ToolApprovalItem, bool | str]]:
    by_id = {str(item.call_id): item for item in waiting}
    decisions = resume if isinstance(resume, Mapping) else dict.fromkeys(by_id, resume)
    if not decisions or not all(isinstance(decision, bool | str) for decision in decisions.values()):
        raise InvalidInputError(
            "custom_inputs.resume is true or false for all calls that wait, or an object with one for each call's id; "
            "a text is false, and tells the model why"
        )
    if not decisions.keys() <= by_id.keys():
        raise InvalidInputError("custom_inputs.resume names a call that does not wait for approval")
    return [(by_id[call_id], decision) for call_id, decision in decisions.items()]


def _nothing_waits() -> InvalidInputError:
    return InvalidInputError("custom_inputs.resume answers nothing: this thread does not wait for an answer")


def _address(answering: Answering) -> Address:
    return Address(answering.context.thread_id, NAMESPACE, "waiting")


async def _last_position(answering: Answering) -> int | None:
    newest = await answering.user.thread(answering.context.thread_id).messages(1)
    return newest[0].position if newest else None
