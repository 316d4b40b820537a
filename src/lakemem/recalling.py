"""Recalled memories as a part of an agent's instructions: what to recall, and how it is written down. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from itertools import pairwise
from typing import TypeAlias

from lakemem.errors import InvalidInputError
from lakemem.fencing import data_line, fenced
from lakemem.memory_types import Hit, MemoryRecord, Trust
from lakemem.operations.drafting import describe
from lakemem.trust import at_least, check_trust
from lakemem.types import Namespace
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
        trust: only what counts for as much or more, such as ``"user"``; by default all.

    Raises:
        InvalidInputError: one of these cannot be.
    """

    limit: int = 5
    namespace: Namespace = ()
    min_similarity: float | None = None
    deadline: float = 2.0
    max_tokens: int = MAX_TOKENS
    trust: Trust | None = None

    def __post_init__(self) -> None:
        check_count("limit", self.limit)
        check_namespace(self.namespace)
        check_count("max_tokens", self.max_tokens)
        if self.trust is not None:
            check_trust(self.trust)
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
    around = _around([choice.hit for choice in chosen])
    fitting = _largest(len(around), lambda number: count(_written(chosen, around[:number])) <= budget)
    text = _written(chosen, around[:fitting])
    return Context(text, tuple(choice.hit for choice in chosen), count(text) if text else 0, left_out)


# What is told

_Identity: TypeAlias = tuple[str, Namespace, str, int]
_Place: TypeAlias = tuple[str, Namespace, str, int]
"""Of a turn: whose it is, its namespace, its thread, and its position there."""


@dataclass(frozen=True, slots=True)
class _Told:
    """A memory as it is written down.

    Attributes:
        date: when it happened, or since when it holds.
        place: of a turn; None for any other memory, and for a turn that has none.
        json: an object: who said what, or else the key and the value.
    """

    date: str
    place: _Place | None
    is_turn: bool
    json: str

    @classmethod
    def of(cls, record: MemoryRecord) -> _Told:
        date = str((record.occurred_at or record.valid_from).astimezone(UTC).date())
        if record.kind == "turn":
            said = {str(record.metadata.get("speaker") or "said"): record.value}
            return cls(date, _place(record), True, data_line(said))
        # A key that nobody chose says nothing.
        key = {"key": record.key} if describe(record.key, None) else {}
        # What came from somewhere else than the user and their assistant says so.
        tool = {"said_by": "tool"} if record.trust == "tool" else {}
        kind, _, name = record.owner.partition(":")
        scope = {"shared_by": name} if kind == "scope" else {}
        return cls(date, None, False, data_line({**key, **tool, **scope, "value": record.value}))


@dataclass(frozen=True, slots=True)
class _Choice:
    """A hit that is told, the words that others are compared with, and what its line takes."""

    hit: Hit
    told: _Told
    words: str
    cost: int

    def says(self, other: _Choice) -> bool:
        """Whether this says what another one does, and counts for as much: nobody is drowned out by repeating them."""
        return self.hit.record.trust in at_least(other.hit.record.trust) and f" {other.words} " in f" {self.words} "


_Ranked: TypeAlias = tuple[int, _Told]
"""A memory that is told, after the rank of the hit that it is, or that it stands around."""


def _chosen(hits: Iterable[Hit], budget: int, count: Callable[[str], int]) -> tuple[list[_Choice], int]:
    """The hits that fit, each on a line of its own, without those that others say; and how many did not fit."""
    chosen: list[_Choice] = []
    spent, left_out = count(fenced([""])), 0
    for hit in hits:
        told = _Told.of(hit.record)
        new = _Choice(hit, told, _words(hit.record), count(_line([told]) + "\n"))
        if any(other.says(new) for other in chosen):
            continue
        needless = [other for other in chosen if new.says(other)]
        total = spent + new.cost - sum(other.cost for other in needless)
        if total > budget:
            left_out += 1
            continue
        # It takes the rank of the best one that it makes needless.
        rank = chosen.index(needless[0]) if needless else len(chosen)
        chosen = [*chosen[:rank], new, *(other for other in chosen[rank:] if other not in needless)]
        spent = total
    return chosen, left_out


def _words(record: MemoryRecord) -> str:
    """What two memories are compared by: a sentence speaks for itself, and a bare value only with its key."""
    said = record.value if isinstance(record.value, str) else ""
    if record.kind != "turn" and len(said.split()) < SENTENCE_WORDS:
        said = describe(record.key, record.value)
    return " ".join(re.findall(r"\w+", said.casefold())) or said


def _around(hits: Sequence[Hit]) -> list[_Ranked]:
    """The turns around hits, each once: those of the best hit first, and the nearest of each."""
    known = {_identity(hit.record) for hit in hits}
    around: list[_Ranked] = []
    for rank, hit in enumerate(hits):
        place = hit.record.position or 0
        for record in sorted(hit.neighbors, key=lambda record: abs((record.position or 0) - place)):
            if (identity := _identity(record)) not in known:
                known.add(identity)
                around.append((rank, _Told.of(record)))
    return around


def _identity(record: MemoryRecord) -> _Identity:
    return record.owner, record.namespace, record.key, record.version


# How it is written down


def _written(chosen: Sequence[_Choice], around: Sequence[_Ranked]) -> str:
    told = [*enumerate(choice.told for choice in chosen), *around]
    return fenced(_line(passage) for passage in _passages(told, _adjoining(choice.hit for choice in chosen)))


def _passages(ranked: Sequence[_Ranked], adjoining: set[tuple[_Place, _Place]]) -> Iterator[list[_Told]]:
    """What stands on one line each, the best first: a memory, or turns that adjoin each other."""
    passages = [[one] for one in ranked if one[1].place is None]
    last: _Place | None = None
    for place, one in sorted(((one[1].place, one) for one in ranked if one[1].place), key=lambda turn: turn[0]):
        if last and ((place[:-1] == last[:-1] and place[-1] - last[-1] <= 1) or (last, place) in adjoining):
            passages[-1].append(one)
        else:
            passages.append([one])
        last = place
    for passage in sorted(passages, key=lambda passage: min(rank for rank, _ in passage)):
        yield [told for _, told in passage]


def _adjoining(hits: Iterable[Hit]) -> set[tuple[_Place, _Place]]:
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
    dates = sorted(told.date for told in passage)
    date = dates[0] if dates[0] == dates[-1] else f"{dates[0]}/{dates[-1]}"
    if passage[0].is_turn:
        return f'{{"date": "{date}", "turns": [{", ".join(told.json for told in passage)}]}}'
    return f'{{"date": "{date}", {passage[0].json[1:]}'


def _largest(highest: int, holds: Callable[[int], bool]) -> int:
    """The largest number up to `highest` for which something holds, where it holds up to some number; else 0."""
    low = 0
    while low < highest:
        middle = (low + highest + 1) // 2
        low, highest = (middle, highest) if holds(middle) else (low, middle - 1)
    return low
