"""The pool of connections, and the one way in which an operation reaches Postgres."""

from __future__ import annotations

import asyncio
import logging
import selectors
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeAlias, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from lakemem._async.migrate import AsyncMigrator
from lakemem._sql import bind_statements
from lakemem.connecting import Connector
from lakemem.errors import ConfigurationError, LakememError, SchemaError, StorageUnavailableError
from lakemem.operations import Operation
from lakemem.schema import Description, check_fits
from lakemem.sqlstate import broke, refused_login, translate
from lakemem.types import Health
from lakemem.waiting import acall_blocking, monotonic

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]

logger = logging.getLogger("lakemem")

_SET_OWNER = b"SELECT set_config('lakemem.owner', %s, true)"
_LOCK = b"SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"


class AsyncStorage(Protocol):
    """Runs operations: a database, or something that stands before one."""

    @property
    def is_open(self) -> bool: ...

    @property
    def is_degraded(self) -> bool: ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def setup(self) -> list[str]: ...

    async def health(self) -> Health: ...

    async def run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T: ...


class AsyncLogin(AsyncConnection[Row]):
    """A connection that logs in as its connector says: with a token of now, and once more if that is refused.

    Unless the caller says otherwise, it is autocommit (a pipeline is a transaction without BEGIN and COMMIT), and
    prepares every statement at its first use, for there are only a few dozen of them.
    """

    @classmethod
    async def connect(  # type: ignore[override]
        cls, conninfo: str = "", *, connector: Connector, logins: Logins | None = None, **parameters: Any
    ) -> Self:
        try:
            connection = await cls._log_in(connector, parameters)
        except (psycopg.Error, LakememError) as error:
            if logins is not None:
                logins.last_failure = translate(error) if isinstance(error, psycopg.Error) else error
            raise
        if logins is not None:
            logins.last_failure = None
        return connection

    @classmethod
    async def _log_in(cls, connector: Connector, parameters: dict[str, Any], *, again: bool = True) -> Self:
        login = await acall_blocking(connector.parameters)
        try:
            return await super().connect(**{"autocommit": True, "prepare_threshold": 0, **login, **parameters})
        except psycopg.OperationalError as error:
            if not (again and refused_login(error) and connector.refused(login)):
                raise
        return await cls._log_in(connector, parameters, again=False)


@dataclass
class Logins:
    """Why the last login of a pool failed; None when it did not."""

    last_failure: LakememError | None = None


class AsyncDatabase:
    """A pool of connections to one target.

    Args:
        connector: says how to log in.
        schema: where lakemem's tables are.
        migrate: whether `open` may create or upgrade them.
        min_size: connections that are kept open.
        max_size: connections at the most.
        max_idle: seconds after which a connection beyond `min_size` is closed when nobody uses it.
        timeout: seconds to wait for a connection.
    """

    def __init__(
        self,
        connector: Connector,
        *,
        schema: str,
        migrate: bool,
        min_size: int,
        max_size: int,
        max_idle: float,
        timeout: float,
    ) -> None:
        self._connector = connector
        self._schema = schema
        self._migrate = migrate
        self._min_size = min_size
        self._max_size = max_size
        self._max_idle = max_idle
        self._timeout = timeout
        self._opening = asyncio.Lock()
        self._logins = Logins()
        self._pool: AsyncConnectionPool[AsyncLogin] | None = None
        # async only:
        self._loop: asyncio.AbstractEventLoop | None = None
        # end async only
        self._statements: Mapping[str, bytes] = {}

    @property
    def is_open(self) -> bool:
        return self._pool is not None

    @property
    def is_degraded(self) -> bool:
        return False

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
                that finds it applied returns the operation's fallback.
        """
        # async only:
        if self._pool is not None and self._loop is not asyncio.get_running_loop():
            raise ConfigurationError(
                "the memory was opened on another event loop: open one on each loop, or use the sync Memory"
            )
        # end async only
        try:
            try:
                answers = await self._answers(operation, write_id)
            except psycopg.OperationalError as error:
                if not broke(error) or (operation.writes and write_id is None):
                    raise
                answers = await self._answers(operation, write_id)
        except psycopg.errors.UniqueViolation as error:
            if write_id is not None and error.diag.table_name == "applied_writes":
                return operation.fallback
            raise translate(error) from None
        except psycopg.Error as error:
            raise self._translated(error) from None
        return operation.result(answers)

    def _usable_pool(self) -> AsyncConnectionPool[AsyncLogin]:
        if self._pool is None:
            raise ConfigurationError("the memory is not open: use `async with`, `with`, or call open()")
        return self._pool

    async def _answers(self, operation: Operation[Any], write_id: uuid.UUID | None) -> list[Sequence[Row]]:
        async with self._usable_pool().connection() as connection:
            async with connection.pipeline():
                await connection.execute(_SET_OWNER, [operation.owner])
                if write_id is not None:
                    await connection.execute(
                        self._statements["writes.mark"],
                        {"owner": operation.owner, "write_id": write_id},
                    )
                cursors = [await self._send(connection, part) for part in operation.parts or (operation,)]
            return [await cursor.fetchall() if cursor.description else [] for cursor in cursors]

    async def _send(self, connection: AsyncConnection[Row], operation: Operation[Any]) -> AsyncCursor[Row]:
        if operation.lock is not None:
            await connection.execute(_LOCK, [operation.lock])
        if operation.first is not None:
            await connection.execute(self._statements[operation.first], operation.parameters)
        cursor = connection.cursor(binary=True)
        return await cursor.execute(self._statements[operation.statement], operation.parameters)

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
            row_level_security=not description.bypasses_row_security,
        )

    async def _checked_description(self) -> Description:
        migrator = AsyncMigrator(self._schema)
        async with self._connection() as connection:
            if self._migrate:
                await migrator.apply(connection)
            description = await migrator.check(connection)
        if description.bypasses_row_security:
            logger.warning(
                "this Postgres role is a superuser or has BYPASSRLS: row-level security does not confine it, "
                "only lakemem's own conditions do; log in as an ordinary role"
            )
        return description

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[AsyncConnection[Row]]:
        if self._pool is None:
            async with self._brief_connection() as connection:
                yield connection
            return
        try:
            async with self._pool.connection() as connection:
                yield connection
        except psycopg.Error as error:
            raise self._translated(error) from None

    def _translated(self, error: psycopg.Error) -> LakememError:
        """A pool that has no connection says only that; why is known from its last login."""
        failure = self._logins.last_failure
        if not isinstance(error, PoolTimeout) or failure is None:
            return translate(error)
        return StorageUnavailableError(f"no database connection in time: {failure}")

    async def _open_pool(self, description: Description) -> None:
        self._statements = bind_statements(self._schema, description.vector_schema)
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


async def _check_alive(connection: AsyncConnection[Any]) -> None:
    """Refuse a connection that the server closed while it was idle, at no cost for one that is alive.

    A server that has nothing to answer says something only to take its leave.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        if selector.select(timeout=0):
            await AsyncConnectionPool.check_connection(connection)
