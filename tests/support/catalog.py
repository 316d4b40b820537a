"""What a schema is made of, as Postgres itself describes it."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from lakemem import Lakebase

_COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage::text,
        a.attgenerated::text, a.attidentity::text, a.attcollation::regcollation::text,
        pg_get_expr(d.adbin, d.adrelid)
    FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind = 'r' AND a.attnum > 0
    ORDER BY c.relname, a.attnum
"""
_CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = to_regnamespace(%(schema)s) ORDER BY 1, 2
"""
_INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = %(name)s ORDER BY 1, 2"
_TABLES = """
    SELECT relname, relkind::text, relrowsecurity, relforcerowsecurity, relowner = current_user::regrole, relacl::text
    FROM pg_class WHERE relnamespace = to_regnamespace(%(schema)s) ORDER BY 1
"""
_POLICIES = """
    SELECT tablename, policyname, permissive, roles::text, cmd, qual, with_check
    FROM pg_policies WHERE schemaname = %(name)s ORDER BY 1, 2
"""
_FUNCTIONS = "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = to_regnamespace(%(schema)s) ORDER BY 1, 2"


def catalog(target: Lakebase, schema: str = "lakemem") -> dict[str, list[tuple[Any, ...]]]:
    """Describe all that is in a schema, and which migrations made it."""
    with psycopg.connect(make_conninfo(**target.parameters), autocommit=True) as connection:
        quoted = psycopg.sql.Identifier(schema)
        parameters = {"schema": quoted.as_string(), "name": schema}
        found = {
            name: connection.execute(query, parameters).fetchall()
            for name, query in (
                ("columns", _COLUMNS),
                ("constraints", _CONSTRAINTS),
                ("indexes", _INDEXES),
                ("tables", _TABLES),
                ("policies", _POLICIES),
                ("functions", _FUNCTIONS),
            )
        }
        if found["tables"]:
            recorded = psycopg.sql.SQL("SELECT number, name, checksum FROM {}.migrations ORDER BY number")
            found["migrations"] = connection.execute(recorded.format(quoted)).fetchall()
        return found
