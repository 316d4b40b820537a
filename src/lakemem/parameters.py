"""Python values as Postgres takes them for the parameters of a prepared statement.

The statement says what type each of its parameters is, and Postgres reads any type from text. Bytes alone go as
they are: as text they would be twice as long.

Source: https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-FORMAT-CODES
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final

import psycopg

TEXT: Final = 0
BINARY: Final = 1

_BYTEA_OID = 17


def encoded(value: Any) -> tuple[bytes | None, int]:
    """Return a value's bytes, None for NULL, and their format.

    Raises:
        psycopg.DataError: a text holds NUL or a lone surrogate, which no text of Postgres can.
        TypeError: no statement takes a value of this type.
    """
    if type(value) is str:
        return _utf8(value), TEXT
    if type(value) is list:
        return _encoded_list(value)
    if value is None:
        return None, TEXT
    if type(value) is bytes:
        return value, BINARY
    return _utf8(_text(value)), TEXT


def _encoded_list(values: list[Any]) -> tuple[bytes, int]:
    if not values:
        return b"{}", TEXT
    if type(values[0]) is bytes and all(type(each) is bytes for each in values):
        return _bytea_array(values), BINARY
    return _utf8(_array(values)), TEXT


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, int | float | uuid.UUID):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(f"a statement takes no value of type {type(value).__name__}")


def _array(values: Sequence[Any]) -> str:
    """An array as Postgres writes it (https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO)."""
    return "{" + ",".join("NULL" if each is None else _quoted(_text(each)) for each in values) + "}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _bytea_array(values: Sequence[bytes]) -> bytes:
    """One dimension, without NULL: its header, then each element behind its length."""
    parts = [struct.pack("!iIIii", 1, 0, _BYTEA_OID, len(values), 1)]
    for value in values:
        parts += (struct.pack("!i", len(value)), value)
    return b"".join(parts)


def _utf8(text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise psycopg.DataError("PostgreSQL text cannot contain lone surrogates") from None
    # libpq takes a text up to its first NUL.
    if b"\0" in data:
        raise psycopg.DataError("PostgreSQL text cannot contain NUL (0x00)")
    return data
