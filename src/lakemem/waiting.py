"""Waiting, once for each world: the async functions, and their twins that block.

The generated sync code calls the twin wherever the async code calls the original.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def acall_blocking(function: Callable[[], T], *, deadline: float | None = None) -> T:
    """Run a function that blocks, off the event loop.

    Raises:
        TimeoutError: after `deadline` seconds; the function itself runs on, unheard.
    """
    async with asyncio.timeout(deadline):
        return await asyncio.to_thread(function)


def call_blocking(function: Callable[[], T], *, deadline: float | None = None) -> T:
    """Run a function that blocks. Raises TimeoutError as :func:`acall_blocking` does."""
    return function() if deadline is None else _call_in_thread(function, deadline)


async def awithin(deadline: float, operation: Callable[[], Awaitable[T]]) -> T:
    """Await `operation()`, and cancel it with TimeoutError after `deadline` seconds."""
    async with asyncio.timeout(deadline):
        return await operation()


def within(deadline: float, operation: Callable[[], T]) -> T:
    """Call `operation()`, and raise TimeoutError after `deadline` seconds; the call itself may still finish."""
    return _call_in_thread(operation, deadline)


def _call_in_thread(function: Callable[[], T], deadline: float) -> T:
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)
    thread.start()
    thread.join(deadline)
    if failure:
        raise failure[0]
    if outcome:
        return outcome[0]
    raise TimeoutError(f"no answer within {deadline:g} s")


class AsyncBackground:
    """Repeats a step beside the caller's own work, until it is stopped or the step says that it is done."""

    def __init__(self, step: Callable[[], Awaitable[bool]], interval: float) -> None:
        self._step = step
        self._interval = interval
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start, unless it runs already."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            if await self._step():
                return


class Background:
    """The twin of :class:`AsyncBackground`, on a daemon thread."""

    def __init__(self, step: Callable[[], bool], interval: float) -> None:
        self._step = step
        self._interval = interval
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start, unless it runs already."""
        if self._thread is None or not self._thread.is_alive():
            self._stopped.clear()
            self._thread = threading.Thread(target=self._run, name="lakemem-background", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            if self._step():
                return


def monotonic() -> float:
    """Seconds on a clock that never jumps."""
    return time.monotonic()
