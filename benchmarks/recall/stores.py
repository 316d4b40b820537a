"""Who competes: lakemem, LangGraph's PostgresStore, and the least that does the work, each on ten connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any

from langgraph.store.base import PutOp
from langgraph.store.postgres import AsyncPostgresStore, PostgresStore
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool
from side_by_side.server import POOL_SIZE

from lakemem import AsyncMemory, Lakebase
from lakemem.memory_types import Hit
from lakemem.ranking import Ranking
from recall.asking import LIMIT
from recall.corpora import Turn
from recall.embeddings import CachedEmbedder, LangChainEmbeddings

AT_ONCE = 16


@asynccontextmanager
async def ours(target: Lakebase, embedder: CachedEmbedder | None) -> AsyncIterator[AsyncMemory]:
    async with AsyncMemory(target, embedder=embedder, max_size=POOL_SIZE) as memory:
        assert (await memory.health()).row_level_security
        yield memory


async def search(
    memory: AsyncMemory, scope: str, question: str, limit: int, asked_at: datetime | None = None
) -> list[Hit]:
    """As an agent asks."""
    return await memory.for_user(scope).search(question, limit=limit, asked_at=asked_at)


async def search_dense(memory: AsyncMemory, scope: str, question: str, limit: int) -> list[Hit]:
    """By the vectors alone."""
    return await memory.for_user(scope).search(question, limit=limit, ranking=Ranking.by_meaning())


async def index(memory: AsyncMemory, scope: str, question: str) -> None:
    """Let a worker do what searches of a large scope ask for, as it would beside an app, and let them hear of it."""
    await search(memory, scope, question, LIMIT)
    await memory.worker().run_once()
    await search(memory, scope, question, LIMIT)


async def save_turns(memory: AsyncMemory, turns: Sequence[Turn]) -> None:
    waiting = iter(turns)

    async def work() -> None:
        for turn in waiting:
            await memory.for_user(turn.scope).save(
                turn.id,
                {"speaker": turn.speaker, "said": turn.text},
                text=turn.text,
                metadata={"speaker": turn.speaker},
                thread_id=turn.thread,
                position=turn.position,
                occurred_at=turn.date,
            )

    await asyncio.gather(*[work() for _ in range(AT_ONCE)])


@asynccontextmanager
async def peer(target: Lakebase, embedder: CachedEmbedder | None) -> AsyncIterator[AsyncPostgresStore]:
    """LangGraph's store as its documentation sets it up: an HNSW index over all vectors."""
    index: Any = None
    if embedder is not None:
        index = {"dims": embedder.dimensions, "embed": LangChainEmbeddings(embedder), "fields": ["text"]}
    async with AsyncPostgresStore.from_conn_string(
        make_conninfo(**dict(target.parameters)), pool_config={"min_size": 1, "max_size": POOL_SIZE}, index=index
    ) as store:
        await store.setup()
        yield store


@contextmanager
def blocking_peer(target: Lakebase) -> Iterator[PostgresStore]:
    """The same store for threads; its tables are there."""
    options: Any = {"min_size": 1, "max_size": POOL_SIZE}
    with PostgresStore.from_conn_string(make_conninfo(**dict(target.parameters)), pool_config=options) as store:
        yield store


def namespace(scope: str) -> tuple[str, ...]:
    """Of the peer: a label must not hold a period."""
    return ("memories", scope.replace(".", ":"))


async def peer_search(store: AsyncPostgresStore, scope: str, question: str, limit: int) -> list[str]:
    return [item.key for item in await store.asearch(namespace(scope), query=question, limit=limit)]


async def put_turns(store: AsyncPostgresStore, turns: Sequence[Turn]) -> None:
    for start in range(0, len(turns), 100):
        some = turns[start : start + 100]
        await store.abatch([PutOp(namespace(turn.scope), turn.id, {"text": turn.text}) for turn in some])


def floor_pool(target: Lakebase) -> AsyncConnectionPool:
    options = {**target.parameters, "autocommit": True, "prepare_threshold": 0}
    return AsyncConnectionPool(kwargs=options, min_size=1, max_size=POOL_SIZE, open=False)
