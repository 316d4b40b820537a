"""Spans of memory, as MLflow stores them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import mlflow
import pytest
from mlflow.entities import Span, SpanStatusCode, SpanType, Trace

from lakemem import (
    AsyncMemory,
    CallableEmbedder,
    InvalidInputError,
    Lakebase,
    Memory,
    StorageUnavailableError,
    degrading,
)
from lakemem._async.tracing import AsyncTracedStorage
from lakemem.integrations.mlflow import trace
from tests.mlflow.conftest import Traces

SECRET = "Ada is allergic to peanuts"
NOBODY_LISTENS = "postgresql://ada:hunter2@127.0.0.1:1/agents"


@pytest.fixture
async def memory(target: Lakebase) -> AsyncIterator[AsyncMemory]:
    embedder = CallableEmbedder(lambda texts: [[1.0, 0.0] for _ in texts], model="test", dimensions=2)
    async with trace(AsyncMemory(target, embedder=embedder)) as memory:
        yield memory


@pytest.fixture
def sync_memory(target: Lakebase) -> Iterator[Memory]:
    with trace(Memory(target)) as memory:
        yield memory


def spans(trace: Trace, name: str) -> list[Span]:
    return [span for span in trace.data.spans if span.get_attribute("lakemem.operation") == name]


def everything(trace: Trace) -> str:
    return json.dumps(trace.to_dict(), default=str)


async def test_an_operation_is_a_span_under_the_agents_own_trace(memory: AsyncMemory, traces: Traces) -> None:
    user = memory.for_user("ada")
    with mlflow.start_span("agent") as agent:
        await user.save("allergy", SECRET)
        hits = await user.search("peanuts?")
        await user.thread("42").append([{"role": "user"}, {"role": "assistant"}])

    found = traces.only()
    [saved], [searched], [appended] = (
        spans(found, name) for name in ("memories.save", "recall.search", "threads.append")
    )
    assert {span.parent_id for span in (saved, searched, appended)} == {agent.span_id}
    assert searched.name == "lakemem.recall.search"
    assert {span.span_type for span in (saved, searched, appended)} == {SpanType.MEMORY}
    assert saved.get_attribute("lakemem.writes") is True
    assert saved.get_attribute("lakemem.version") == 1
    assert searched.get_attribute("lakemem.count") == 1
    assert searched.get_attribute("lakemem.scores") == [hits[0].score]
    assert searched.get_attribute("lakemem.similarities") == [hits[0].similarity]
    assert searched.get_attribute("lakemem.arms") == ["dense", "lexical"]
    assert appended.get_attribute("lakemem.count") == 2
    assert all(span.end_time_ns > span.start_time_ns for span in (saved, searched, appended))  # type: ignore[operator]


async def test_a_trace_has_the_thread_as_its_session_and_the_user_as_its_user(
    memory: AsyncMemory, traces: Traces
) -> None:
    with mlflow.start_span("agent"):
        await memory.for_user("ada").thread("42").items()
        await memory.for_scope("team").items()  # nobody's own
    metadata = traces.only().info.trace_metadata
    assert metadata["mlflow.trace.session"] == "42"
    assert metadata["mlflow.trace.user"] == "ada"


async def test_no_text_and_no_plain_scope_is_in_a_span(memory: AsyncMemory, traces: Traces) -> None:
    user = memory.for_user("ada")
    with mlflow.start_span("agent"):
        await user.save("the-key", SECRET, namespace=("the-namespace",), metadata={"the": "metadata"})
        await user.search("a peanuts question")
        await user.thread("42").append([{"content": SECRET}])
        await user.thread("42").items()
        with pytest.raises(InvalidInputError):
            await user.update("the-key", SECRET, expires_in=-1.0)
    found = traces.only()
    assert len(found.data.spans) == 5
    for span in found.data.spans:
        told = json.dumps(span.to_dict(), default=str)
        for text in ("peanut", "the-key", "the-namespace", "metadata", "user:ada", '"ada"'):
            assert text not in told


async def test_two_scopes_have_two_hashes(memory: AsyncMemory, traces: Traces) -> None:
    with mlflow.start_span("agent"):
        for scoped in (memory.for_user("ada"), memory.for_user("ada"), memory.for_user("bob"), memory.for_scope("ada")):
            await scoped.items()
    hashes = [span.get_attribute("lakemem.scope") for span in spans(traces.only(), "memories.items")]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


async def test_with_its_text_a_search_is_the_span_of_a_retriever(target: Lakebase, traces: Traces) -> None:
    async with trace(AsyncMemory(target), include_text=True) as memory:
        user = memory.for_user("ada")
        with mlflow.start_span("agent"):
            await user.save("allergy", SECRET)
            [hit] = await user.search("peanuts")
            await user.thread("42").append([{"content": SECRET}])
            await user.thread("42").items()
    found = traces.only()
    [searched], [saved], [read] = (spans(found, name) for name in ("recall.search", "memories.save", "threads.items"))
    assert searched.span_type == SpanType.RETRIEVER
    assert searched.inputs["query"] == "peanuts"
    assert searched.outputs == [{"page_content": hit.text, "id": "allergy", "metadata": {"score": hit.score}}]
    assert saved.outputs == {"key": "allergy", "value": SECRET, "version": 1}
    assert read.outputs == [{"content": SECRET}]
    assert "user:ada" not in everything(found)


async def test_a_failure_is_noted_by_its_type_and_raised(traces: Traces) -> None:
    memory = trace(AsyncMemory(Lakebase.dsn(NOBODY_LISTENS)))
    with mlflow.start_span("agent"), pytest.raises(Exception, match="not open") as failure:
        await memory.for_user("ada").save("allergy", SECRET)
    [saved] = spans(traces.only(), "memories.save")
    assert saved.status.status_code == SpanStatusCode.ERROR
    assert saved.get_attribute("lakemem.error") == type(failure.value).__name__
    assert not saved.events
    assert SECRET not in everything(traces.only())


async def test_an_operation_outside_of_any_trace_is_a_trace_of_its_own(memory: AsyncMemory, traces: Traces) -> None:
    await memory.for_user("ada").items()
    assert traces.only().info.trace_metadata["mlflow.trace.user"] == "ada"


async def test_concurrent_agents_have_their_spans_in_their_own_traces(memory: AsyncMemory, traces: Traces) -> None:
    async def agent(user_id: str) -> None:
        with mlflow.start_span("agent"):
            for _ in range(3):
                await memory.for_user(user_id).thread(user_id).items()

    await asyncio.gather(*(agent(name) for name in ("ada", "bob", "cyd")))
    found = traces.all()
    assert sorted(trace.info.trace_metadata["mlflow.trace.user"] for trace in found) == ["ada", "bob", "cyd"]
    for trace_ in found:
        assert len({span.get_attribute("lakemem.scope") for span in spans(trace_, "threads.items")}) == 1
        assert len(spans(trace_, "threads.items")) == 3


def test_a_sync_memory_is_traced_too(sync_memory: Memory, traces: Traces) -> None:
    user = sync_memory.for_user("ada")
    with mlflow.start_span("agent"):
        user.save("allergy", SECRET)
        assert user.search("peanuts")
    found = traces.only()
    assert [span.get_attribute("lakemem.count") for span in spans(found, "recall.search")] == [1]
    assert spans(found, "memories.save")
    assert "peanut" not in everything(found)


async def test_nothing_is_traced_while_tracing_is_off(
    memory: AsyncMemory, traces: Traces, caplog: pytest.LogCaptureFixture
) -> None:
    mlflow.tracing.disable()
    try:
        await memory.for_user("ada").save("allergy", SECRET)
        assert await memory.for_user("ada").get("allergy")
    finally:
        mlflow.tracing.enable()
    assert traces.all() == []
    assert not [record for record in caplog.records if record.name.startswith("mlflow")]


async def test_a_memory_that_is_not_traced_has_no_tracing_in_it(target: Lakebase, traces: Traces) -> None:
    memory = AsyncMemory(target)
    traced = trace(memory)
    assert isinstance(traced._storage, AsyncTracedStorage)
    assert not isinstance(memory._storage, AsyncTracedStorage)
    async with memory:
        await memory.for_user("ada").items()
    assert traces.all() == []


async def test_a_memory_that_degrades_stays_one(traces: Traces) -> None:
    memory = trace(degrading(AsyncMemory(Lakebase.dsn(NOBODY_LISTENS)), cooldown=60.0))
    async with memory:
        assert await memory.for_user("ada").search("peanuts") == []
        assert (await memory.health()).status == "degraded"
    [searched] = spans(traces.only(), "recall.search")
    assert searched.get_attribute("lakemem.count") == 0


def test_a_memory_that_is_down_says_so_through_its_tracing() -> None:
    memory = trace(Memory(Lakebase.dsn(NOBODY_LISTENS)))
    with pytest.raises(StorageUnavailableError):
        memory.open()
