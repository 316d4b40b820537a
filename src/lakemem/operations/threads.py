"""Short-term memory: the items of one thread."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from lakemem.errors import ConflictError, InvalidInputError, ThreadNotFoundError
from lakemem.operations import Operation, Rows
from lakemem.thread_types import Message, ThreadInfo
from lakemem.validation import (
    MAX_ITEM_BYTES,
    check_cursor,
    check_identifier,
    check_limit,
    check_place,
    check_seconds,
    check_title,
    decode_json_array,
    encode_json,
    encode_metadata,
)

UNCHANGED: Any = object()
"""Stands for an argument that was not given, where None means something."""


def turn_of_thread(owner: str, thread_id: str) -> str:
    """What a write to a thread takes hold of."""
    return json.dumps([owner, thread_id])


def append(owner: str, thread_id: str, items: Sequence[Mapping[str, Any]]) -> Operation[range]:
    encoded = encode_items(items)

    def positions(rows: Rows) -> range:
        before = rows[0][0]
        return range(before + 1, before + 1 + len(encoded))

    return Operation(
        statement="threads.append",
        owner=owner,
        parameters={"owner": owner, "thread_id": thread_id, "items": encoded},
        parse=positions,
        fallback=range(0),
        writes=True,
        turn=turn_of_thread(owner, thread_id),
    )


def items(owner: str, thread_id: str, limit: int | None) -> Operation[list[dict[str, Any]]]:
    return Operation(
        statement="threads.items",
        owner=owner,
        parameters={"owner": owner, "thread_id": thread_id, "limit": check_limit(limit)},
        parse=lambda rows: decode_json_array([item for (item,) in rows]),
        fallback=[],
    )


def messages(owner: str, thread_id: str, limit: int | None) -> Operation[list[Message]]:
    return Operation(
        statement="threads.messages",
        owner=owner,
        parameters={"owner": owner, "thread_id": thread_id, "limit": check_limit(limit)},
        parse=lambda rows: [Message(place, json.loads(item), created) for place, item, created in rows],
        fallback=[],
    )


def pop(owner: str, thread_id: str) -> Operation[dict[str, Any] | None]:
    return Operation(
        statement="threads.pop",
        owner=owner,
        parameters={"owner": owner, "thread_id": thread_id},
        parse=lambda rows: json.loads(rows[0][0]) if rows else None,
        fallback=None,
        writes=True,
        # Two at once would look at the same last item, and one would come back empty-handed.
        first="threads.hold",
    )


def clear(owner: str, thread_id: str) -> Operation[None]:
    return Operation(
        statement="threads.clear",
        owner=owner,
        parameters={"owner": owner, "thread_id": thread_id},
        parse=lambda rows: None,
        fallback=None,
        writes=True,
        first="threads.hold",
    )


def rewind(owner: str, thread_id: str, to: int) -> Operation[int]:
    return Operation(
        statement="threads.rewind",
        owner=owner,
        parameters={"owner": owner, "thread_id": thread_id, "position": check_place("to", to)},
        parse=lambda rows: int(rows[0][0]),
        fallback=0,
        writes=True,
        first="threads.hold",
    )


def fork(owner: str, thread_id: str, at: int, fork_id: str) -> Operation[None]:
    def check(rows: Rows) -> None:
        has_thread, has_position, forked = rows[0]
        if not has_thread:
            raise ThreadNotFoundError("there is no thread of this id to fork: append to it first")
        if not has_position:
            raise InvalidInputError(f"there is no item at position {at} of this thread: fork at one of messages()")
        if not forked:
            raise ConflictError("there is a thread of the fork's id already: choose another id, or delete it first")

    return Operation(
        statement="threads.fork",
        owner=owner,
        parameters={
            "owner": owner,
            "thread_id": thread_id,
            "position": check_place("at", at),
            "fork_id": check_identifier("thread_id", fork_id),
        },
        parse=check,
        fallback=None,
        writes=True,
        # Whether the item is there cannot be known later: what is said in a fork must follow what it was made of.
        waits=False,
    )


def update(
    owner: str,
    thread_id: str,
    *,
    title: str | None,
    metadata: Mapping[str, Any] | None,
    expires_in: float | None,
    sliding: bool,
) -> Operation[ThreadInfo]:
    """Change what is not `UNCHANGED`; None removes it."""
    if title is UNCHANGED and metadata is UNCHANGED and expires_in is UNCHANGED:
        raise InvalidInputError("an update of a thread needs a title, metadata or expires_in")
    if not isinstance(sliding, bool):
        raise InvalidInputError(f"sliding must be True or False, not {type(sliding).__name__}")
    given_title = None if title is UNCHANGED else check_title(title)
    given_metadata = None if metadata is UNCHANGED or metadata is None else encode_metadata(metadata)
    seconds = None if expires_in is UNCHANGED else check_seconds("expires_in", expires_in)
    now = datetime.now(UTC)
    return Operation(
        statement="threads.update",
        owner=owner,
        parameters={
            "owner": owner,
            "thread_id": thread_id,
            "title": given_title,
            "sets_title": title is not UNCHANGED,
            "metadata": given_metadata,
            "sets_metadata": metadata is not UNCHANGED,
            "expires_in": seconds,
            "sets_expiry": expires_in is not UNCHANGED,
            "slides": sliding,
        },
        parse=lambda rows: _info(rows[0]),
        # What a caller gets while the write waits for the database.
        fallback=ThreadInfo(
            thread_id,
            created_at=now,
            updated_at=now,
            title=given_title,
            metadata=json.loads(given_metadata or "{}"),
            expires_at=None if seconds is None else now + timedelta(seconds=seconds),
            lifetime=seconds if sliding else None,
        ),
        writes=True,
    )


def delete(owner: str, thread_id: str) -> Operation[bool]:
    return Operation(
        statement="threads.delete",
        owner=owner,
        parameters={"owner": owner, "thread_id": thread_id},
        parse=lambda rows: bool(rows[0][0]),
        fallback=True,
        writes=True,
    )


def remove_expired(owner: str, limit: int) -> Operation[int]:
    """Remove the rows of at most `limit` threads that have expired, and return how many there were.

    Nobody sees these threads any more; this gives their room back. Fewer than `limit` means that none is left,
    but for those that somebody is writing to at the moment.
    """
    return Operation(
        statement="threads.remove_expired",
        owner=owner,
        parameters={"owner": owner, "limit": check_limit(limit)},
        parse=lambda rows: int(rows[0][0]),
        fallback=0,
        writes=True,
        # To whoever repeats it until nothing is left, a 0 that is made up would be the end.
        waits=False,
    )


def info(owner: str, thread_id: str) -> Operation[ThreadInfo | None]:
    return Operation(
        statement="threads.info",
        owner=owner,
        parameters={"owner": owner, "thread_id": thread_id},
        parse=lambda rows: _info(rows[0]) if rows else None,
        fallback=None,
    )


def listing(
    owner: str, limit: int | None, *, filter: Mapping[str, Any] | None = None, after: str | None = None
) -> Operation[list[ThreadInfo]]:
    updated_at, thread_id = (None, None) if after is None else check_cursor("after", after)
    return Operation(
        statement="threads.list",
        owner=owner,
        parameters={
            "owner": owner,
            "limit": check_limit(limit),
            "filter": encode_metadata({} if filter is None else filter, "filter"),
            "updated_at": updated_at,
            "after": thread_id,
        },
        parse=lambda rows: [_info(row) for row in rows],
        fallback=[],
    )


def _info(row: tuple[Any, ...]) -> ThreadInfo:
    thread_id, created_at, updated_at, title, metadata, expires_at, lifetime, forked_from, forked_position = row
    return ThreadInfo(
        thread_id,
        created_at=created_at,
        updated_at=updated_at,
        title=title,
        metadata=json.loads(metadata),
        expires_at=expires_at,
        lifetime=lifetime,
        forked_from=forked_from,
        forked_position=forked_position,
    )


def encode_items(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return each item as JSON text."""
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Sequence):
        raise InvalidInputError(f"items must be a list of JSON objects, not {type(items).__name__}")
    encoded = []
    for item in items:
        if not isinstance(item, Mapping):
            raise InvalidInputError(f"an item must be a JSON object, not {type(item).__name__}")
        encoded.append(encode_json("an item", dict(item), limit=MAX_ITEM_BYTES))
    return encoded
