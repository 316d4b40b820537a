"""What workers do with runs: which are due, how one is claimed, appended to, and concluded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from lakemem.operations import Operation
from lakemem.operations.runs import lock_of, read_run
from lakemem.run_types import Run, RunFailure

RUNS = "runs"
"""The owner of whom the policy `due` speaks; no user's or scope's owner can be named so."""
DEAD_RUNS = "dead runs"
OWNERS_AT_ONCE = 100
DEAD_AT_ONCE = 1_000

Outcome: TypeAlias = Literal["completed", "incomplete", "failed", "cancelled", "waiting", "released", "erred"]
"""What becomes of a run when an attempt ends; `erred` is tried again while there are attempts left, `released` is
handed to another worker and does not count."""

_BECOMES: Mapping[Outcome, tuple[str, ...]] = {
    "released": ("queued", "cancelled"),
    "erred": ("queued", "failed", "cancelled"),
    "waiting": ("waiting", "cancelled"),
}


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run that a worker has claimed.

    Attributes:
        remaining: seconds until its deadline, by the clock of the database.
    """

    run: Run
    remaining: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a worker stands in a run: what an append checks.

    Attributes:
        last_sequence: the last number that it knows of.
    """

    owner: str
    run_id: str
    attempt: int
    last_sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an attempt ends. Texts are JSON."""

    outcome: Outcome
    output: str | None = field(default=None, repr=False)
    metadata: str | None = field(default=None, repr=False)
    question: str | None = field(default=None, repr=False)
    failure: RunFailure | None = None
    max_attempts: int = 1
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an append.

    Attributes:
        status: of the run after it; None where the lease was lost, and nothing was written.
        last_sequence: of the run after it.
        cancel_requested: whether somebody wants the run to end.
    """

    status: str | None
    last_sequence: int
    cancel_requested: bool


def due(*, takes_over: bool, besides: Sequence[str]) -> Operation[list[str]]:
    """Some of those who have runs that are due, the longest waiting first.

    Args:
        takes_over: whether runs count that their worker has left.
        besides: owners not to name for what is queued.
    """
    return Operation(
        statement="running.due",
        owner=RUNS,
        parameters={"takes_over": takes_over, "except": list(besides), "limit": OWNERS_AT_ONCE},
        parse=lambda rows: [owner for (owner,) in rows],
        fallback=[],
        waits=False,
    )


def backlog() -> Operation[int]:
    """How many runs of everybody are queued, and due."""
    return Operation(
        statement="running.backlog",
        owner=RUNS,
        parameters={},
        parse=lambda rows: int(rows[0][0]),
        fallback=0,
        waits=False,
    )


def dead() -> Operation[list[Run]]:
    """The runs of everybody that were given up, the oldest first."""
    return Operation(
        statement="running.dead",
        owner=DEAD_RUNS,
        parameters={"limit": DEAD_AT_ONCE},
        parse=lambda rows: [read_run(row)[0] for row in rows],
        fallback=[],
        waits=False,
    )


def claim(
    owner: str,
    *,
    worker: int | None,
    lease: float,
    takes_over: bool,
    max_attempts: int,
    per_owner: int | None,
    failure_events: Sequence[str] = (),
    run_id: str | None = None,
) -> Operation[Claimed | None]:
    """Take the next run of an owner that is due; end those that must not go on.

    Args:
        run_id: take this one, if it is queued and its thread is free, although it may not be due.
        failure_events: the types of the last events of a run that failed; each has its `code` and `message`.
    """
    return Operation(
        statement="running.claim",
        owner=owner,
        parameters={
            "owner": owner,
            "run_id": run_id,
            "worker": worker,
            "lease_for": lease,
            "takes_over": takes_over,
            "max_attempts": max_attempts,
            "per_owner": per_owner,
            "failure_events": list(failure_events),
        },
        parse=lambda rows: Claimed(read_run(rows[0])[0], read_run(rows[0])[1][0]) if rows else None,
        fallback=None,
        writes=True,
        waits=False,
        first="running.settle",
        lock=lock_of(owner),
    )


def append(
    position: Position,
    events: Sequence[str],
    *,
    lease: float,
    worker: int | None = None,
    ending: Ending | None = None,
    failure_events: Sequence[str] = (),
) -> Operation[Receipt]:
    """Append events, and conclude the attempt where it ends.

    Done again after its answer was lost, it does nothing, and gives the same receipt.

    Args:
        worker: the lock that now stands for the worker, if it holds one.
    """
    after = position.last_sequence + len(events)
    wanted = ("in_progress",) if ending is None else _BECOMES.get(ending.outcome, (ending.outcome,))

    def receipt(rows: Sequence[tuple[Any, ...]]) -> Receipt:
        if not rows:
            return Receipt(None, position.last_sequence, False)
        is_written, attempt, last, status, cancel_requested = rows[0]
        there = after + len(failure_events) if status == "failed" else after
        is_there = attempt == position.attempt and last == there and status in wanted
        return Receipt(status if is_written or is_there else None, last, cancel_requested)

    return Operation(
        statement="running.append" if ending is None else "running.conclude",
        owner=position.owner,
        parameters={
            "owner": position.owner,
            "run_id": position.run_id,
            "attempt": position.attempt,
            "last_sequence": position.last_sequence,
            "events": list(events),
            **({"lease_for": lease, "worker": worker} if ending is None else _parameters(ending, failure_events)),
        },
        parse=receipt,
        fallback=Receipt(None, position.last_sequence, False),
        writes=True,
        waits=False,
    )


def _parameters(ending: Ending, failure_events: Sequence[str]) -> dict[str, Any]:
    return {
        "failure_events": list(failure_events),
        "outcome": ending.outcome,
        "output": ending.output,
        "metadata": ending.metadata,
        "question": ending.question,
        "error_code": None if ending.failure is None else ending.failure.code,
        "error_message": None if ending.failure is None else ending.failure.message,
        "max_attempts": ending.max_attempts,
        "pause": ending.pause,
    }
