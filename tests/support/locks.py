"""A look at who is connected, and who waits for whom."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, LiteralString

import psycopg


def wait_until_blocked(connection: psycopg.Connection[Any], count: int = 1) -> None:
    """Return once `count` others wait for a lock in the database of this connection."""
    _wait_until(connection, "wait_event_type = 'Lock'", lambda found: found >= count)


def wait_until_alone(connection: psycopg.Connection[Any]) -> None:
    """Return once nobody else is connected to the database of this connection."""
    _wait_until(connection, "backend_type = 'client backend'", lambda found: found == 0)


def _wait_until(
    connection: psycopg.Connection[Any],
    condition: LiteralString,
    fits: Callable[[int], bool],
    timeout: float = 60.0,
) -> None:
    deadline = time.monotonic() + timeout
    query: LiteralString = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND " + condition
    )
    found = -1
    while time.monotonic() < deadline:
        row = connection.execute(query).fetchone()
        found = row[0] if row is not None else -1
        if fits(found):
            return
        # Postgres has no event for it.
        time.sleep(0.005)
    raise AssertionError(f"{found} others have {condition} after {timeout:g} s")
