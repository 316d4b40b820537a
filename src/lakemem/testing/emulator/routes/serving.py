"""Serving endpoints: embeddings from a real local model, and chat that follows a script.

Both in the platform's form (``/serving-endpoints/NAME/invocations``) and in that of OpenAI's clients, whose base URL is
``/serving-endpoints``. Source: https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/api-reference
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from starlette.responses import StreamingResponse

from lakemem.integrations.embedders import LocalEmbedder
from lakemem.testing.emulator.app import Call, Endpoint
from lakemem.testing.emulator.state import ApiError, invalid

EMBEDDERS = {"databricks-gte-large-en": 1024, "databricks-bge-large-en": 1024}
"""The endpoints that embed, and how many dimensions each has."""

Reply: TypeAlias = str | dict[str, Any] | Callable[[list[dict[str, Any]]], "str | dict[str, Any]"]
"""A text, a whole message (with tool calls), or a function from the conversation to either."""


class ChatScript:
    """What the chat endpoints answer: the replies in order, and then an echo of what the user said last."""

    def __init__(self) -> None:
        self._replies: deque[Reply] = deque()
        self._lock = threading.Lock()

    def reply(self, *replies: Reply) -> None:
        """Add replies, one for each of the next requests."""
        with self._lock:
            self._replies.extend(replies)

    def clear(self) -> None:
        """Forget the replies that are left."""
        with self._lock:
            self._replies.clear()

    def answer(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the next message."""
        with self._lock:
            reply = self._replies.popleft() if self._replies else _echo
        made = reply(messages) if callable(reply) else reply
        return {"role": "assistant", "content": made} if isinstance(made, str) else {"role": "assistant", **made}


class Serving:
    """The serving endpoints.

    Args:
        script: what chat answers. Every endpoint chats that does not embed.
        embedders: the names of endpoints that embed, with their dimensions.
    """

    def __init__(self, script: ChatScript, embedders: dict[str, int]) -> None:
        self._script = script
        self._embedders = embedders
        self._local = LocalEmbedder()
        self._bases: dict[int, Any] = {}

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/api/2.0/serving-endpoints", self._list),
            Endpoint("GET", "/api/2.0/serving-endpoints/{name}", self._get),
            Endpoint("POST", "/serving-endpoints/{name}/invocations", self._invoke),
            Endpoint("POST", "/serving-endpoints/embeddings", lambda call: self._embed(_model(call), call.body)),
            Endpoint("POST", "/serving-endpoints/chat/completions", lambda call: self._chat(_model(call), call.body)),
        ]

    def _list(self, call: Call) -> dict[str, Any]:
        return {"endpoints": [_described(name, "llm/v1/embeddings") for name in self._embedders]}

    def _get(self, call: Call) -> dict[str, Any]:
        name = call.path["name"]
        return _described(name, "llm/v1/embeddings" if name in self._embedders else "llm/v1/chat")

    def _invoke(self, call: Call) -> Any:
        name = call.path["name"]
        return self._embed(name, call.body) if "input" in call.body else self._chat(name, call.body)

    def _embed(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        if name not in self._embedders:
            raise ApiError(404, "RESOURCE_DOES_NOT_EXIST", f"The given endpoint does not exist: {name} does not embed")
        given = body.get("input")
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise invalid("input is a text, or a list of texts that is not empty")
        vectors = self._widened(self._local.embed(texts), self._embedders[name])
        tokens = sum(len(text.split()) for text in texts)
        return {
            "object": "list",
            "model": name,
            "data": [
                {"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    def _widened(self, vectors: Sequence[Sequence[float]], dimensions: int) -> list[list[float]]:
        """Map vectors into more dimensions by a fixed isometry: every cosine stays what it is."""
        import numpy

        if dimensions not in self._bases:
            noise = numpy.random.RandomState(1024).standard_normal((dimensions, self._local.dimensions))
            self._bases[dimensions] = numpy.linalg.qr(noise)[0]
        widened: list[list[float]] = (numpy.asarray(vectors) @ self._bases[dimensions].T).tolist()
        return widened

    def _chat(self, name: str, body: dict[str, Any]) -> Any:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise invalid("messages is a list that is not empty")
        message = self._script.answer(messages)
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": name}
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        if body.get("stream"):
            return StreamingResponse(_chunks(head, message, reason), media_type="text/event-stream")
        return {
            **head,
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": {"prompt_tokens": len(messages), "completion_tokens": 1, "total_tokens": len(messages) + 1},
        }


def _chunks(head: dict[str, Any], message: dict[str, Any], reason: str) -> Iterator[str]:
    calls = [{"index": index, **call} for index, call in enumerate(message.get("tool_calls") or [])]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in (message.get("content") or "").split(" ")] if not calls else []
    for number in range(2, len(deltas)):
        deltas[number]["content"] = " " + deltas[number]["content"]
    deltas += [{"tool_calls": calls}] if calls else []
    for delta in deltas:
        yield _event({**head, "object": "chat.completion.chunk", "choices": [_choice(delta, None)]})
    yield _event({**head, "object": "chat.completion.chunk", "choices": [_choice({}, reason)]})
    yield "data: [DONE]\n\n"


def _choice(delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": reason}


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


def _echo(messages: list[dict[str, Any]]) -> str:
    said = [message.get("content") for message in messages if message.get("role") == "user"]
    return f"You said: {said[-1] if said else ''}"


def _model(call: Call) -> str:
    return str(call.body.get("model", ""))


def _described(name: str, task: str) -> dict[str, Any]:
    return {"name": name, "task": task, "state": {"ready": "READY", "config_update": "NOT_UPDATING"}}
