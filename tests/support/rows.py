"""What stands in the tables, seen past lakemem."""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import make_conninfo

from lakemem import Lakebase


class Rows:
    """Runs SQL as the role that lakemem logs in with, confined to one owner."""

    def __init__(self, target: Lakebase, owner: str) -> None:
        self._dsn = make_conninfo(**target.parameters)
        self._owner = owner

    def __call__(self, statement: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        connection = psycopg.connect(self._dsn, autocommit=True)
        connection.execute("SELECT set_config('lakemem.owner', %s, false)", [self._owner])
        return connection
