"""What a POST asks for: the request to the agent, and how it is to be run and answered. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lakemem.errors import InvalidInputError
from lakemem.responses import read_request
from lakemem.run_types import RunKind
from lakemem.validation import check_identifier

OF_THE_TRANSPORT = ("background", "stream", "stream_options")
"""What is about the way of the answer, and not of the agent's business."""


MAX_BODY = 16 * 1024 * 1024
"""Bytes of a body; an item of the input may have half of them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, checked.

    Attributes:
        request: what the agent gets to see; kept as the client sent it.
        background: whether the client comes back for the answer.
        stream: whether it wants events.
        resumes: whether it answers what the agent asked.
        previous_response_id: the response whose conversation goes on.
        names_thread: whether it says itself which conversation it belongs to.
        idempotency_key: the client's name for this very request, so that it can send it again.
    """

    request: dict[str, Any] = field(repr=False)
    background: bool
    stream: bool
    resumes: bool
    previous_response_id: str | None
    names_thread: bool
    idempotency_key: str | None

    @property
    def kind(self) -> RunKind:
        return "stream" if self.stream else "invoke"


def read_asked(body: bytes, headers: Mapping[str, str]) -> Asked:
    """Take the body of a POST apart.

    Raises:
        InvalidInputError: it is not a request that an agent can answer.
    """
    fields = json_object(body)
    request = {name: value for name, value in fields.items() if name not in OF_THE_TRANSPORT}
    previous = fields.get("previous_response_id")
    names_thread = _names_thread(fields)
    if previous is not None:
        check_identifier("previous_response_id", previous)
        if fields.get("conversation"):
            raise InvalidInputError("give either previous_response_id or conversation: each names a conversation")
    key = headers.get("idempotency-key")
    return Asked(
        request=request,
        background=_flag(fields, "background"),
        stream=_flag(fields, "stream"),
        resumes=read_request(request).resumes,
        previous_response_id=previous,
        names_thread=names_thread,
        idempotency_key=check_identifier("Idempotency-Key", key) if key else None,
    )


def json_object(body: bytes) -> dict[str, Any]:
    """Parse a body.

    Raises:
        InvalidInputError: it is not an object in JSON.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidInputError("the body is not JSON") from None
    if not isinstance(fields, dict):
        raise InvalidInputError("the body must be a JSON object")
    return fields


def _names_thread(fields: Mapping[str, Any]) -> bool:
    custom_inputs, context = fields.get("custom_inputs") or {}, fields.get("context") or {}
    named = [fields.get("conversation_id"), fields.get("conversation")]
    for holder, names in ((custom_inputs, ("thread_id", "session_id")), (context, ("conversation_id",))):
        named += [holder.get(name) for name in names] if isinstance(holder, Mapping) else []
    return any(named)


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidInputError(f"{name} must be true or false")
    return bool(value)
