"""Several prepared statements in one round trip and one transaction.

psycopg's own pipeline does the same for any statement, with cursors and an adaptation of every parameter, and
waits once for each step: at a hundred rows that takes three times as much of the processor's time as this, which
speaks to libpq through `psycopg.pq`.

Source: https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from lakemem._async.login import AsyncLogin, Row
from lakemem._sql import Statement
from lakemem.parameters import BINARY, encoded
from lakemem.receiving import areceive

_CANCEL_TIMEOUT = 2.0
"""Seconds for the server to hear that a call was cancelled, and again for it to let go of it."""
_FAILED = {ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE, ExecStatus.NONFATAL_ERROR}


@dataclass(frozen=True, slots=True)
class Call:
    """A statement with its parameters."""

    statement: Statement
    parameters: Mapping[str, Any] = field(repr=False)


async def exchange(connection: AsyncLogin, calls: Sequence[Call]) -> list[list[Row]]:
    """Run statements one behind the other: all of them, or none. Return the rows of each.

    One that is cancelled waits until the server has let go of it, as psycopg does, unless the server does not answer.

    Raises:
        psycopg.Error: of the first statement that failed, or of the connection.
    """
    try:
        return await _exchange(connection, calls)
    except psycopg.errors.InvalidSqlStatementName:
        # Somebody deallocated what was prepared. Nothing was run.
        connection.prepared.clear()
    except psycopg.errors.DuplicatePreparedStatement:
        connection.keeps_prepared = False
    try:
        return await _exchange(connection, calls)
    except (psycopg.errors.InvalidSqlStatementName, psycopg.errors.DuplicatePreparedStatement):
        # A pooler lends this connection another server each time. From now on nothing is left behind on one.
        connection.keeps_prepared = False
        return await _exchange(connection, calls)


async def _exchange(connection: AsyncLogin, calls: Sequence[Call]) -> list[list[Row]]:
    # What cannot be sent fails before anything is.
    parameters = [[encoded(call.parameters[name]) for name in call.statement.parameters] for call in calls]
    server = connection.pgconn
    results: list[PGresult] = []
    server.enter_pipeline_mode()
    try:
        if connection.keeps_prepared:
            preparing = _send(server, connection.prepared, calls, parameters)
        else:
            preparing = _send_unprepared(server, calls, parameters)
        try:
            await areceive(server, results)
        except BaseException:
            await _cancel(connection, results)
            raise
        finally:
            _note_prepared(connection.prepared, results, preparing)
        server.exit_pipeline_mode()
    except BaseException:
        if server.transaction_status != TransactionStatus.IDLE or server.pipeline_status != PipelineStatus.OFF:
            await connection.close()
        raise
    return _rows(connection, results, preparing)


def _send(
    server: PGconn,
    prepared: set[bytes],
    calls: Sequence[Call],
    parameters: Sequence[Sequence[tuple[bytes | None, int]]],
) -> list[bytes | None]:
    """Send all at once. Return for each result to come the name that it prepares; None for rows."""
    preparing: list[bytes | None] = []
    for call, values in zip(calls, parameters, strict=True):
        name = call.statement.name
        if name not in prepared and name not in preparing:
            server.send_prepare(name, call.statement.text)
            preparing.append(name)
        server.send_query_prepared(
            name, [value for value, _ in values], param_formats=[kind for _, kind in values], result_format=BINARY
        )
        preparing.append(None)
    server.pipeline_sync()
    return preparing


def _send_unprepared(
    server: PGconn, calls: Sequence[Call], parameters: Sequence[Sequence[tuple[bytes | None, int]]]
) -> list[bytes | None]:
    """Send all at once, without names; return as :func:`_send` does."""
    for call, values in zip(calls, parameters, strict=True):
        server.send_query_params(
            call.statement.text,
            [value for value, _ in values],
            param_formats=[kind for _, kind in values],
            result_format=BINARY,
        )
    server.pipeline_sync()
    return [None] * len(calls)


async def _cancel(connection: AsyncLogin, results: list[PGresult]) -> None:
    """Wait until the server has let go of what was sent, or leave a server that does not answer.

    What goes wrong here does not take the place of what is being raised.
    """
    try:
        if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
            await connection.cancel_safe(timeout=_CANCEL_TIMEOUT)
            await areceive(connection.pgconn, results, timeout=_CANCEL_TIMEOUT)
        connection.pgconn.exit_pipeline_mode()
    except Exception:
        await connection.close()


def _note_prepared(prepared: set[bytes], results: Sequence[PGresult], preparing: Sequence[bytes | None]) -> None:
    for result, name in zip(results, preparing, strict=False):
        if name is not None and result.status == ExecStatus.COMMAND_OK:
            prepared.add(name)


def _rows(connection: AsyncLogin, results: Sequence[PGresult], preparing: Sequence[bytes | None]) -> list[list[Row]]:
    # A COMMIT that fails says so behind the results of all statements.
    for result in results:
        if result.status in _FAILED:
            raise error_from_result(result, connection.info.encoding)
    transformer = Transformer(connection)
    rows = []
    for result, name in zip(results, preparing, strict=True):
        if name is None:
            transformer.set_pgresult(result)
            rows.append(transformer.load_rows(0, result.ntuples, tuple))
    return rows
