"""A run as a stream: its events as they come, signs of life between them, and a last word."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol

from starlette.responses import StreamingResponse
from starlette.types import Send

from lakemem.errors import CursorExpiredError, RunNotFoundError, StorageError
from lakemem.run_types import Run, RunEvent
from lakemem.server.shapes import FAILED, failed_event, response_of
from lakemem.server.sse import DONE, HEADERS, KEEP_ALIVE, frame

AHEAD = 1_000
"""How many frames wait for a client that reads slowly; then the reading of events waits for it."""

NEVER = 2**62
"""After this number no event comes: to tail from there waits for the end alone."""

FAILED_WITHIN = 40
"""Characters of an event in which its type stands, where Postgres has made it."""

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0


class Runs(Protocol):
    """What is read of an owner's runs."""

    async def get(self, run_id: str) -> Run | None: ...

    async def events(self, run_id: str, *, after: int = -1, limit: int = 500) -> list[RunEvent]: ...

    def tail(self, run_id: str, *, after: int = -1) -> AsyncIterator[RunEvent]: ...


class EventStream(StreamingResponse):
    """Frames as a response, closed when their client is gone."""

    def __init__(self, frames: AsyncGenerator[str, None], headers: dict[str, str]) -> None:
        super().__init__(frames, headers={**HEADERS, **headers})
        self._frames = frames

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._frames):
            await super().stream_response(send)


async def frames(
    runs: Runs, run_id: str, after: int, *, keep_alive: float, stopping: asyncio.Event
) -> AsyncGenerator[str, None]:
    """Yield the frames of a run behind a cursor, those that are there at once together.

    A server that stops ends the stream without its last word: the client asks again, and another one goes on.
    """
    ready: deque[str] = deque()
    changed, taken = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        async for made in _frames(runs, run_id, after):
            ready.append(made)
            changed.set()
            while len(ready) >= AHEAD:
                taken.clear()
                await taken.wait()

    reading, stop = asyncio.ensure_future(read()), asyncio.ensure_future(stopping.wait())
    reading.add_done_callback(lambda _: changed.set())
    stop.add_done_callback(lambda _: changed.set())
    try:
        while True:
            try:
                await asyncio.wait_for(changed.wait(), keep_alive)
            except TimeoutError:
                yield KEEP_ALIVE
                continue
            changed.clear()
            is_over = reading.done()
            if ready:
                together = "".join(ready)
                ready.clear()
                taken.set()
                yield together
            if is_over:
                reading.result()
                yield DONE
                return
            if stop.done():
                return
    finally:
        reading.cancel()
        stop.cancel()
        await asyncio.gather(reading, stop, return_exceptions=True)


async def at_rest(runs: Runs, run_id: str) -> Run | None:
    """Wait until a run has ended, or waits for a person; None where it was deleted."""
    async with aclosing(_persistent(runs, run_id, NEVER)) as events:
        async for _ in events:
            pass
    return await _run(runs, run_id)


async def shown(runs: Runs, run: Run) -> dict[str, Any]:
    """A run as a Response. What the agent has ended is as its last event says, as long as that is kept."""
    if run.status in ("completed", "incomplete", "waiting"):
        try:
            last = await runs.events(run.run_id, after=run.last_sequence - 1, limit=1)
        except (CursorExpiredError, RunNotFoundError):
            last = []
        if last and isinstance(response := last[0].event.get("response"), dict):
            return response
    return response_of(run)


async def _frames(runs: Runs, run_id: str, after: int) -> AsyncGenerator[str, None]:
    async with aclosing(_persistent(runs, run_id, after)) as events:
        async for event in events:
            yield frame(await _text(runs, run_id, event), event.sequence_number, run_id)


async def _text(runs: Runs, run_id: str, event: RunEvent) -> str:
    """An event as its client gets it. What ends a run that failed may have been dead, and left out the response."""
    if FAILED not in event.text[:FAILED_WITHIN]:
        return event.text
    stored = event.event
    run = None if stored.get("type") != FAILED or "response" in stored else await _run(runs, run_id)
    return event.text if run is None else json.dumps(failed_event(run, stored, event.attempt))


async def _persistent(runs: Runs, run_id: str, after: int) -> AsyncGenerator[RunEvent, None]:
    """The events of a run behind a number, also through times in which Postgres is away."""
    pause = FIRST_PAUSE
    while True:
        try:
            async for event in runs.tail(run_id, after=after):
                after, pause = event.sequence_number, FIRST_PAUSE
                yield event
            return
        except StorageError as error:
            if not error.retryable:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


async def _run(runs: Runs, run_id: str) -> Run | None:
    pause = FIRST_PAUSE
    while True:
        try:
            return await runs.get(run_id)
        except StorageError as error:
            if not error.retryable:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
