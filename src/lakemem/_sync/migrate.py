# Generated from src/lakemem/_async/migrate.py by tools/unasync.py: edit that file, then run `make generate`.
"""Creating and upgrading lakemem's tables, safely however many processes try at once."""

from __future__ import annotations

from typing import Any

from psycopg import Connection, errors

from lakemem._sql import bind_statements, migrations
from lakemem.errors import SchemaError
from lakemem.grants import PRIVATE_TABLES
from lakemem.schema import Description, check_fits, check_history


class Migrator:
    """Brings one schema of a database to the version that this package works with."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self._statements = bind_statements(schema)

    def describe(self, connection: Connection[Any]) -> Description:
        cursor = connection.execute(
            self._statements["schema.describe"], {"schema": self._schema, "tables": list(PRIVATE_TABLES)}
        )
        row = cursor.fetchone()
        if row is None:
            raise SchemaError("Postgres does not know the role that is logged in")
        server_version, encoding, vector_schema, has_migrations, bypasses, open_tables = row
        checksums: dict[int, str] = {}
        if has_migrations:
            cursor = connection.execute(self._statements["schema.applied"])
            checksums = dict(cursor.fetchall())
        return Description(
            server_version=server_version,
            encoding=encoding,
            vector_schema=vector_schema or "public",
            has_vector=vector_schema is not None,
            bypasses_row_security=bypasses,
            open_tables=tuple(open_tables),
            checksums=checksums,
        )

    def check(self, connection: Connection[Any]) -> Description:
        """Describe the database, and refuse one whose tables do not fit this version of lakemem."""
        description = self.describe(connection)
        check_fits(description, self._schema)
        return description

    def apply(self, connection: Connection[Any]) -> list[str]:
        """Apply what is missing, each migration in its own transaction, and return the names of these."""
        applied: list[str] = []
        while name := self._apply_next(connection):
            applied.append(name)
        return applied

    def _apply_next(self, connection: Connection[Any]) -> str | None:
        """Apply one migration, unless none is missing any more."""
        description = self.describe(connection)
        check_history(description, self._schema)
        if all(migration.number in description.checksums for migration in migrations()):
            return None
        with connection.transaction():
            connection.execute(self._statements["schema.lock"])
            # Others may have been faster while this one waited for the lock.
            description = self.describe(connection)
            missing = [step for step in migrations() if step.number not in description.checksums]
            if not missing:
                return None
            if not description.has_vector:
                self._install_vector(connection)
                description = self.describe(connection)
            self._script(connection, self._statements["schema.ensure_migrations"])
            step = missing[0]
            try:
                self._script(connection, step.bound(self._schema, description.vector_schema).encode())
            except errors.DuplicateTable:
                raise SchemaError(
                    f"the schema {self._schema!r} has tables that are not lakemem's but have their names, such as "
                    "LangGraph's own: give lakemem a schema of its own"
                ) from None
            connection.execute(
                self._statements["schema.record"],
                {"number": step.number, "name": step.name, "checksum": step.checksum},
            )
            return f"{step.number:04}_{step.name}"

    def _install_vector(self, connection: Connection[Any]) -> None:
        try:
            self._script(connection, self._statements["schema.ensure_vector"])
        except (errors.InsufficientPrivilege, errors.FeatureNotSupported):
            raise SchemaError(
                "this database lacks the extension `vector`, and this role cannot install it: let an administrator "
                "install pgvector on the server, and run CREATE EXTENSION vector in this database"
            ) from None

    @staticmethod
    def _script(connection: Connection[Any], script: bytes) -> None:
        """Run several statements; only unprepared ones may come together."""
        connection.execute(script, prepare=False)
