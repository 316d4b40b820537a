"""Runs of a served agent, as MLflow stores them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import mlflow
import pytest
from mlflow.entities import SpanStatusCode, SpanType, Trace

from lakemem import AsyncMemory, Lakebase
from lakemem.integrations.mlflow import run_span, trace
from lakemem.server import create_app
from tests.mlflow.conftest import Traces
from tests.server.conftest import listening

SECRET = "Ada is allergic to peanuts"


async def asked(target: Lakebase, agent: Callable[..., Any]) -> httpx.Response:
    async with AsyncExitStack() as stack:
        memory = await stack.enter_async_context(trace(AsyncMemory(target)))
        url = await stack.enter_async_context(listening(create_app(agent, memory=memory, observe=run_span, drain=0.1)))
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, verify=False))
        body = {"input": SECRET, "custom_inputs": {"thread_id": "monday", "user_id": "ada"}}
        return await http.post("/responses", json=body)


def everything(found: Trace) -> str:
    return json.dumps(found.to_dict(), default=str)


@pytest.mark.parametrize("blocks", [False, True])
async def test_a_run_is_one_trace_with_what_its_agent_does(target: Lakebase, traces: Traces, blocks: bool) -> None:
    async def agent(request: dict[str, Any], run: Any) -> str:
        with mlflow.start_span("model"):
            await run.memory.save("allergy", SECRET)
            # What an agent asks of runs is its own doing.
            assert await run.memory.runs.get("another") is None
        return SECRET

    def agent_that_blocks(request: dict[str, Any]) -> str:
        with mlflow.start_span("model"):
            return SECRET

    answer = (await asked(target, agent_that_blocks if blocks else agent)).json()
    found = traces.only()
    root = next(span for span in found.data.spans if span.parent_id is None)
    assert (root.name, root.span_type) == ("lakemem.run", SpanType.AGENT)
    attributes = [root.get_attribute(f"lakemem.{name}") for name in ("run", "attempt", "kind")]
    assert attributes == [answer["id"], 1, "invoke"]
    model = next(span for span in found.data.spans if span.name == "model")
    assert model.parent_id == root.span_id
    under = {span.name for span in found.data.spans if span.parent_id == model.span_id}
    assert under == (set() if blocks else {"lakemem.memories.save", "lakemem.runs.get"})
    assert found.info.trace_metadata["mlflow.trace.session"] == "monday"
    assert found.info.trace_metadata["mlflow.trace.user"] == "ada"
    assert SECRET not in everything(found)


async def test_the_span_of_an_attempt_that_failed_says_so_without_its_words(target: Lakebase, traces: Traces) -> None:
    async def agent(request: dict[str, Any]) -> str:
        raise ValueError(SECRET)

    assert (await asked(target, agent)).status_code == 500
    found = traces.only()
    (span,) = found.data.spans
    assert span.status.status_code == SpanStatusCode.ERROR
    assert span.get_attribute("lakemem.error") == "ValueError"
    assert SECRET not in everything(found)
