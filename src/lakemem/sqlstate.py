"""The one place where errors of psycopg become errors of lakemem: by SQLSTATE, never by their words.

Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from lakemem.errors import (
    ConfigurationError,
    ConflictError,
    DataKeyRetiredError,
    ErasedError,
    LakememError,
    LeaseLostError,
    NotFoundError,
    OnHoldError,
    SchemaError,
    SchemaOutdatedError,
    StorageError,
    StorageUnavailableError,
)

_UNAVAILABLE = {
    "08": "the connection to Postgres failed",
    "53": "Postgres is out of a resource (connections, memory or disk)",
    "57": "Postgres cancelled the statement, is starting up, or is shutting down",
    "58": "Postgres met an error of its system",
}
_UNAVAILABLE_STATES = {
    "25006": "Postgres is read-only at the moment (a standby, or a failover under way)",
    "3D000": "the database does not exist: create it, or correct the name in the target",
}
_ENDED_BY_SERVER = {"57P01", "57P02"}
_CONFLICTS = {"40001", "40P01", "23505", "55P03"}
_LEASE_LOST = "LM001"
_NOT_IN_QUARANTINE = "LM002"
_ON_HOLD = "LM003"
_ERASED = "LM004"
_ROWS_LEFT = "LM005"
_DATA_KEY_RETIRED = "LM006"
_CHANGED_MEANWHILE = "LM007"
"""Raised by functions of lakemem's own."""
_MISSING_TABLES = {"42P01", "3F000", "42703"}
_MISSING_EXTENSION = {"42883", "42704"}


def translate(error: psycopg.Error) -> LakememError:
    """Return the lakemem error that says what happened, and what to do.

    Details that Postgres adds may quote stored rows, so only names of tables and constraints are kept.
    """
    if isinstance(error, PoolClosed):
        return ConfigurationError("the memory is closed: open it with `async with`, `with`, or open()")
    if isinstance(error, PoolTimeout | TooManyRequests):
        return StorageUnavailableError(
            "no database connection was free in time: Postgres cannot be reached, or max_size is too small"
        )
    state = error.sqlstate
    if state is None:
        return _without_sqlstate(error)
    if state in _UNAVAILABLE_STATES:
        return StorageUnavailableError(_UNAVAILABLE_STATES[state], sqlstate=state)
    if state[:2] in _UNAVAILABLE:
        return StorageUnavailableError(f"{_UNAVAILABLE[state[:2]]} (SQLSTATE {state})", sqlstate=state)
    if state[:2] == "28":
        return StorageUnavailableError(
            f"Postgres refused the login (SQLSTATE {state}): check the user and its password or token",
            retryable=False,
            sqlstate=state,
        )
    if state in _CONFLICTS:
        return ConflictError(
            f"another writer was faster (SQLSTATE {state}): read again, then retry",
            retryable=True,
            sqlstate=state,
        )
    if state == _LEASE_LOST:
        return LeaseLostError(
            "another worker has taken this job or run, or it is gone: nothing was written", sqlstate=state
        )
    if state == _NOT_IN_QUARANTINE:
        return NotFoundError("there is no such write in quarantine: it was released, rejected, or its time is over")
    if state == _ON_HOLD:
        return OnHoldError(
            "a legal hold is on this owner: nothing of it can be removed before it is released", sqlstate=state
        )
    if state == _ERASED:
        return ErasedError(
            "all of its owner was erased since this write was accepted: it was not stored", sqlstate=state
        )
    if state == _ROWS_LEFT:
        return StorageError(f"an erasure left rows, and was undone{_place(error)}: nothing was erased", sqlstate=state)
    if state == _DATA_KEY_RETIRED:
        return DataKeyRetiredError(
            "the key of this owner was replaced or dropped at the same time: try again", retryable=True, sqlstate=state
        )
    if state == _CHANGED_MEANWHILE:
        return ConflictError("what was to be copied has changed meanwhile: try again", retryable=True, sqlstate=state)
    if state in _MISSING_TABLES:
        return SchemaOutdatedError("lakemem's tables are missing or old: run `lakemem migrate`, or call setup()")
    if state in _MISSING_EXTENSION:
        return SchemaError("a function or type is missing: is the extension `vector` installed in this database?")
    if state == "42501":
        # What Postgres says here names objects of the database, and never holds a stored value.
        return StorageError(
            f"this Postgres role lacks a right ({error.diag.message_primary}): "
            "run `lakemem grants` as the owner of the tables",
            sqlstate=state,
        )
    return StorageError(f"Postgres refused the statement (SQLSTATE {state}){_place(error)}", sqlstate=state)


def refused_login(error: psycopg.OperationalError) -> bool:
    """Whether a new connection failed after it had sent its password.

    libpq gives no SQLSTATE for a failed login, and the server's words depend on its language; but it knows that
    the server had asked for the password (PQconnectionUsedPassword). So it is the login itself that was refused,
    or something behind it, such as a database that is not there.
    """
    return error.sqlstate is None and error.pgconn is not None and bool(error.pgconn.used_password)


def broke(error: psycopg.OperationalError) -> bool:
    """Whether the connection of an operation broke, so that another connection may do better at once.

    It does not say whether the operation was committed: the server may have said its last word before it went.
    """
    if isinstance(error, PoolClosed | PoolTimeout | TooManyRequests):
        return False
    return error.sqlstate is None or error.sqlstate in _ENDED_BY_SERVER


def _without_sqlstate(error: psycopg.Error) -> LakememError:
    if isinstance(error, psycopg.OperationalError):
        # Raised by libpq, not by the server: it names host, port and user, and never a password.
        reason = " ".join(str(error).split())
        if refused_login(error):
            return StorageUnavailableError(
                f"Postgres refused the login: {reason}; check that the role exists and its password or token is valid"
            )
        return StorageUnavailableError(f"Postgres cannot be reached: {reason}")
    return StorageError(f"the database driver refused the call ({type(error).__name__})")


def _place(error: psycopg.Error) -> str:
    diagnostic = error.diag
    parts = [
        f"{what} {name}"
        for what, name in (("table", diagnostic.table_name), ("constraint", diagnostic.constraint_name))
        if name
    ]
    return f" on {', '.join(parts)}" if parts else ""
