"""``lakemem grants``: the rights of a deployed app, or of users who log in themselves."""

from __future__ import annotations

import argparse
import sys

from lakemem._sql import bind_statements
from lakemem._sync.login import Login
from lakemem.commands.targets import add_target, connected, target_of
from lakemem.errors import ConfigurationError
from lakemem.grants import Missing, grant_statements, missing_rights
from lakemem.schema import DEFAULT_SCHEMA, schema_name
from lakemem.target import Lakebase


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "grants",
        help="print, give or check the rights that an app's service principal needs",
        description="Without --apply or --check: print the statements. They may be run again at any time; run them "
        "again after `lakemem migrate` has made new tables.",
    )
    parser.add_argument("--to", required=True, metavar="ROLE", help="application id, e-mail address, or group")
    parser.add_argument("--own-rows", action="store_true", help="for users who log in themselves: only their own rows")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--apply", action="store_true", help="create the role where it is missing, and run them")
    what.add_argument("--check", action="store_true", help="tell what is missing; exit code 1 if anything is")
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    schema = schema_name(options.schema)
    if not (options.apply or options.check):
        for statement in grant_statements(options.to, schema, own_rows=options.own_rows):
            print(f"{statement.as_string()};")
        return 0
    target = target_of(options)
    with connected(target) as connection:
        if options.apply:
            _apply(connection, target, options.to, schema, own_rows=options.own_rows)
        missing = missing_rights(
            connection, options.to, schema, vector_schema=_vector_schema(connection), own_rows=options.own_rows
        )
    return _report(missing, options.to, schema)


def _apply(connection: Login, target: Lakebase, role: str, schema: str, *, own_rows: bool) -> None:
    vector_schema = _vector_schema(connection)
    missing = missing_rights(connection, role, schema, vector_schema=vector_schema)
    if any(right.object == "ROLE" for right in missing):
        _create_role(target, role)
    statements = grant_statements(
        role, schema, vector_schema=vector_schema, own_rows=own_rows, database=_closed_database(connection, role)
    )
    with connection.transaction():
        for statement in statements:
            connection.execute(statement)


def _closed_database(connection: Login, role: str) -> str | None:
    """The database, where the role may not connect to it yet: its owner alone can give that."""
    query = bind_statements(DEFAULT_SCHEMA)["grants.database"]
    name, open_to_role = connection.execute(query, {"role": role}).fetchone() or ("", True)
    return None if open_to_role else str(name)


def _create_role(target: Lakebase, role: str) -> None:
    if not target.is_lakebase:
        raise ConfigurationError(
            f"the role {role!r} is missing, and only the workspace of a Lakebase makes roles: run CREATE ROLE first"
        )
    from lakemem.integrations.databricks.roles import create_role

    create_role(target, role)
    print(f"created the role {role}")


def _vector_schema(connection: Login) -> str:
    row = connection.execute(bind_statements(DEFAULT_SCHEMA)["grants.vector_schema"]).fetchone()
    return str(row[0]) if row else "public"


def _report(missing: list[Missing], role: str, schema: str) -> int:
    if not missing:
        print(f"{role} has every right that lakemem needs in schema {schema}")
        return 0
    for right in missing:
        print(f"missing: {right}", file=sys.stderr)
    print(f"run `lakemem grants --to {role} --apply` as the owner of schema {schema}", file=sys.stderr)
    return 1
