"""Functions of all kinds as agents, those that block in threads of their own."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import mlflow
import pytest
from mlflow.genai import agent_server
from mlflow.genai.agent_server import server as mlflow_server
from mlflow.genai.agent_server.utils import get_request_headers
from mlflow.pyfunc import ResponsesAgent
from mlflow.types.responses import ResponsesAgentRequest, ResponsesAgentResponse, ResponsesAgentStreamEvent

from lakemem import ConfigurationError
from lakemem.server import create_app, current_run
from lakemem.server.handlers import agent_of
from lakemem.server.threads import AHEAD, in_thread, iterated
from tests.server.conftest import Serve, said, text_of

# Kinds.


async def coroutine(request: dict[str, Any]) -> str:
    return f"{said(request)} {current_run().attempt}"


async def async_generator(request: dict[str, Any]) -> AsyncIterator[str]:
    yield f"{said(request)} "
    yield str(current_run().attempt)


def function(request: dict[str, Any]) -> str:
    assert threading.current_thread() is not threading.main_thread()
    return f"{said(request)} {current_run().attempt}"


def generator(request: dict[str, Any]) -> Iterator[str]:
    assert threading.current_thread() is not threading.main_thread()
    yield f"{said(request)} "
    yield str(current_run().attempt)


class Callable:
    async def __call__(self, request: dict[str, Any], run: Any) -> dict[str, Any]:
        return {"output": [{"role": "assistant", "content": f"{said(request)} {run.attempt}"}]}


async def with_more(prefix: str, request: dict[str, Any]) -> str:
    return f"{said(request)} {current_run().attempt}"


def decorated(inner: Any) -> Any:
    @functools.wraps(inner)
    def wrapper(*arguments: Any) -> Any:
        return inner(*arguments)

    return wrapper


@pytest.mark.parametrize(
    "agent",
    [
        coroutine,
        async_generator,
        function,
        generator,
        Callable(),
        functools.partial(with_more, "x"),
        decorated(coroutine),
        decorated(async_generator),
        lambda request: coroutine(request),
    ],
    ids=[
        "coroutine",
        "async generator",
        "function",
        "generator",
        "object",
        "partial",
        "wrapped",
        "wrapped 2",
        "lambda",
    ],
)
async def test_each_kind_of_function_answers_both_ways(serve: Serve, agent: Any) -> None:
    async with serve(agent) as served:
        events = await served.events("POST", "/responses", json={"input": "Hello", "stream": True})
        assert text_of(events[-1]["response"]) == "Hello 1"
        assert text_of((await served.ask()).json()) == "Hello 1"


@pytest.mark.parametrize("given", [7, "agent", object(), str, {"agent": coroutine}])
def test_what_cannot_be_served(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="nothing that can be served"):
        create_app(given)


def test_there_is_no_run_outside_of_one() -> None:
    with pytest.raises(ConfigurationError, match="no run here"):
        current_run()


async def test_what_blocks_does_not_hold_up_the_server(serve: Serve) -> None:
    gate = threading.Event()

    def blocks(request: dict[str, Any]) -> Iterator[str]:
        yield "Well "
        gate.wait(10)
        yield "now"

    async with serve(blocks, keep_alive=0.05) as served:
        response_id = (await served.ask(background=True)).json()["id"]
        began = time.monotonic()
        for _ in range(5):
            assert (await served.http.get(f"/responses/{response_id}")).json()["status"] != "completed"
        assert time.monotonic() - began < 5
        gate.set()
        assert text_of(await served.ended(response_id)) == "Well now"


async def test_a_tool_gives_events_of_its_own(serve: Serve) -> None:
    async def tool() -> None:
        await current_run().emit({"type": "my.progress", "percent": 50})

    async def agent(request: dict[str, Any]) -> str:
        await tool()
        return "done"

    async with serve(agent) as served:
        events = await served.events("POST", "/responses", json={"input": "Hello", "stream": True})
        assert [event["type"] for event in events][:3] == ["response.created", "response.in_progress", "my.progress"]


# Threads.


async def test_a_cancelled_generator_ends_at_its_next_step() -> None:
    ended = threading.Event()

    def counts() -> Iterator[int]:
        try:
            number = 0
            while True:
                number += 1
                yield number
        finally:
            ended.set()

    things = iterated(counts())
    assert [await anext(things) for _ in range(3)] == [1, 2, 3]
    await things.aclose()
    assert await asyncio.to_thread(ended.wait, 5)


async def test_a_generator_is_only_so_far_ahead() -> None:
    made: list[int] = []

    def counts() -> Iterator[int]:
        for number in range(10_000):
            made.append(number)
            yield number

    things = iterated(counts())
    await anext(things)
    await asyncio.sleep(0.1)
    assert len(made) <= AHEAD + 3
    await things.aclose()


@pytest.mark.parametrize("error", [ValueError("no"), StopIteration(), SystemExit(1), KeyboardInterrupt()])
async def test_what_a_thread_raises_is_an_error(error: BaseException) -> None:
    def fails() -> None:
        raise error

    with pytest.raises(ValueError if isinstance(error, ValueError) else RuntimeError):
        await in_thread(fails)


async def test_who_is_cancelled_does_not_wait_for_a_thread() -> None:
    gate = threading.Event()
    task = asyncio.ensure_future(in_thread(lambda: gate.wait(10)))
    await asyncio.sleep(0.05)
    task.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 5
    gate.set()


# Functions that MLflow knows.


@pytest.fixture
def _nothing_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_server, "_invoke_function", None)
    monkeypatch.setattr(mlflow_server, "_stream_function", None)


def answer_to(request: ResponsesAgentRequest) -> dict[str, Any]:
    text = f"{request.input[-1].content} {request.custom_inputs['thread_id']}"  # type: ignore[union-attr, index]
    return {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text}],
    }


@pytest.mark.usefixtures("_nothing_is_registered")
@pytest.mark.parametrize("blocks", [False, True], ids=["async", "sync"])
async def test_functions_that_are_registered_with_mlflow(serve: Serve, blocks: bool) -> None:
    if blocks:

        @agent_server.invoke()
        def invoked(request: ResponsesAgentRequest) -> ResponsesAgentResponse:
            return ResponsesAgentResponse(output=[answer_to(request)], custom_outputs={"way": "invoke"})

        @agent_server.stream()
        def streamed(request: ResponsesAgentRequest) -> Iterator[ResponsesAgentStreamEvent]:
            yield ResponsesAgentStreamEvent(type="response.output_item.done", item=answer_to(request))

    else:

        @agent_server.invoke()
        async def invoked(request: ResponsesAgentRequest) -> ResponsesAgentResponse:
            return ResponsesAgentResponse(output=[answer_to(request)], custom_outputs={"way": "invoke"})

        @agent_server.stream()
        async def streamed(request: ResponsesAgentRequest) -> AsyncIterator[ResponsesAgentStreamEvent]:
            yield ResponsesAgentStreamEvent(type="response.output_item.done", item=answer_to(request))

    for given in (None, invoked, streamed):
        assert type(agent_of(given)).__name__ == "MlflowAgent"
    async with serve(None) as served:
        for background in (False, True):
            begun = (await served.ask(conversation="t", background=background)).json()
            done = await served.ended(begun["id"])
            assert text_of(done) == "Hello t"
            assert done["custom_outputs"] == {"way": "invoke", "thread_id": "t"}
            body = {"input": "Hello", "conversation": "t", "stream": True, "background": background}
            events = await served.events("POST", "/invocations", json=body)
            assert text_of(events[-1]["response"]) == "Hello t"
            assert "way" not in events[-1]["response"]["custom_outputs"]
        refused = await served.ask([{"role": "user", "content": [{"type": "none"}]}])
        assert refused.status_code == 400


@pytest.mark.usefixtures("_nothing_is_registered")
async def test_one_registered_function_does_both(serve: Serve) -> None:
    @agent_server.invoke()
    async def invoked(request: ResponsesAgentRequest) -> ResponsesAgentResponse:
        return ResponsesAgentResponse(output=[{**answer_to(request), "id": get_request_headers()["x-mine"]}])

    async with serve(invoked) as served:
        events = await served.events(
            "POST", "/responses", json={"input": "Hello", "stream": True}, headers={"x-mine": "msg_7"}
        )
        assert [item["id"] for item in events[-1]["response"]["output"]] == ["msg_7"]


@pytest.mark.usefixtures("_nothing_is_registered")
def test_nothing_is_registered() -> None:
    with pytest.raises(ConfigurationError, match="no agent"):
        create_app()


async def test_a_responses_agent_of_mlflow(serve: Serve) -> None:
    mlflow.tracing.disable()  # traces would go into a database in this folder

    class Mine(ResponsesAgent):
        def predict(self, request: ResponsesAgentRequest) -> ResponsesAgentResponse:
            return ResponsesAgentResponse(output=[answer_to(request)])

    async with serve(Mine()) as served:
        assert text_of((await served.ask(conversation="t")).json()) == "Hello t"
