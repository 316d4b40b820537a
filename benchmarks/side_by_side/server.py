"""The embedded Postgres that all contenders share, as it comes, and who used the processors meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

from lakemem import Lakebase
from lakemem.embedded import EmbeddedPostgres
from lakemem.testing import DatabaseFactory

POOL_SIZE = 10
"""Connections of every contender."""


@dataclass
class Server:
    """A running Postgres.

    Attributes:
        helpers: process ids beside this one that work for the benchmark.
    """

    admin_dsn: str
    postmaster: psutil.Process
    databases: DatabaseFactory
    version: str
    helpers: set[int] = field(default_factory=set)

    @contextmanager
    def database(self) -> Iterator[Lakebase]:
        """A database of an ordinary role: no superuser, so that row-level security holds."""
        created = self.databases.create()
        try:
            yield created
        finally:
            self.databases.drop(created)

    def settle(self, target: Lakebase) -> None:
        """Vacuum, analyse and write out what a case has loaded, so that no round pays for it."""
        with psycopg.connect(make_conninfo(self.admin_dsn, dbname=target.database), autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")

    def cpu(self) -> float:
        """Seconds of CPU that Postgres has used."""
        processes = [self.postmaster, *self.postmaster.children(recursive=True)]
        own = sum(_cpu(process) for process in processes)
        # Backends that have ended.
        times = self.postmaster.cpu_times()
        return own + times.children_user + times.children_system

    def ours(self) -> float:
        """Seconds of CPU that the benchmark has used, Postgres included."""
        return self.cpu() + sum(_cpu(psutil.Process(pid)) for pid in {os.getpid(), *self.helpers})


def _fill_wal(connection: psycopg.Connection[Any]) -> None:
    """Leave segments of the log to be used again, as they are on a server that has been at work for a while.

    To make a new one stops all writers for a fifth of a second, whoever comes to need it.
    """
    for _ in range(60):
        connection.execute("SELECT pg_logical_emit_message(false, 'benchmark', repeat('x', 10000000))")
    connection.execute("CHECKPOINT")


def _cpu(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


class Load:
    """The share of the processors that others use, from its making to `foreign`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = self._sample()

    def foreign(self) -> float:
        """0..1, of all processors."""
        busy, ours, total = (after - before for after, before in zip(self._sample(), self._before, strict=True))
        return max(busy - ours, 0.0) / total if total else 0.0

    def _sample(self) -> tuple[float, float, float]:
        times = psutil.cpu_times()
        total = sum(times[:8])
        return total - times.idle - getattr(times, "iowait", 0.0), self._server.ours(), total


@contextmanager
def embedded_server(*, filled: bool = True) -> Iterator[Server]:
    """Begin a server; one that is not `filled` is there sooner, for who only wants to see that something works."""
    with TemporaryDirectory(prefix="lakemem-benchmark-", ignore_cleanup_errors=True) as folder:
        postgres = EmbeddedPostgres(folder, version=18)
        login = postgres.start()
        try:
            dsn = make_conninfo(host=login["host"], port=login["port"], user="postgres", dbname="postgres")
            with psycopg.connect(dsn, autocommit=True) as connection:
                row: Any = connection.execute("SHOW server_version").fetchone()
                if filled:
                    _fill_wal(connection)
            pid = int((Path(folder).resolve() / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
            with DatabaseFactory(dsn) as databases:
                yield Server(dsn, psutil.Process(pid), databases, row[0])
        finally:
            postgres.stop()
