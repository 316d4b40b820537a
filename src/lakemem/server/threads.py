"""Functions and generators that block, in threads of their own: nothing that they do holds up the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

AHEAD = 64
"""How many things a generator may make before the first of them is taken."""

_END = object()


async def in_thread(work: Callable[[], T]) -> T:
    """Do something that blocks. Who is cancelled meanwhile does not wait for its end.

    The thread is a daemon, unlike those of asyncio: a process that is told to stop does not wait for it either.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            done = context.run(work)
        except BaseException as error:
            _tell(loop, result, error=_throwable(error))
        else:
            _tell(loop, result, done)

    threading.Thread(target=run, name="lakemem-agent", daemon=True).start()
    return await result


async def iterated(things: Iterable[T]) -> AsyncGenerator[T, None]:
    """Yield what a generator makes that blocks; all of it in one thread.

    To close this early ends the generator at its next ``yield``.
    """
    loop = asyncio.get_running_loop()
    made: asyncio.Queue[Any] = asyncio.Queue()
    room = threading.Semaphore(AHEAD)
    stopped = threading.Event()

    def go_through() -> None:
        iterator = iter(things)
        try:
            for thing in iterator:
                room.acquire()
                if stopped.is_set():
                    return
                loop.call_soon_threadsafe(made.put_nowait, thing)
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    going = asyncio.ensure_future(in_thread(go_through))
    going.add_done_callback(lambda _: made.put_nowait(_END))
    try:
        while (thing := await made.get()) is not _END:
            room.release()
            yield thing
        await going
    finally:
        stopped.set()
        room.release()
        going.cancel()


def _tell(
    loop: asyncio.AbstractEventLoop, result: asyncio.Future[T], value: Any = None, *, error: BaseException | None = None
) -> None:
    def settle() -> None:
        if result.done():  # nobody waits any more
            return
        if error is None:
            result.set_result(value)
        else:
            result.set_exception(error)

    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)


def _throwable(error: BaseException) -> BaseException:
    """What may be raised in a coroutine: StopIteration may not, and SystemExit would end the server."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"the agent raised {type(error).__name__}")
    wrapped.__cause__ = error
    return wrapped
