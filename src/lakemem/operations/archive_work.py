"""What agents have left in an archive: the usage of threads, checkpoints, and runs with their events."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lakemem.operations import Operation, Rows
from lakemem.operations.archive_lines import BATCH_BYTES, Row

EXPORTED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of records.

    Attributes:
        plural: of the statements, and of the counts.
        beginning: a place before the first record, by the fields that order them.
    """

    name: str
    plural: str
    beginning: Mapping[str, str | int]


_CHANNEL = {"thread_id": "", "checkpoint_ns": "", "channel": ""}
_CHECKPOINT = {"thread_id": "", "checkpoint_ns": "", "checkpoint_id": ""}
KINDS = (
    Kind("usage", "usage", {"thread_id": "", "run_id": ""}),
    # What a checkpoint consists of comes before it, so that none is brought back without.
    Kind("checkpoint_segment", "segments", {**_CHANNEL, "position": 0}),
    Kind("checkpoint_value", "values", {**_CHANNEL, "version": ""}),
    Kind("checkpoint", "checkpoints", _CHECKPOINT),
    Kind("checkpoint_write", "writes", {**_CHECKPOINT, "task_id": "", "idx": -(2**31)}),
    Kind("run", "runs", {"run_id": ""}),
    Kind("run_event", "run_events", {"run_id": "", "sequence_number": -1}),
)


def export(owner: str, kind: Kind, after: Mapping[str, str | int]) -> Operation[list[dict[str, Any]]]:
    """The records of a kind behind a place; none behind the last one."""

    def records(rows: Rows) -> list[dict[str, Any]]:
        return [{"kind": kind.name, **json.loads(record)} for (record,) in rows]

    return Operation(
        statement=f"archive_work.{kind.plural}",
        owner=owner,
        parameters={
            "owner": owner,
            "limit": EXPORTED_AT_ONCE,
            "max_bytes": BATCH_BYTES,
            **{f"after_{name}": after[name] for name in kind.beginning},
        },
        parse=records,
        fallback=[],
        # Half an export would pass for a whole one.
        waits=False,
    )


def place_of(kind: Kind, record: Mapping[str, Any]) -> dict[str, str | int]:
    """Where a record stands among those of its kind."""
    return {name: record[name] for name in kind.beginning}


def put(owner: str, kind: Kind, rows: Sequence[Row]) -> Operation[int] | None:
    """Store what is not there yet, and say how much that was."""
    if not rows:
        return None
    return Operation(
        statement=f"archive_work.put_{kind.plural}",
        owner=owner,
        parameters={"owner": owner, "records": json.dumps([row.columns for row in rows], default=_plain)},
        parse=lambda found: int(found[0][0]),
        fallback=0,
        writes=True,
        waits=False,
    )


def _plain(value: Any) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"a record has a {type(value).__name__}")
    return value.isoformat()
