"""Waiting, once for each world: the async functions, and their twins that block.

The generated sync code calls the twin wherever the async code calls the original.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar, cast

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
    """Await `operation()`, and raise TimeoutError after `deadline` seconds.

    The operation is then cancelled, as it is when the caller is, and nobody waits for what it makes of that: to
    cancel a statement, psycopg asks the server, and where that is gone it asks for many seconds.
    """
    task = asyncio.ensure_future(operation())
    try:
        await asyncio.wait([task], timeout=deadline)
        if not task.done():
            raise TimeoutError(f"no answer within {deadline:g} s")
    finally:
        if not task.done():
            _abandon(task)
    return task.result()


class asettled(Generic[T]):
    """``await asettled(step())``: the step runs to its end, and only then a cancellation of the caller is raised.

    It is no task of its own, which would cost more than most steps. So a step must not time itself out: on asyncio
    that is a cancellation like any other.
    """

    def __init__(self, step: Coroutine[Any, Any, T]) -> None:
        self._step = step

    def __await__(self) -> Generator[Any, None, T]:
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                awaited = self._step.send(None)
            except StopIteration as end:
                if cancelled is not None:
                    raise cancelled from None
                return cast("T", end.value)
            except BaseException:
                if cancelled is not None:
                    raise cancelled from None
                raise
            while True:
                try:
                    yield from _ended(awaited)
                    break
                except asyncio.CancelledError as error:
                    cancelled = error


def _ended(awaited: asyncio.Future[Any] | None) -> Generator[Any, None, None]:
    """Wait until what a coroutine awaits has ended, without its being cancelled with who waits."""
    if awaited is None:
        yield
        return
    # As a task does with what a coroutine awaits: https://docs.python.org/3/library/asyncio-future.html
    awaited._asyncio_future_blocking = False
    while not awaited.done():
        ended = asyncio.get_running_loop().create_future()
        awaited.add_done_callback(lambda _, ended=ended: ended.done() or ended.set_result(None))  # type: ignore[misc]
        yield from ended.__await__()


_abandoned: set[asyncio.Future[Any]] = set()


def _abandon(task: asyncio.Future[Any]) -> None:
    """Cancel a task, keep it until it has ended (the event loop does not), and let its failure go unheard."""

    def ended(task: asyncio.Future[Any]) -> None:
        _abandoned.discard(task)
        if not task.cancelled():
            task.exception()

    _abandoned.add(task)
    task.add_done_callback(ended)
    task.cancel()


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


async def apause(stop: asyncio.Event, seconds: float) -> None:
    """Wait for so long, or until `stop` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


def pause(stop: threading.Event, seconds: float) -> None:
    """Wait as :func:`apause` does."""
    stop.wait(seconds)


class AsyncBackground:
    """Repeats a step beside the caller's own work, until it is stopped or the step says that it is done.

    A start while a step runs brings at least one more step: what it was for may have come too late for this one.
    """

    def __init__(self, step: Callable[[], Awaitable[bool]], interval: float) -> None:
        self._step = step
        self._interval = interval
        self._wanted = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start, unless it runs already."""
        self._wanted = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            self._wanted = False
            if await self._step() and not self._wanted:
                return


class Background:
    """The twin of :class:`AsyncBackground`, on a daemon thread."""

    def __init__(self, step: Callable[[], bool], interval: float) -> None:
        self._step = step
        self._interval = interval
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._wanted = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start, unless it runs already."""
        with self._lock:
            self._wanted = True
            if self._thread is None:
                self._stopped.clear()
                self._thread = threading.Thread(target=self._run, name="lakemem-background", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        try:
            while not self._stopped.wait(self._interval):
                self._wanted = False
                if self._step() and self._may_end():
                    return
        finally:
            self._ended()

    def _may_end(self) -> bool:
        with self._lock:
            if not self._wanted:
                self._thread = None
            return not self._wanted

    def _ended(self) -> None:
        with self._lock:
            if self._thread is threading.current_thread():
                self._thread = None


def monotonic() -> float:
    """Seconds on a clock that never jumps."""
    return time.monotonic()
