"""A span for every memory operation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, overload

import mlflow
from mlflow.entities import LiveSpan, Span, SpanStatusCode, SpanType

from lakemem._async.memory import AsyncMemory
from lakemem._async.tracing import AsyncTracedStorage
from lakemem._sync.memory import Memory
from lakemem._sync.tracing import TracedStorage
from lakemem.memory_types import Hit, MemoryRecord
from lakemem.operations import Operation
from lakemem.operations.recall import Found
from lakemem.thread_types import Message, ThreadInfo

# https://mlflow.org/docs/latest/genai/tracing/track-users-sessions/
TRACE_SESSION = "mlflow.trace.session"
TRACE_USER = "mlflow.trace.user"


@overload
def trace(memory: AsyncMemory, *, include_text: bool = ...) -> AsyncMemory: ...


@overload
def trace(memory: Memory, *, include_text: bool = ...) -> Memory: ...


def trace(memory: AsyncMemory | Memory, *, include_text: bool = False) -> AsyncMemory | Memory:
    """Return the same memory, with a span for every operation: under the agent's own trace where there is one.

    A span has the operation's name, a hash of the scope, how many rows came back, and for a search their scores;
    its length is the time that the database took. The trace gets the thread as its session and the user as its
    user, so that MLflow shows conversations together.

    A memory that is not traced runs no code of this module.

    Args:
        include_text: put keys, values, messages and questions into the spans too. They then are wherever your
            traces are. A search becomes a retriever's span, which MLflow's retrieval scorers can judge.
    """
    observe = partial(_span, include_text=include_text)
    if isinstance(memory, AsyncMemory):
        return memory.through(lambda storage: AsyncTracedStorage(storage, observe))
    return memory.through(lambda storage: TracedStorage(storage, observe))


def identify_trace(span: Span, *, thread_id: str | None, user_id: str | None) -> None:
    """Tell the trace of the current span its session and its user, where these are known and it is recorded."""
    known = {TRACE_SESSION: thread_id, TRACE_USER: user_id}
    metadata = {name: value for name, value in known.items() if value is not None}
    if metadata and isinstance(span, LiveSpan):
        mlflow.update_current_trace(metadata=metadata)


@contextmanager
def _span(operation: Operation[Any], /, *, include_text: bool) -> Iterator[Callable[[Any], None]]:
    if _is_of_a_server(operation):
        yield lambda result: None
        return
    is_retriever = include_text and operation.statement in ("recall.search", "recall.nearest")
    failure: BaseException | None = None
    with mlflow.start_span(
        f"lakemem.{operation.statement}",
        span_type=SpanType.RETRIEVER if is_retriever else SpanType.MEMORY,
        attributes={
            "lakemem.operation": operation.statement,
            "lakemem.scope": hashlib.sha256(operation.owner.encode()).hexdigest()[:16],
            "lakemem.writes": operation.writes,
        },
    ) as span:
        kind, _, name = operation.owner.partition(":")
        identify_trace(
            span,
            thread_id=operation.parameters.get("thread_id"),
            user_id=name if kind == "user" else None,
        )
        if include_text:
            span.set_inputs(_asked(operation.parameters))

        def note(result: Any) -> None:
            span.set_attributes(_measured(result))
            if include_text:
                span.set_outputs(_shown(result))

        try:
            yield note
        except BaseException as error:
            # Raised within the span's block, MLflow would note the words and the stack, which may hold text.
            span.set_status(SpanStatusCode.ERROR)
            span.set_attribute("lakemem.error", type(error).__name__)
            failure = error
    if failure is not None:
        raise failure


def _is_of_a_server(operation: Operation[Any]) -> bool:
    """Whether it is what a server of runs does by itself, all day long: that belongs to nobody's trace."""
    is_asked_for = operation.statement.startswith("runs.") and mlflow.get_current_active_span() is not None
    return operation.statement.startswith(("runs.", "running.")) and not is_asked_for


def _measured(result: Any) -> dict[str, Any]:
    """What a span says of a result without its text."""
    measured: dict[str, Any] = {"lakemem.count": _count(result)}
    if isinstance(result, MemoryRecord):
        measured["lakemem.version"] = result.version
    hits = _hits(result)
    if hits:
        measured["lakemem.scores"] = [hit.score for hit in hits]
        measured["lakemem.similarities"] = [hit.similarity for hit in hits]
        measured["lakemem.arms"] = list(hits[0].arms)
    return measured


def _hits(result: Any) -> list[Hit]:
    """What a search found, for all its questions."""
    is_search = isinstance(result, list) and all(isinstance(found, Found) for found in result)
    return [hit for found in result for hit in found.hits] if is_search else []


def _count(result: Any) -> int:
    if isinstance(result, list) and result and isinstance(result[0], Found):
        return len(_hits(result))
    if isinstance(result, list | range):
        return len(result)
    return 0 if result is None or result is False else 1


def _asked(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a person can read: no vectors, no bytes, and not the owner, who is told as a hash."""
    if parameters.get("questions") is not None:
        queries = [question["query"] for question in json.loads(parameters["questions"])]
        return {"query": queries[0] if len(queries) == 1 else queries, **_asked({**parameters, "questions": None})}
    return {
        name: value
        for name, value in parameters.items()
        if name != "owner" and (isinstance(value, str | int | float) or _is_words(value))
    }


def _is_words(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(part, str) for part in value)


def _shown(result: Any) -> Any:
    """A result as MLflow shows it: hits as the documents of a retriever, checkpoints not at all."""
    match result:
        case list() if _hits(result):
            return [_shown(hit) for hit in _hits(result)]
        case list() | range():
            return [_shown(part) for part in result]
        case Found():
            return [_shown(hit) for hit in result.hits]
        case Hit():
            return {"page_content": result.text, "id": result.key, "metadata": {"score": result.score}}
        case MemoryRecord():
            return {"key": result.key, "value": result.value, "version": result.version}
        case Message():
            return result.item
        case ThreadInfo():
            return result.thread_id
        case None | dict() | str() | bool() | int():
            return result
        case _:
            return None
