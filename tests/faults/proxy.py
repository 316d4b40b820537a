"""A TCP proxy before a Postgres, which breaks connections where a test says."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Literal, TypeAlias

from psycopg.conninfo import make_conninfo

from lakemem import Lakebase

Fault: TypeAlias = Literal["none", "before", "during", "after"] | int
"""What happens to a request: nothing; it is lost with its connection; its connection ends while the server is at it; or
its answer is lost, once the server is done. Of a number, so many bytes arrive before the connection ends."""

READY = b"Z\x00\x00\x00\x05I"
"""The server's last word on a transaction: https://www.postgresql.org/docs/current/protocol-message-formats.html"""


class Proxy:
    """Stands between a client and a Postgres.

    Attributes:
        delay: seconds by which each answer comes late.
        piece: bytes of an answer that come at once, each piece as late as `delay` says; 0 for all.
        fault: given what a client sends, says what happens to it.
        answer: given what the server sends, says what arrives.
        connections: how many clients have connected.
    """

    def __init__(self, target: Lakebase) -> None:
        self._upstream = target
        self._listener: socket.socket | None = None
        self._port = 0
        self._links: set[_Link] = set()
        self._threads: list[threading.Thread] = []
        self._going = threading.Event()
        self._going.set()
        self.passing = True
        self.is_half_open = False
        self.delay = 0.0
        self.piece = 0
        self.fault: Callable[[bytes], Fault] = lambda request: "none"
        self.answer: Callable[[bytes], bytes] = lambda answer: answer
        self.connections = 0

    @property
    def target(self) -> Lakebase:
        """The same database, by way of this proxy."""
        through = {"host": "127.0.0.1", "hostaddr": "127.0.0.1", "port": self._port, "sslmode": "disable"}
        return Lakebase.dsn(make_conninfo(**{**self._upstream.parameters, **through, "gssencmode": "disable"}))

    def refuse(self) -> None:
        """Cut all connections, and let nobody in."""
        listener, self._listener = self._listener, None
        if listener is not None:
            _close(listener)
        self.cut()

    def black_hole(self) -> None:
        """Take what is sent, pass nothing on, and say nothing."""
        self.passing = False

    def hold(self) -> None:
        """Pass nothing on for now. What is sent meanwhile arrives late."""
        self._going.clear()

    def half_open(self) -> None:
        """Pass requests on, and no answers; neither side hears that the other has gone."""
        self.is_half_open = True

    def lead_to(self, target: Lakebase) -> None:
        """Connect to another server from now on."""
        self._upstream = target
        self.cut()

    def restore(self) -> None:
        """Work as a network should. What hangs in a black hole ends, as it does when TCP gives up."""
        if not self.passing or self.is_half_open:
            self.cut()
        self.passing, self.is_half_open, self.delay, self.piece = True, False, 0.0, 0
        self._going.set()
        if self._listener is None:
            self._listen()

    def cut(self) -> None:
        """End all connections there are."""
        for link in list(self._links):
            link.cut()

    def __enter__(self) -> Proxy:
        self._listen()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._going.set()
        self.refuse()
        for thread in self._threads:
            thread.join()

    def _listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        self._listener = listener
        self.run(lambda: self._accept(listener))

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                self.connections += 1
                try:
                    server = self._connect()
                except OSError:
                    _close(client)
                    continue
                link = _Link(self, client, server)
                self._links.add(link)
                link.start()
                if self._listener is not listener:
                    # It came in while the door was being closed.
                    link.cut()

    def _connect(self) -> socket.socket:
        host = str(self._upstream.parameters.get("host") or "127.0.0.1")
        port = int(self._upstream.parameters.get("port") or 5432)
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def wait(self) -> None:
        """Return once what was sent may go on."""
        self._going.wait()

    def run(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def forget(self, link: _Link) -> None:
        self._links.discard(link)


class _Link:
    """One connection of a client, and its own to the server."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._ended = threading.Event()
        self._answer_is_lost = False

    def start(self) -> None:
        self._proxy.run(self._pass_requests)
        self._proxy.run(self._pass_answers)

    def cut(self) -> None:
        self._ended.set()
        _close(self._client)
        _close(self._server)
        self._proxy.forget(self)

    def _pass_requests(self) -> None:
        with contextlib.suppress(OSError):
            while request := self._client.recv(65536):
                fault = self._proxy.fault(request)
                if fault == "before":
                    break
                if isinstance(fault, int):
                    self._server.sendall(request[:fault])
                    break
                if fault == "during":
                    self._server.sendall(request)
                    break
                self._answer_is_lost |= fault == "after"
                self._proxy.wait()
                if self._proxy.passing:
                    self._server.sendall(request)
        self._end()

    def _pass_answers(self) -> None:
        with contextlib.suppress(OSError):
            while answer := self._server.recv(65536):
                if self._answer_is_lost:
                    if answer.endswith(READY):
                        break
                    continue
                self._proxy.wait()
                answer = self._proxy.answer(answer)
                piece = self._proxy.piece or len(answer)
                for start in range(0, len(answer), piece):
                    self._ended.wait(self._proxy.delay)
                    if self._proxy.passing and not self._proxy.is_half_open:
                        self._client.sendall(answer[start : start + piece])
        self._end()

    def _end(self) -> None:
        if not self._proxy.is_half_open:
            self.cut()


def _close(connection: socket.socket) -> None:
    # A thread that waits on the socket wakes up by its shutdown only.
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
