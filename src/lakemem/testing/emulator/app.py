"""The workspace's HTTP API: who asks, what goes wrong, what is noted, and in which form errors come."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from lakemem.testing.emulator.faults import Faults, Request, RequestLog
from lakemem.testing.emulator.state import ApiError, Identity, Workspace

logger = logging.getLogger("lakemem.emulator")

CONTROL = "/emulator"


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the API.

    Attributes:
        identity: who asks; registered, and with a token that lives. Routes for everybody have a stand-in.
        client: id and secret from HTTP Basic, where a token is asked for.
        url: of the emulator itself.
    """

    path: dict[str, str]
    query: dict[str, str]
    body: dict[str, Any]
    identity: Identity
    client: tuple[str, str]
    url: str


Handler: TypeAlias = Callable[[Call], Any]
"""Answers with what becomes the JSON body, or with a Response. It runs on a thread, and may raise ApiError."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method and a path, and what answers.

    Attributes:
        open: whether it answers without a bearer token.
    """

    method: str
    path: str
    handler: Handler
    open: bool = False


def create_app(
    workspace: Workspace, faults: Faults, requests: RequestLog, endpoints: Iterable[Endpoint]
) -> FaultyMiddleware:
    """Return the API as an ASGI app."""
    routes = [
        Route(endpoint.path, _answering(endpoint, workspace), methods=[endpoint.method]) for endpoint in endpoints
    ]
    app = Starlette(routes=routes, exception_handlers={404: _unknown_route, 405: _unknown_route})
    return FaultyMiddleware(app, workspace, faults, requests)


class FaultyMiddleware:
    """Notes every request, and lets the faults happen that are switched on for it.

    Attributes:
        abort: cuts the TCP connection of a client's address.
    """

    def __init__(self, app: ASGIApp, workspace: Workspace, faults: Faults, requests: RequestLog) -> None:
        self._app = app
        self._workspace = workspace
        self._faults = faults
        self._requests = requests
        self.abort: Callable[[Any], None] = lambda address: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(CONTROL):
            await self._app(scope, receive, send)
            return

        async def noting(message: Any) -> None:
            # Before the client hears of it, so that whoever has an answer finds the request in the log.
            if message["type"] == "http.response.start":
                self._note(scope, message["status"])
            await send(message)

        route = f"{scope['method']} {scope['path']}"
        if slow := self._faults.take(route, "slow"):
            await asyncio.sleep(slow.seconds)
        fault = self._faults.take(route, "refuse", "rate_limit", "error")
        if fault is None:
            await self._app(scope, receive, noting)
        elif fault.kind == "refuse":
            self._note(scope, 0)
            self.abort(scope["client"])
        else:
            response = _error(fault.status, fault.error_code, "this fault was asked for")
            if fault.kind == "rate_limit":
                response.headers["Retry-After"] = f"{fault.seconds:g}"
            await response(scope, receive, noting)

    def _note(self, scope: Scope, status: int) -> None:
        token = _bearer(dict(scope["headers"]).get(b"authorization", b"").decode("latin-1"))
        identity = self._workspace.who(token)
        self._requests.add(Request(scope["method"], scope["path"], status, None if identity is None else identity.name))


NOBODY = Identity("", "USER", "", "")


def _answering(endpoint: Endpoint, workspace: Workspace) -> Callable[[HttpRequest], Any]:
    async def answer(request: HttpRequest) -> Response:
        try:
            authorization = request.headers.get("authorization", "")
            identity = workspace.who(_bearer(authorization))
            if identity is None and not endpoint.open:
                raise ApiError(401, "UNAUTHENTICATED", "the access token is missing, expired or revoked")
            call = Call(
                path=dict(request.path_params),
                query=dict(request.query_params),
                body=_decoded(await request.body(), request.headers.get("content-type", "")),
                identity=identity or NOBODY,
                client=_basic(authorization),
                url=str(request.base_url).rstrip("/"),
            )
            made = await run_in_threadpool(endpoint.handler, call)
            return made if isinstance(made, Response) else JSONResponse({} if made is None else made)
        except ApiError as error:
            return _error(error.status, error.error_code, error.message)
        except Exception as error:
            logger.exception("the emulator failed on %s %s", request.method, request.url.path)
            return _error(500, "INTERNAL_ERROR", f"the emulator failed with {type(error).__name__}: see its log")

    return answer


def _error(status: int, error_code: str, message: str) -> Response:
    return JSONResponse({"error_code": error_code, "message": message}, status)


async def _unknown_route(request: HttpRequest, error: Exception) -> Response:
    return _error(404, "ENDPOINT_NOT_FOUND", f"the emulator does not speak {request.method} {request.url.path}")


def _bearer(authorization: str) -> str:
    kind, _, token = authorization.partition(" ")
    return token if kind.lower() == "bearer" else ""


def _basic(authorization: str) -> tuple[str, str]:
    kind, _, encoded = authorization.partition(" ")
    if kind.lower() != "basic":
        return "", ""
    try:
        name, _, secret = base64.b64decode(encoded).decode().partition(":")
    except ValueError:
        return "", ""
    return name, secret


def _decoded(body: bytes, content_type: str) -> dict[str, Any]:
    if not body:
        return {}
    try:
        if content_type.startswith("application/x-www-form-urlencoded"):
            return dict(parse_qsl(body.decode()))
        decoded = json.loads(body)
    except ValueError:
        raise ApiError(400, "MALFORMED_REQUEST", "the body cannot be read") from None
    if not isinstance(decoded, dict):
        raise ApiError(400, "MALFORMED_REQUEST", "the body is not an object")
    return decoded
