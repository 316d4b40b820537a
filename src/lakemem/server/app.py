"""The routes: runs over HTTP, in the shape of the OpenAI Responses API."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp as ASGIApp

from lakemem._async.memory import AsyncMemory
from lakemem._async.runs import AsyncRuns
from lakemem.context import Identify
from lakemem.errors import ConfigurationError, InvalidInputError
from lakemem.run_context import Observer, untraced
from lakemem.run_types import BusyPolicy, Run
from lakemem.server.asking import MAX_BODY, read_asked
from lakemem.server.handlers import agent_of
from lakemem.server.refusals import failed, interrupted, not_found, refusal
from lakemem.server.service import Begun, Limits, Service
from lakemem.server.shapes import error_of, input_items
from lakemem.server.sse import cursor_of
from lakemem.server.streams import EventStream, at_rest, frames, shown
from lakemem.validation import check_identifier

T = TypeVar("T")
Endpoint: TypeAlias = Callable[[Service, Request], Awaitable[Response]]

TIMEOUT_VARIABLE = "TASK_TIMEOUT_SECONDS"
DEFAULT_TIMEOUT = 3600.0

CANCELLING = 2.0
"""Seconds to wait for the worker of a cancelled run, so that the answer says how it ended."""


def create_app(
    agent: Any = None,
    *,
    memory: AsyncMemory | None = None,
    identify: Identify | None = None,
    task_timeout: float | None = None,
    concurrency: int = 10,
    max_attempts: int = 2,
    max_queued: int = 1000,
    max_queued_per_user: int = 100,
    on_busy: BusyPolicy = "queue",
    keep_alive: float = 15.0,
    drain: float = 8.0,
    observe: Observer | None = None,
) -> Starlette:
    """Return an ASGI application that runs an agent, whatever becomes of the connection of who asked.

    To mount it in another application, run its lifespan within the other's::

        @asynccontextmanager
        async def lifespan(app):
            async with runs.router.lifespan_context(runs):
                yield

    Args:
        agent: a function (a coroutine, an async generator, or one that blocks), an Agent of the OpenAI Agents SDK, a
            compiled graph of LangGraph, or a ResponsesAgent of MLflow; None for the functions that are registered
            with MLflow's ``@invoke()`` and ``@stream()``.
        memory: where runs, threads and memories are; by default what the environment names. It is opened with the
            application, and closed with it, unless it is open before.
        identify: see :func:`~lakemem.resolve_user_id`; it may block.
        task_timeout: seconds from a run's creation to its end at the latest; by default ``TASK_TIMEOUT_SECONDS``,
            else 3600.
        concurrency: runs at a time in this process.
        max_attempts: how often a run is begun whose process dies.
        max_queued: runs of all users that may wait; then requests get status 429.
        max_queued_per_user: runs of one user that may wait.
        on_busy: what becomes of a request whose thread has a run under way: ``reject`` it (status 409), ``queue`` it,
            or ``interrupt`` the run.
        keep_alive: seconds between two signs of life in a stream.
        drain: seconds that runs have to end when the process is told to stop; then other processes go on with them.
        observe: gives a context that is around each attempt at a run while the agent works, such as
            :func:`~lakemem.integrations.mlflow.run_span`.

    Raises:
        ConfigurationError: the agent is nothing that can be served, or a setting cannot be.
    """
    limits = Limits(
        concurrency=concurrency,
        max_attempts=max_attempts,
        max_queued=max_queued,
        max_queued_per_user=max_queued_per_user,
        task_timeout=_timeout() if task_timeout is None else task_timeout,
        on_busy=on_busy,
        keep_alive=keep_alive,
        drain=drain,
    )
    served = agent_of(agent)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.service = Service(
            served, AsyncMemory() if memory is None else memory, identify, limits, observe or untraced
        )
        async with app.state.service.running():
            yield

    def route(path: str, method: str, endpoint: Endpoint) -> Route:
        async def answered(request: Request) -> Response:
            try:
                return await endpoint(request.app.state.service, request)
            except Exception as error:
                return refusal(error)

        return Route(path, answered, methods=[method], name=endpoint.__name__)

    one = "/responses/{id}"
    return Starlette(
        routes=[
            route("/responses", "POST", create),
            route("/invocations", "POST", create),
            route(one, "GET", retrieve),
            route(one, "DELETE", delete),
            route(f"{one}/cancel", "POST", cancel),
            route(f"{one}/input_items", "GET", list_input_items),
            route("/health", "GET", health),
            route("/agent/info", "GET", info),
        ],
        lifespan=lifespan,
    )


def is_application(given: Any) -> bool:
    """Whether somebody has made an application already, of Starlette's kind or FastAPI's."""
    return isinstance(given, Starlette)


async def create(service: Service, request: Request) -> Response:
    """Begin a run; answer at once, at its end, or with its events."""
    asked = read_asked(await _body(request), request.headers)
    begun = await service.begin(asked, dict(request.headers))
    named = _named(begun.run)
    if asked.stream:
        return _stream(service, begun, named)
    if asked.background:
        return JSONResponse(await shown(begun.runs, begun.run), headers=named)
    return await _at_its_end(service, begun, request, named)


async def retrieve(service: Service, request: Request) -> Response:
    """A response as it is now, or its events behind a cursor."""
    runs, run = await _found(service, request)
    if run is None:
        return not_found()
    cursor = cursor_of(request.query_params, request.headers)
    if _wants_events(request):
        return _stream(service, Begun(runs, run, cursor), _named(run))
    if cursor > 0:
        raise InvalidInputError("starting_after needs stream=true")
    return JSONResponse(await shown(runs, run), headers=_named(run))


async def cancel(service: Service, request: Request) -> Response:
    """End a run. One that has ended stays as it is."""
    runs, run = await _found(service, request)
    if run is None or (cancelled := await runs.cancel(run.run_id)) is None:
        return not_found()
    if not cancelled.has_ended:
        # Its worker ends it soon.
        cancelled = await _within(CANCELLING, at_rest(runs, run.run_id)) or cancelled
    return JSONResponse(await shown(runs, cancelled))


async def delete(service: Service, request: Request) -> Response:
    """Remove a run and its events; one that is under way is stopped."""
    runs, run = await _found(service, request)
    if run is None or not await runs.delete(run.run_id):
        return not_found()
    return JSONResponse({"id": run.run_id, "object": "response", "deleted": True})


async def list_input_items(service: Service, request: Request) -> Response:
    """What was asked, a page at a time."""
    _, run = await _found(service, request)
    if run is None:
        return not_found()
    query = request.query_params
    limit, order = query.get("limit", "20"), query.get("order", "desc")
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit) <= 100):
        raise InvalidInputError("limit must be a number from 1 to 100")
    if order not in ("asc", "desc"):
        raise InvalidInputError("order must be asc or desc")
    return JSONResponse(input_items(run, limit=int(limit), order=order, after=query.get("after")))


async def health(service: Service, request: Request) -> Response:
    """Whether this process takes requests, and how the database is."""
    memory = await service.health()
    if service.stopping.is_set():
        return JSONResponse({"status": "stopping", "memory": memory}, 503)
    return JSONResponse({"status": "healthy", "memory": memory})


async def info(service: Service, request: Request) -> Response:
    """What MLflow's agent server tells of itself."""
    name = os.environ.get("DATABRICKS_APP_NAME", "lakemem")
    return JSONResponse({"name": name, "use_case": "agent", "agent_api": "responses"})


def _stream(service: Service, begun: Begun, headers: dict[str, str]) -> EventStream:
    made = frames(
        begun.runs,
        begun.run.run_id,
        begun.after,
        keep_alive=service.limits.keep_alive,
        stopping=service.stopping,
    )
    return EventStream(made, headers)


async def _at_its_end(service: Service, begun: Begun, request: Request, headers: dict[str, str]) -> Response:
    """The answer of a run, to who waits for it. The run goes on when they do not."""
    ended = asyncio.ensure_future(at_rest(begun.runs, begun.run.run_id))
    others = [asyncio.ensure_future(service.stopping.wait()), asyncio.ensure_future(_gone(request))]
    try:
        await asyncio.wait([ended, *others], return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            message = "the server stops, the run goes on: ask for it by its id, which x-response-id has"
            return interrupted(message, headers)
        run = ended.result()
    finally:
        for task in (ended, *others):
            task.cancel()
        await asyncio.gather(ended, *others, return_exceptions=True)
    if run is None:
        return not_found()
    if run.status == "failed":
        return failed(error_of(run), headers)
    return JSONResponse(await shown(begun.runs, run), headers=headers)


async def _gone(request: Request) -> None:
    """Wait until the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _found(service: Service, request: Request) -> tuple[AsyncRuns, Run | None]:
    """The run of a path, if it is the user's."""
    run_id = check_identifier("the id", request.path_params["id"])
    runs = await service.runs_of(run_id, request.headers, request.query_params.get("user_id"))
    return runs, await runs.get(run_id)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise InvalidInputError(f"the body is too large: at most {MAX_BODY:,} bytes are taken")
    return bytes(body)


def _named(run: Run) -> dict[str, str]:
    """The id in a header: whose connection is cut before the first event, or while it waits, can ask for the run."""
    return {"x-response-id": run.run_id}


def _wants_events(request: Request) -> bool:
    """Whether a GET asks for a stream: by the query, or as a browser's EventSource does."""
    is_source = "text/event-stream" in request.headers.get("accept", "") or "last-event-id" in request.headers
    return is_source or _is_true(request.query_params.get("stream"))


def _is_true(value: str | None) -> bool:
    return value is not None and value.lower() in ("true", "1")


def _timeout() -> float:
    given = os.environ.get(TIMEOUT_VARIABLE)
    if not given:
        return DEFAULT_TIMEOUT
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigurationError(f"{TIMEOUT_VARIABLE} must be a number of seconds above 0")
    return seconds


async def _within(seconds: float, work: Awaitable[T]) -> T | None:
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError:
        return None
