"""The history of a thread's checkpoints: what is kept of it, copied from it, and read along it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lakemem.errors import ConflictError, InvalidInputError
from lakemem.operations import Operation, Rows
from lakemem.operations.checkpoints import StoredCheckpoint, stored_checkpoint
from lakemem.validation import check_count, check_identifier, check_seconds
from lakemem.work_types import Retention

BATCH = 1000
"""Checkpoints that are removed in one transaction."""


def prune(owner: str, thread_id: str, retention: Retention, *, limit: int = BATCH) -> Operation[int]:
    """Remove at most `limit` of the checkpoints that nothing keeps, the oldest first; return how many there were.

    Fewer than `limit` means that none is left. The values and the writes of a checkpoint go with it.
    """
    if not isinstance(retention, Retention):
        raise InvalidInputError(f"retention must be a lakemem.Retention, not {type(retention).__name__}")
    return Operation(
        statement="pruning.prune",
        owner=owner,
        parameters={
            "owner": owner,
            "thread_id": check_identifier("thread_id", thread_id),
            "newest": 1 if retention.last is None else check_count("last", retention.last),
            "turn_ends": retention.turn_ends,
            "younger_than": check_seconds("younger_than", retention.younger_than),
            "limit": check_count("limit", limit),
        },
        parse=lambda rows: int(rows[0][0]) if rows else 0,
        fallback=0,
        writes=True,
        first="threads.hold",
        # To whoever repeats it until nothing is left, a 0 that is made up would be the end.
        waits=False,
    )


def delete_for_runs(owner: str, run_ids: Sequence[str]) -> Operation[None]:
    """Remove the checkpoints that these runs stored, in all threads of the owner."""
    if isinstance(run_ids, str):
        raise InvalidInputError("run_ids must be a list of ids, not one text")

    def check(rows: Rows) -> None:
        if rows[0][0]:
            raise ConflictError(
                "checkpoints that stay need the writes of these runs to rebuild their delta channels: nothing was "
                "removed; delete the later runs too, or the thread"
            )

    return Operation(
        statement="pruning.delete_for_runs",
        owner=owner,
        parameters={"owner": owner, "run_ids": [check_identifier("run_id", str(run_id)) for run_id in run_ids]},
        parse=check,
        fallback=None,
        writes=True,
        first="pruning.hold_runs",
    )


def copy(owner: str, thread_id: str, target_id: str) -> Operation[bool]:
    """Copy all checkpoints of a thread to another that has none; False where there is nothing to copy."""

    def copied(rows: Rows) -> bool:
        has_source, is_taken = rows[0]
        if is_taken:
            raise ConflictError("the thread to copy to has checkpoints already: delete it first, or take another id")
        return bool(has_source)

    return Operation(
        statement="pruning.copy",
        owner=owner,
        parameters={
            "owner": owner,
            "thread_id": check_identifier("thread_id", thread_id),
            "target_id": check_identifier("thread_id", target_id),
        },
        parse=copied,
        fallback=False,
        writes=True,
        first="threads.hold",
        # A copy that is made later is one of another state.
        waits=False,
    )


def history(
    owner: str, thread_id: str, checkpoint_ns: str, checkpoint_id: str | None, channels: Sequence[str]
) -> Operation[list[StoredCheckpoint]]:
    """The ancestors of a checkpoint, the nearest first, as far back as the value of one of the channels is missing.

    Each has all its writes, and of its values those of the channels that are still looked for.
    """
    return Operation(
        statement="pruning.history",
        owner=owner,
        parameters={
            "owner": owner,
            "thread_id": check_identifier("thread_id", thread_id),
            "checkpoint_ns": checkpoint_ns,
            "checkpoint_id": checkpoint_id,
            "channels": list(channels),
        },
        parse=_ancestors,
        fallback=[],
    )


def _ancestors(rows: Sequence[tuple[Any, ...]]) -> list[StoredCheckpoint]:
    return [stored_checkpoint(row) for row in rows]
