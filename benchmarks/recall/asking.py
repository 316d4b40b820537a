"""Asks the contenders the same questions in turn, and keeps both what came back and how long it took."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from side_by_side.server import Load

from recall.bench import LongTermBench
from recall.embeddings import Vectors
from recall.synthetic import Memories

LIMIT = 10
TIE = 1e-4
"""Similarities closer than this are the same: half precision cannot tell them apart."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, whom it is asked of, and the similarity of each of their memories to it; keys are places."""

    scope: str
    text: str
    similarities: NDArray[numpy.float32]

    def recall(self, found: Sequence[str]) -> float:
        """The share of the exact ten nearest that was found; what is as near as the tenth is as right."""
        tenth = numpy.partition(self.similarities, -LIMIT)[-LIMIT]
        right = sum(bool(self.similarities[int(key)] >= tenth - TIE) for key in set(found[:LIMIT]))
        return right / LIMIT


def asked(scope: Memories, texts: Sequence[str], vectors: Vectors) -> list[Asked]:
    name, similarities = scope.turns[0].scope, vectors @ scope.vectors.T
    return [Asked(name, text, row) for text, row in zip(texts, similarities, strict=True)]


Search = Callable[[str, str], Awaitable[list[str]]]
"""The keys of the ten best for a scope and a question."""


@dataclass(frozen=True)
class Answers:
    """Of one contender: the milliseconds of each question (the median of its rounds), and its recall."""

    milliseconds: Sequence[float]
    recalls: Sequence[float]

    def p50(self, places: Sequence[int]) -> float | None:
        return statistics.median([self.milliseconds[place] for place in places]) if places else None

    def recall(self, places: Sequence[int]) -> float:
        return statistics.fmean([self.recalls[place] for place in places])


async def ask(
    bench: LongTermBench, case: str, contenders: Mapping[str, Search], questions: Sequence[Asked]
) -> dict[str, Answers]:
    """One call at a time. A first round, which does not count, prepares statements and fills caches."""
    times: dict[str, list[list[float]]] = {name: [] for name in contenders}
    recalls: dict[str, list[float]] = {}
    for number in range(-1, bench.rounds):
        for name, search in contenders.items():
            gc.collect()
            load, taken, found = Load(bench.server), [], []
            for question in questions:
                started = time.perf_counter()
                keys = await search(question.scope, question.text)
                taken.append((time.perf_counter() - started) * 1e3)
                found.append(question.recall(keys))
            if number >= 0:
                times[name].append(taken)
                bench.foreign.append(load.foreign())
            recalls[name] = found
        if number >= 0:
            bench.say(f"{case} round {number + 1} of {bench.rounds}")
    return {name: Answers(numpy.median(rounds, axis=0).tolist(), recalls[name]) for name, rounds in times.items()}
