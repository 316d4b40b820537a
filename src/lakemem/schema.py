"""Which tables this version of lakemem works with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from lakemem._sql import bind_statements, migrations
from lakemem.errors import ConfigurationError, InvalidInputError, SchemaError, SchemaOutdatedError, SchemaTooNewError
from lakemem.validation import check_identifier

DEFAULT_SCHEMA = "lakemem"
MAX_NAME_BYTES = 63
"""Of a name in Postgres, which would cut a longer one without a word."""


def schema_name(given: str | None = None, environ: Mapping[str, str] | None = None) -> str:
    """Return the schema of lakemem's tables: as given, else ``LAKEBASE_AGENT_MEMORY_SCHEMA``, else ``lakemem``.

    Raises:
        InvalidInputError: Postgres cannot have a schema of this name.
    """
    environ = os.environ if environ is None else environ
    name = given if given is not None else environ.get("LAKEBASE_AGENT_MEMORY_SCHEMA") or DEFAULT_SCHEMA
    check_identifier("schema", name)
    if len(name.encode()) > MAX_NAME_BYTES:
        raise InvalidInputError(f"schema is longer than the {MAX_NAME_BYTES} bytes of a name in Postgres")
    if name.startswith("pg_"):
        raise InvalidInputError("schema may not begin with pg_: Postgres keeps these names for itself")
    if "%" in name or "$" in name:
        raise InvalidInputError("schema may not contain '%' or '$': they mean something else in scripts and statements")
    return name


@dataclass(frozen=True, slots=True)
class Description:
    """What a database says of itself.

    Attributes:
        vector_schema: where the extension `vector` is; ``"public"`` while it is nowhere.
        schema_version: the number of the newest migration; 0 without any.
        bypasses_row_security: whether the role is exempt from it, as superusers are.
        open_tables: on which of lakemem's tables it does not hold for the role.
        checksums: of the applied migrations, by number.
    """

    server_version: str
    encoding: str
    vector_schema: str
    has_vector: bool
    bypasses_row_security: bool
    open_tables: tuple[str, ...]
    checksums: dict[int, str]

    @property
    def schema_version(self) -> int:
        return max(self.checksums, default=0)

    @property
    def is_confined(self) -> bool:
        """Whether Postgres itself keeps users apart for the role."""
        return not self.bypasses_row_security and not self.open_tables


def why_open(description: Description) -> str:
    """Say why row-level security does not confine the role; nothing where it does."""
    if description.bypasses_row_security:
        return "this Postgres role is a superuser or has BYPASSRLS, so Postgres does not keep users apart for it"
    if description.open_tables:
        return (
            "Postgres does not keep users apart for this role in "
            f"{', '.join(description.open_tables)}: row-level security is off, or not forced on the owner"
        )
    return ""


def how_to_confine(description: Description, schema: str) -> str:
    """Say what to do about it."""
    if description.bypasses_row_security:
        return "log in as an ordinary role that `lakemem grants` has given its rights"
    name = sql.Identifier(schema, description.open_tables[0]).as_string()
    return f"run ALTER TABLE {name} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY, and so for each of them"


def check_confined(description: Description, schema: str) -> None:
    """Refuse a role that row-level security does not confine.

    Raises:
        ConfigurationError: users would be kept apart by lakemem's own conditions alone.
    """
    if not description.is_confined:
        raise ConfigurationError(
            f"{why_open(description)}, and a deployed app does not work without: {how_to_confine(description, schema)}"
        )


def check_fits(description: Description, schema: str) -> None:
    """Refuse tables that this version of lakemem cannot work with.

    Raises:
        SchemaOutdatedError: a migration is missing.
        SchemaError: as `check_history`.
    """
    check_history(description, schema)
    numbers = {migration.number for migration in migrations()}
    if numbers - description.checksums.keys():
        raise SchemaOutdatedError(
            f"the tables in schema {schema!r} are missing or old "
            f"(version {description.schema_version} of {max(numbers)}): run `lakemem migrate`, or call setup()"
        )


def check_history(description: Description, schema: str) -> None:
    """Refuse tables that this version of lakemem can neither work with nor upgrade.

    Raises:
        SchemaTooNewError: there are migrations that this version does not know.
        SchemaError: a migration that was applied is not the one of this version; or the encoding is not UTF8.
    """
    check_encoding(description)
    known = {migration.number: migration.checksum for migration in migrations()}
    newest = max(known)
    if description.schema_version > newest:
        raise SchemaTooNewError(
            f"the tables in schema {schema!r} have version {description.schema_version}, "
            f"this lakemem knows {newest}: upgrade the package"
        )
    for number, checksum in description.checksums.items():
        if known.get(number) != checksum:
            raise SchemaError(
                f"migration {number} of schema {schema!r} is not the one that this lakemem has: "
                "the tables were made by a changed copy of the package"
            )


def check_encoding(description: Description) -> None:
    """Refuse a database that cannot hold every text."""
    if description.encoding != "UTF8":
        raise SchemaError(
            f"this database has the encoding {description.encoding}: create one with "
            "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )


def migration_script(schema: str, *, vector_schema: str = "public") -> str:
    """Everything that a migration runs on an empty database, as one script for a DBA."""
    statements = bind_statements(schema, vector_schema)
    preparation = ("schema.lock", "schema.ensure_vector", "schema.ensure_migrations")
    parts = ["BEGIN", *(statements[name].decode() for name in preparation)]
    for step in migrations():
        parts.append(step.bound(schema, vector_schema).strip().rstrip(";"))
        record = sql.SQL("INSERT INTO {}.migrations (number, name, checksum) VALUES ({}, {}, {})").format(
            sql.Identifier(schema),
            sql.Literal(step.number),
            sql.Literal(step.name),
            sql.Literal(step.checksum),
        )
        parts.append(record.as_string())
    parts.append("COMMIT")
    return ";\n\n".join(parts) + ";\n"
