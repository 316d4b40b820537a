"""The Postgres of one Lakebase: its roles, its databases, and the passwords that tokens are."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from lakemem.embedded import EmbeddedPostgres
from lakemem.testing.emulator.templates import SUPERUSER, copy_data, own_like, template

DATABASE = "databricks_postgres"


@dataclass(frozen=True, slots=True)
class Role:
    """A role as the API shows it."""

    name: str
    identity_type: str
    superuser: bool = False
    createdb: bool = False
    createrole: bool = False
    bypassrls: bool = False
    login: bool = True


class Compute:
    """One Postgres, with one set of roles and databases.

    Args:
        folder: where it keeps its data. What is there is used.
        version: 16 or 18.
        source: another one to begin as a copy of.
    """

    def __init__(self, folder: Path, *, version: int, source: Compute | None = None) -> None:
        self.version = version
        self._server = EmbeddedPostgres(folder, version=version)
        self.folder = folder
        self._changing = threading.RLock()
        self._passwords: dict[str, str] = {}
        self._changes: Counter[str] = Counter()
        if source is not None:
            source.copy_to(folder)
        elif not folder.exists():
            copy_data(template(version), folder / "data")
        login = self._server.start()
        self.socket = str(login["host"])
        self._admin: dict[str, Any] = {**login, "user": "postgres", "autocommit": True}
        self._connections: dict[str, psycopg.Connection[Any]] = {}

    @property
    def socket_file(self) -> str:
        """The socket that Postgres listens on."""
        return f"{self.socket}/.s.PGSQL.5432"

    def close(self) -> None:
        """Stop the server."""
        with self._changing:
            self._disconnect()
            self._server.stop()

    def create_role(self, role: Role) -> None:
        """Create a role that logs in with tokens.

        Raises:
            psycopg.errors.DuplicateObject: there is one of this name.
        """
        with self._changing, self._transaction() as connection:
            self._run(connection, "CREATE ROLE {} LOGIN", role.name)
            self._describe(connection, role)

    def update_role(self, role: Role) -> None:
        """Change a role's attributes."""
        with self._changing, self._transaction() as connection:
            self._run(connection, "REVOKE {} FROM {}", SUPERUSER, role.name)
            self._describe(connection, role)

    def drop_role(self, name: str, *, reassign_to: str | None = None) -> None:
        """Drop a role; what it owns goes to `reassign_to`, or has to be gone."""
        with self._changing:
            if reassign_to:
                for database in self.databases():
                    connection = self._connected(database)
                    self._run(connection, "REASSIGN OWNED BY {} TO {}", name, reassign_to)
                    self._run(connection, "DROP OWNED BY {}", name)
            self._run(self._connected(), "DROP ROLE {}", name)
            self._passwords.pop(name, None)

    def roles(self) -> list[Role]:
        """Return the roles that stand for identities."""
        rows = self._query(
            """
            SELECT r.rolname AS name, shobj_description(r.oid, 'pg_authid') AS identity_type,
                   EXISTS (SELECT FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.roleid
                           WHERE m.member = r.oid AND g.rolname = %s) AS superuser,
                   r.rolcreatedb AS createdb, r.rolcreaterole AS createrole, r.rolbypassrls AS bypassrls,
                   r.rolcanlogin AS login
            FROM pg_roles AS r
            WHERE shobj_description(r.oid, 'pg_authid') IN ('USER', 'SERVICE_PRINCIPAL', 'GROUP', 'PG_ONLY')
            ORDER BY r.rolname
            """,
            SUPERUSER,
        )
        return [Role(**row) for row in rows]

    def role(self, name: str) -> Role | None:
        """Return a role, if there is one of this name."""
        return next((role for role in self.roles() if role.name == name), None)

    def create_database(self, name: str, owner: str) -> None:
        """Create a database.

        Raises:
            psycopg.errors.DuplicateDatabase: there is one of this name.
        """
        with self._changing:
            self._run(self._connected(), "CREATE DATABASE {} OWNER {}", name, owner)

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is connected."""
        with self._changing:
            if connection := self._connections.pop(name, None):
                connection.close()
            self._run(self._connected(), "DROP DATABASE {} WITH (FORCE)", name)

    def databases(self) -> dict[str, str]:
        """Return the databases, and who owns each."""
        rows = self._query(
            """
            SELECT datname AS name, pg_get_userbyid(datdba) AS owner FROM pg_database
            WHERE NOT datistemplate AND datname NOT IN ('postgres', 'lakemem') ORDER BY datname
            """
        )
        return {row["name"]: row["owner"] for row in rows}

    def tell_identities(self, names: Iterable[tuple[str, str]]) -> None:
        """Let databricks_create_role know whom the workspace has: pairs of a kind and a name."""
        path = self.folder / "data" / "lakebase_identities"
        path.write_text("\n".join(f"{kind} {name}" for kind, name in names))
        path.chmod(0o644)  # for Postgres, which may run as another user

    def grant_on_database(self, role: str, database: str = DATABASE) -> None:
        """Let a role connect and create schemas, as a database resource of an app does."""
        with self._changing:
            self._run(self._connected(), "GRANT CONNECT, CREATE ON DATABASE {} TO {}", database, role)

    def set_password(self, role: str, token: str, expires_at: float) -> int:
        """Make a token the password of a role until it expires, if there is such a role.

        Returns:
            how often the role's password was set, as :meth:`password_changes` counts.
        """
        with self._changing:
            if self._passwords.get(role) == token:
                return self._changes[role]
            connection = self._connected()
            # Hashed on this side, so that the token stands in no statement that the server might log.
            secret = connection.pgconn.encrypt_password(token.encode(), role.encode(), b"scram-sha-256")
            try:
                connection.execute(
                    sql.SQL("ALTER ROLE {} PASSWORD {} VALID UNTIL {}").format(
                        sql.Identifier(role),
                        sql.Literal(secret.decode()),
                        sql.Literal(datetime.fromtimestamp(expires_at, UTC).isoformat()),
                    )
                )
            except psycopg.errors.UndefinedObject:
                return self._changes[role]
            self._passwords[role] = token
            self._changes[role] += 1
            return self._changes[role]

    def password_changes(self, role: str) -> int:
        """Return how often the password of a role was set: a login may have met another one than it came with."""
        with self._changing:
            return self._changes[role]

    def clear_password(self, role: str) -> None:
        """Take the password of a role away."""
        with self._changing:
            if self._passwords.pop(role, None) is not None:
                self._run(self._connected(), "ALTER ROLE {} PASSWORD NULL", role)

    def close_connections(self, role: str | None = None) -> int:
        """End the connections of a role, or of all roles, as an administrator would, and return their number."""
        rows = self._query(
            """
            SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND usename <> 'postgres' AND usename = coalesce(%s, usename)
            """,
            role,
        )
        return len(rows)

    def connection_count(self) -> int:
        """Return how many connections of clients there are."""
        [row] = self._query(
            """
            SELECT count(*) AS count FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND usename <> 'postgres'
            """
        )
        return int(row["count"])

    def copy_to(self, folder: Path) -> None:
        """Copy all data, while it is in use, to where another one will start."""
        data = self.folder / "data"
        with self._changing, psycopg.connect(**{**self._admin, "dbname": "postgres"}) as connection:
            connection.execute("SELECT pg_backup_start('branch', true)")
            copy_data(data, folder / "data", without=["pg_wal"])
            [(label,)] = connection.execute("SELECT labelfile FROM pg_backup_stop(false)").fetchall()
            # Last, so that it holds all that was written meanwhile.
            copy_data(data / "pg_wal", folder / "data" / "pg_wal")
        (folder / "data" / "backup_label").write_text(label)
        own_like(data, folder / "data")

    def _describe(self, connection: psycopg.Connection[Any], role: Role) -> None:
        attributes = [
            sql.SQL(word if wanted else f"NO{word}")
            for word, wanted in (
                ("CREATEDB", role.createdb),
                ("CREATEROLE", role.createrole),
                ("BYPASSRLS", role.bypassrls),
                ("LOGIN", role.login),
            )
        ]
        name = sql.Identifier(role.name)
        connection.execute(sql.SQL("ALTER ROLE {} {}").format(name, sql.SQL(" ").join(attributes)))
        connection.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(name, sql.Literal(role.identity_type)))
        if role.superuser:
            self._run(connection, "GRANT {} TO {}", SUPERUSER, role.name)

    def _query(self, query: LiteralString, *values: object) -> list[dict[str, Any]]:
        with self._changing, self._connected().cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[Any]]:
        connection = self._connected()
        with connection.transaction():
            yield connection

    def _connected(self, database: str = "postgres") -> psycopg.Connection[Any]:
        connection = self._connections.get(database)
        if connection is None or connection.closed or connection.broken:
            connection = self._connections[database] = psycopg.connect(**{**self._admin, "dbname": database})
        return connection

    def _disconnect(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    @staticmethod
    def _run(connection: psycopg.Connection[Any], statement: LiteralString, *names: str) -> None:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
