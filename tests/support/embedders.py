"""Embedders whose vectors a reader can check by hand."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

TOPICS = (
    {"dog", "cat", "puppy", "kitten", "pet"},
    {"pizza", "pasta", "food", "dinner"},
    {"train", "plane", "travel", "journey"},
)


class TopicEmbedder:
    """One dimension a topic, and one for everything else: words of one topic mean the same.

    Args:
        model: its name.
        spoil: makes something else of the vectors, or raises.
    """

    dimensions = len(TOPICS) + 1

    def __init__(self, model: str = "topics", spoil: Callable[[list[list[float]]], Any] | None = None) -> None:
        self.model = model
        self.spoil = spoil
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> Any:
        self.texts.extend(texts)
        vectors = [self._vector(text) for text in texts]
        return vectors if self.spoil is None else self.spoil(vectors)

    @staticmethod
    def _vector(text: str) -> list[float]:
        words = set(text.lower().replace(":", " ").replace(",", " ").split())
        return [*(float(len(words & topic)) for topic in TOPICS), 0.5]


class HangingEmbedder(TopicEmbedder):
    """Does not answer until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def embed(self, texts: Sequence[str]) -> Any:
        self.released.wait(timeout=30)
        return super().embed(texts)


class HashEmbedder:
    """Vectors that depend on the model and the whole text: no two are alike, and each can be told again.

    Args:
        model: its name.
        dimensions: how long its vectors are.
        refuses: a word; a text that has it fails, and with it every call for it.
    """

    def __init__(self, model: str, dimensions: int = 8, *, refuses: str | None = None) -> None:
        self.model = model
        self.dimensions = dimensions
        self.refuses = refuses
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        if self.refuses is not None and any(self.refuses in text for text in texts):
            raise ValueError("a text is too long")
        self.texts.extend(texts)
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> list[float]:
        digest = hashlib.shake_256(f"{self.model} {text}".encode()).digest(self.dimensions)
        return [byte - 127.5 for byte in digest]
