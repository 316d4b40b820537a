"""How much each sign that a memory fits a question counts for."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from lakemem.errors import InvalidInputError
from lakemem.validation import check_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The weights of a search. The defaults were held the same for every corpus that was measured.

    What the two arms say is scaled to 0..1 within the scope and added up. That is a memory's share; the shares beside
    it and in its thread, and what else speaks for it, are added.

    Attributes:
        dense: the arm that goes by meaning: the distance of the vectors.
        lexical: the arm that goes by words: how rare those are that stand in both.
        beside: of the best share of a turn right before or after, in the same thread.
        thread: of the best share in the same thread.
        period: for what happened in a period that the question names.
        label: for what has in its metadata the one text that the question names, such as a speaker.
        importance: for the importance that a memory was saved with.
        recency: for what is new, half of it after each `half_life`.
        half_life: seconds.
        saturation, length_share: k1 and b of BM25 (https://www.nowpublishers.com/article/Details/INR-019).
        rrf: adds 1 / (rrf + rank) for each arm in place of scaled shares, as in reciprocal rank fusion
            (https://doi.org/10.1145/1571941.1572114); None for shares.
        shortlist: how many of the best shares are looked at more closely; at least as many as are asked for.

    Raises:
        InvalidInputError: a weight is negative or not a finite number, or no arm counts.
    """

    dense: float = 1.0
    lexical: float = 0.5
    beside: float = 0.3
    thread: float = 0.1
    period: float = 0.25
    label: float = 0.25
    importance: float = 0.0
    recency: float = 0.0
    half_life: float = 30 * 86_400.0
    saturation: float = 1.2
    length_share: float = 0.4
    rrf: float | None = None
    shortlist: int = 100

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "shortlist":
                check_count("shortlist", value)
            elif field.name != "rrf" or value is not None:
                _check_weight(field.name, value)
        if not self.half_life:
            raise InvalidInputError("half_life must be longer than 0 seconds")
        if not self.dense and not self.lexical:
            raise InvalidInputError("a ranking needs an arm: dense or lexical must be above 0")

    @classmethod
    def by_meaning(cls) -> Ranking:
        """The similarity of question and memory, and nothing else: the exact nearest neighbours."""
        return cls(lexical=0.0, beside=0.0, thread=0.0, period=0.0, label=0.0)

    @classmethod
    def by_words(cls) -> Ranking:
        """The words of the question, and nothing else."""
        return cls(dense=0.0, lexical=1.0, beside=0.0, thread=0.0, period=0.0, label=0.0)

    @classmethod
    def reciprocal(cls, k: float = 60.0) -> Ranking:
        """Reciprocal rank fusion of both arms, and nothing else."""
        return cls(lexical=1.0, beside=0.0, thread=0.0, period=0.0, label=0.0, rrf=k)

    @property
    def is_nearest(self) -> bool:
        """Whether only the distance counts."""
        others = (self.lexical, self.beside, self.thread, self.period, self.label, self.importance, self.recency)
        return not any(others) and self.rrf is None

    @property
    def best_rank(self) -> float:
        """What the first place in an arm counts for, before its weight."""
        return 1.0 if self.rrf is None else 1 / (self.rrf + 1)


def _check_weight(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InvalidInputError(f"{name} must be a number, at least 0")
