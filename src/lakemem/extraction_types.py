"""What an extractor is shown, and what it proposes: frozen, and safe to print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from lakemem.memory_types import MemoryRecord


@dataclass(frozen=True, slots=True)
class SourceTurn:
    """A turn of a conversation, as an extractor sees it.

    Attributes:
        id: a small number, by which a proposal names it.
        speaker: who said it.
        text: what was said.
        occurred_at: when, if that is known.
        is_new: whether facts are wanted from it; the others went before it, and help to understand it.
    """

    id: int
    speaker: str
    text: str = field(repr=False)
    occurred_at: datetime | None = None
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class KnownMemory:
    """What is known already, as an extractor or a matcher sees it.

    Attributes:
        id: a small number, by which an answer names it.
        text: the fact.
        subject: what it is about, such as ``user.employer``, if it has one.
        occurred_at: when it happened, if that is known.
    """

    id: int
    text: str = field(repr=False)
    subject: str | None = None
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A fact that an extractor proposes to remember.

    Attributes:
        text: the fact, as a sentence that can be understood by itself.
        sources: the ids of the turns that say so.
        subject: what has one value at a time, such as ``user.employer``; None for a fact that stands beside others.
        supersedes: the id of the known memory that is no longer true; None where there is none.
        importance: 0 to 1.
        occurred_at: when it happened; None for when it was said.
    """

    text: str = field(repr=False)
    sources: Sequence[int]
    subject: str | None = None
    supersedes: int | None = None
    importance: float = 0.5
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Extraction:
    """What an extractor found in some turns.

    Attributes:
        proposals: what holds after every check.
        dropped: how much did not hold, by the reason.
        facts: the memories that were made of the proposals; none in a dry run.
    """

    proposals: tuple[Proposal, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    facts: tuple[MemoryRecord, ...] = ()
