"""The door to Postgres: TLS, and one name for each Lakebase on a port that they share.

Like Lakebase's own, it asks for the token in cleartext inside TLS, since a token that it has not seen yet cannot be
checked in any other way. It then makes that token the role's password and logs in to Postgres as the client, with
scram-sha-256: whether the token is right, and not yet expired, is Postgres's own decision.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import defaultdict
from typing import Any

from lakemem.testing.emulator import wire
from lakemem.testing.emulator.certificates import Certificates
from lakemem.testing.emulator.compute import Compute
from lakemem.testing.emulator.faults import Faults, Request, RequestLog
from lakemem.testing.emulator.state import Lakebase, Workspace

CHUNK = 1 << 16
LOGIN_TIMEOUT = 60.0


class Front:
    """Serves all Lakebases of a workspace on one address. It belongs to one event loop."""

    def __init__(self, workspace: Workspace, certificates: Certificates, faults: Faults, requests: RequestLog) -> None:
        self._workspace = workspace
        self._faults = faults
        self._requests = requests
        self._tls = certificates.server_context(_note_server_name)
        self._closing = False
        self._clients: set[Any] = set()
        self._logins: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port."""
        self._server = await asyncio.start_server(self._serve, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening, and cut all connections."""
        self._closing = True
        self._server.close()
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._clients.add(task)
        try:
            await self._talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError, wire.ProtocolError, TimeoutError):
            pass  # the client left
        except asyncio.CancelledError:
            # Only close() cancels; the caller is asyncio's own, which would report a cancelled task as a failure.
            if not self._closing:
                raise
        finally:
            self._clients.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(LOGIN_TIMEOUT):
            startup = await self._first_message(reader, writer)
            if startup.code == wire.CANCEL_REQUEST:
                return await self._cancel(startup)
            if writer.get_extra_info("ssl_object") is None:
                return await _refuse(writer, "28000", "connection requires TLS: set sslmode=require")
            opened = await self._log_in(reader, writer, startup)
        if opened is None:
            return None
        upstream_reader, upstream_writer, cut_after = opened
        try:
            async with asyncio.timeout(cut_after):
                await _relay(reader, writer, upstream_reader, upstream_writer)
        except TimeoutError:
            writer.transport.abort()
        finally:
            upstream_writer.close()
        return None

    async def _first_message(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> wire.Startup:
        while True:
            startup = await wire.read_startup(reader)
            if startup.code == wire.GSS_REQUEST:
                writer.write(b"N")
            elif startup.code == wire.SSL_REQUEST and writer.get_extra_info("ssl_object") is None:
                writer.write(b"S")
                await writer.start_tls(self._tls)
            else:
                return startup

    async def _log_in(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, startup: wire.Startup
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, float | None] | None:
        host = getattr(writer.get_extra_info("ssl_object"), "server_name", None)
        lakebase = self._workspace.by_host(host)
        role = startup.parameters.get("user", "")
        route = f"CONNECT {host or '-'}"

        def note(status: int) -> None:
            self._requests.add(Request("CONNECT", host or "-", status, role))

        if slow := self._faults.take(route, "slow"):
            await asyncio.sleep(slow.seconds)
        if fault := self._faults.take(route, "refuse", "error"):
            note(0 if fault.kind == "refuse" else fault.status)
            if fault.kind == "error":
                await _refuse(writer, "57P03", "the database system is not accepting connections")
            else:
                writer.transport.abort()
            return None
        if lakebase is None:
            note(404)
            await _refuse(writer, "08004", f"there is no Lakebase named {host}")
            return None
        if lakebase.stopped or lakebase.starting:
            note(503)
            state = "stopped" if lakebase.stopped else "starting up"
            await _refuse(writer, "57P03", f"the database instance is {state}")
            return None
        writer.write(wire.ASK_FOR_CLEARTEXT_PASSWORD)
        kind, body = await wire.read_message(reader)
        if kind != b"p":
            raise wire.ProtocolError("no password")
        await self._wake(lakebase)
        try:
            answer, upstream_reader, upstream_writer = await self._log_in_upstream(
                lakebase, role, body.rstrip(b"\0").decode("utf-8", "replace"), startup
            )
        except wire.Refused as refused:
            note(401)
            writer.write(refused.message)
            await writer.drain()
            return None
        note(200)
        writer.write(answer)
        drop = self._faults.take(route, "drop")
        return upstream_reader, upstream_writer, None if drop is None else drop.seconds

    async def _wake(self, lakebase: Lakebase) -> None:
        if lakebase.suspended:
            await asyncio.sleep(self._workspace.wake_delay)
            lakebase.suspended = False

    async def _log_in_upstream(
        self, lakebase: Lakebase, role: str, token: str, startup: wire.Startup
    ) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
        compute = lakebase.compute
        # A role has one password and an identity may have several tokens, so a login with one is over before the
        # next one begins. A token issued meanwhile takes the password too: then the login is made again.
        async with self._logins[compute.socket, role]:
            while True:
                expires_at = self._workspace.credential_expiry(token, role, lakebase)
                if expires_at is None:
                    return await _open(compute, startup, token)
                changes = await asyncio.to_thread(compute.set_password, role, token, expires_at)
                try:
                    return await _open(compute, startup, token)
                except wire.Refused:
                    if compute.password_changes(role) == changes:
                        raise

    async def _cancel(self, startup: wire.Startup) -> None:
        # The key of a query is known to one Postgres; the others ignore it.
        for lakebase in self._workspace.lakebases():
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_unix_connection(lakebase.compute.socket_file)
                writer.write(startup.encoded())
                await writer.drain()
                writer.close()


async def _open(
    compute: Compute, startup: wire.Startup, password: str
) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
    """Log in to Postgres, and return what to tell the client, and the connection."""
    try:
        reader, writer = await asyncio.open_unix_connection(compute.socket_file)
    except OSError:
        raise wire.Refused(wire.fatal("57P03", "the database system is not running")) from None
    try:
        return await wire.log_in(reader, writer, startup, password), reader, writer
    except BaseException:
        writer.close()
        raise


async def _relay(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    upstream_reader: asyncio.StreamReader,
    upstream_writer: asyncio.StreamWriter,
) -> None:
    """Pass on what either side says until one of them is done."""

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()
        sink.close()

    directions = [
        asyncio.ensure_future(pump(reader, upstream_writer)),
        asyncio.ensure_future(pump(upstream_reader, writer)),
    ]
    try:
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for direction in directions:
            direction.cancel()
        await asyncio.gather(*directions, return_exceptions=True)


async def _refuse(writer: asyncio.StreamWriter, sqlstate: str, text: str) -> None:
    writer.write(wire.fatal(sqlstate, text))
    await writer.drain()


def _note_server_name(connection: ssl.SSLObject, name: str | None) -> None:
    connection.server_name = name  # type: ignore[attr-defined]
