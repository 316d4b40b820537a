"""What a sweep through all owners asks and removes, in bounded batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lakemem.operations import Operation, Rows

SWEEP = "sweep"
"""The owner of whom the policy `sweep` speaks; no user's or scope's owner can be named so."""
BATCH = 500
RUNS_AT_ONCE = 50
"""Each may have many events."""
MARKS_KEPT = 7 * 86400.0
"""Seconds after which a write is not repeated any more, so that its mark can go."""


@dataclass(frozen=True, slots=True)
class Place:
    """A thread among all threads, in the order of owner and id."""

    owner: str = ""
    thread_id: str = ""


def threads(after: Place, *, expired_only: bool) -> Operation[list[tuple[Place, bool]]]:
    """The threads behind a place, and whether each has expired. Fewer than `BATCH` are the last."""
    return Operation(
        statement="sweeping.threads",
        owner=SWEEP,
        parameters={
            "after_owner": after.owner,
            "after_thread": after.thread_id,
            "expired_only": expired_only,
            "limit": BATCH,
        },
        parse=lambda rows: [(Place(owner, thread_id), expired) for owner, thread_id, expired in rows],
        fallback=[],
        waits=False,
    )


def owners_of_old_writes() -> Operation[list[str]]:
    """Some of those whose writes were marked so long ago that nobody repeats them."""
    return Operation(
        statement="sweeping.owners_of_old_writes",
        owner=SWEEP,
        parameters={"older_than": MARKS_KEPT, "limit": BATCH},
        parse=lambda rows: [owner for (owner,) in rows],
        fallback=[],
        waits=False,
    )


def forget_writes(owner: str) -> Operation[int]:
    """Remove some old marks, and say how many."""
    return Operation(
        statement="sweeping.forget_writes",
        owner=owner,
        parameters={"owner": owner, "older_than": MARKS_KEPT, "limit": BATCH},
        parse=lambda rows: int(rows[0][0]),
        fallback=0,
        writes=True,
        waits=False,
    )


def ended_runs(older_than: float, *, with_events: bool) -> Operation[dict[str, list[str]]]:
    """Some of the runs that ended so long ago, by their owners.

    Args:
        older_than: seconds since their end.
        with_events: only those whose events are there.
    """

    def by_owner(rows: Rows) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for owner, run_id in rows:
            found.setdefault(owner, []).append(run_id)
        return found

    return Operation(
        statement="sweeping.ended_runs",
        owner=SWEEP,
        parameters={"older_than": older_than, "with_events": with_events, "limit": RUNS_AT_ONCE},
        parse=by_owner,
        fallback={},
        waits=False,
    )


def forget_run_events(owner: str, run_ids: Sequence[str]) -> Operation[int]:
    """Remove the events of runs that have ended, and say how many."""
    return Operation(
        statement="sweeping.forget_run_events",
        owner=owner,
        parameters={"owner": owner, "run_ids": list(run_ids)},
        parse=lambda rows: int(rows[0][0]),
        fallback=0,
        writes=True,
        waits=False,
        first="runs.hold",
    )
