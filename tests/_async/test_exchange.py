"""Several statements in one round trip, past psycopg's cursors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from lakemem import Lakebase
from lakemem._async.exchange import Call, exchange
from lakemem._async.login import AsyncLogin
from lakemem._sql import Statement
from lakemem.connecting import connector_for


def call(text: str, *values: Any) -> Call:
    names = tuple(f"p{number}" for number in range(len(values)))
    return Call(Statement(text.encode(), text.encode(), names), dict(zip(names, values, strict=True)))


SELECT = "SELECT $1::bigint"
WRITE = "INSERT INTO notes VALUES ($1::text)"


@pytest.fixture
async def connection(target: Lakebase) -> AsyncIterator[AsyncLogin]:
    connector = connector_for(target, None)
    async with await AsyncLogin.connect(connector=connector) as connection:
        await connection.execute("CREATE TEMPORARY TABLE notes (note text CHECK (note <> 'bad'))")
        yield connection


async def notes(connection: AsyncLogin) -> list[Any]:
    return [note for (note,) in await (await connection.execute("SELECT note FROM notes ORDER BY 1")).fetchall()]


async def test_each_statement_has_its_rows(connection: AsyncLogin) -> None:
    calls = [
        call(SELECT, 1),
        call(WRITE, "a"),
        call("SELECT n, n * n FROM generate_series(1, 3) AS n"),
        call(SELECT, 2),
    ]
    for _ in range(2):
        assert await exchange(connection, calls) == [[(1,)], [], [(1, 1), (2, 4), (3, 9)], [(2,)]]
    assert await notes(connection) == ["a", "a"]


async def test_they_are_one_transaction(connection: AsyncLogin) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        await exchange(connection, [call(WRITE, "a"), call(WRITE, "bad"), call(WRITE, "b")])
    assert await notes(connection) == []
    assert await exchange(connection, [call(WRITE, "c"), call(SELECT, 3)]) == [[], [(3,)]]
    assert await notes(connection) == ["c"]


async def test_a_commit_that_fails_is_an_error_like_any_other(connection: AsyncLogin) -> None:
    await connection.execute("CREATE TEMPORARY TABLE late (note text UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    insert = "INSERT INTO late VALUES ($1::text)"
    for _ in range(2):
        with pytest.raises(psycopg.errors.UniqueViolation):
            await exchange(connection, [call(insert, "a"), call(insert, "a")])
    assert await exchange(connection, [call(insert, "a"), call(SELECT, 3)]) == [[], [(3,)]]


async def test_a_setting_of_a_transaction_ends_with_it(connection: AsyncLogin) -> None:
    owner = call("SELECT current_setting('lakemem.owner', true)")
    calls = [call("SELECT set_config('lakemem.owner', $1, true)", "user:alice"), owner]
    assert (await exchange(connection, calls))[1] == [("user:alice",)]
    assert await exchange(connection, [owner]) == [[("",)]]


async def test_a_statement_that_cannot_be_prepared_says_why(connection: AsyncLogin) -> None:
    for _ in range(2):
        with pytest.raises(psycopg.errors.UndefinedTable) as caught:
            await exchange(connection, [call(SELECT, 1), call("SELECT * FROM nowhere")])
        assert caught.value.sqlstate == "42P01"
    assert await exchange(connection, [call(SELECT, 1)]) == [[(1,)]]


async def test_what_cannot_be_sent_is_refused_before_anything_is(connection: AsyncLogin) -> None:
    with pytest.raises(psycopg.DataError):
        await exchange(connection, [call(WRITE, "a"), call(WRITE, "b\0")])
    with pytest.raises(TypeError):
        await exchange(connection, [call(WRITE, "a"), call(WRITE, object())])
    assert await notes(connection) == []
    assert await exchange(connection, [call(SELECT, 1)]) == [[(1,)]]


async def test_statements_that_somebody_deallocated_are_prepared_again(connection: AsyncLogin) -> None:
    await exchange(connection, [call(WRITE, "a"), call(SELECT, 1)])
    await connection.execute("DEALLOCATE ALL")
    assert await exchange(connection, [call(WRITE, "b"), call(SELECT, 2)]) == [[], [(2,)]]
    assert await notes(connection) == ["a", "b"]


async def test_a_name_that_another_client_of_a_pooler_has_taken_is_not_needed(connection: AsyncLogin) -> None:
    await connection.execute(psycopg.sql.SQL("PREPARE {} AS SELECT 9").format(psycopg.sql.Identifier(SELECT)))
    assert await exchange(connection, [call(WRITE, "a"), call(SELECT, 1)]) == [[], [(1,)]]
    assert not connection.keeps_prepared
    with pytest.raises(psycopg.errors.CheckViolation):
        await exchange(connection, [call(WRITE, "b"), call(WRITE, "bad")])
    assert await exchange(connection, [call(WRITE, "c"), call(SELECT, 2)]) == [[], [(2,)]]
    assert await notes(connection) == ["a", "c"]


async def test_what_a_pooler_brings_for_others_is_dropped(connection: AsyncLogin) -> None:
    await connection.execute("LISTEN news")
    await exchange(connection, [call("SELECT pg_notify('news', $1)", "something"), call(SELECT, 1)])
    assert connection.pgconn.notifies() is None
    assert await exchange(connection, [call(SELECT, 1)]) == [[(1,)]]


async def test_more_than_a_socket_holds_goes_both_ways(connection: AsyncLogin) -> None:
    big = bytes(range(256)) * 65536
    calls = [call("SELECT $1::bytea", big), call("SELECT $1::bytea[]", [big[:99], big])]
    assert await exchange(connection, calls) == [[(big,)], [([big[:99], big],)]]


async def test_a_server_that_leaves_is_an_error_that_says_so(connection: AsyncLogin) -> None:
    with pytest.raises(psycopg.OperationalError):
        await exchange(connection, [call("SELECT pg_terminate_backend(pg_backend_pid())"), call(SELECT, 1)])
    assert connection.closed


# async only:
async def test_the_event_loop_listens_no_more_to_a_socket_that_libpq_has_closed(connection: AsyncLogin) -> None:
    socket = connection.fileno()
    with pytest.raises(psycopg.OperationalError):
        await exchange(connection, [call("SELECT pg_terminate_backend(pg_backend_pid())")])
    # The next connection gets its number.
    assert not asyncio.get_running_loop().remove_reader(socket)


async def test_a_cancelled_exchange_ends_on_the_server_too(connection: AsyncLogin) -> None:
    sleeping = asyncio.create_task(exchange(connection, [call(WRITE, "a"), call("SELECT pg_sleep(60)")]))
    await asyncio.sleep(0.1)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    assert not connection.closed
    assert await exchange(connection, [call("SELECT pg_sleep(0)"), call(SELECT, 1)]) == [[(b"",)], [(1,)]]
    assert await notes(connection) == []


async def test_one_that_is_cancelled_at_any_moment_leaves_the_connection_usable(connection: AsyncLogin) -> None:
    for steps in range(12):
        task = asyncio.create_task(exchange(connection, [call(WRITE, f"{steps}"), call(SELECT, steps)]))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await exchange(connection, [call(SELECT, 1)]) == [[(1,)]]


# end async only
