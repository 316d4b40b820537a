"""Which Postgres the tests run on.

- by default an embedded PostgreSQL 18; `make test-16` runs the tests of what is SQL on an embedded 16;
- ``LAKEMEM_TEST_SERVERS``: the embedded ones that it lists, such as ``embedded-18 embedded-16``;
- ``LAKEMEM_TEST_DSN``: any other, by a login that may create databases and roles;
- ``LAKEMEM_TEST_DOCKER=1``: the image pgvector/pgvector:pg17 in a container.

Each test has a database to itself, with empty tables: a clone of a template, or one that another test gave back.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from lakemem import Lakebase
from lakemem.embedded import EmbeddedPostgres
from lakemem.testing import DatabaseFactory
from tests.support.databases import SpareDatabases
from tests.support.folders import server_folder

pytest_plugins = ["lakemem.testing.fixtures", "tests.support.told"]

with contextlib.suppress(ImportError):  # The environment of tests/peers has none.
    from hypothesis import HealthCheck, settings

    # However slow the machine is; and a database that an example finds is as empty as its owner is new.
    settings.register_profile(
        "lakemem",
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    settings.load_profile("lakemem")

if os.environ.get("LAKEMEM_TEST_DSN"):
    SERVERS = ["dsn"]
elif os.environ.get("LAKEMEM_TEST_DOCKER"):
    SERVERS = ["docker"]
else:
    SERVERS = os.environ.get("LAKEMEM_TEST_SERVERS", "embedded-18").split()


@pytest.fixture(scope="session", params=SERVERS)
def admin_dsn(request: pytest.FixtureRequest) -> Iterator[str]:
    """A login with which databases can be made, on each of the servers to test on."""
    kind, _, version = str(request.param).partition("-")
    if kind == "dsn":
        yield os.environ["LAKEMEM_TEST_DSN"]
    elif kind == "docker":
        from testcontainers.community.postgres import PostgresContainer

        with PostgresContainer("pgvector/pgvector:pg17", driver=None) as container:
            yield container.get_connection_url()
    else:
        with server_folder(f"pg{version}") as folder:
            yield from embedded_server(Path(folder), int(version))


def embedded_server(folder: Path, version: int) -> Iterator[str]:
    server = EmbeddedPostgres(folder, version=version)
    login = server.start()
    dsn = make_conninfo(host=login["host"], user="postgres", dbname="postgres")
    with psycopg.connect(dsn, autocommit=True) as connection:
        # Nothing here has to survive a power cut.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("ALTER SYSTEM SET full_page_writes = off")
        connection.execute("ALTER SYSTEM SET max_wal_size = '128MB'")
        # Nor may it come between a test and its figures.
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")
    yield dsn
    server.stop()


@pytest.fixture(scope="session")
def databases(admin_dsn: str) -> Iterator[DatabaseFactory]:
    with DatabaseFactory(admin_dsn) as factory:
        yield factory


@pytest.fixture(scope="session")
def spare_databases(databases: DatabaseFactory, admin_dsn: str) -> Iterator[SpareDatabases]:
    spare = SpareDatabases(databases, admin_dsn)
    yield spare
    spare.close()


@pytest.fixture
def target(spare_databases: SpareDatabases) -> Iterator[Lakebase]:
    """A database with lakemem's tables, which are empty."""
    taken = spare_databases.take()
    yield taken
    spare_databases.give_back(taken)


@pytest.fixture
def empty_target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """A database without any."""
    created = databases.create(empty=True)
    yield created
    databases.drop(created)


LONGEST = {"test_recall_quality.py", "test_served_runs.py", "test_embedded.py", "test_tokens.py", "test_reembedding.py"}
"""Files that take long, or wait much. They begin first, so that no worker is left with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what tests have recorded as their figures, from whichever process."""
    for report in chain(*terminalreporter.stats.values()):
        for name, value in getattr(report, "user_properties", ()):
            if name == "figures" and report.when == "call":
                terminalreporter.write_line(f"\n{value}")


def connect(target: Lakebase, **changed: str) -> psycopg.Connection[tuple[object, ...]]:
    """A plain connection, to look at what lakemem wrote."""
    return psycopg.connect(make_conninfo(**{**target.parameters, **changed}), autocommit=True)
