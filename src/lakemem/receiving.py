"""Receiving the results of a pipeline from libpq, once for each world.

Source: https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult


async def areceive(server: PGconn, results: list[PGresult], *, timeout: float | None = None) -> None:
    """Send what has not gone out yet, and add all results up to the end of the pipeline.

    Cancelled, it may be called again to receive the rest.

    Raises:
        psycopg.OperationalError: the connection broke.
        TimeoutError: they were not there after `timeout` seconds.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    socket = server.socket

    def leave() -> None:
        loop.remove_reader(socket)
        loop.remove_writer(socket)

    def attempt(step: Callable[[], bool]) -> None:
        if done.cancelled():
            return
        try:
            if step():
                leave()
                done.set_result(None)
        except Exception as error:
            # At once: libpq has closed the socket, and the next connection may get its number.
            leave()
            done.set_exception(error)

    def read() -> bool:
        server.consume_input()
        return _take(server, results)

    def write() -> bool:
        if not server.flush():
            loop.remove_writer(socket)
        return False

    unsent = server.flush()
    loop.add_reader(socket, attempt, read)
    if unsent:
        loop.add_writer(socket, attempt, write)
    try:
        async with asyncio.timeout(timeout):
            await done
    finally:
        if done.cancelled():
            leave()


def receive(server: PGconn, results: list[PGresult], *, timeout: float | None = None) -> None:
    """Block until all results up to the end of the pipeline are there, as :func:`areceive` waits for them."""
    end = None if timeout is None else time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        selector.register(server.socket, selectors.EVENT_READ)
        while True:
            unsent = selectors.EVENT_WRITE if server.flush() else 0
            selector.modify(server.socket, selectors.EVENT_READ | unsent)
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            if any(events & selectors.EVENT_READ for _, events in selector.select(left)):
                server.consume_input()
                if _take(server, results):
                    return


def _take(server: PGconn, results: list[PGresult]) -> bool:
    """Take the results that are there, and say whether the last of them has come."""
    is_between = False
    while not server.is_busy():
        # Between the results of two statements stands None, once; for ever, where libpq cannot read what the server
        # says, and has given up the connection.
        if (result := server.get_result()) is None:
            if is_between:
                raise psycopg.OperationalError("the server's answer cannot be read: the connection is given up")
            is_between = True
            continue
        is_between = False
        if result.status == ExecStatus.PIPELINE_SYNC:
            _drop_notifications(server)
            return True
        results.append(result)
    return False


def _drop_notifications(server: PGconn) -> None:
    """Forget what came for others, which libpq would keep: a pooler may lend a server that somebody let listen."""
    while server.notifies() is not None:
        pass
