"""``lakemem provision``: make or resize a Lakebase, and wait until it answers."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lakemem.errors import StorageUnavailableError
from lakemem.lakebase import Workspace
from lakemem.target import Lakebase

POLL_SECONDS = 1.0


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "provision",
        help="create or resize a Lakebase, and wait until it is ready",
        description="Name a project (autoscaling, for new Lakebases) or an instance (provisioned). What exists already "
        "is left as it is, but for its size.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--project", help="an autoscaling project")
    which.add_argument("--instance", help="a provisioned instance")
    parser.add_argument("--branch", default="production", help="of the project (default: production)")
    parser.add_argument("--min-cu", type=float, default=0.5, metavar="CU", help="of the project (default: 0.5)")
    parser.add_argument("--max-cu", type=float, default=2.0, metavar="CU", help="of the project (default: 2)")
    parser.add_argument("--capacity", default="CU_1", help="of the instance: CU_1, CU_2, CU_4, CU_8 (default: CU_1)")
    parser.add_argument("--catalog", metavar="NAME", help="show its database as this catalog of Unity Catalog")
    parser.add_argument("--wait", type=float, default=900.0, metavar="SECONDS", help="at the most (default: 900)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from lakemem.integrations.databricks.provision import provision_endpoint, provision_instance, register_catalog

    if options.project:
        target = provision_endpoint(
            options.project, branch=options.branch, min_cu=options.min_cu, max_cu=options.max_cu, tell=print
        )
    else:
        target = provision_instance(options.instance, capacity=options.capacity, tell=print)
    _wait_until_ready(target, options.wait)
    if options.catalog:
        register_catalog(target, options.catalog, tell=print)
    return 0


def _wait_until_ready(target: Lakebase, seconds: float) -> None:
    workspace = Workspace()
    deadline = time.monotonic() + seconds
    with _progress(f"waiting for the {target}"):
        while not (located := workspace.locate(target)).ready:
            if time.monotonic() >= deadline:
                raise StorageUnavailableError(
                    f"the {target} is {located.state} after {seconds:g} s: run the same command again to go on waiting"
                )
            time.sleep(POLL_SECONDS)
    print(f"{target} is {located.state} at {located.host}")


@contextmanager
def _progress(message: str) -> Iterator[None]:
    """A bar that moves while there is a terminal and `rich`; otherwise a line."""
    try:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    except ImportError:
        print(message, file=sys.stderr)
        yield
        return
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), transient=True) as progress:
        progress.add_task(message, total=None)
        yield
