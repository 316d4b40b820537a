"""How long a search takes."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from itertools import cycle
from typing import Any

from pgvector import HalfVector
from psycopg_pool import AsyncConnectionPool
from side_by_side.bench import TIMES, Work
from side_by_side.rounds import work_for

from recall import stores
from recall.asking import LIMIT, Asked, asked
from recall.bench import LongTermBench
from recall.embeddings import CachedEmbedder
from recall.loading import load_floor, load_ours, load_peer
from recall.synthetic import Memories

OTHERS = 20
OTHERS_HAVE = 600
"""Memories of each other user in the table."""
ASKED = "asked"
QUESTIONS = 50


async def search_time(bench: LongTermBench, case: str, memories: int, metric: str, *, dense: bool = False) -> None:
    """One call at a time, each with another question. `metric` is noted first.

    Args:
        dense: by the vectors alone; the floor is then an exact scan by one statement, and recall is noted.
    """
    everyone, mine = people(bench, memories)
    questions = bench.questions(mine.source)[:QUESTIONS]
    async with AsyncExitStack() as stack:
        target = stack.enter_context(bench.server.database())
        memory = await stack.enter_async_context(stores.ours(target, bench.embedder))
        store = await stack.enter_async_context(stores.peer(target, bench.embedder))
        pool = await stack.enter_async_context(stores.floor_pool(target))
        bench.say(f"{case}: loading")
        load_ours(bench.server, target, bench.embedder, everyone)
        load_peer(bench.server, target, everyone)
        load_floor(bench.server, target, everyone)
        bench.say(f"{case}: indexing, where that is asked for")
        await stores.index(memory, ASKED, questions[0])
        bench.server.settle(target)
        search = stores.search_dense if dense else stores.search
        searches: dict[str, Callable[[str], Awaitable[Any]]] = {
            "ours": partial(search, memory, ASKED, limit=LIMIT),
            "peer": partial(stores.peer_search, store, ASKED, limit=LIMIT),
        }
        if dense:
            searches["floor"] = partial(exact_scan, pool, bench.embedder, ASKED)
        contenders = {name: await working(search, questions) for name, search in searches.items()}
        found = await bench.alternate(case, contenders)
        bench.note_figures(case, found, {metric: TIMES[metric], **TIMES})
        if dense:
            exact = asked(mine, questions, bench.embedder.vectors(questions))
            recalls = {name: await recall_of(search, exact) for name, search in searches.items()}
            bench.note(case, "recall", **recalls)


async def recall_of(search: Callable[[str], Awaitable[Any]], questions: list[Asked]) -> float:
    recalls = []
    for question in questions:
        found = await search(question.text)
        recalls.append(question.recall([hit if isinstance(hit, str) else hit.key for hit in found]))
    return statistics.fmean(recalls)


def people(bench: LongTermBench, memories: int) -> tuple[list[Memories], Memories]:
    """The one who is asked among others."""
    mixture = bench.mixture(seed=5)
    mine = mixture.scope(ASKED, bench.scaled(memories, least=60))
    names = [f"other-{number}" for number in range(bench.scaled(OTHERS, least=2))]
    return [mine, *mixture.scopes(names, bench.scaled(OTHERS_HAVE, least=60))], mine


async def working(search: Callable[[str], Awaitable[Any]], questions: list[str]) -> Work:
    """One call after the other. All are made once before, so that what they have to embed is there."""
    for question in questions:
        await search(question)
    following = cycle(questions)

    async def operation(worker: int) -> None:
        await search(next(following))

    return partial(work_for, workers=1, operation=operation)


# The cast stands in a scalar subquery, or it is done once a row.
EXACT = """
SELECT key, text, embedding <#> (SELECT %(vector)s::text::halfvec) AS distance
FROM floor_memories WHERE owner = %(owner)s ORDER BY distance LIMIT %(limit)s
"""


async def exact_scan(pool: AsyncConnectionPool, embedder: CachedEmbedder, scope: str, question: str) -> list[str]:
    """The floor: one statement, no row-level security, no check of what is given."""
    vector = HalfVector(embedder.embed([question])[0]).to_text()
    async with pool.connection() as connection:
        cursor = await connection.cursor(binary=True).execute(EXACT, {"vector": vector, "owner": scope, "limit": LIMIT})
        return [key for key, _, _ in await cursor.fetchall()]
