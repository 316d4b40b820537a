"""What a sweep through all owners asks and removes, in bounded batches."""

from __future__ import annotations

from dataclasses import dataclass

from lakemem.operations import Operation

SWEEP = "sweep"
"""The owner of whom the policy `sweep` speaks; no user's or scope's owner can be named so."""
BATCH = 500
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
