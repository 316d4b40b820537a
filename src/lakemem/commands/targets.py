"""Which database a command works on."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from lakemem._sync.login import Login
from lakemem.connecting import connector_for
from lakemem.sqlstate import translate
from lakemem.target import Lakebase


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a database and lakemem's schema in it."""
    where = parser.add_argument_group("database (by default what the environment names)")
    where.add_argument("--dsn", help="any Postgres, by a URL")
    where.add_argument("--endpoint", help="an autoscaling endpoint: projects/P/branches/B/endpoints/E")
    where.add_argument("--project", help="an autoscaling project, with --branch")
    where.add_argument("--branch", help="a branch of --project")
    where.add_argument("--instance", help="a provisioned Lakebase instance")
    where.add_argument("--database", help="the Postgres database in it")
    where.add_argument("--schema", help="the schema of lakemem's tables (default: lakemem)")


def target_of(options: argparse.Namespace) -> Lakebase:
    """Return the database that the arguments, or else the environment, name."""
    return Lakebase.from_env(
        dsn=options.dsn,
        endpoint=options.endpoint,
        project=options.project,
        branch=options.branch,
        instance=options.instance,
        database=options.database,
    )


@contextmanager
def connected(target: Lakebase) -> Iterator[Login]:
    """A connection to the target, in autocommit."""
    connector = connector_for(target)
    try:
        with Login.connect(connector=connector) as connection:
            yield connection
    except psycopg.Error as error:
        raise translate(error) from None
    finally:
        connector.close()
