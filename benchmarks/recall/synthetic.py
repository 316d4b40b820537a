"""Memories in any number: each is mixed of two turns of the corpus, its vector and its text alike.

Half of the words of one turn and half of another's keep the frequencies of words, so that the lexical arm has what it
has in a conversation; vectors between those of turns, with noise, are as close to each other as those of turns are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy

from recall.corpora import Turn
from recall.embeddings import Vectors

NOISE = 0.3
"""The length of the noise, beside the 1 of the mixture."""
THREAD = 20
"""Turns of a conversation."""
BEGAN = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Memories:
    """The memories of one scope, and a vector for each."""

    turns: list[Turn]
    vectors: Vectors


class Mixture:
    """Mixes memories; the same seed gives the same ones."""

    def __init__(self, turns: Sequence[Turn], vectors: Vectors, seed: int) -> None:
        self._turns = turns
        self._vectors = vectors
        self._random = numpy.random.default_rng(seed)

    def scope(self, name: str, count: int) -> Memories:
        first, second = self._random.integers(len(self._turns), size=(2, count))
        share = self._random.uniform(0.3, 0.7, size=(count, 1)).astype(numpy.float32)
        dimensions = self._vectors.shape[1]
        noise = self._random.standard_normal((count, dimensions), dtype=numpy.float32) * (NOISE / dimensions**0.5)
        mixed = share * self._vectors[first] + (1 - share) * self._vectors[second] + noise
        mixed /= numpy.linalg.norm(mixed, axis=1, keepdims=True)
        pairs = zip(first.tolist(), second.tolist(), strict=True)
        turns = [self._turn(name, place, *pair) for place, pair in enumerate(pairs)]
        return Memories(turns, mixed)

    def scopes(self, names: Sequence[str], count: int) -> Iterator[Memories]:
        return (self.scope(name, count) for name in names)

    def _turn(self, scope: str, place: int, first: int, second: int) -> Turn:
        one, other = self._turns[first].text.split(), self._turns[second].text.split()
        thread, position = divmod(place, THREAD)
        return Turn(
            id=f"{place}",
            scope=scope,
            thread=f"thread-{thread}",
            position=position,
            speaker=self._turns[first].speaker,
            text=" ".join(one[: (len(one) + 1) // 2] + other[len(other) // 2 :]),
            date=BEGAN + timedelta(days=thread),
        )
