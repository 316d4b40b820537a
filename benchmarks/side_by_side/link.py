"""A network of 2.5 ms round-trip time before Postgres: a TCP proxy in a process of its own.

It hands every piece on 1.25 ms after it came, in each direction. It delays and does not throttle: what is sent in one
go arrives in one go.

Run as a program it reads where to listen for from its first argument, and ends when its input does.
"""

from __future__ import annotations

import asyncio
import collections
import selectors
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.conninfo import make_conninfo

from lakemem import Lakebase

ROUND_TRIP = 0.0025


class _Direction(asyncio.Protocol):
    """What comes in here goes out at `other`, later and in order."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces: collections.deque[tuple[float, bytes]] = collections.deque()
        self.transport: asyncio.Transport | None = None
        self.other: _Direction | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        due = self._loop.time() + ROUND_TRIP / 2
        self._pieces.append((due, data))
        if len(self._pieces) == 1:
            self._loop.call_at(due, self._hand_on)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def _hand_on(self) -> None:
        assert self.other is not None
        assert self.other.transport is not None
        while self._pieces and self._pieces[0][0] <= self._loop.time():
            self.other.transport.write(self._pieces.popleft()[1])
        if self._pieces:
            self._loop.call_at(self._pieces[0][0], self._hand_on)


class _Client(_Direction):
    """A connection from a client; the server's answers wait until that side is there."""

    def __init__(self, socket_path: str) -> None:
        super().__init__()
        self._socket_path = socket_path

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        server = _Direction()
        server.other, self.other = self, server
        await self._loop.create_unix_connection(lambda: server, self._socket_path)
        assert self.transport is not None
        self.transport.resume_reading()


async def _serve(socket_path: str) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Client(socket_path), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    await over.wait()


@contextmanager
def link(target: Lakebase, helpers: set[int]) -> Iterator[Lakebase]:
    """The same database, by way of the link."""
    parameters = dict(target.parameters)
    socket_path = f"{parameters['host']}/.s.PGSQL.{parameters.get('port') or 5432}"
    with subprocess.Popen(
        [sys.executable, __file__, socket_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        helpers.add(process.pid)
        try:
            port = int(process.stdout.readline())
            # psycopg asks for no encryption by way of a socket; neither shall it here.
            changed = {"host": "127.0.0.1", "port": port, "sslmode": "disable", "gssencmode": "disable"}
            yield Lakebase.dsn(make_conninfo(**{**parameters, **changed}))
        finally:
            helpers.discard(process.pid)
            process.communicate()


if __name__ == "__main__":
    # select() waits for microseconds, where epoll waits for whole milliseconds.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(_serve(sys.argv[1]))
