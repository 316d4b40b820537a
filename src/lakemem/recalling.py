"""Recalled memories as a part of an agent's instructions: what to recall, and how it is written down. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date
from itertools import pairwise
from typing import Any, TypeAlias

from lakemem.errors import InvalidInputError
from lakemem.fencing import data_line, fenced
from lakemem.operations.memories import describe
from lakemem.types import Hit, MemoryRecord, Namespace
from lakemem.validation import check_count, check_fraction, check_namespace, check_seconds
from lakemem.windows import BYTES_PER_TOKEN

MAX_TOKENS = 1_000
SENTENCE_WORDS = 3


@dataclass(frozen=True, slots=True)
class Recall:
    """What a run recalls for the user's last message.

    Attributes:
        limit: memories at the most.
        namespace: the first labels of the namespaces to look in; by default all.
        min_similarity: leave out what is less similar in meaning than this, -1 to 1.
        deadline: seconds to wait for them; the run then goes on without.
        max_tokens: what they may take in the instructions, the note around them included, with 4 bytes for a token;
            what does not fit is left out.

    Raises:
        InvalidInputError: one of these cannot be.
    """

    limit: int = 5
    namespace: Namespace = ()
    min_similarity: float | None = None
    deadline: float = 2.0
    max_tokens: int = MAX_TOKENS

    def __post_init__(self) -> None:
        check_count("limit", self.limit)
        check_namespace(self.namespace)
        check_count("max_tokens", self.max_tokens)
        if self.min_similarity is not None:
            check_fraction("min_similarity", self.min_similarity, least=-1)
        if check_seconds("deadline", self.deadline) is None:
            raise InvalidInputError("deadline must be a number of seconds, not None")


@dataclass(frozen=True, slots=True)
class Context:
    """Recalled memories, written down for a model's instructions.

    Attributes:
        text: a note that what follows is data, and a line of JSON for each memory; empty where there is nothing.
        hits: the memories in it, the best first, without the turns around them.
        tokens: what the text takes.
        left_out: how many memories did not fit; one that another already says is not counted.
    """

    text: str = field(default="", repr=False)
    hits: tuple[Hit, ...] = ()
    tokens: int = 0
    left_out: int = 0

    def after(self, instructions: str | None) -> str | None:
        """Return instructions with this at their end, so that a model's cache of what stands before still holds."""
        return "\n\n".join(part for part in (instructions, self.text) if part) or instructions


def estimate_text_tokens(text: str) -> int:
    """Estimate a text's tokens without a tokenizer: one for every 4 bytes in UTF-8, as for the items of a thread."""
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN)


def context(
    hits: Iterable[Hit], *, max_tokens: int = MAX_TOKENS, count: Callable[[str], int] = estimate_text_tokens
) -> Context:
    """Write memories down for a model, each with its date, the best first, as many as fit.

    What two memories say is said once: one whose words all stand in another in the same order is left out. Turns that
    adjoin each other in their thread become one passage, in their order. The turns around the hits take the room that
    the hits leave, those around the best first.

    Args:
        hits: what a search found, the best first.
        max_tokens: what the text may take, the note around the memories included.
        count: says how many tokens a text takes, such as ``lambda text: len(encoding.encode(text))`` with an
            encoding of tiktoken.
    """
    budget = check_count("max_tokens", max_tokens)
    chosen, left_out = _chosen(hits, budget, count)
    # A tokenizer may count lines together otherwise than one by one.
    while chosen and count(_written(chosen, ())) > budget:
        chosen.pop()
        left_out += 1
    around = _around(chosen)
    fitting = _largest(len(around), lambda number: count(_written(chosen, around[:number])) <= budget)
    text = _written(chosen, around[:fitting])
    return Context(text, tuple(chosen), count(text) if text else 0, left_out)


# What is told


@dataclass(frozen=True, slots=True)
class _Told:
    """A memory that is written down: a hit, or a turn that stands around one; the rank is that of the hit."""

    record: MemoryRecord
    rank: int


@dataclass(frozen=True, slots=True)
class _Choice:
    hit: Hit
    words: str
    cost: int

    def says(self, words: str) -> bool:
        return f" {words} " in f" {self.words} "


_Identity: TypeAlias = tuple[str, Namespace, str, int]
_Place: TypeAlias = tuple[str, Namespace, str, int]
"""Of a turn: whose it is, its namespace, its thread, and its position there."""


def _chosen(hits: Iterable[Hit], budget: int, count: Callable[[str], int]) -> tuple[list[Hit], int]:
    """The hits that fit, each on a line of its own, without those that others say; and how many did not fit."""
    chosen: list[_Choice] = []
    spent, left_out = count(fenced([""])), 0
    for hit in hits:
        words = _words(hit.record)
        if any(other.says(words) for other in chosen):
            continue
        new = _Choice(hit, words, count(_line([_Told(hit.record, 0)]) + "\n"))
        needless = [other for other in chosen if new.says(other.words)]
        total = spent + new.cost - sum(other.cost for other in needless)
        if total > budget:
            left_out += 1
            continue
        # It takes the rank of the best one that it makes needless.
        rank = chosen.index(needless[0]) if needless else len(chosen)
        chosen = [*chosen[:rank], new, *(other for other in chosen[rank:] if other not in needless)]
        spent = total
    return [choice.hit for choice in chosen], left_out


def _words(record: MemoryRecord) -> str:
    """What two memories are compared by: a sentence speaks for itself, and a bare value only with its key."""
    said = record.value if isinstance(record.value, str) else ""
    if record.kind != "turn" and len(said.split()) < SENTENCE_WORDS:
        said = describe(record.key, record.value)
    return " ".join(re.findall(r"\w+", said.casefold())) or said


def _around(hits: Sequence[Hit]) -> list[_Told]:
    """The turns around hits, each once: those of the best hit first, and the nearest of each."""
    known = {_identity(hit.record) for hit in hits}
    around: dict[_Identity, _Told] = {}
    for rank, hit in enumerate(hits):
        place = hit.record.position or 0
        for record in sorted(hit.neighbors, key=lambda record: abs((record.position or 0) - place)):
            if (identity := _identity(record)) not in known:
                around.setdefault(identity, _Told(record, rank))
    return list(around.values())


def _identity(record: MemoryRecord) -> _Identity:
    return record.owner, record.namespace, record.key, record.version


# How it is written down


def _written(hits: Sequence[Hit], around: Sequence[_Told]) -> str:
    told = [*(_Told(hit.record, rank) for rank, hit in enumerate(hits)), *around]
    return fenced(_line(passage) for passage in _passages(told, _adjoining(hits)))


def _passages(told: Sequence[_Told], adjoining: set[tuple[_Place, _Place]]) -> list[list[_Told]]:
    """What stands on one line each, the best first: a fact, or turns that adjoin each other."""
    turns = sorted(((place, one) for one in told if (place := _place(one.record))), key=lambda turn: turn[0])
    passages = [[one] for one in told if not _place(one.record)]
    last: _Place | None = None
    for place, one in turns:
        if last and ((place[:-1] == last[:-1] and place[-1] - last[-1] <= 1) or (last, place) in adjoining):
            passages[-1].append(one)
        else:
            passages.append([one])
        last = place
    return sorted(passages, key=lambda passage: min(one.rank for one in passage))


def _adjoining(hits: Sequence[Hit]) -> set[tuple[_Place, _Place]]:
    """The places between which nothing was said, such as those before and after the call of a tool."""
    pairs: set[tuple[_Place, _Place]] = set()
    for hit in hits:
        pairs.update(pairwise(sorted({place for record in (hit.record, *hit.neighbors) if (place := _place(record))})))
    return pairs


def _place(record: MemoryRecord) -> _Place | None:
    if record.kind != "turn" or record.thread_id is None or record.position is None:
        return None
    return record.owner, record.namespace, record.thread_id, record.position


def _line(passage: Sequence[_Told]) -> str:
    records = [one.record for one in passage]
    dates = [_date(record) for record in records]
    told: dict[str, Any] = {"date": "/".join(dict.fromkeys(str(day) for day in (min(dates), max(dates))))}
    if records[0].kind == "turn":
        told["turns"] = [{_speaker(record): record.value} for record in records]
    else:
        [record] = records
        if describe(record.key, None):  # somebody chose this key
            told["key"] = record.key
        told["value"] = record.value
    return data_line(told)


def _date(record: MemoryRecord) -> date:
    return (record.occurred_at or record.valid_from).astimezone(UTC).date()


def _speaker(record: MemoryRecord) -> str:
    return str(record.metadata.get("speaker") or "said")


def _largest(highest: int, holds: Callable[[int], bool]) -> int:
    """The largest number up to `highest` for which something holds, where it holds up to some number; else 0."""
    low = 0
    while low < highest:
        middle = (low + highest + 1) // 2
        low, highest = (middle, highest) if holds(middle) else (low, middle - 1)
    return low
