"""Serves the API over HTTP, and cuts a client's connection when a fault asks for it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from lakemem.testing.emulator.app import FaultyMiddleware


class HttpServer:
    """Uvicorn on a socket that is already bound. It belongs to one event loop."""

    def __init__(self, app: FaultyMiddleware, listening: socket.socket) -> None:
        transports: dict[Any, asyncio.Transport] = {}

        class Protocol(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                transports[transport.get_extra_info("peername")] = transport

            def connection_lost(self, exc: Exception | None) -> None:
                transports.pop(self.transport.get_extra_info("peername"), None)
                super().connection_lost(exc)

        def abort(address: Any) -> None:
            if transport := transports.get(tuple(address)):
                transport.abort()

        app.abort = abort
        self._listening = listening
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=Protocol,
                loop="asyncio",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                timeout_graceful_shutdown=1,
            )
        )

    async def serve(self) -> None:
        """Answer until :meth:`stop`."""
        await self._server.serve(sockets=[self._listening])

    def stop(self) -> None:
        """Have :meth:`serve` end. It may be called from any thread."""
        self._server.should_exit = True
