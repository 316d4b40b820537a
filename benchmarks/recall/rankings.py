"""What others do with the same vectors and words, in numpy: cosine, BM25, and two ways to fuse them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy
import psycopg
from numpy.typing import NDArray

from recall.embeddings import Vectors

Scores = NDArray[numpy.float64]
K1, B = 1.2, 0.75
RRF_K = 60


@dataclass(frozen=True)
class Documents:
    """The texts of one scope: unit vectors, and how often each lexeme stands in each text."""

    vectors: Vectors
    words: Sequence[Counter[str]]

    def cosine(self, question: NDArray[numpy.float32]) -> Scores:
        return (self.vectors @ question).astype(numpy.float64)

    def bm25(self, question: Iterable[str]) -> Scores:
        lengths = numpy.array([words.total() for words in self.words], dtype=numpy.float64)
        weights = 1 - B + B * lengths / max(lengths.mean(), 1e-9)
        scores = numpy.zeros(len(self.words))
        for word in set(question):
            counts = numpy.array([words[word] for words in self.words], dtype=numpy.float64)
            having = numpy.count_nonzero(counts)
            rarity = numpy.log(1 + (len(counts) - having + 0.5) / (having + 0.5))
            scores += rarity * counts * (K1 + 1) / (counts + K1 * weights)
        return scores


Ranking = Callable[[Scores, Scores], Scores]
"""From the cosines and the BM25 scores of a scope's texts to the scores that put them in order."""


def cosine(dense: Scores, lexical: Scores) -> Scores:
    return dense


def bm25(dense: Scores, lexical: Scores) -> Scores:
    return lexical


def rrf(dense: Scores, lexical: Scores, depth: int = 50) -> Scores:
    """Reciprocal rank fusion with k = 60 of the first of each list, so many of them.

    A text without any word of the question is in no lexical list. Recipes have depths from 20 up, and it matters: the
    longer the lists, the more often what is middling in both goes before what is best in one.
    """
    fused = numpy.zeros(len(dense))
    for scores, eligible in ((dense, numpy.ones(len(dense), dtype=bool)), (lexical, lexical > 0)):
        listed = [place for place in order(scores) if eligible[place]][:depth]
        fused[listed] += 1 / (RRF_K + 1 + numpy.arange(len(listed)))
    return fused


def min_max(dense: Scores, lexical: Scores) -> Scores:
    """The sum of both, each scaled to 0..1 within the scope."""
    return scaled(dense) + scaled(lexical)


RANKINGS: Mapping[str, Ranking] = {
    "cosine": cosine,
    "bm25": bm25,
    "rrf60": rrf,
    "rrf60-20": partial(rrf, depth=20),
    "min-max": min_max,
}


def scaled(scores: Scores) -> Scores:
    extent = scores.max() - scores.min()
    return (scores - scores.min()) / extent if extent > 0 else numpy.zeros(len(scores))


def order(scores: Scores) -> list[int]:
    """The places of the scores, the highest first; what scores the same stays in its order."""
    places: list[int] = numpy.argsort(-scores, kind="stable").tolist()
    return places


def recall_at(k: int, found: Sequence[str], gold: frozenset[str]) -> float:
    """The share of the gold turns among the first k that were found."""
    return len(gold.intersection(found[:k])) / len(gold)


def lexemes(connection: psycopg.Connection[Any], texts: Sequence[str]) -> list[Counter[str]]:
    """The words of each text, by Postgres's own English: without endings and the most frequent ones."""
    rows = connection.execute(
        "SELECT text.place, word.lexeme, cardinality(word.positions) "
        "FROM unnest(%s::text[]) WITH ORDINALITY AS text (content, place), "
        "unnest(to_tsvector('pg_catalog.english', text.content)) AS word",
        [list(texts)],
    )
    counted: list[Counter[str]] = [Counter() for _ in texts]
    for place, lexeme, count in rows:
        counted[place - 1][lexeme] = count
    return counted
