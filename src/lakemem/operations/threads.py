"""Short-term memory: the items of one thread."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lakemem.errors import InvalidInputError
from lakemem.operations import Operation, Rows
from lakemem.types import Message, ThreadInfo
from lakemem.validation import MAX_ITEM_BYTES, check_limit, encode_json


def append(owner: str, thread_id: str, items: Sequence[Mapping[str, Any]]) -> Operation[range]:
    encoded = _encode_items(items)

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
    )


def items(owner: str, thread_id: str, limit: int | None) -> Operation[list[dict[str, Any]]]:
    return Operation(
        statement="threads.items",
        owner=owner,
        parameters={"owner": owner, "thread_id": thread_id, "limit": check_limit(limit)},
        parse=lambda rows: [json.loads(item) for _, item, _ in rows],
        fallback=[],
    )


def messages(owner: str, thread_id: str, limit: int | None) -> Operation[list[Message]]:
    return Operation(
        statement="threads.items",
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
        lock=f"pop {owner} {thread_id}",
    )


def clear(owner: str, thread_id: str) -> Operation[None]:
    return Operation(
        statement="threads.clear",
        owner=owner,
        parameters={"owner": owner, "thread_id": thread_id},
        parse=lambda rows: None,
        fallback=None,
        writes=True,
    )


def delete(owner: str, thread_id: str) -> Operation[bool]:
    return Operation(
        statement="threads.delete",
        owner=owner,
        parameters={"owner": owner, "thread_id": thread_id},
        parse=lambda rows: bool(rows),
        fallback=True,
        writes=True,
        first="threads.hold",
    )


def info(owner: str, thread_id: str) -> Operation[ThreadInfo | None]:
    return Operation(
        statement="threads.info",
        owner=owner,
        parameters={"owner": owner, "thread_id": thread_id},
        parse=lambda rows: ThreadInfo(*rows[0]) if rows else None,
        fallback=None,
    )


def listing(owner: str, limit: int | None) -> Operation[list[ThreadInfo]]:
    return Operation(
        statement="threads.list",
        owner=owner,
        parameters={"owner": owner, "limit": check_limit(limit)},
        parse=lambda rows: [ThreadInfo(*row) for row in rows],
        fallback=[],
    )


def _encode_items(items: Sequence[Mapping[str, Any]]) -> list[str]:
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Sequence):
        raise InvalidInputError(f"items must be a list of JSON objects, not {type(items).__name__}")
    encoded = []
    for item in items:
        if not isinstance(item, Mapping):
            raise InvalidInputError(f"an item must be a JSON object, not {type(item).__name__}")
        encoded.append(encode_json("an item", dict(item), limit=MAX_ITEM_BYTES))
    return encoded
