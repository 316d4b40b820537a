"""What is stored, to be encrypted, or encrypted anew: read page by page, and replaced where it is still as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lakemem.operations import Operation, Rows
from lakemem.operations.archive_lines import BATCH_BYTES
from lakemem.operations.store import namespace_array
from lakemem.operations.transcripts import PAST_EVERY_ID

AT_ONCE = 500
"""Rows of one page, and of one transaction."""


@dataclass(frozen=True)
class Table:
    """A table in which something is encrypted.

    Attributes:
        kind: of its statements.
        beginning: a place before its first row, by the columns of its key behind the owner.
        content: what is encrypted, as it is read.
        sealed: what is written in its place.
        besides: what is read, too, since it tells where a row belongs.
    """

    kind: str
    beginning: Mapping[str, Any]
    content: tuple[str, ...]
    sealed: tuple[str, ...]
    besides: tuple[str, ...] = ()

    __hash__ = object.__hash__

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a row that is read."""
        return (*self.beginning, *self.besides, *self.content)

    @property
    def has_threads(self) -> bool:
        return "thread_id" in self.beginning


_CHANNEL = {"thread_id": "", "checkpoint_ns": "", "channel": ""}
_CHECKPOINT = {"thread_id": "", "checkpoint_ns": "", "checkpoint_id": ""}
_BLOB = ("type", "blob")

ITEMS = Table("items", {"thread_id": "", "position": -1}, ("item",), ("item",))
CHECKPOINTS = Table("checkpoints", _CHECKPOINT, ("type", "checkpoint"), ("type", "checkpoint"))
VALUES = Table("values", {**_CHANNEL, "version": ""}, _BLOB, _BLOB)
SEGMENTS = Table("segments", {**_CHANNEL, "position": -1}, _BLOB, _BLOB)
WRITES = Table("writes", {**_CHECKPOINT, "task_id": "", "idx": -(2**31)}, _BLOB, _BLOB, ("channel",))
MEMORIES = Table(
    "memories", {"key": "", "version": -1, "namespace": ()}, ("value", "text"), ("value", "text", "content_hash")
)
QUARANTINE = Table("quarantine", {"quarantine_id": ""}, ("draft",), ("draft",))

TABLES = (ITEMS, CHECKPOINTS, VALUES, SEGMENTS, WRITES, MEMORIES, QUARANTINE)


def page(owner: str, table: Table, after: Sequence[Any], *, thread_id: str | None = None) -> Operation[Rows]:
    """Rows behind a place; none behind the last.

    Args:
        after: the columns of the key of the last row of the page before; empty for the first page.
        thread_id: only of this thread.
    """
    place = dict(zip(table.beginning, after, strict=True)) if after else {**table.beginning}
    if thread_id is not None and not after:
        place["thread_id"] = thread_id
    return Operation(
        statement=f"resealing.{table.kind}",
        owner=owner,
        parameters={
            "owner": owner,
            **{f"after_{name}": list(value) if name == "namespace" else value for name, value in place.items()},
            "to_thread_id": PAST_EVERY_ID if thread_id is None else thread_id,
            "limit": AT_ONCE,
            "max_bytes": BATCH_BYTES,
        },
        parse=list,
        fallback=[],
        waits=False,
    )


def key_of(table: Table, row: Sequence[Any]) -> Sequence[Any]:
    """The columns of the key of a row."""
    return row[: len(table.beginning)]


def replace_rows(owner: str, table: Table, rows: Rows, sealed: Rows, *, copied_to: str | None = None) -> Operation[int]:
    """Put what was sealed in the place of what was read, and say of how many rows.

    Args:
        copied_to: the thread that the rows were copied to in the same transaction: all of them are replaced there, or
            nothing is done.
    """
    columns: dict[str, list[Any]] = {}
    for place, name in enumerate(table.beginning):
        found = [row[place] for row in rows]
        columns[_plural(name)] = [namespace_array(each) for each in found] if name == "namespace" else found
    if copied_to is not None:
        columns["thread_ids"] = [copied_to] * len(rows)
    for place, name in enumerate(table.content, len(table.columns) - len(table.content)):
        columns[f"old_{_plural(name)}"] = [row[place] for row in rows]
    for place, name in enumerate(table.sealed):
        columns[_plural(name)] = [each[place] for each in sealed]
    return Operation(
        statement=f"resealing.replace_{table.kind}",
        owner=owner,
        parameters={"owner": owner, "copied": copied_to is not None, "target_id": copied_to, **columns},
        parse=lambda found: int(found[0][0]),
        fallback=0,
        writes=True,
        waits=False,
    )


def _plural(name: str) -> str:
    return f"{name}es" if name.endswith("hash") else f"{name}s"
