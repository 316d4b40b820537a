from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import httpx
import pytest
import uvicorn
from openai import AsyncOpenAI
from starlette.applications import Starlette

from lakemem import AsyncMemory, Lakebase
from lakemem.server import create_app


@dataclass(frozen=True)
class Served:
    """A server on a real socket, in this event loop."""

    app: Starlette
    url: str
    http: httpx.AsyncClient
    memory: AsyncMemory

    @cached_property
    def openai(self) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=self.url, api_key="none", max_retries=0)

    async def ask(self, text: Any = "Hello", **fields: Any) -> httpx.Response:
        return await self.http.post("/responses", json={"input": text, **fields})

    async def frames(self, method: str, path: str, **options: Any) -> list[str]:
        """The blocks of a stream, as they came."""
        answer = await self.http.request(method, path, **options)
        assert answer.status_code == 200, answer.text
        return [block for block in answer.text.split("\n\n") if block]

    async def events(self, method: str, path: str, **options: Any) -> list[dict[str, Any]]:
        """The events of a stream that ends as it should."""
        blocks = await self.frames(method, path, **options)
        assert blocks[-1] == "data: [DONE]"
        return [event_of(block) for block in blocks[:-1]]

    async def ended(self, run_id: str) -> dict[str, Any]:
        """A run at its end, polled for as a client does."""
        async with asyncio.timeout(15):
            while True:
                answer = (await self.http.get(f"/responses/{run_id}")).json()
                if answer["status"] not in ("queued", "in_progress"):
                    return dict(answer)
                await asyncio.sleep(0.02)


def event_of(block: str) -> dict[str, Any]:
    lines = [line for line in block.splitlines() if not line.startswith(":")]
    assert [line.partition(":")[0] for line in lines] == ["id", "data"]
    event = json.loads(lines[1].removeprefix("data: "))
    assert lines[0] == f"id: {event['sequence_number']}"
    return dict(event)


Serve: TypeAlias = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def serve(target: Lakebase) -> Serve:
    @asynccontextmanager
    async def begun(agent: Any, **options: Any) -> AsyncIterator[Served]:
        options.setdefault("drain", 0.5)
        memory = AsyncMemory(target)
        app = create_app(agent, memory=memory, **options)
        async with (
            memory,
            listening(app) as url,
            # No certificates are read: they take longer than many a test.
            httpx.AsyncClient(base_url=url, timeout=20, verify=False) as http,
        ):
            served = Served(app, url, http, memory)
            yield served
            if "openai" in vars(served):
                await served.openai.close()

    return begun


@asynccontextmanager
async def listening(app: Starlette) -> AsyncIterator[str]:
    """Serve on a socket of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan="on", log_level="warning", timeout_graceful_shutdown=5)
    config.load()
    server = uvicorn.Server(config)
    # Its `serve` does the same, and looks ten times a second whether it is to end.
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    assert server.started, "it ended before it began"
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await app.state.service.stop()
        await server.shutdown(sockets=[listener])


async def greets(request: dict[str, Any], run: Any) -> AsyncIterator[str]:
    """An agent that says back what it is told, a word at a time."""
    for word in f"You said {said(request)}".split():
        yield f"{word} "
        await asyncio.sleep(0.002)


def said(request: dict[str, Any]) -> str:
    given = request["input"]
    return str(given if isinstance(given, str) else given[-1]["content"])


def text_of(answer: dict[str, Any]) -> str:
    return "".join(part["text"] for item in answer["output"] for part in item.get("content", []))
