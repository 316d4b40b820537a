"""A client that does as little as it can: of a stream it takes the pieces as they come."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

DONE = b"data: [DONE]"
_SAID = re.compile(rb'"delta": ?"@([\d.]+) (\d+) ')
_ID = re.compile(rb'"response_id": ?"(\w+)"')
_NUMBER = re.compile(rb'"sequence_number": ?(\d+)')


async def get(port: int, path: str) -> bool:
    """Whether a GET is answered with status 200."""
    async with _asked(port, "GET", path, None) as (status, _):
        return status == 200


@asynccontextmanager
async def tailing(port: int, run_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """Ask for all events of a run."""
    path = f"/responses/{run_id}?stream=true"
    async with _asked(port, "GET", path, None) as (_, pieces):
        yield pieces


@asynccontextmanager
async def begun(port: int, *, seconds: float, pause: float) -> AsyncIterator[AsyncIterator[bytes]]:
    """Begin a run in the background, and have its events."""
    body = {
        "input": [{"role": "user", "content": "What time is it?"}],
        "stream": True,
        "background": True,
        "custom_inputs": {"seconds": seconds, "pause": pause},
    }
    async with _asked(port, "POST", "/responses", body) as (_, pieces):
        yield pieces


async def drain(port: int, *, seconds: float, pause: float) -> None:
    """Begin a run, and take its stream to its end."""
    async with begun(port, seconds=seconds, pause=pause) as pieces:
        async for piece in pieces:
            if DONE in piece:
                return
    raise RuntimeError("a stream was cut")


async def first_id(pieces: AsyncIterator[bytes]) -> str:
    """The id of a run, from the first of its events that has it."""
    async for piece in pieces:
        if found := _ID.search(piece):
            return found[1].decode()
    raise RuntimeError("a stream has no id of its run")


def said(piece: bytes) -> list[tuple[float, int]]:
    """Of the events of a piece, when each was emitted, and by which process."""
    return [(float(when), int(pid)) for when, pid in _SAID.findall(piece)]


def numbers(piece: bytes) -> list[int]:
    return [int(number) for number in _NUMBER.findall(piece)]


@asynccontextmanager
async def _asked(
    port: int, method: str, path: str, body: dict[str, Any] | None
) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
    content = b"" if body is None else json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    try:
        head = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
        writer.write("\r\n".join([*head, f"content-length: {len(content)}", "", ""]).encode() + content)
        status = int((await reader.readline()).split()[1])
        while await reader.readline() not in (b"\r\n", b""):
            pass
        yield status, _pieces(reader)
    finally:
        writer.close()


async def _pieces(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The chunks of a body, which both servers make of whole frames."""
    while size := int((await reader.readline()) or b"0", 16):
        yield (await reader.readexactly(size + 2))[:-2]


def now() -> float:
    """Seconds by the clock that the agent looks at."""
    return time.monotonic()
