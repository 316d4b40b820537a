"""Databases for tests: each a clone of one template, so that a test begins with fresh tables in milliseconds."""

from __future__ import annotations

import secrets
from types import TracebackType
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lakemem._sync.memory import Memory
from lakemem.target import Lakebase


class DatabaseFactory:
    """Makes and drops databases on one server.

    Their owner is a role of its own without special rights, so that row-level security confines it as it does
    in production::

        with DatabaseFactory("postgresql://postgres@localhost/postgres") as databases:
            with Memory(databases.create()) as memory:
                ...

    Args:
        admin_dsn: a login that may create databases, roles and the extension `vector`.
    """

    def __init__(self, admin_dsn: str) -> None:
        self._admin = {**conninfo_to_dict(admin_dsn), "client_encoding": "utf8"}
        self._name = f"lakemem_test_{secrets.token_hex(4)}"
        self._password = f"password-for-tests-{secrets.token_hex(16)}"
        self._databases: list[str] = []
        self._template: str | None = None

    def create(self, *, empty: bool = False) -> Lakebase:
        """Return a new database with lakemem's tables, or with the extension `vector` alone where `empty`."""
        if self._template is None:
            self._template = self._make_template()
        name = f"{self._name}_{len(self._databases)}"
        source = f"{self._name}_empty" if empty else self._template
        self._run("CREATE DATABASE {} TEMPLATE {} OWNER {}", name, source, self._name)
        self._databases.append(name)
        return self._target(name)

    def drop(self, target: Lakebase) -> None:
        """Drop a database of this factory, whoever is connected to it."""
        self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", str(target.database))

    def close(self) -> None:
        """Drop everything that this factory made."""
        for name in [*self._databases, f"{self._name}_empty", f"{self._name}_template"]:
            self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        self._run("DROP ROLE IF EXISTS {}", self._name)
        self._databases.clear()
        self._template = None

    def __enter__(self) -> DatabaseFactory:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _make_template(self) -> str:
        empty, template = f"{self._name}_empty", f"{self._name}_template"
        with self._connect() as connection:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD {}").format(
                    sql.Identifier(self._name), sql.Literal(self._password)
                )
            )
        # A server whose default is another encoding can still make a database in UTF8.
        self._run(
            "CREATE DATABASE {} OWNER {} TEMPLATE template0"
            if self._default_encoding() == "UTF8"
            else "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'",
            empty,
            self._name,
        )
        with self._connect(dbname=empty) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        self._run("CREATE DATABASE {} TEMPLATE {} OWNER {}", template, empty, self._name)
        Memory(self._target(template)).setup()
        return template

    def _default_encoding(self) -> str:
        with self._connect() as connection:
            row = connection.execute(
                "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'template0'"
            ).fetchone()
        return str(row[0]) if row else ""

    def _target(self, name: str) -> Lakebase:
        login: dict[str, Any] = {**self._admin, "user": self._name, "password": self._password, "dbname": name}
        return Lakebase.dsn(make_conninfo(**login))

    def _run(self, statement: LiteralString, *names: str) -> None:
        with self._connect() as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _connect(self, **changed: Any) -> psycopg.Connection[Any]:
        login: dict[str, Any] = {**self._admin, **changed}
        return psycopg.connect(**login, autocommit=True)
