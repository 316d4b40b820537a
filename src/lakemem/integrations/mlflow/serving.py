"""A trace for every run of a served agent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
from mlflow.entities import SpanStatusCode, SpanType

from lakemem.integrations.mlflow.tracing import identify_trace
from lakemem.run_context import RunContext


@contextmanager
def run_span(context: RunContext) -> Iterator[None]:
    """Be a span around an attempt at a run, under which MLflow shows what the agent does.

    It has the ids of the run and its attempt, and no text of the request or the answer. The trace gets the thread as
    its session and the user as its user.
    """
    failure: BaseException | None = None
    with mlflow.start_span(
        "lakemem.run",
        span_type=SpanType.AGENT,
        attributes={
            "lakemem.run": context.run_id,
            "lakemem.attempt": context.attempt,
            "lakemem.kind": context.kind,
        },
    ) as span:
        identify_trace(span, thread_id=context.thread_id, user_id=context.user_id)
        try:
            yield
        except BaseException as error:
            # Raised within the span's block, MLflow would note the words and the stack, which may hold text.
            span.set_status(SpanStatusCode.ERROR)
            span.set_attribute("lakemem.error", type(error).__name__)
            failure = error
    if failure is not None:
        raise failure
