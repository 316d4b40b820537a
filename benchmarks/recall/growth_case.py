"""A search over ever more memories of one user."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from itertools import cycle
from typing import Any

from recall import stores
from recall.asking import LIMIT
from recall.bench import LongTermBench
from recall.loading import load_floor, load_ours
from recall.speed_cases import QUESTIONS, exact_scan, working
from recall.synthetic import Memories

SIZES = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
OTHERS_HAVE = 1_000


async def growth(bench: LongTermBench, case: str) -> None:
    """The floor is an exact scan of the vectors, which is less than what a search does; there is no peer."""
    sizes = list(dict.fromkeys(bench.scaled(size, least=100) for size in SIZES))
    async with AsyncExitStack() as stack:
        target = stack.enter_context(bench.server.database())
        memory = await stack.enter_async_context(stores.ours(target, bench.embedder))
        pool = await stack.enter_async_context(stores.floor_pool(target))
        bench.say(f"{case}: loading {max(sum(sizes), bench.growth):,} memories")
        load_ours(bench.server, target, bench.embedder, growing(bench, sizes, bench.growth))
        load_floor(bench.server, target, growing(bench, sizes, 0))
        bench.say(f"{case}: indexing the large scopes")
        for size, source in zip(sizes, cycle(bench.corpus.by_scope), strict=False):
            await stores.index(memory, f"user-of-{size}", bench.questions(source)[0])
        bench.server.settle(target)
        for size, source in zip(sizes, cycle(bench.corpus.by_scope), strict=False):
            scope, questions = f"user-of-{size}", bench.questions(source)[:QUESTIONS]
            searches: dict[str, Callable[[str], Awaitable[Any]]] = {
                "hybrid": partial(stores.search, memory, scope, limit=LIMIT),
                "dense": partial(stores.search_dense, memory, scope, limit=LIMIT),
                "floor": partial(exact_scan, pool, bench.embedder, scope),
            }
            contenders = {name: await working(search, questions) for name, search in searches.items()}
            found = await bench.alternate(f"{case} {size:,}", contenders)
            floor = found["floor"].p50
            bench.note(case, f"p50 ms, {size:,} memories", ours=found["hybrid"].p50, peer=None, floor=floor)
            bench.note(case, f"dense p50 ms, {size:,} memories", ours=found["dense"].p50, peer=None, floor=floor)


def growing(bench: LongTermBench, sizes: list[int], rows: int) -> Iterator[Memories]:
    """A user of each size, and others until there are so many rows in all."""
    mixture = bench.mixture(seed=6)
    for size in sizes:
        yield mixture.scope(f"user-of-{size}", size)
    for number in range((rows - sum(sizes)) // OTHERS_HAVE):
        yield mixture.scope(f"other-{number}", OTHERS_HAVE)
