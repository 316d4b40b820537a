"""A look at who waits for whom."""

from __future__ import annotations

import time
from typing import Any

import psycopg


def wait_until_blocked(connection: psycopg.Connection[Any], count: int = 1, *, timeout: float = 10.0) -> None:
    """Return once `count` others wait for a lock in the database of this connection."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()"
        ).fetchone()
        if row is not None and row[0] >= count:
            return
        # Postgres has no event for it.
        time.sleep(0.005)
    raise AssertionError(f"nobody waits for a lock after {timeout:g} s")
