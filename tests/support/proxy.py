"""A TCP proxy before Postgres that counts what goes over the wire, and can cut it."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections import Counter
from types import TracebackType

from psycopg.conninfo import make_conninfo

from lakemem import Lakebase

# The messages that Postgres answers at once: all others wait for one of them.
_ASKING = {"startup", "p", "Q", "S", "H"}


class Proxy:
    """Stands before the server of a target; connect to :attr:`target` in its place.

    A round trip is one wait of the client for the network: it has sent something, and reads the answer before it
    sends more. Statements that are sent together and answered together are one.

    https://www.postgresql.org/docs/current/protocol-message-formats.html
    """

    def __init__(self, target: Lakebase) -> None:
        self._parameters = target.parameters
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._round_trips = 0
        self._messages: Counter[str] = Counter()

    @property
    def target(self) -> Lakebase:
        host, port = self._listener.getsockname()
        # Without encryption, so that the messages can be read.
        changed = {"host": host, "port": port, "sslmode": "disable", "gssencmode": "disable"}
        return Lakebase.dsn(make_conninfo(**{**self._parameters, **changed}))

    @property
    def round_trips(self) -> int:
        return self._round_trips

    @property
    def statements(self) -> int:
        """How often the server was told to execute something."""
        return self._messages["E"] + self._messages["Q"]

    @property
    def connections(self) -> int:
        return self._messages["startup"]

    def reset(self) -> None:
        """Count from zero."""
        with self._lock:
            self._round_trips = 0
            self._messages.clear()

    def cut(self) -> None:
        """End every connection, as a network that fails does."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = self._connect()
            with self._lock:
                self._sockets += [client, server]
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _connect(self) -> socket.socket:
        host, port = str(self._parameters.get("host", "localhost")), int(self._parameters.get("port") or 5432)
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        reader = _MessageReader()
        asked = False
        with client, server, selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
            selector.register(client, selectors.EVENT_READ)
            selector.register(server, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    data = source.recv(65536)
                    if not data:
                        return
                    if source is client:
                        messages = reader.read(data)
                        asked = asked or not _ASKING.isdisjoint(messages)
                        with self._lock:
                            self._messages.update(messages)
                        server.sendall(data)
                    else:
                        # What Postgres says unasked, such as an error while the client is still sending, is not
                        # what the client waits for.
                        with self._lock:
                            self._round_trips += asked
                        asked = False
                        client.sendall(data)


class _MessageReader:
    """Finds the types of the messages in what a client sends."""

    def __init__(self) -> None:
        self._data = b""
        self._started = False

    def read(self, data: bytes) -> list[str]:
        self._data += data
        found = []
        while (head := 1 if self._started else 0) + 4 <= len(self._data):
            (length,) = struct.unpack_from("!i", self._data, head)
            if len(self._data) < head + length:
                break
            # The first message has no type.
            found.append(chr(self._data[0]) if self._started else "startup")
            self._data = self._data[head + length :]
            self._started = True
        return found
