"""Runs and their events, as values."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

RunStatus: TypeAlias = Literal["queued", "in_progress", "waiting", "completed", "failed", "cancelled", "incomplete"]
RunKind: TypeAlias = Literal["invoke", "stream"]
BusyPolicy: TypeAlias = Literal["reject", "queue", "interrupt"]
"""What becomes of a new run whose thread has one under way: it is refused; waits; or cancels that one, then waits."""


@dataclass(frozen=True, slots=True)
class RunFailure:
    """Why a run failed or is incomplete, in words for its client: never SQL, a parameter or a stack.

    Attributes:
        code: what a program tells it by, such as ``timeout``, ``attempts_exhausted`` or ``handler_failed``.
        message: what a person reads.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A request that is worked on in the background, and what has become of it.

    Attributes:
        run_id: its id.
        thread_id: its conversation; of a thread, one run at a time is in progress.
        owner: to whom it belongs.
        status: ``queued``, ``in_progress``, ``waiting`` (for a person), or how it ended: ``completed``, ``failed``,
            ``cancelled``, ``incomplete``.
        attempt: how often it was claimed; the fencing token of who works on it.
        attempts_used: how many of these count towards `max_attempts`: a hand-over or a pause for a person does not.
        max_attempts: how many may.
        request: what is to be done, as it was given.
        output: what its last attempt returned; None before the end.
        error: why it failed, or is incomplete.
        metadata: what its creator and its handler noted.
        question: what it asked a person, as its handler put it.
        answer: the person's answer; None until it is there.
        asked_by: the last attempt that asked; 0 for none.
        cancel_requested: whether somebody wants it to end.
        deadline: when it ends at the latest; the time that it waits for a person does not count.
        last_sequence: the number of its last event; -1 for none.
        background: whether its creator does not wait for it.
        kind: ``invoke`` for a handler that returns, ``stream`` for one that emits events.
        previous_run_id: the run that this one continues.
    """

    run_id: str
    thread_id: str | None
    owner: str
    status: RunStatus
    attempt: int
    request: dict[str, Any] = field(repr=False)
    output: list[Any] | None = field(repr=False)
    error: RunFailure | None
    metadata: dict[str, Any] = field(repr=False)
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    deadline: datetime
    last_sequence: int
    background: bool
    kind: RunKind
    previous_run_id: str | None
    question: Any = field(repr=False)
    answer: Any = field(repr=False)
    cancel_requested: bool
    max_attempts: int
    attempts_used: int
    asked_by: int

    @property
    def has_ended(self) -> bool:
        """Whether nothing happens to it any more."""
        return has_ended(self.status)


def has_ended(status: str) -> bool:
    """Whether nothing happens any more to a run of this status."""
    return status not in ("queued", "in_progress", "waiting")


def is_at_rest(status: str) -> bool:
    """Whether a run of this status has no events to come, unless somebody answers it."""
    return status not in ("queued", "in_progress")


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One event of a run.

    Attributes:
        sequence_number: its place among the events of all attempts, from 0 and without gaps.
        attempt: who emitted it.
        text: the event as JSON, as it is stored.
    """

    sequence_number: int
    attempt: int
    text: str = field(repr=False)

    @property
    def event(self) -> dict[str, Any]:
        """The event; read from its text at each access."""
        found: dict[str, Any] = json.loads(self.text)
        return found
