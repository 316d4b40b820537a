"""The pool of connections, and the one way in which an operation reaches Postgres."""

from __future__ import annotations

import asyncio
import logging
import selectors
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from lakemem._async.exchange import Call, exchange
from lakemem._async.login import AsyncLogin, Logins, Row
from lakemem._async.migrate import AsyncMigrator
from lakemem._sql import Statement, prepared_statements
from lakemem.attempts import fencing, is_fenced
from lakemem.connecting import Connector
from lakemem.errors import ConfigurationError, LakememError, SchemaError, StorageUnavailableError
from lakemem.gathering import Gathering
from lakemem.operations import Operation
from lakemem.schema import Description, check_confined, check_fits, how_to_confine, why_open
from lakemem.sqlstate import broke, translate
from lakemem.tails import RunTails
from lakemem.target import Lakebase
from lakemem.types import Health
from lakemem.waiting import acall_blocking, asettled, monotonic

T = TypeVar("T")

logger = logging.getLogger("lakemem")

# The cheapest to make anew for a single look.
_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


class AsyncStorage(Protocol):
    """Runs operations: a database, or something that stands before one."""

    @property
    def is_open(self) -> bool: ...

    @property
    def is_degraded(self) -> bool: ...

    @property
    def encrypts(self) -> bool: ...

    # async only:
    @property
    def tails(self) -> RunTails: ...

    # end async only
    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def setup(self) -> list[str]: ...

    async def health(self) -> Health: ...

    async def run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T: ...

    async def made_up_keys(self, owner: str, made: Sequence[str]) -> list[str]: ...


class AsyncDatabase:
    """A pool of connections to one target.

    Args:
        connector: says how to log in.
        target: where that is.
        schema: where lakemem's tables are.
        migrate: whether `open` may create or upgrade them.
        production: whether `open` refuses a role that row-level security does not confine.
        min_size: connections that are kept open.
        max_size: connections at the most.
        max_idle: seconds after which a connection beyond `min_size` is closed when nobody uses it.
        timeout: seconds to wait for a connection.
    """

    def __init__(
        self,
        connector: Connector,
        *,
        target: Lakebase,
        schema: str,
        migrate: bool,
        production: bool,
        min_size: int,
        max_size: int,
        max_idle: float,
        timeout: float,
    ) -> None:
        self._connector = connector
        self._target = target
        self._schema = schema
        self._migrate = migrate
        self._production = production
        self._min_size = min_size
        self._max_size = max_size
        self._max_idle = max_idle
        self._timeout = timeout
        self._opening = asyncio.Lock()
        self._logins = Logins()
        self._pool: AsyncConnectionPool[AsyncLogin] | None = None
        # async only:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tails: RunTails | None = None
        self._gathering = Gathering(self._run)
        # end async only
        self._statements: Mapping[str, Statement] = {}

    @property
    def is_open(self) -> bool:
        return self._pool is not None

    @property
    def is_degraded(self) -> bool:
        return False

    @property
    def encrypts(self) -> bool:
        return False

    # async only:
    @property
    def tails(self) -> RunTails:
        """Those who wait for runs, in this process."""
        if self._tails is None:
            self._tails = RunTails(self._connector, self._schema, self.run)
        return self._tails

    # end async only
    async def open(self) -> None:
        """Check the login and the tables, then open the pool.

        Raises:
            StorageUnavailableError, CredentialError, ConfigurationError: no connection.
            SchemaError: the tables do not fit this version of lakemem.
        """
        async with self._opening:
            if self._pool is None:
                try:
                    await self._open_pool(await self._checked_description())
                except BaseException:
                    await acall_blocking(self._connector.close)
                    raise

    async def close(self) -> None:
        # async only:
        tails, self._tails = self._tails, None
        if tails is not None:
            await tails.close()
        # end async only
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()
        await acall_blocking(self._connector.close)

    async def setup(self) -> list[str]:
        """Create or upgrade the tables, and return the names of the migrations that were applied."""
        migrator = AsyncMigrator(self._schema)
        async with self._brief_connection() as connection:
            applied = await migrator.apply(connection)
            await migrator.check(connection)
        return applied

    async def run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T:
        """Run an operation: one round trip, one transaction, confined to its owner.

        The statements of a pipeline are one transaction on the server, so the owner that is set for it ends
        with it, and costs no round trip of its own
        (https://www.psycopg.org/psycopg3/docs/advanced/pipeline.html).

        Where the connection broke, it is run once more, unless that might do something twice: what reads, and
        what has a `write_id`, is repeated.

        Args:
            write_id: marks a write, so that it is applied once however often it is run with this id. A run
                that finds it applied runs what the operation has for this, or else returns its fallback.
        """
        # async only:
        if self._pool is not None and self._loop is not asyncio.get_running_loop():
            raise ConfigurationError(
                "the memory was opened on another event loop: open one on each loop, or use the sync Memory"
            )
        if operation.turn is not None and write_id is None and not is_fenced():
            result: T = await self._gathering.run(operation)
            return result
        # end async only
        return await self._run(operation, write_id=write_id)

    async def made_up_keys(self, owner: str, made: Sequence[str]) -> list[str]:
        """The keys of an owner's memories that were made of their content, as they are stored."""
        return list(made)

    async def _run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T:
        try:
            try:
                answers = await self._answers(operation, write_id)
            except psycopg.OperationalError as error:
                if not broke(error) or (operation.writes and write_id is None):
                    raise
                answers = await self._answers(operation, write_id)
        except psycopg.errors.UniqueViolation as error:
            if write_id is None or error.diag.table_name != "applied_writes":
                raise translate(error) from None
            return operation.fallback if operation.repeated is None else await self._run(operation.repeated)
        except psycopg.Error as error:
            raise self._translated(error) from None
        return operation.result(answers)

    def _usable_pool(self) -> AsyncConnectionPool[AsyncLogin]:
        if self._pool is None:
            raise ConfigurationError("the memory is not open: use `async with`, `with`, or call open()")
        return self._pool

    async def _answers(self, operation: Operation[Any], write_id: uuid.UUID | None) -> list[list[Row]]:
        pool = self._usable_pool()
        owner = operation.owner
        set_owner = _set_owner(operation)
        calls = [self._call(set_owner, {"owner": owner})]
        if operation.writes and (attempt := fencing(self._target, self._schema, owner)):
            fence = {"owner": owner, "run_id": attempt.run_id, "attempt": attempt.number}
            calls.append(self._call("running.fence", fence))
        if write_id is not None:
            calls.append(self._call("writes.mark", {"owner": owner, "write_id": write_id}))
        answering = []
        for part in operation.parts or (operation,):
            if part.owner != owner:
                owner = part.owner
                calls.append(self._call(set_owner, {"owner": owner}))
            if part.sealed_with is not None:
                calls.append(self._call("keys.check", {"owner": owner, "key_id": part.sealed_with}))
            if part.lock is not None:
                calls.append(self._call("session.lock", {"name": part.lock}))
            if part.first is not None:
                calls.append(self._call(part.first, part.parameters))
            answering.append(len(calls))
            calls.append(self._call(part.statement, part.parameters))
        # Not `pool.connection()`: that commits, and an exchange has done so by itself.
        connection = await pool.getconn()
        try:
            rows = await exchange(connection, calls)
        finally:
            # The pool would lose a connection whose return is cancelled, and whoever waits for it.
            await asettled(pool.putconn(connection))
        return [rows[place] for place in answering]

    def _call(self, statement: str, parameters: Mapping[str, Any]) -> Call:
        return Call(self._statements[statement], parameters)

    async def health(self) -> Health:
        """Ask Postgres how it is."""
        try:
            return await self._measured_health()
        except LakememError as error:
            return Health(status="down", detail=str(error))

    async def _measured_health(self) -> Health:
        async with self._borrowed() as connection:
            started = monotonic()
            description = await AsyncMigrator(self._schema).describe(connection)
            latency = monotonic() - started
        problem = ""
        try:
            check_fits(description, self._schema)
        except SchemaError as error:
            problem = str(error)
        return Health(
            status="degraded" if problem else "ok",
            detail=problem,
            latency=latency,
            server_version=description.server_version,
            schema_version=description.schema_version,
            row_level_security=description.is_confined,
        )

    async def _checked_description(self) -> Description:
        migrator = AsyncMigrator(self._schema)
        async with self._connection() as connection:
            if self._migrate:
                await migrator.apply(connection)
            description = await migrator.check(connection)
        if self._production:
            check_confined(description, self._schema)
        if not description.is_confined:
            logger.warning(
                "%s, only lakemem's own conditions do; a deployed app refuses this. To do: %s",
                why_open(description),
                how_to_confine(description, self._schema),
            )
        return description

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[AsyncConnection[Row]]:
        if self._pool is None:
            async with self._brief_connection() as connection:
                yield connection
            return
        try:
            connection = await self._pool.getconn()
            try:
                yield connection
            finally:
                await asettled(self._pool.putconn(connection))
        except psycopg.Error as error:
            raise self._translated(error) from None

    def _translated(self, error: psycopg.Error) -> LakememError:
        """A pool that has no connection says only that; why is known from its last login."""
        failure = self._logins.last_failure
        if not isinstance(error, PoolTimeout) or failure is None:
            return translate(error)
        return StorageUnavailableError(f"no database connection in time: {failure}")

    async def _open_pool(self, description: Description) -> None:
        self._statements = prepared_statements(self._schema, description.vector_schema)
        pool = AsyncConnectionPool(
            connection_class=AsyncLogin,
            kwargs={"connector": self._connector, "logins": self._logins},
            check=_check_alive,
            timeout=self._timeout,
            open=False,
            name="lakemem",
            min_size=self._min_size,
            max_size=self._max_size,
            max_idle=self._max_idle,
            max_lifetime=self._connector.max_age,
            # Past this the pool gives up until somebody asks: its pauses between tries grow with the outage.
            reconnect_timeout=self._timeout,
        )
        await pool.open()
        self._pool = pool
        # async only:
        self._loop = asyncio.get_running_loop()
        # end async only

    @asynccontextmanager
    async def _brief_connection(self) -> AsyncIterator[AsyncConnection[Row]]:
        """A connection of its own beside the pool, if there is one; without one, an embedded server is left again."""
        async with self._opening:
            try:
                async with self._connection() as connection:
                    yield connection
            finally:
                if self._pool is None:
                    await acall_blocking(self._connector.close)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[Row]]:
        """A connection of its own: its errors say why a login failed, those of a pool only that none is free."""
        try:
            async with await AsyncLogin.connect(connector=self._connector) as connection:
                yield connection
        except psycopg.Error as error:
            raise translate(error) from None


def _set_owner(operation: Operation[Any]) -> str:
    if operation.alone:
        return "session.set_sole_writer"
    return "session.set_writer" if operation.writes else "session.set_owner"


async def _check_alive(connection: AsyncConnection[Any]) -> None:
    """Refuse a connection that the server closed while it was idle, at no cost for one that is alive.

    A server that has nothing to answer says something only to take its leave.
    """
    with _Selector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        if selector.select(timeout=0):
            await AsyncConnectionPool.check_connection(connection)
