"""Databases that tests use one after the other: to empty one costs a fraction of what it costs to make one."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from lakemem import Lakebase
from lakemem.testing import DatabaseFactory

_DEFINITIONS = """
    -- What initdb made has lower numbers.
    SELECT ARRAY[
        (SELECT md5(string_agg(concat_ws(' ', oid, relname, relnamespace, relowner, relkind, relhasrules,
            relhastriggers, relrowsecurity, relforcerowsecurity, reloptions, relacl), ',' ORDER BY oid))
            FROM pg_class WHERE oid >= 16384),
        (SELECT md5(string_agg(concat_ws(' ', attrelid, attnum, xmin), ',' ORDER BY attrelid, attnum))
            FROM pg_attribute WHERE attrelid >= 16384),
        (SELECT md5(string_agg(concat_ws(' ', indexrelid, indisvalid, indisready), ',' ORDER BY indexrelid))
            FROM pg_index WHERE indexrelid >= 16384),
        (SELECT md5(string_agg(definition, ',' ORDER BY definition)) FROM (
            SELECT concat_ws(' ', tableoid, oid, xmin) AS definition FROM pg_namespace
            UNION ALL SELECT concat_ws(' ', tableoid, oid, xmin) FROM pg_proc WHERE oid >= 16384
            UNION ALL SELECT concat_ws(' ', tableoid, oid, xmin) FROM pg_type WHERE oid >= 16384
            UNION ALL SELECT concat_ws(' ', tableoid, oid, xmin) FROM pg_trigger WHERE oid >= 16384
            UNION ALL SELECT concat_ws(' ', tableoid, oid, xmin) FROM pg_policy WHERE oid >= 16384
            UNION ALL SELECT concat_ws(' ', tableoid, oid, xmin) FROM pg_constraint WHERE oid >= 16384
            UNION ALL SELECT concat_ws(' ', tableoid, oid, xmin) FROM pg_attrdef WHERE oid >= 16384
            UNION ALL SELECT concat_ws(' ', tableoid, oid, xmin) FROM pg_rewrite WHERE oid >= 16384
            UNION ALL SELECT concat_ws(' ', tableoid, oid, xmin) FROM pg_extension
            UNION ALL SELECT concat_ws(' ', tableoid, oid, xmin) FROM pg_default_acl
            UNION ALL SELECT concat_ws(' ', tableoid, oid, xmin) FROM pg_event_trigger
            UNION ALL SELECT concat_ws(' ', tableoid, oid, xmin) FROM pg_ts_config
            UNION ALL SELECT concat_ws(' ', tableoid, oid, xmin) FROM pg_statistic_ext
            UNION ALL SELECT concat_ws(' ', tableoid, seqrelid, xmin) FROM pg_sequence
            -- Of a table that was analysed, others would be planned otherwise.
            UNION ALL SELECT concat_ws(' ', tableoid, starelid, staattnum) FROM pg_statistic WHERE starelid >= 16384
            UNION ALL SELECT concat_ws(' ', tableoid, setrole, setconfig) FROM pg_db_role_setting
                WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
            UNION ALL SELECT concat_ws(' ', tableoid, datdba, datacl, datconnlimit, datallowconn) FROM pg_database
                WHERE datname = current_database()
        ) AS definitions)
    ]
"""
_FILLED = """
    SELECT coalesce(json_object_agg(
        c.oid::regclass, pg_relation_size(c.oid) + coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0)
    ), '{}')
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname = 'lakemem' AND pg_relation_size(c.oid) > 0
"""
_SMALL = 10 * 8192
"""Bytes of a table that was never vacuumed for which Postgres plans as for an empty one."""
_COUNT_ANEW = """
    SELECT pg_stat_reset(), setval(s.seqrelid::regclass, s.seqstart, false)
    FROM pg_sequence AS s JOIN pg_class AS c ON c.oid = s.seqrelid WHERE c.relnamespace = 'lakemem'::regnamespace
"""
_END_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
_ARE_THERE = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = %s"
_FOR_THEM_TO_END = 5.0


class SpareDatabases:
    """Gives out databases with lakemem's tables, and takes them back.

    One that comes back is emptied and named anew, so that nobody who is left of a test comes into that of another.
    Where a test has changed more than rows, it is dropped.
    """

    def __init__(self, databases: DatabaseFactory, admin_dsn: str) -> None:
        self._databases = databases
        self._admin_dsn = admin_dsn
        self._admin = psycopg.connect(admin_dsn, autocommit=True)
        self._spare: list[Lakebase] = []
        self._as_made: tuple[Any, ...] | None = None
        self._kept: set[str] = set()

    def take(self) -> Lakebase:
        if self._spare:
            return self._spare.pop()
        created = self._databases.create()
        if self._as_made is None:
            with self._connected(created) as connection:
                self._kept = set(_value(connection, _FILLED))
                self._as_made = self._state(connection)
        return created

    def give_back(self, target: Lakebase) -> None:
        with contextlib.suppress(psycopg.Error):
            self._admin.execute(_END_ALL, [target.database])
            if self._emptied(target):
                self._spare.append(self._renamed(target))
                return
        self._databases.drop(target)

    def close(self) -> None:
        while self._spare:
            self._databases.drop(self._spare.pop())
        self._admin.close()

    def _emptied(self, target: Lakebase) -> bool:
        with self._connected(target) as connection:
            if self._state(connection) != self._as_made:
                return False
            connection.execute("SET lock_timeout = '5s'")
            filled = {table: size for table, size in _value(connection, _FILLED).items() if table not in self._kept}
            # To truncate makes new files for a table, all its indexes, and every table that refers to it: that costs
            # ten times as much as to delete some rows.
            if large := [table for table, size in filled.items() if size > _SMALL]:
                connection.execute(f"TRUNCATE {', '.join(large)} CASCADE")
            # As a replica, so that no trigger and no foreign key has a part in it.
            connection.execute("SET session_replication_role = 'replica'")
            connection.execute("; ".join(f"DELETE FROM {table}" for table in filled.keys() - set(large)))
            connection.execute(_COUNT_ANEW)
            return True

    def _state(self, connection: psycopg.Connection[Any]) -> tuple[Any, ...]:
        """What a test may not have changed: definitions, settings, and the rows that the migrations made."""
        rows = [
            _value(connection, f"SELECT array_agg(t::text ORDER BY t::text) FROM {table} AS t") for table in self._kept
        ]
        return (_value(connection, _DEFINITIONS), rows)

    def _renamed(self, target: Lakebase) -> Lakebase:
        name = f"{target.database}".partition("_again_")[0] + f"_again_{secrets.token_hex(4)}"
        # Postgres would look again after 100 ms only.
        deadline = time.monotonic() + _FOR_THEM_TO_END
        while _value(self._admin, _ARE_THERE, target.database) and time.monotonic() < deadline:
            time.sleep(0.001)
        statement = sql.SQL("ALTER DATABASE {} RENAME TO {}")
        self._admin.execute(statement.format(sql.Identifier(str(target.database)), sql.Identifier(name)))
        return Lakebase.dsn(make_conninfo(**{**target.parameters, "dbname": name}))

    @contextlib.contextmanager
    def _connected(self, target: Lakebase) -> Iterator[psycopg.Connection[Any]]:
        login = make_conninfo(self._admin_dsn, dbname=str(target.database))
        with psycopg.connect(login, autocommit=True) as connection:
            yield connection


def _value(connection: psycopg.Connection[Any], statement: str, *parameters: Any) -> Any:
    row = connection.execute(statement, parameters or None).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]
