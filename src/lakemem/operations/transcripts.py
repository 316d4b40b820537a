"""What was said in all threads of an owner: finding it, and taking it out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lakemem.operations import Operation, Rows
from lakemem.operations.recall import check_query
from lakemem.thread_types import Message, ThreadHit
from lakemem.validation import MAX_IDENTIFIER_BYTES, MAX_INDEXED_TEXT, check_identifier, check_limit

MAX_RANKED = 1000
"""Items that one search cuts into words, at the least."""
BATCH_RECORDS = 1000
BATCH_BYTES = 8 * 1024 * 1024
"""A batch of an export ends with the item that exceeds this."""

PAST_EVERY_ID = "\U0010ffff" * (MAX_IDENTIFIER_BYTES // 4 + 1)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in an export: position 0 is the thread itself, before its items."""

    thread_id: str
    position: int


BEGINNING = Place("", 0)


@dataclass(frozen=True, slots=True)
class Batch:
    """Some records of an export, and after which place the next ones are; None where there are none."""

    records: Sequence[dict[str, Any]] = field(repr=False)
    end: Place | None


def search(owner: str, query: str, limit: int | None) -> Operation[list[ThreadHit]]:
    limit = check_limit(limit)
    return Operation(
        statement="transcripts.search",
        owner=owner,
        parameters={
            "owner": owner,
            "query": check_query(query),
            "limit": limit,
            "ranked": None if limit is None else max(limit, MAX_RANKED),
            "max_text": MAX_INDEXED_TEXT,
        },
        parse=lambda rows: [
            ThreadHit(thread_id, Message(position, json.loads(item), created_at), score)
            for thread_id, position, item, created_at, score in rows
        ],
        fallback=[],
    )


def export(owner: str, thread_id: str | None, after: Place) -> Operation[Batch]:
    only = None if thread_id is None else check_identifier("thread_id", thread_id)

    def batch(rows: Rows) -> Batch:
        size = sum(len(item.encode()) for _, _, _, item, *_ in rows if item is not None)
        has_all = len(rows) < BATCH_RECORDS and size < BATCH_BYTES
        return Batch([_record(row) for row in rows], None if has_all else Place(rows[-1][0], rows[-1][1]))

    return Operation(
        statement="transcripts.export",
        owner=owner,
        parameters={
            "owner": owner,
            "from_thread": only or "",
            "to_thread": only or PAST_EVERY_ID,
            "after_thread": after.thread_id,
            "after_position": after.position,
            "limit": BATCH_RECORDS,
            "max_bytes": BATCH_BYTES,
        },
        parse=batch,
        fallback=Batch([], None),
        # Half an export would pass for a whole one.
        waits=False,
    )


def _record(row: tuple[Any, ...]) -> dict[str, Any]:
    (
        thread_id,
        position,
        created_at,
        item,
        title,
        metadata,
        updated_at,
        expires_at,
        lifetime,
        forked_from,
        forked_position,
        last_position,
    ) = row
    if item is not None:
        return {
            "kind": "item",
            "thread_id": thread_id,
            "position": position,
            "created_at": _iso(created_at),
            "item": json.loads(item),
        }
    return {
        "kind": "thread",
        "thread_id": thread_id,
        "title": title,
        "metadata": json.loads(metadata),
        "created_at": _iso(created_at),
        "updated_at": _iso(updated_at),
        "expires_at": _iso(expires_at),
        "lifetime": lifetime,
        "forked_from": forked_from,
        "forked_position": forked_position,
        "last_position": last_position,
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
