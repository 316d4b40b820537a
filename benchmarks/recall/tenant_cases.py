"""Many users in one table: whether the nearest memories of one of them are found, and how fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack

from lakemem import Lakebase
from recall import stores
from recall.asking import LIMIT, Asked, Search, ask, asked
from recall.bench import LongTermBench
from recall.loading import load_ours, load_peer
from recall.synthetic import Memories

ASKED_USERS = 10
"""Of each size."""
QUESTIONS = 10
"""Asked of each of them, about the conversation that the user is mixed of."""
RIGHT = 0.999


async def tenants(bench: LongTermBench, case: str, sizes: Sequence[tuple[int, int]]) -> None:
    """`sizes`: how many users, and how many memories each of them has."""
    sizes = [(bench.scaled(users, least=2), bench.scaled(memories, least=40)) for users, memories in sizes]
    questions = questions_of(bench, sizes)
    async with AsyncExitStack() as stack:
        target = stack.enter_context(bench.server.database())
        memory = await stack.enter_async_context(stores.ours(target, bench.embedder))
        store = await stack.enter_async_context(stores.peer(target, bench.embedder))
        load(bench, case, target, sizes)

        async def ours(scope: str, question: str) -> list[str]:
            return [hit.key for hit in await stores.search_dense(memory, scope, question, LIMIT)]

        async def peer(scope: str, question: str) -> list[str]:
            return await stores.peer_search(store, scope, question, LIMIT)

        contenders: dict[str, Search] = {"ours": ours, "peer": peer}
        answers = await ask(bench, case, contenders, [question for _, question in questions])
    everyone = list(range(len(questions)))
    right = [place for place in everyone if answers["peer"].recalls[place] >= RIGHT]
    bench.note(case, "recall", **{name: given.recall(everyone) for name, given in answers.items()}, floor=None)
    bench.note(case, "p50 ms", **{name: given.p50(everyone) for name, given in answers.items()}, floor=None)
    beside = {name: given.p50(right) for name, given in answers.items()}
    bench.note(case, "p50 ms where the peer is right", **beside, floor=None)
    bench.note(case, "answers that are right", floor=None, **{
        name: sum(recall >= RIGHT for recall in given.recalls) / len(questions) for name, given in answers.items()
    })  # fmt: skip
    if len(sizes) > 1:
        for size in sorted({size for size, _ in questions}):
            places = [place for place in everyone if questions[place][0] == size]
            for metric, method in (("recall", "recall"), ("p50 ms", "p50")):
                figures = {name: getattr(given, method)(places) for name, given in answers.items()}
                bench.note(case, f"{metric}, users of {size:,}", **figures, floor=None)


def users(bench: LongTermBench, sizes: Sequence[tuple[int, int]]) -> Iterator[Memories]:
    """All of them; the same ones each time, for they are not kept."""
    mixture = bench.mixture(seed=4)
    for users, memories in sizes:
        yield from mixture.scopes([f"user-{number}-of-{memories}" for number in range(users)], memories)


def questions_of(bench: LongTermBench, sizes: Sequence[tuple[int, int]]) -> list[tuple[int, Asked]]:
    """The size of the user that is asked, and the question."""
    found: list[tuple[int, Asked]] = []
    seen: dict[int, int] = {}
    for scope in users(bench, sizes):
        size = len(scope.turns)
        number = seen[size] = seen.get(size, -1) + 1
        if number < ASKED_USERS:
            texts = bench.questions(scope.source)[number::ASKED_USERS][:QUESTIONS]
            found += [(size, question) for question in asked(scope, texts, bench.embedder.vectors(texts))]
    return found


def load(bench: LongTermBench, case: str, target: Lakebase, sizes: Sequence[tuple[int, int]]) -> None:
    count = sum(users * memories for users, memories in sizes)
    bench.say(f"{case}: loading {count:,} memories")
    load_ours(bench.server, target, bench.embedder, users(bench, sizes))
    bench.say(f"{case}: loading the peer, and building its index")
    load_peer(bench.server, target, users(bench, sizes))
    bench.server.settle(target)
