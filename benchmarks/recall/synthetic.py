"""Memories in any number: each is mixed of two turns of one scope of the corpus, its vector and its text alike.

So a user has topics, as people do, and shares them with those users who are mixed of the same scope. Half of the words
of one turn and half of another's keep the frequencies of words, so that the lexical arm has what it has in a
conversation; vectors between those of turns, with noise, are as close to each other as those of turns are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle

import numpy

from recall.corpora import Corpus, Turn
from recall.embeddings import Vectors

NOISE = 0.3
"""The length of the noise, beside the 1 of the mixture."""
THREAD = 20
"""Turns of a conversation."""
BEGAN = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Memories:
    """The memories of one scope, a vector for each, and the scope of the corpus that they are mixed of."""

    turns: list[Turn]
    vectors: Vectors
    source: str


class Mixture:
    """Mixes memories of one scope of the corpus after the other; the same seed gives the same ones."""

    def __init__(self, corpus: Corpus, vectors: Callable[[list[str]], Vectors], seed: int) -> None:
        self._sources = cycle(
            [(source, turns, vectors([turn.text for turn in turns])) for source, turns in corpus.by_scope.items()]
        )
        self._random = numpy.random.default_rng(seed)

    def scope(self, name: str, count: int) -> Memories:
        source, turns, vectors = next(self._sources)
        first, second = self._random.integers(len(turns), size=(2, count))
        share = self._random.uniform(0.3, 0.7, size=(count, 1)).astype(numpy.float32)
        dimensions = vectors.shape[1]
        noise = self._random.standard_normal((count, dimensions), dtype=numpy.float32) * (NOISE / dimensions**0.5)
        mixed = share * vectors[first] + (1 - share) * vectors[second] + noise
        mixed /= numpy.linalg.norm(mixed, axis=1, keepdims=True)
        pairs = zip(first.tolist(), second.tolist(), strict=True)
        memories = [mixed_turn(name, place, turns[one], turns[other]) for place, (one, other) in enumerate(pairs)]
        return Memories(memories, mixed, source)

    def scopes(self, names: Sequence[str], count: int) -> Iterator[Memories]:
        return (self.scope(name, count) for name in names)


def mixed_turn(scope: str, place: int, first: Turn, second: Turn) -> Turn:
    one, other = first.text.split(), second.text.split()
    thread, position = divmod(place, THREAD)
    return Turn(
        id=f"{place}",
        scope=scope,
        thread=f"thread-{thread}",
        position=position,
        speaker=first.speaker,
        text=" ".join(one[: (len(one) + 1) // 2] + other[len(other) // 2 :]),
        date=BEGAN + timedelta(days=thread),
    )
