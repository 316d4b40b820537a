"""``lakemem import``: move the data of other libraries into lakemem's tables."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lakemem._sql import bind_statements
from lakemem._sync.migrate import Migrator
from lakemem.commands.targets import add_target, connected, target_of
from lakemem.errors import ConfigurationError
from lakemem.importing import Importer, Owners, Report, Source, Watcher
from lakemem.importing.importer import PARTS
from lakemem.schema import schema_name
from lakemem.target import Lakebase

SECONDS_BETWEEN_LINES = 5.0


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "import",
        help="move sessions, checkpoints and stores of other libraries into lakemem",
        description=(
            "Moves the tables of the OpenAI Agents SDK's SQLAlchemySession, of LangGraph's Postgres saver, and of "
            "LangGraph's Postgres store, which the Databricks packages use too. The source is only read. When it "
            "was cut off, or the source has something new, run it again: nothing comes over twice."
        ),
    )
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="SOURCE",
        help="a DSN, a Lakebase instance's name, projects/P/branches/B, or projects/P/branches/B/endpoints/E",
    )
    parser.add_argument("--source-schema", default="public", metavar="NAME", help="of its tables (default: public)")
    parser.add_argument("--sessions-table", default="agent_sessions", metavar="NAME", help="(default: agent_sessions)")
    parser.add_argument("--messages-table", default="agent_messages", metavar="NAME", help="(default: agent_messages)")
    parser.add_argument("--only", action="append", choices=PARTS, help="a part of the data; can be repeated")
    parser.add_argument(
        "--vectors-by",
        metavar="MODEL",
        help="take over the store's vectors: this embedding model, which lakemem's embedder has too, made them",
    )
    whose = parser.add_argument_group("whose the data becomes (the sources do not say)")
    whose.add_argument("--user", metavar="ID", help="all of it becomes this user's")
    whose.add_argument("--scope", metavar="NAME", help="all of it becomes this shared scope's")
    whose.add_argument(
        "--user-from",
        metavar="REGEXP",
        help="the user stands in the thread's id, or in the store's namespace (joined by dots): '(?P<user>...)'",
    )
    whose.add_argument("--user-metadata", metavar="KEY", help="checkpoints name their user in their metadata")
    whose.add_argument(
        "--users",
        metavar="FILE",
        type=Path,
        help="a JSON object: what --user-from or --user-metadata found, else the thread's id -> user id",
    )
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    owners = Owners.of(
        user=options.user,
        scope=options.scope,
        pattern=options.user_from,
        metadata_key=options.user_metadata,
        users=None if options.users is None else _users(options.users),
    )
    target, schema = target_of(options), schema_name(options.schema)
    with connected(source_of(options.source)) as reading, connected(target) as writing, watching() as watcher:
        migrator = Migrator(schema)
        if target.kind == "embedded":
            migrator.apply(writing)
        description = migrator.check(writing)
        source = Source(
            reading,
            schema=options.source_schema,
            sessions_table=options.sessions_table,
            messages_table=options.messages_table,
            with_vectors=options.vectors_by is not None,
        )
        importer = Importer(
            source,
            writing,
            statements=bind_statements(schema, description.vector_schema),
            owners=owners,
            watcher=watcher,
            vector_model=options.vectors_by,
        )
        reports = importer.run(options.only or PARTS)
    for report in reports:
        print(report)
    return 0


def source_of(name: str) -> Lakebase:
    """Return what ``--from`` names."""
    if name.startswith("projects/"):
        parts = name.split("/")
        return Lakebase.branch(parts[1], parts[3]) if len(parts) == 4 else Lakebase.endpoint(name)
    return Lakebase.dsn(name) if "://" in name or "=" in name else Lakebase.instance(name)


def _users(path: Path) -> Mapping[str, str]:
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
