"""The shapes of the Responses API: a request taken apart, and an answer with its events put together. Pure.

Source: https://platform.openai.com/docs/api-reference/responses-streaming and, for what Databricks adds to it
(custom_inputs, custom_outputs, context), https://mlflow.org/docs/latest/genai/serving/responses-agent/
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lakemem.errors import InvalidInputError, LakememError
from lakemem.validation import MAX_ITEM_BYTES, encode_json

Item: TypeAlias = dict[str, Any]
Event: TypeAlias = dict[str, Any]

ROLES = ("user", "assistant", "system", "developer")
_OUTSIDE = ("function_call_output", "computer_call_output", "mcp_approval_response")
"""The items that answer an agent's call. Every other one that is not a message was made by an agent."""


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """A request to an agent, checked.

    Attributes:
        items: the input; one item at the least, unless `resumes`.
        fields: the whole request, for :func:`lakemem.resolve_context`.
        resumes: whether it answers what the agent asked, rather than saying something new.
        resume: that answer, ``custom_inputs.resume``.
    """

    items: list[Item] = field(repr=False)
    fields: Mapping[str, Any] = field(repr=False)
    resumes: bool = False
    resume: Any = field(default=None, repr=False)


def read_request(request: Any) -> AgentRequest:
    """Take a request apart: a dict, or an object such as MLflow's ``ResponsesAgentRequest``.

    Raises:
        InvalidInputError: it is not a request that an agent can answer.
    """
    fields = _fields(request)
    custom_inputs = {} if fields.get("custom_inputs") is None else _plain(fields["custom_inputs"])
    if not isinstance(custom_inputs, Mapping):
        raise InvalidInputError(f"custom_inputs must be an object, not {type(custom_inputs).__name__}")
    if "resume" not in custom_inputs:
        return AgentRequest(_items(fields.get("input")), fields)
    resume = custom_inputs["resume"]
    if resume is None:
        raise InvalidInputError("custom_inputs.resume is null: leave it out, or answer what the agent asked")
    encode_json("custom_inputs.resume", resume, limit=MAX_ITEM_BYTES)
    return AgentRequest([], fields, resumes=True, resume=resume)


def text_of(item: Mapping[str, Any]) -> str:
    """The text of a message; empty where it has none."""
    content = item.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") if isinstance(part, Mapping) else part for part in parts)
    return "\n".join(text for text in texts if isinstance(text, str))


def last_question(items: Sequence[Mapping[str, Any]]) -> str:
    """The text of the user's last message; empty where there is none."""
    return next((text_of(item) for item in reversed(items) if item.get("role") == "user"), "")


def since_the_agent(items: Sequence[Item]) -> list[Item]:
    """The items after the agent's last words or calls."""
    places = [place for place, item in enumerate(items) if _is_the_agents(item)]
    return list(items[places[-1] + 1 if places else 0 :])


def response(
    response_id: str,
    created_at: int,
    output: Sequence[Item],
    *,
    status: str,
    usage: Mapping[str, Any] | None = None,
    error: Mapping[str, str] | None = None,
    custom_outputs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """An answer as the Responses API gives it, made of what JSON can say."""
    answer: dict[str, Any] = {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "status": status,
        "error": error,
        "incomplete_details": None,
        "output": list(output),
        "usage": usage,
    }
    return answer if custom_outputs is None else {**answer, "custom_outputs": dict(custom_outputs)}


def usage_of(input_tokens: int, output_tokens: int, *, cached: int = 0, reasoning: int = 0) -> dict[str, Any]:
    """How many tokens a run took."""
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": input_tokens + output_tokens,
    }


def message_item(text: str, item_id: str, *, status: str = "completed") -> Item:
    """A message of the agent's."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": item_id, "role": "assistant", "status": status, "content": content}


def new_id(kind: str) -> str:
    """An id as the Responses API makes them, such as ``resp_...``."""
    return f"{kind}_{uuid.uuid4().hex}"


def error_of(failure: BaseException) -> dict[str, str]:
    """What a client is told of a failure. The words of a foreign error may quote a prompt, a statement or a key."""
    if isinstance(failure, LakememError):
        return {"code": "server_error", "message": str(failure)}
    return {"code": "server_error", "message": f"the agent failed ({type(failure).__name__})"}


class ResponseEvents:
    """The events of one answer, in their order: each has the next number, and each item has its place."""

    def __init__(self) -> None:
        self.id = new_id("resp")
        self.created_at = int(time.time())
        self._numbers = itertools.count()
        self._done: dict[int, Item] = {}
        self._open: dict[str, int] = {}
        # In pieces: a message may come in thousands of them.
        self._texts: dict[str, list[str]] = {}
        self.next_place = 0

    @property
    def output(self) -> list[Item]:
        """The items that are done."""
        return [self._done[place] for place in sorted(self._done)]

    def event(self, type: str, **fields: Any) -> Event:
        return {"type": type, "sequence_number": next(self._numbers), **fields}

    def created(self) -> Event:
        return self.event("response.created", response=self._response("in_progress"))

    def delta(self, item_id: str, text: str, *, place: int | None = None) -> list[Event]:
        """A piece of a message; the first one opens it."""
        opening = []
        if item_id not in self._open:
            opening = self._opened(message_item("", item_id, status="in_progress"), place)
        self._texts.setdefault(item_id, []).append(text)
        at = self._part_of(item_id)
        return [*opening, self.event("response.output_text.delta", **at, delta=text, logprobs=[])]

    def item(self, item: Item, *, place: int | None = None) -> list[Event]:
        """An item that is done, with the events that come before: a client may read the deltas alone."""
        if not _is_plain_message(item):
            # Nobody announces the result of a call.
            opening = [] if item.get("type") == "function_call_output" else self._opened(item, place)
            return [*opening, self.done(item, place)]
        item_id, text = item["id"], text_of(item)
        missing = text.removeprefix("".join(self._texts.get(item_id, [])))
        deltas = self.delta(item_id, missing, place=place) if missing or item_id not in self._open else []
        at = self._part_of(item_id)
        return [
            *deltas,
            self.event("response.output_text.done", **at, text=text, logprobs=[]),
            self.event("response.content_part.done", **at, part=item["content"][0]),
            self.done(item, at["output_index"]),
        ]

    def streamed(self, text: str) -> str | None:
        """The id of a message that is open and has this text so far."""
        done = {item.get("id") for item in self._done.values()}
        return next((id for id, said in self._texts.items() if id not in done and "".join(said) == text), None)

    def done(self, item: Item, place: int | None = None) -> Event:
        """An item that is done, and was announced."""
        if place is None:
            place = self._open.get(str(item.get("id")), self.next_place)
        self.take(place)
        self._done[place] = item
        return self.event("response.output_item.done", output_index=place, item=item)

    def take(self, place: int) -> None:
        """Leave this place to an item that is on its way."""
        self.next_place = max(self.next_place, place + 1)

    def is_done(self, place: int) -> bool:
        return place in self._done

    def completed(self, usage: Mapping[str, Any] | None, custom_outputs: Mapping[str, Any]) -> Event:
        answer = self._response("completed", usage=usage, custom_outputs=custom_outputs)
        return self.event("response.completed", response=answer, custom_outputs=dict(custom_outputs))

    def failed(self, failure: BaseException, custom_outputs: Mapping[str, Any]) -> Event:
        answer = self._response("failed", error=error_of(failure), custom_outputs=custom_outputs)
        return self.event("response.failed", response=answer, custom_outputs=dict(custom_outputs))

    def _opened(self, item: Item, place: int | None = None) -> list[Event]:
        place = self.next_place if place is None else place
        self.take(place)
        shown = {**item, "content": []} if _is_plain_message(item) else item
        events = [self.event("response.output_item.added", output_index=place, item=shown)]
        if item.get("id") is not None:
            self._open[item["id"]] = place
        if _is_plain_message(item):
            events.append(
                self.event("response.content_part.added", **self._part_of(item["id"]), part=item["content"][0])
            )
        return events

    def _part_of(self, item_id: str) -> dict[str, Any]:
        """Where the one part of a message is."""
        return {"item_id": item_id, "output_index": self._open[item_id], "content_index": 0}

    def _response(self, status: str, **fields: Any) -> dict[str, Any]:
        return response(self.id, self.created_at, self.output, status=status, **fields)


def _fields(request: Any) -> Mapping[str, Any]:
    if isinstance(request, Mapping):
        return request
    if hasattr(request, "input"):
        return {name: getattr(request, name, None) for name in ("input", "custom_inputs", "context")}
    raise InvalidInputError(
        f"a request is an object with input, custom_inputs and context, not {type(request).__name__}: "
        "pass the parsed body of an HTTP request, or a ResponsesAgentRequest"
    )


def _items(given: Any) -> list[Item]:
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, Sequence) or isinstance(given, bytes):
        raise InvalidInputError(f"input must be a text or a list of items, not {type(given).__name__}")
    items = [_item(place, item) for place, item in enumerate(given)]
    if not since_the_agent(items):
        raise InvalidInputError("input has nothing to answer: its last item must not be the agent's own")
    return items


def _item(place: int, given: Any) -> Item:
    item = _plain(given)
    name = f"input[{place}]"
    if not isinstance(item, Mapping):
        raise InvalidInputError(f"{name} must be an object, not {type(given).__name__}")
    if item.get("type", "message") == "message":
        if item.get("role") not in ROLES:
            raise InvalidInputError(f"{name}.role must be one of {', '.join(ROLES)}")
        _check_content(f"{name}.content", item.get("content"))
    elif not isinstance(item["type"], str):
        raise InvalidInputError(f"{name}.type must be a string")
    elif item["type"] in ("function_call", "function_call_output") and not isinstance(item.get("call_id"), str):
        raise InvalidInputError(f"{name}.call_id must be a string")
    encode_json(name, dict(item), limit=MAX_ITEM_BYTES)
    return dict(item)


def _check_content(name: str, content: Any) -> None:
    if isinstance(content, list):
        for part in content:
            if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
                raise InvalidInputError(f"{name} must be a text, or a list of objects that each have a type")
    elif not isinstance(content, str):
        raise InvalidInputError(f"{name} must be a text or a list of parts, not {type(content).__name__}")
    if not content or (isinstance(content, str) and not content.strip()):
        raise InvalidInputError(f"{name} must not be empty")


def _plain(value: Any) -> Any:
    return value.model_dump(exclude_none=True) if hasattr(value, "model_dump") else value


def _is_plain_message(item: Mapping[str, Any]) -> bool:
    """Whether an item is a message of one text, which is the kind that comes in pieces."""
    parts = item.get("content")
    is_text = isinstance(parts, list) and len(parts) == 1 and parts[0].get("type") == "output_text"
    return item.get("type") == "message" and is_text and item.get("id") is not None


def _is_the_agents(item: Mapping[str, Any]) -> bool:
    kind = item.get("type", "message")
    return item.get("role") == "assistant" if kind == "message" else kind not in _OUTSIDE
