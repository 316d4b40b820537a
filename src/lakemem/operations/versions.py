"""The versions of memories: read, brought back, and forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from lakemem.errors import InvalidInputError, MemoryNotFoundError
from lakemem.memory_types import MemoryRecord
from lakemem.operations import Operation, Rows
from lakemem.operations.memories import address_of, encode_filter, key_lock
from lakemem.operations.records import record
from lakemem.validation import check_datetime, check_identifier, check_namespace, check_place


def history(owner: str, key: str, namespace: Sequence[str]) -> Operation[list[MemoryRecord]]:
    return Operation(
        statement="memories.history",
        owner=owner,
        parameters=address_of(owner, namespace, key),
        parse=lambda rows: [record(row) for row in rows],
        fallback=[],
    )


def revert(owner: str, key: str, version: int, namespace: Sequence[str]) -> Operation[MemoryRecord]:
    def reverted(rows: Rows) -> MemoryRecord:
        if rows:
            return record(rows[0])
        raise MemoryNotFoundError("this memory has no such version: `history` has those that there are")

    address = address_of(owner, namespace, key)
    return Operation(
        statement="memories.revert",
        owner=owner,
        parameters={**address, "version": check_place("version", version)},
        parse=reverted,
        # What the old version says is not known while memory is down.
        waits=False,
        fallback=MemoryRecord(tuple(address["namespace"]), key, None, "", {}, 0, datetime.now(UTC)),
        writes=True,
        lock=key_lock(owner, address["namespace"], address["key"]),
    )


def forget(
    owner: str,
    *,
    key: str | None,
    namespace: Sequence[str] | None,
    filter: Mapping[str, Any] | None,
    thread_id: str | None,
    before: datetime | None,
    erase: bool,
) -> Operation[int]:
    if key is None and not namespace and not filter and thread_id is None and before is None:
        raise InvalidInputError(
            "nothing says what to forget: give a key, a namespace, a filter, a thread_id or a moment `before`; "
            "an empty namespace or filter would be everything"
        )
    return Operation(
        statement="memories.forget_for_good" if erase else "memories.forget",
        owner=owner,
        parameters={
            "owner": owner,
            "key": None if key is None else check_identifier("key", key),
            "namespace": None if namespace is None else check_namespace(namespace),
            "filter": None if filter is None else encode_filter(filter),
            "thread_id": None if thread_id is None else check_identifier("thread_id", thread_id),
            "until": check_datetime("before", before),
        },
        parse=lambda rows: int(rows[0][0]),
        fallback=0,
        writes=True,
        # Whoever is told that something is forgotten relies on it.
        waits=False,
    )
