"""Faults of another server of this kind that were measured; each would be one here, too."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from mlflow.genai import agent_server
from mlflow.genai.agent_server import server as mlflow_server
from mlflow.types.responses import ResponsesAgentRequest

from lakemem import StorageUnavailableError
from tests.server.conftest import Serve, text_of


async def test_the_first_event_is_sent_once_while_the_agent_thinks(serve: Serve) -> None:
    async def thinks(request: dict[str, Any]) -> AsyncIterator[str]:
        yield ""
        await asyncio.sleep(1.2)
        yield "done"

    async with serve(thinks, keep_alive=0.1) as served:
        answer = await served.http.post("/responses", json={"input": "Hello", "stream": True, "background": True})
        assert answer.text.count('"sequence_number":0,') == 1


async def test_a_blocking_generator_works_in_the_background(serve: Serve) -> None:
    def counts(request: dict[str, Any]) -> Iterator[str]:
        yield from ("one ", "two")

    async with serve(counts) as served:
        body = {"input": "Hello", "background": True, "stream": True}
        events = await served.events("POST", "/responses", json=body)
        assert text_of(events[-1]["response"]) == "one two"


async def test_a_blocking_function_is_not_taken_for_dead(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[int] = []
    gate = threading.Event()

    def blocks(request: dict[str, Any], run: Any) -> str:
        attempts.append(run.attempt)
        gate.wait(2.5)
        return "done"

    # The other server beside it is there to take over what seems to be abandoned.
    async with serve(blocks) as served, serve(blocks) as other:
        begun = (await served.ask(background=True)).json()
        ended = await other.ended(begun["id"])
        assert (ended["status"], ended["attempt_number"], attempts) == ("completed", 1, [1])


async def test_an_invoke_is_gone_on_with_as_an_invoke(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_server, "_invoke_function", None)
    monkeypatch.setattr(mlflow_server, "_stream_function", None)
    ways: list[str] = []

    @agent_server.invoke()
    async def invoked(request: ResponsesAgentRequest) -> dict[str, Any]:
        ways.append("invoke")
        if len(ways) == 1:
            raise StorageUnavailableError("the database is away")
        return {"output": []}

    @agent_server.stream()
    async def streamed(request: ResponsesAgentRequest) -> AsyncIterator[dict[str, Any]]:
        ways.append("stream")
        yield {"output": []}

    async with serve(None) as served:
        ended = await served.ended((await served.ask(background=True)).json()["id"])
        assert (ended["status"], ways) == ("completed", ["invoke", "invoke"])


async def test_a_recovered_run_keeps_its_conversation(serve: Serve) -> None:
    async def stumbles(request: dict[str, Any], run: Any) -> AsyncIterator[str]:
        yield request["custom_inputs"]["thread_id"]
        if run.attempt == 1:
            raise StorageUnavailableError("the database is away")

    async with serve(stumbles) as served:
        body = {"input": "Hello", "conversation": "monday", "stream": True}
        events = await served.events("POST", "/responses", json=body)
        assert {event["conversation_id"] for event in events if "conversation_id" in event} == {"monday"}
        assert text_of(events[-1]["response"]) == "monday"
        assert "RECOVERY" not in json.dumps(events)
