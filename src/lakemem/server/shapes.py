"""A run as the Responses API shows it. Pure.

Source: https://platform.openai.com/docs/api-reference/responses/object
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lakemem.responses import Event, Item
from lakemem.run_types import Run, RunFailure

ENDED = ("completed", "failed", "cancelled", "incomplete")
"""The statuses of the Responses API after which nothing comes, unless somebody answers what the agent asked."""

WAITING = "waiting_for_input"
"""Why a response is incomplete that waits for a person."""


def status_of(run: Run) -> str:
    """The status that the Responses API has for it: a run that waits for a person is incomplete."""
    return "incomplete" if run.status == "waiting" else run.status


def response_of(run: Run, told: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A run as a Response; its output is shown at its end.

    Args:
        told: what the agent said of its answer besides the output: usage, custom_outputs and the like.
    """
    told = told or {}
    status = status_of(run)
    ended = status in ENDED
    details = {"reason": WAITING} if run.status == "waiting" else told.get("incomplete_details")
    return {
        "id": run.run_id,
        "object": "response",
        "created_at": int(run.created_at.timestamp()),
        "completed_at": int(run.completed_at.timestamp()) if run.completed_at and status == "completed" else None,
        "status": status,
        "background": run.background,
        "error": error_of(run) if status == "failed" else None,
        "incomplete_details": details if status == "incomplete" else None,
        "instructions": None,
        "metadata": {**_mapping(run.request.get("metadata")), **_mapping(told.get("metadata"))},
        "model": told.get("model") or run.request.get("model"),
        "output": list(run.output or []) if ended else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": told.get("usage"),
        "conversation": {"id": run.thread_id},
        "previous_response_id": run.previous_run_id,
        "attempt_number": run.attempt,
        "custom_outputs": {**_mapping(told.get("custom_outputs")), "thread_id": run.thread_id},
    }


def error_body(
    message: str, *, code: str, type: str = "invalid_request_error", param: str | None = None
) -> dict[str, Any]:
    """The body of an answer that refuses a request."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


FAILED = "response.failed"

FAILURE_EVENTS = ("error", FAILED)
"""What is stored with a failure, each with its code and message. The first is flat as OpenAI has it: its client takes a
nested one for the end of the connection. A cancelled run just ends."""


def failed_event(run: Run, stored: Mapping[str, Any], attempt: int) -> Event:
    """The event of a failure with the response as it was then: the run may have been tried again since."""
    failure = RunFailure(stored["code"], stored["message"]) if stored.get("code") else None
    then = replace(run, status="failed", attempt=attempt, error=failure, output=None)
    return {"type": FAILED, "response": response_of(then)}


def input_items(run: Run, *, limit: int, order: str, after: str | None) -> dict[str, Any]:
    """A page of what the client sent, the newest first unless `order` is ``asc``."""
    given = run.request.get("input")
    items: Sequence[Item] = [{"role": "user", "content": given}] if isinstance(given, str) else given or []
    named = [
        {"type": "message", **item, "id": item.get("id") or f"item_{run.run_id.removeprefix('resp_')}_{place}"}
        for place, item in enumerate(items)
    ]
    if order == "desc":
        named.reverse()
    places = [place for place, item in enumerate(named) if item["id"] == after]
    rest = named[places[0] + 1 :] if places else named
    page = rest[:limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(rest) > limit,
    }


def error_of(run: Run) -> dict[str, str]:
    """Why a run failed, in words for its client."""
    if run.error is None:
        return {"code": "server_error", "message": "the run failed"}
    return {"code": run.error.code, "message": run.error.message}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
