"""Receiving the results of a pipeline from libpq, once for each world.

Source: https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
"""

from __future__ import annotations

import asyncio
import selectors

from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult


async def areceive(server: PGconn, results: list[PGresult]) -> None:
    """Send what has not gone out yet, and add all results up to the end of the pipeline.

    Cancelled, it may be called again to receive the rest.

    Raises:
        psycopg.OperationalError: the connection broke.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def readable() -> None:
        try:
            server.consume_input()
            if _take(server, results) and not done.done():
                done.set_result(None)
        except Exception as error:
            if not done.done():
                done.set_exception(error)

    def writable() -> None:
        if not server.flush():
            loop.remove_writer(server.socket)

    unsent = bool(server.flush())
    loop.add_reader(server.socket, readable)
    if unsent:
        loop.add_writer(server.socket, writable)
    try:
        await done
    finally:
        loop.remove_reader(server.socket)
        if unsent:
            loop.remove_writer(server.socket)


def receive(server: PGconn, results: list[PGresult]) -> None:
    """Block until all results up to the end of the pipeline are there, as :func:`areceive` waits for them."""
    with selectors.DefaultSelector() as selector:
        selector.register(server.socket, selectors.EVENT_READ)
        while True:
            unsent = selectors.EVENT_WRITE if server.flush() else 0
            selector.modify(server.socket, selectors.EVENT_READ | unsent)
            if any(events & selectors.EVENT_READ for _, events in selector.select()):
                server.consume_input()
                if _take(server, results):
                    return


def _take(server: PGconn, results: list[PGresult]) -> bool:
    """Take the results that are there, and say whether the last of them has come."""
    while not server.is_busy():
        # Between the results of two statements stands None.
        if (result := server.get_result()) is None:
            continue
        if result.status == ExecStatus.PIPELINE_SYNC:
            return True
        results.append(result)
    return False
