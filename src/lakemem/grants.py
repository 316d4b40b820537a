"""The rights that lakemem needs in a database, and nothing more: as statements, and as a check."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

from lakemem._sql import bind_statements

RIGHTS: Mapping[str, tuple[str, ...]] = {
    "migrations": ("SELECT",),
    "threads": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    # UPDATE is for what is encrypted anew, here and below.
    "thread_items": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "run_usage": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "checkpoints": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    # UPDATE is for the lock on a version whose elements are used again.
    "checkpoint_blobs": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "checkpoint_segments": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "checkpoint_positions": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "checkpoint_writes": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "memories": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "indexes": ("SELECT", "INSERT", "DELETE"),
    "indexed_cells": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "indexed_memories": ("SELECT", "INSERT", "DELETE"),
    "indexed_words": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "quarantine": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    # Nobody but the owner of the tables can change or remove what the audit log says.
    "memory_events": ("INSERT",),
    # An app finds who is on hold, and what it removes of them is kept; it neither places a hold nor lifts one.
    "holds": ("SELECT",),
    "held_rows": ("INSERT",),
    "data_keys": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "jobs": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "runs": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "run_events": ("SELECT", "INSERT", "DELETE"),
    "applied_writes": ("INSERT",),
}
"""What an app does with each table."""

PRIVATE_TABLES = tuple(table for table in RIGHTS if table != "migrations")
"""The tables whose rows belong to somebody."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A right that a role has not. `object` is ``DATABASE``, ``SCHEMA``, ``TABLE``, ``ROLE`` or ``POLICY``."""

    privilege: str
    object: str
    name: str

    def __str__(self) -> str:
        return f"{self.privilege} on {self.object.lower()} {self.name}".strip()


def grant_statements(
    role: str, schema: str, *, vector_schema: str = "public", own_rows: bool = False, database: str | None = None
) -> list[sql.Composed]:
    """Return the statements that let a role use lakemem's tables. Running them again changes nothing.

    Args:
        role: the Postgres role: an e-mail address, an application id, or a group's name.
        vector_schema: where the extension `vector` is.
        own_rows: for users who log in themselves: a member of this role sees and writes only the rows of its own
            login, whatever user it claims to be.
        database: to let the role connect to, where that is not everybody's right.
    """
    to = sql.Identifier(role)
    schemas = sql.SQL(", ").join(map(sql.Identifier, dict.fromkeys([schema, vector_schema])))
    statements = [sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schemas, to)]
    if database is not None:
        statements.insert(0, sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(database), to))
    for table, privileges in RIGHTS.items():
        statements.append(
            sql.SQL("GRANT {} ON {} TO {}").format(
                sql.SQL(", ").join(sql.SQL(privilege) for privilege in privileges),
                sql.Identifier(schema, table),
                to,
            )
        )
    if own_rows:
        for table in PRIVATE_TABLES:
            statements.extend(_own_rows(role, schema, table))
    return statements


def missing_rights(
    connection: Connection[Any], role: str, schema: str, *, vector_schema: str = "public", own_rows: bool = False
) -> list[Missing]:
    """Return what `role` lacks, by Postgres's own privilege functions."""
    statements = bind_statements(schema, vector_schema)
    exists = connection.execute(statements["grants.role_exists"], {"role": role}).fetchone()
    if not exists or not exists[0]:
        return [Missing("LOGIN", "ROLE", role)]
    pairs = [(table, privilege) for table, privileges in RIGHTS.items() for privilege in privileges]
    found = connection.execute(
        statements["grants.missing"],
        {
            "role": role,
            "schema": schema,
            "schemas": list(dict.fromkeys([schema, vector_schema])),
            "tables": [table for table, _ in pairs],
            "privileges": [privilege for _, privilege in pairs],
        },
    )
    return [Missing(*map(str, row)) for row in found] + list(
        _missing_policies(connection, statements["grants.own_rows_missing"], role, schema) if own_rows else ()
    )


def _own_rows(role: str, schema: str, table: str) -> Sequence[sql.Composed]:
    # A name of its own for each role, within the 63 bytes of a name.
    policy = sql.Identifier(f"own_rows_{hashlib.sha256(role.encode()).hexdigest()[:16]}")
    on = sql.Identifier(schema, table)
    return (
        sql.SQL("DROP POLICY IF EXISTS {} ON {}").format(policy, on),
        sql.SQL(
            "CREATE POLICY {} ON {} AS RESTRICTIVE TO {} USING (owner = (SELECT 'user:' || session_user))"
            " WITH CHECK (owner = (SELECT 'user:' || session_user))"
        ).format(policy, on, sql.Identifier(role)),
    )


def _missing_policies(connection: Connection[Any], statement: bytes, role: str, schema: str) -> Iterator[Missing]:
    parameters = {"role": role, "schema": schema, "tables": list(PRIVATE_TABLES)}
    for (table,) in connection.execute(statement, parameters):
        yield Missing("OWN ROWS", "POLICY", str(table))
