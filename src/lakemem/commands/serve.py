"""``lakemem serve``: an agent over HTTP, whose runs outlive their connections."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from lakemem._async.memory import AsyncMemory
from lakemem.commands.objects import module_of, object_of
from lakemem.commands.targets import add_target
from lakemem.errors import MissingExtraError
from lakemem.run_context import untraced
from lakemem.run_types import BusyPolicy
from lakemem.target import Lakebase

if TYPE_CHECKING:
    from lakemem.server.app import ASGIApp

VARIABLE = "LAKEMEM_SERVING"
"""Where each process of a server finds what it is to do: with several, they have nothing else from the first one."""

KEPT_ALIVE = 75
"""Seconds for which an idle connection stays open. Longer than proxies and clients keep theirs: one that is closed in
the moment in which a request is sent on it loses the request."""
CLOSING = 3.0
"""Seconds after the drain in which connections are closed. Databricks Apps end a process 15 seconds after SIGTERM."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "serve",
        help="serve an agent over HTTP, with runs in the background",
        description="Serve an agent in the shape of the OpenAI Responses API, until SIGTERM or Ctrl-C. Its runs are in "
        "Postgres, so that any process goes on with those of another one.",
    )
    parser.add_argument(
        "agent",
        metavar="module:agent",
        help="an agent, a graph, a function, or an application of create_app; a module alone for the functions that it "
        "registers with MLflow",
    )
    parser.add_argument("--host", default="127.0.0.1", help="(default: 127.0.0.1)")
    parser.add_argument(
        "--port",
        type=int,
        default=os.environ.get("DATABRICKS_APP_PORT", "8000"),
        help="(default: DATABRICKS_APP_PORT, else 8000)",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--concurrency", type=int, default=10, help="runs at a time in each process (default: 10)")
    parser.add_argument("--identify", metavar="module:function", help="says whose access token a request has")
    parser.add_argument(
        "--on-busy",
        choices=get_args(BusyPolicy),
        default="queue",
        help="what becomes of a request whose thread has a run under way (default: queue)",
    )
    parser.add_argument(
        "--task-timeout", type=float, metavar="S", help="of a run (default: TASK_TIMEOUT_SECONDS, else 3600)"
    )
    parser.add_argument(
        "--drain", type=float, default=8.0, metavar="S", help="for runs to end after SIGTERM (default: 8)"
    )
    parser.add_argument(
        "--trace", action="store_true", help="trace every run with MLflow, and memory in it (extra `mlflow`)"
    )
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    try:
        import uvicorn
    except ImportError:
        raise MissingExtraError("server", "lakemem serve") from None
    where = ("dsn", "endpoint", "project", "branch", "instance", "database")
    serving = Serving(
        name=options.agent,
        target={name: getattr(options, name) for name in where},
        schema=options.schema,
        identify=options.identify,
        task_timeout=options.task_timeout,
        concurrency=options.concurrency,
        on_busy=options.on_busy,
        drain=options.drain,
        trace=options.trace,
    )
    # Processes that cannot begin would be begun again and again.
    serving.application()
    os.environ[VARIABLE] = json.dumps(asdict(serving))
    uvicorn.run(
        f"{__name__}:application",
        factory=True,
        host=options.host,
        port=options.port,
        workers=options.workers,
        lifespan="on",
        timeout_keep_alive=KEPT_ALIVE,
        timeout_graceful_shutdown=round(options.drain + CLOSING),
    )
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What each process of a server is to do.

    Attributes:
        name: of the agent, or of an application that serves one.
        target: which database, as the arguments of :meth:`~lakemem.Lakebase.from_env`.
        identify: the name of the function that says whose token it is.
    """

    name: str
    target: dict[str, Any] = field(repr=False)
    schema: str | None
    identify: str | None
    task_timeout: float | None
    concurrency: int
    on_busy: BusyPolicy
    drain: float
    trace: bool

    def application(self) -> ASGIApp:
        """Import the agent, and return the application.

        Raises:
            ConfigurationError: there is no such agent, or it is nothing that can be served.
        """
        from lakemem.server.app import create_app, is_application

        found = _imported(self.name)
        if is_application(found):
            application: ASGIApp = found
            return application
        memory, observe = AsyncMemory(Lakebase.from_env(**self.target), schema=self.schema), untraced
        if self.trace:
            from lakemem.integrations.mlflow import run_span, trace

            memory, observe = trace(memory), run_span
        return create_app(
            found,
            memory=memory,
            identify=None if self.identify is None else _instance(object_of(self.identify)),
            task_timeout=self.task_timeout,
            concurrency=self.concurrency,
            on_busy=self.on_busy,
            drain=self.drain,
            observe=observe,
        )


def application() -> ASGIApp:
    """Return the application of this process."""
    return Serving(**json.loads(os.environ[VARIABLE])).application()


def _imported(name: str) -> Any:
    """The object of a name; None for a module alone, whose functions register themselves."""
    if ":" in name:
        return object_of(name)
    module_of(name)
    return None


def _instance(found: Any) -> Any:
    """What a class makes, such as ``TokenIdentity``."""
    return found() if isinstance(found, type) else found
