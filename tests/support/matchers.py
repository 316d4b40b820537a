"""A matcher that a test can read, and spoil."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lakemem import KnownMemory

MEANINGS = {"puppy": "dog", "hound": "dog", "kitten": "cat", "owns": "has", "keeps": "has"}


def meaning(text: str) -> tuple[str, ...]:
    return tuple(MEANINGS.get(word, word) for word in text.lower().rstrip(".").split())


class WordMatcher:
    """Facts of the same words, or of words that it takes to mean the same, say the same.

    Args:
        spoil: makes something else of the pairs, or raises.
    """

    def __init__(self, spoil: Callable[[list[tuple[int, int]]], Any] | None = None) -> None:
        self.spoil = spoil
        self.asked: list[list[KnownMemory]] = []

    def match(self, facts: Sequence[KnownMemory]) -> Any:
        self.asked.append(list(facts))
        pairs = [
            (one.id, other.id)
            for one in facts
            for other in facts
            if one.id < other.id and meaning(one.text) == meaning(other.text)
        ]
        return pairs if self.spoil is None else self.spoil(pairs)
