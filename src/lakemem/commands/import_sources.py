"""What the imports from other databases share: how the source is named, and how far they have come."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lakemem.errors import ConfigurationError
from lakemem.importing import Report, Watcher
from lakemem.target import Lakebase

SECONDS_BETWEEN_LINES = 5.0


def add_source(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add the arguments that name a database to read."""
    parser.add_argument(
        "--from",
        dest="source",
        required=required,
        metavar="SOURCE",
        help="a DSN, a Lakebase instance's name, projects/P/branches/B, or projects/P/branches/B/endpoints/E",
    )
    parser.add_argument("--source-schema", default="public", metavar="NAME", help="of its tables (default: public)")


def source_of(name: str) -> Lakebase:
    """Return what ``--from`` names."""
    if name.startswith("projects/"):
        parts = name.split("/")
        return Lakebase.branch(parts[1], parts[3]) if len(parts) == 4 else Lakebase.endpoint(name)
    return Lakebase.dsn(name) if "://" in name or "=" in name else Lakebase.instance(name)


def users_of(path: Path) -> Mapping[str, str]:
    """Return the list of users in a file.

    Raises:
        ConfigurationError: there is none in it.
    """
    try:
        users = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read as JSON ({type(error).__name__})") from None
    if not isinstance(users, dict) or not all(isinstance(user, str) for user in users.values()):
        raise ConfigurationError(f'{path} is not a JSON object such as {{"thread-1": "ada@example.com"}}')
    return users


@contextmanager
def watching() -> Iterator[Watcher]:
    """A progress bar on a terminal, where rich is installed; otherwise a line now and then."""
    if sys.stderr.isatty():
        try:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        except ImportError:
            pass
        else:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Progress(*columns, console=Console(stderr=True)) as progress:
                yield Bars(progress)
            return
    yield Lines()


class Bars:
    """One bar for each kind of data."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._task: Any = None

    def began(self, kind: str, total: int) -> None:
        self._task = self._progress.add_task(kind, total=total)

    def advanced(self, report: Report) -> None:
        self._progress.update(self._task, completed=report.units)

    def ended(self, report: Report) -> None:
        self._progress.update(self._task, completed=report.units, total=report.units)


class Lines:
    """A line when a kind of data begins, and one every few seconds."""

    def __init__(self) -> None:
        self._total = 0
        self._last = 0.0

    def began(self, kind: str, total: int) -> None:
        self._total = total
        self._last = time.monotonic()
        self._print(f"{kind}: {total:,} to look at")

    def advanced(self, report: Report) -> None:
        if time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            self._print(f"{report.kind}: {report.units:,} of {self._total:,}")

    def ended(self, report: Report) -> None:
        self._print(f"{report.kind}: done")

    @staticmethod
    def _print(line: str) -> None:
        print(line, file=sys.stderr, flush=True)
