from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from agents.extensions.memory import SQLAlchemySession
from psycopg.conninfo import make_conninfo
from sqlalchemy.ext.asyncio import create_async_engine

from lakemem import Lakebase
from lakemem.cli import main
from lakemem.testing import DatabaseFactory
from tests.conftest import connect

Import = Callable[..., int]


def dsn(target: Lakebase) -> str:
    return make_conninfo(**target.parameters)


@pytest.fixture
def source(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """A database with what other libraries write."""
    created = databases.create(empty=True)
    yield created
    databases.drop(created)


@pytest.fixture
def run_import(source: Lakebase, target: Lakebase) -> Import:
    """Run `lakemem import` from the source, and check that it changes nothing there."""

    def run(*arguments: str) -> int:
        before = checksum(source)
        code = main(["import", "--from", dsn(source), "--dsn", dsn(target), *arguments])
        assert checksum(source) == before
        return code

    return run


@pytest.fixture
async def session_of(source: Lakebase) -> AsyncIterator[Callable[[str], SQLAlchemySession]]:
    """Sessions as the Agents SDK stores them."""
    engine = create_async_engine("postgresql+psycopg://", connect_args=dict(source.parameters))
    yield lambda session_id: SQLAlchemySession(session_id, engine=engine, create_tables=True)
    await engine.dispose()


def checksum(source: Lakebase) -> dict[str, object]:
    """Of every row of every table, with its place and its version."""
    with connect(source) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
        ).fetchall()
        return {
            str(table): connection.execute(
                f"SELECT count(*), md5(string_agg(t::text || ctid || xmin, '|' ORDER BY ctid)) FROM {table} AS t"
            ).fetchone()
            for (table,) in tables
        }
