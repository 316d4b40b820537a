"""Values reach Postgres as they are, whatever is in them."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus

from lakemem.parameters import encoded

TEXTS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"))


@pytest.fixture(scope="module")
def connection(admin_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    # A database in SQL_ASCII would hand texts over as bytes.
    with psycopg.connect(admin_dsn, autocommit=True, client_encoding="utf8") as connection:
        yield connection


def received(connection: psycopg.Connection[Any], value: Any, type_: str) -> Any:
    """What Postgres makes of a value, as a parameter of this type."""
    data, kind = encoded(value)
    result = connection.pgconn.exec_params(
        f"SELECT $1::{type_}".encode(), [data], param_formats=[kind], result_format=1
    )
    assert result.status == ExecStatus.TUPLES_OK, result.error_message.decode()
    transformer = Transformer(connection)
    transformer.set_pgresult(result)
    return transformer.load_rows(0, 1, tuple)[0][0]


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (None, "text"),
        ("", "text"),
        ("NULL", "text"),
        ("\\ \" ' { } , \n \t 🦆", "text"),
        (True, "boolean"),
        (False, "boolean"),
        (0, "integer"),
        (-(2**63), "bigint"),
        (0.1, "float8"),
        (math.inf, "float8"),
        (-0.0, "float8"),
        (uuid.UUID(int=7), "uuid"),
        (date(2026, 2, 28), "date"),
        (datetime(2026, 2, 28, 12, 30, 1, 999999, UTC), "timestamptz"),
        (datetime(2026, 2, 28, 12, 30, tzinfo=timezone(timedelta(hours=-9, minutes=-30))), "timestamptz"),
        (b"", "bytea"),
        (bytes(range(256)), "bytea"),
        ([], "text[]"),
        ([], "bytea[]"),
        ([b"", b"\0", bytes(range(256)) * 1000], "bytea[]"),
        ([1, -2], "bigint[]"),
        ([None, "", "NULL", "null", "a,b", "{}", '"', "\\", '\\"\\'], "text[]"),
        (['{"a": "\\\\u0000 \\" "}'], "text[]"),
    ],
)
def test_a_value_reaches_postgres_as_it_is(connection: psycopg.Connection[Any], value: Any, type_: str) -> None:
    assert received(connection, value, type_) == value


def test_not_a_number_reaches_postgres(connection: psycopg.Connection[Any]) -> None:
    assert math.isnan(received(connection, math.nan, "float8"))


@settings(max_examples=200)
@given(texts=st.lists(st.none() | TEXTS, max_size=5), blobs=st.lists(st.binary(), max_size=5))
def test_any_array_reaches_postgres(connection: psycopg.Connection[Any], texts: Any, blobs: Any) -> None:
    assert received(connection, texts, "text[]") == texts
    assert received(connection, blobs, "bytea[]") == blobs


@pytest.mark.parametrize("value", ["a\0b", ["a\0b"], ["fine", "\0"]])
def test_a_text_with_nul_is_refused_and_not_cut_off(value: Any) -> None:
    with pytest.raises(psycopg.DataError, match="NUL"):
        encoded(value)


@pytest.mark.parametrize("value", ["\ud800", ["fine", "a\udfff"]])
def test_a_text_that_has_no_utf8_is_refused_as_the_driver_refuses(value: Any) -> None:
    with pytest.raises(psycopg.DataError, match="surrogates"):
        encoded(value)


@pytest.mark.parametrize("value", [object(), {"a": 1}, (1,), [object()], [[1]], [b"a", None]])
def test_a_value_that_no_statement_takes_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="takes no value of type"):
        encoded(value)
