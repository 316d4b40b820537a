"""What stands between this process and a working memory, step by step."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import psycopg

from lakemem._sql import bind_statements
from lakemem._sync.login import Login
from lakemem._sync.migrate import Migrator
from lakemem.connecting import connector_for
from lakemem.embedding import CheckedEmbedder
from lakemem.errors import LakememError
from lakemem.grants import missing_rights
from lakemem.lakebase import LakebaseCredentials
from lakemem.protocols import Embedder
from lakemem.resolving import Resolver
from lakemem.schema import Description, check_fits, how_to_confine, why_open
from lakemem.sqlstate import translate
from lakemem.target import Lakebase

Status = Literal["ok", "warning", "failed"]

MIN_VECTOR = (0, 7)
"""The first version of pgvector with halfvec."""
PINGS = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One step: how it went, what was seen, and what to do about it."""

    step: str
    status: Status
    detail: str
    remedy: str = ""


class Doctor:
    """Looks at a target from here, as far as each step lets it.

    Args:
        pool_size: connections that each process of the app may take (``max_size``).
        embedder: to be tried too.
        production: whether the app will refuse a login that row-level security does not confine.
    """

    def __init__(
        self,
        target: Lakebase,
        *,
        schema: str,
        pool_size: int = 10,
        embedder: Embedder | None = None,
        production: bool = False,
    ) -> None:
        self._target = target
        self._schema = schema
        self._pool_size = pool_size
        self._embedder = embedder
        self._production = production
        self._statements = bind_statements(schema)

    def findings(self) -> Iterator[Finding]:
        """Yield a finding a step, in their order; a step that fails is the last of its kind."""
        yield Finding("target", "ok", f"{self._target}, schema {self._schema}")
        credentials = None
        if self._target.is_lakebase:
            credentials = LakebaseCredentials(self._target)
            before_login = list(self._before_login(credentials))
            yield from before_login
            if any(finding.status == "failed" for finding in before_login):
                return
        connector = connector_for(self._target, credentials)
        try:
            with Login.connect(connector=connector) as connection:
                yield from self._after_login(connection)
        except (psycopg.Error, LakememError) as error:
            yield _failed("login", error)
        finally:
            connector.close()
        if self._embedder is not None:
            yield _attempt("embedder", self._try_embedder)

    def _before_login(self, credentials: LakebaseCredentials) -> Iterator[Finding]:
        yield _attempt("workspace", lambda: f"logged in as {credentials.workspace.login_name()}")
        located = _attempt(
            "state", lambda: f"{credentials.locator.ready().state} at {credentials.locator.ready().host}"
        )
        yield located
        if located.status == "failed":
            return
        host = credentials.locator.located().host
        if "hostaddr" not in self._target.parameters:
            yield _attempt("name resolution", lambda: f"{host} is {', '.join(Resolver().addresses(host))}")
        yield _attempt("token", lambda: f"valid for {credentials.credential().expires_in or 0:.0f} s")

    def _after_login(self, connection: Login) -> Iterator[Finding]:
        version, user, connections, used = self._row(connection, "doctor.server")
        yield Finding("login", "ok", f"PostgreSQL {version} as {user}, {_latency(connection):.1f} ms a round trip")
        if not connection.info.host.startswith("/"):
            yield _tls(connection)
        yield self._vector(connection)
        try:
            description = Migrator(self._schema).describe(connection)
        except (psycopg.Error, LakememError) as error:
            yield _failed("tables", error)
            return
        yield _row_security(description, self._schema, self._production)
        tables = _attempt("tables", lambda: self._tables(description))
        yield tables
        if tables.status == "ok":
            yield self._grants(connection, str(user), description.vector_schema)
        yield self._connections(int(connections), int(used or 0))

    def _vector(self, connection: Login) -> Finding:
        found = connection.execute(self._statements["doctor.vector"]).fetchone()
        if found is None:
            return Finding(
                "extension", "failed", "vector is not installed in this database", "run CREATE EXTENSION vector in it"
            )
        if tuple(int(part) for part in str(found[0]).split(".")[:2]) < MIN_VECTOR:
            return Finding(
                "extension",
                "failed",
                f"vector {found[0]} is too old",
                "run ALTER EXTENSION vector UPDATE (0.7 or newer)",
            )
        return Finding("extension", "ok", f"vector {found[0]}")

    def _tables(self, description: Description) -> str:
        check_fits(description, self._schema)
        return f"version {description.schema_version}, up to date"

    def _grants(self, connection: Login, user: str, vector_schema: str) -> Finding:
        missing = missing_rights(connection, user, self._schema, vector_schema=vector_schema)
        if not missing:
            return Finding("grants", "ok", f"{user} has every right that lakemem needs")
        lacking = "; ".join(map(str, missing))
        return Finding("grants", "failed", f"{user} lacks {lacking}", f"run `lakemem grants --to {user} --apply`")

    def _connections(self, limit: int, used: int) -> Finding:
        processes = (limit - used) // self._pool_size
        detail = (
            f"{used} of {limit} connections are taken; {processes} more processes with max_size={self._pool_size} fit"
        )
        if processes < 1:
            return Finding(
                "connections", "warning", detail, "lower max_size, or run `lakemem provision` for a larger size"
            )
        return Finding("connections", "ok", detail)

    def _try_embedder(self) -> str:
        assert self._embedder is not None  # noqa: S101 - for the type checker
        CheckedEmbedder(self._embedder).embed(["a text to try"])
        return f"{self._embedder.model} answers with {self._embedder.dimensions} dimensions"

    def _row(self, connection: Login, statement: str) -> tuple[Any, ...]:
        row = connection.execute(self._statements[statement]).fetchone()
        return row or ()


def _attempt(step: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(step, "ok", look())
    except (psycopg.Error, LakememError) as error:
        return _failed(step, error)


def _failed(step: str, error: psycopg.Error | LakememError) -> Finding:
    """The messages of lakemem's errors say what to do themselves."""
    return Finding(step, "failed", str(translate(error) if isinstance(error, psycopg.Error) else error))


def _tls(connection: Login) -> Finding:
    if connection.pgconn.ssl_in_use:
        return Finding("TLS", "ok", "the connection is encrypted")
    return Finding("TLS", "warning", "the connection is not encrypted", "add sslmode=require to the target")


def _row_security(description: Description, schema: str, production: bool) -> Finding:
    if description.is_confined:
        return Finding("row-level security", "ok", "Postgres itself keeps users apart")
    detail, remedy = why_open(description), how_to_confine(description, schema)
    if production:
        return Finding("row-level security", "failed", detail, remedy)
    return Finding("row-level security", "warning", f"{detail}; a deployed app refuses that", remedy)


def _latency(connection: Login) -> float:
    """The median of some round trips, in milliseconds."""
    times = []
    for _ in range(PINGS):
        started = time.perf_counter()
        connection.execute("SELECT 1")
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000
