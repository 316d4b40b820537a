# Generated from tests/_async/test_exchange.py by tools/unasync.py: edit that file, then run `make generate`.
"""Several statements in one round trip, past psycopg's cursors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from lakemem import Lakebase
from lakemem._sql import Statement
from lakemem._sync.exchange import Call, exchange
from lakemem._sync.login import Login
from lakemem.connecting import connector_for


def call(text: str, *values: Any) -> Call:
    names = tuple(f"p{number}" for number in range(len(values)))
    return Call(Statement(text.encode(), text.encode(), names), dict(zip(names, values, strict=True)))


SELECT = "SELECT $1::bigint"
WRITE = "INSERT INTO notes VALUES ($1::text)"


@pytest.fixture
def connection(target: Lakebase) -> Iterator[Login]:
    connector = connector_for(target, None)
    with Login.connect(connector=connector) as connection:
        connection.execute("CREATE TEMPORARY TABLE notes (note text CHECK (note <> 'bad'))")
        yield connection


def notes(connection: Login) -> list[Any]:
    return [note for (note,) in (connection.execute("SELECT note FROM notes ORDER BY 1")).fetchall()]


def test_each_statement_has_its_rows(connection: Login) -> None:
    calls = [
        call(SELECT, 1),
        call(WRITE, "a"),
        call("SELECT n, n * n FROM generate_series(1, 3) AS n"),
        call(SELECT, 2),
    ]
    for _ in range(2):
        assert exchange(connection, calls) == [[(1,)], [], [(1, 1), (2, 4), (3, 9)], [(2,)]]
    assert notes(connection) == ["a", "a"]


def test_they_are_one_transaction(connection: Login) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        exchange(connection, [call(WRITE, "a"), call(WRITE, "bad"), call(WRITE, "b")])
    assert notes(connection) == []
    assert exchange(connection, [call(WRITE, "c"), call(SELECT, 3)]) == [[], [(3,)]]
    assert notes(connection) == ["c"]


def test_a_commit_that_fails_is_an_error_like_any_other(connection: Login) -> None:
    connection.execute("CREATE TEMPORARY TABLE late (note text UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    insert = "INSERT INTO late VALUES ($1::text)"
    for _ in range(2):
        with pytest.raises(psycopg.errors.UniqueViolation):
            exchange(connection, [call(insert, "a"), call(insert, "a")])
    assert exchange(connection, [call(insert, "a"), call(SELECT, 3)]) == [[], [(3,)]]


def test_a_setting_of_a_transaction_ends_with_it(connection: Login) -> None:
    owner = call("SELECT current_setting('lakemem.owner', true)")
    calls = [call("SELECT set_config('lakemem.owner', $1, true)", "user:alice"), owner]
    assert (exchange(connection, calls))[1] == [("user:alice",)]
    assert exchange(connection, [owner]) == [[("",)]]


def test_a_statement_that_cannot_be_prepared_says_why(connection: Login) -> None:
    for _ in range(2):
        with pytest.raises(psycopg.errors.UndefinedTable) as caught:
            exchange(connection, [call(SELECT, 1), call("SELECT * FROM nowhere")])
        assert caught.value.sqlstate == "42P01"
    assert exchange(connection, [call(SELECT, 1)]) == [[(1,)]]


def test_what_cannot_be_sent_is_refused_before_anything_is(connection: Login) -> None:
    with pytest.raises(psycopg.DataError):
        exchange(connection, [call(WRITE, "a"), call(WRITE, "b\0")])
    with pytest.raises(TypeError):
        exchange(connection, [call(WRITE, "a"), call(WRITE, object())])
    assert notes(connection) == []
    assert exchange(connection, [call(SELECT, 1)]) == [[(1,)]]


def test_statements_that_somebody_deallocated_are_prepared_again(connection: Login) -> None:
    exchange(connection, [call(WRITE, "a"), call(SELECT, 1)])
    connection.execute("DEALLOCATE ALL")
    assert exchange(connection, [call(WRITE, "b"), call(SELECT, 2)]) == [[], [(2,)]]
    assert notes(connection) == ["a", "b"]


def test_a_name_that_another_client_of_a_pooler_has_taken_is_not_needed(connection: Login) -> None:
    connection.execute(psycopg.sql.SQL("PREPARE {} AS SELECT 9").format(psycopg.sql.Identifier(SELECT)))
    assert exchange(connection, [call(WRITE, "a"), call(SELECT, 1)]) == [[], [(1,)]]
    assert not connection.keeps_prepared
    with pytest.raises(psycopg.errors.CheckViolation):
        exchange(connection, [call(WRITE, "b"), call(WRITE, "bad")])
    assert exchange(connection, [call(WRITE, "c"), call(SELECT, 2)]) == [[], [(2,)]]
    assert notes(connection) == ["a", "c"]


def test_what_a_pooler_brings_for_others_is_dropped(connection: Login) -> None:
    connection.execute("LISTEN news")
    exchange(connection, [call("SELECT pg_notify('news', $1)", "something"), call(SELECT, 1)])
    assert connection.pgconn.notifies() is None
    assert exchange(connection, [call(SELECT, 1)]) == [[(1,)]]


def test_more_than_a_socket_holds_goes_both_ways(connection: Login) -> None:
    big = bytes(range(256)) * 65536
    calls = [call("SELECT $1::bytea", big), call("SELECT $1::bytea[]", [big[:99], big])]
    assert exchange(connection, calls) == [[(big,)], [([big[:99], big],)]]


def test_a_server_that_leaves_is_an_error_that_says_so(connection: Login) -> None:
    with pytest.raises(psycopg.OperationalError):
        exchange(connection, [call("SELECT pg_terminate_backend(pg_backend_pid())"), call(SELECT, 1)])
    assert connection.closed
