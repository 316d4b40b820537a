"""Creating and upgrading lakemem's tables, safely however many processes try at once."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, errors

from lakemem._sql import bind_statements, migrations
from lakemem.errors import SchemaError
from lakemem.grants import PRIVATE_TABLES
from lakemem.schema import Description, check_fits, check_history


class AsyncMigrator:
    """Brings one schema of a database to the version that this package works with."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self._statements = bind_statements(schema)

    async def describe(self, connection: AsyncConnection[Any]) -> Description:
        cursor = await connection.execute(
            self._statements["schema.describe"], {"schema": self._schema, "tables": list(PRIVATE_TABLES)}
        )
        row = await cursor.fetchone()
        if row is None:
            raise SchemaError("Postgres does not know the role that is logged in")
        server_version, encoding, vector_schema, has_migrations, bypasses, open_tables = row
        checksums: dict[int, str] = {}
        if has_migrations:
            cursor = await connection.execute(self._statements["schema.applied"])
            checksums = dict(await cursor.fetchall())
        return Description(
            server_version=server_version,
            encoding=encoding,
            vector_schema=vector_schema or "public",
            has_vector=vector_schema is not None,
            bypasses_row_security=bypasses,
            open_tables=tuple(open_tables),
            checksums=checksums,
        )

    async def check(self, connection: AsyncConnection[Any]) -> Description:
        """Describe the database, and refuse one whose tables do not fit this version of lakemem."""
        description = await self.describe(connection)
        check_fits(description, self._schema)
        return description

    async def apply(self, connection: AsyncConnection[Any]) -> list[str]:
        """Apply what is missing, each migration in its own transaction, and return the names of these."""
        applied: list[str] = []
        while name := await self._apply_next(connection):
            applied.append(name)
        return applied

    async def _apply_next(self, connection: AsyncConnection[Any]) -> str | None:
        """Apply one migration, unless none is missing any more."""
        description = await self.describe(connection)
        check_history(description, self._schema)
        if all(migration.number in description.checksums for migration in migrations()):
            return None
        async with connection.transaction():
            await connection.execute(self._statements["schema.lock"])
            # Others may have been faster while this one waited for the lock.
            description = await self.describe(connection)
            missing = [step for step in migrations() if step.number not in description.checksums]
            if not missing:
                return None
            if not description.has_vector:
                await self._install_vector(connection)
                description = await self.describe(connection)
            await self._script(connection, self._statements["schema.ensure_migrations"])
            step = missing[0]
            try:
                await self._script(connection, step.bound(self._schema, description.vector_schema).encode())
            except errors.DuplicateTable:
                raise SchemaError(
                    f"the schema {self._schema!r} has tables that are not lakemem's but have their names, such as "
                    "LangGraph's own: give lakemem a schema of its own"
                ) from None
            await connection.execute(
                self._statements["schema.record"],
                {"number": step.number, "name": step.name, "checksum": step.checksum},
            )
            return f"{step.number:04}_{step.name}"

    async def _install_vector(self, connection: AsyncConnection[Any]) -> None:
        try:
            await self._script(connection, self._statements["schema.ensure_vector"])
        except (errors.InsufficientPrivilege, errors.FeatureNotSupported):
            raise SchemaError(
                "this database lacks the extension `vector`, and this role cannot install it: let an administrator "
                "install pgvector on the server, and run CREATE EXTENSION vector in this database"
            ) from None

    @staticmethod
    async def _script(connection: AsyncConnection[Any], script: bytes) -> None:
        """Run several statements; only unprepared ones may come together."""
        await connection.execute(script, prepare=False)
