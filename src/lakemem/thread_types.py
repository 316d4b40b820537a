"""Conversations, as they are listed and read: frozen, and safe to print."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """One item of a thread.

    Attributes:
        position: its place in the thread; it only grows, and is never given twice.
        item: the JSON object as it was appended.
        created_at: when it was stored.
    """

    position: int
    item: dict[str, Any] = field(repr=False)
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ThreadInfo:
    """What is known of a thread, beside its items.

    Attributes:
        thread_id: its id.
        created_at: when it began.
        updated_at: when it was last active: an item was appended, or a checkpoint stored.
        title: its name, for people; None where it was given none.
        metadata: what listings filter by.
        expires_at: when it is gone; None for never.
        lifetime: seconds that each append puts its end off to; None where that is fixed.
        forked_from: the thread it was forked from; None for one that began by itself.
        forked_position: the position it was forked at.
    """

    thread_id: str
    created_at: datetime
    updated_at: datetime
    title: str | None = field(default=None, repr=False)
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)
    expires_at: datetime | None = None
    lifetime: float | None = None
    forked_from: str | None = None
    forked_position: int | None = None

    @property
    def cursor(self) -> str:
        """Where a listing goes on after this thread; it is of use for as long as you like."""
        return urlsafe_b64encode(f"{self.updated_at.isoformat()} {self.thread_id}".encode()).decode()


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What one run of an agent used, or several together.

    Attributes:
        input_tokens: what was sent to models, `cached_tokens` included.
        output_tokens: what models gave back, `reasoning_tokens` included.
        total_tokens: both together, as the models counted.
        cached_tokens: the part of the input that a model had seen before.
        reasoning_tokens: the part of the output that is not shown.
        requests: how often a model was called.
        runs: how many runs are counted here.
        models: the names of the models, as far as they are known.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    requests: int = 0
    runs: int = 0
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of the user, and what followed until the next one.

    Attributes:
        position: of the user's message.
        item: the user's message as it was appended.
        started_at: when it was stored.
        items: how many items the turn has, this one included.
        usage: what the runs of this turn used, as far as it was stored.
    """

    position: int
    item: dict[str, Any] = field(repr=False)
    started_at: datetime
    items: int
    usage: TokenUsage


@dataclass(frozen=True, slots=True)
class ThreadHit:
    """An item that a search of threads found.

    Attributes:
        thread_id: the thread it stands in.
        message: the item, with its position and time.
        score: how many of the words asked for stand in it, above 0 to 1; a rare word counts for more.
    """

    thread_id: str
    message: Message
    score: float

    @property
    def position(self) -> int:
        """The item's place in its thread."""
        return self.message.position

    @property
    def item(self) -> dict[str, Any]:
        """The JSON object as it was appended."""
        return self.message.item
