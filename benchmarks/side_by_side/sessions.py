"""Who keeps sessions of the OpenAI Agents SDK: each as its users use it, on ten connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeAlias

import orjson
from agents.extensions.memory import SQLAlchemySession
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from lakemem import AsyncMemory, Lakebase
from lakemem.integrations.openai_agents import LakebaseSession
from side_by_side.server import POOL_SIZE


class Session(Protocol):
    async def get_items(self, limit: int | None = None) -> list[Any]: ...

    async def add_items(self, items: list[Any]) -> None: ...


Sessions: TypeAlias = Callable[[int], Session]
"""The session with this number; a new object each time."""
Contender: TypeAlias = Callable[..., AbstractAsyncContextManager[Sessions]]


@asynccontextmanager
async def ours(target: Lakebase, pool_size: int = POOL_SIZE) -> AsyncIterator[Sessions]:
    async with AsyncMemory(target, max_size=pool_size) as memory:
        assert (await memory.health()).row_level_security
        yield lambda number: LakebaseSession(memory.for_user(f"user-{number}").thread(f"session-{number}"))


@asynccontextmanager
async def peer(target: Lakebase, pool_size: int = POOL_SIZE) -> AsyncIterator[Sessions]:
    """The SDK's own session for SQL databases."""
    engine = create_async_engine(sqlalchemy_url(target), pool_size=pool_size, max_overflow=0)
    # Once: a session that makes tables looks for them at its first use.
    await SQLAlchemySession("first", engine=engine, create_tables=True).get_items(limit=1)
    yield lambda number: SQLAlchemySession(f"session-{number}", engine=engine)
    await engine.dispose()


def sqlalchemy_url(target: Lakebase) -> URL:
    login = target.parameters
    query = {name: str(login[name]) for name in ("host", "port", "sslmode", "gssencmode") if login.get(name)}
    return URL.create("postgresql+psycopg", login["user"], login["password"], database=login["dbname"], query=query)


FLOOR_TABLES = """
CREATE TABLE IF NOT EXISTS floor_sessions (session_id text PRIMARY KEY, last_position bigint NOT NULL);
CREATE TABLE IF NOT EXISTS floor_items (
    session_id text, position bigint, item bytea NOT NULL, PRIMARY KEY (session_id, position)
);
"""
FLOOR_ADD = """
WITH session AS (
    INSERT INTO floor_sessions AS s VALUES (%(session)s, cardinality(%(items)b::bytea[]))
    ON CONFLICT (session_id) DO UPDATE SET last_position = s.last_position + excluded.last_position
    RETURNING last_position - cardinality(%(items)b::bytea[]) AS before
)
INSERT INTO floor_items
SELECT %(session)s, session.before + given.place, given.item
FROM session, unnest(%(items)b::bytea[]) WITH ORDINALITY AS given (item, place)
"""
FLOOR_GET = "SELECT item FROM floor_items WHERE session_id = %s ORDER BY position DESC LIMIT %s"


class FloorSession:
    """The least that keeps a session in the order of commits: one prepared statement a call, and no more.

    No owner, no row-level security, no check of what is given, no error that says what to do.
    """

    def __init__(self, pool: AsyncConnectionPool, session_id: str) -> None:
        self._pool = pool
        self._session_id = session_id

    async def get_items(self, limit: int | None = None) -> list[Any]:
        async with self._pool.connection() as connection:
            cursor = await connection.cursor(binary=True).execute(FLOOR_GET, [self._session_id, limit])
            rows = await cursor.fetchall()
        return [orjson.loads(item) for (item,) in reversed(rows)]

    async def add_items(self, items: list[Any]) -> None:
        async with self._pool.connection() as connection:
            given = {"session": self._session_id, "items": [orjson.dumps(item) for item in items]}
            await connection.cursor(binary=True).execute(FLOOR_ADD, given)


@asynccontextmanager
async def floor(target: Lakebase, pool_size: int = POOL_SIZE) -> AsyncIterator[Sessions]:
    async with floor_pool(target, pool_size) as pool:
        async with pool.connection() as connection:
            await connection.execute(FLOOR_TABLES, prepare=False)
        yield lambda number: FloorSession(pool, f"session-{number}")


def floor_pool(target: Lakebase, pool_size: int = POOL_SIZE) -> AsyncConnectionPool:
    options = {**target.parameters, "autocommit": True, "prepare_threshold": 0}
    return AsyncConnectionPool(kwargs=options, min_size=1, max_size=pool_size, open=False)


CONTENDERS: dict[str, Contender] = {"ours": ours, "peer": peer, "floor": floor}
