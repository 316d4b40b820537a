"""Long-term memory: what is known about an owner."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, cast, get_args

from lakemem.errors import ConflictError, InvalidInputError, MemoryNotFoundError
from lakemem.memory_types import DuplicatePolicy, MemoryKind, MemoryRecord
from lakemem.operations import Operation, Rows
from lakemem.operations.drafting import Draft, Embedded, pending
from lakemem.operations.recall import NO_CONDITIONS
from lakemem.operations.records import record
from lakemem.trust import above, below
from lakemem.validation import (
    check_count,
    check_datetime,
    check_fraction,
    check_identifier,
    check_limit,
    check_namespace,
    check_ordinal,
    encode_metadata,
)

_IDEMPOTENCY_KEYS = uuid.UUID("0f9a3a52-3f0e-5c1c-8d53-7b9c3f0f6f11")


def _text(value: bytes | datetime) -> str:
    """What JSON has no type for, as Postgres reads it from a text."""
    return f"\\x{value.hex()}" if isinstance(value, bytes) else value.isoformat()


_AS_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_text)


def save(
    owner: str,
    draft: Draft,
    embedded: Embedded,
    *,
    duplicates: DuplicatePolicy | None = None,
    yields: bool = False,
) -> Operation[MemoryRecord]:
    """Save a memory.

    Args:
        duplicates: what counts as nearly the same; it is looked for only where the key was made of the content.
        yields: whether what stands under the key stays there, where it was said by somebody who counts for more.
    """
    trust = draft.trust or "unknown"
    probing = "_unless_near" if duplicates is not None and not draft.is_named else ""
    lock = key_lock(owner, draft.namespace, draft.key)
    parameters = {
        "owner": owner,
        "namespace": draft.namespace,
        "key": draft.key,
        "value": draft.value,
        "text": draft.text,
        "text_says_all": draft.text_says_all,
        "metadata": draft.metadata,
        "embedding": embedded.vector,
        "embedding_model": embedded.model,
        "content_hash": draft.content_hash,
        "importance": draft.importance,
        "thread_id": draft.thread_id,
        "position": draft.position,
        "occurred_at": draft.occurred_at,
        "expires_in": draft.expires_in,
        "kind": draft.kind,
        "valid_from": draft.valid_from,
        "sources": draft.sources,
        "closing": "supersede" if draft.is_subject else "save",
        "trust": trust,
        "less_trusted": below(trust),
        "yields_to": above(trust) if yields else [],
        **_thresholds(duplicates if probing else None),
    }
    waiting = pending(owner, draft, embedded)
    return Operation(
        statement=f"memories.save{probing}",
        owner=owner,
        parameters=parameters,
        parse=_saved,
        fallback=waiting,
        writes=True,
        lock=lock,
        turn=lock,
        merge=None if probing else save_all,
        repeated=Operation(
            statement="memories.saved",
            owner=owner,
            parameters=parameters,
            # Nothing of it is there any more: version 0 says so.
            parse=lambda rows: _saved(rows) if rows else replace(waiting, outcome="unchanged"),
            fallback=waiting,
        ),
    )


def save_all(saves: Sequence[Operation[MemoryRecord]]) -> Operation[list[MemoryRecord]]:
    """Saves of different memories, of any owners, as one statement. Each row is held to its own owner."""
    given = [{**save.parameters, "place": place, "lock": save.lock} for place, save in enumerate(saves)]

    def saved(rows: Rows) -> list[MemoryRecord]:
        by_place = {row[0]: _saved([row[1:]]) for row in rows}
        return [by_place[place] for place in range(len(saves))]

    return Operation(
        statement="memories.save_all",
        owner=saves[0].owner,
        parameters={"saves": _AS_JSON.encode(given)},
        parse=saved,
        fallback=[save.fallback for save in saves],
        writes=True,
    )


def write_id(idempotency_key: str | None) -> uuid.UUID | None:
    """The mark of a write that is to be done once, by the name that a caller gives it."""
    if idempotency_key is None:
        return None
    return uuid.uuid5(_IDEMPOTENCY_KEYS, check_identifier("idempotency_key", idempotency_key))


def update(
    owner: str, draft: Draft, embedded: Embedded, *, expected_version: int | None, yields: bool = False
) -> Operation[MemoryRecord]:
    trust = draft.trust or "unknown"

    def updated(rows: Rows) -> MemoryRecord:
        if rows:
            return _saved(rows)
        if expected_version is not None:
            raise ConflictError(
                f"this memory is not at version {expected_version} any more: read it again, then update"
            )
        raise MemoryNotFoundError("there is no memory under this key: save it first")

    return Operation(
        statement="memories.update",
        owner=owner,
        parameters={
            "owner": owner,
            "namespace": draft.namespace,
            "key": draft.key,
            "value": draft.value,
            "text": draft.text,
            "metadata": draft.metadata,
            "embedding": embedded.vector,
            "embedding_model": embedded.model,
            "content_hash": draft.content_hash,
            "expires_in": draft.expires_in,
            "expected_version": check_ordinal("expected_version", expected_version),
            "trust": trust,
            "more_trusted": [] if draft.trust is None else above(trust),
            "yields_to": above(trust) if yields else [],
        },
        parse=updated,
        fallback=pending(owner, draft, embedded),
        writes=True,
        lock=key_lock(owner, draft.namespace, draft.key),
    )


def get(
    owner: str, key: str, namespace: Sequence[str], *, as_of: datetime | None = None
) -> Operation[MemoryRecord | None]:
    return Operation(
        statement="memories.get" if as_of is None else "memories.get_then",
        owner=owner,
        parameters={**address_of(owner, namespace, key), "as_of": check_datetime("as_of", as_of)},
        parse=lambda rows: record(rows[0]) if rows else None,
        fallback=None,
    )


def items(
    owner: str,
    *,
    namespace: Sequence[str],
    filter: Mapping[str, Any] | None,
    limit: int | None,
    offset: int,
    as_of: datetime | None = None,
    kind: MemoryKind | None = None,
    conditions: str = NO_CONDITIONS,
) -> Operation[list[MemoryRecord]]:
    """Memories, the newest first; `conditions` are those of :func:`lakemem.operations.store.conditions`."""
    return Operation(
        statement="memories.items" if as_of is None else "memories.items_then",
        owner=owner,
        parameters={
            "owner": owner,
            "namespace": check_namespace(namespace),
            "filter": encode_filter(filter),
            "conditions": conditions,
            "limit": check_limit(limit),
            "offset": check_count("offset", offset),
            "as_of": check_datetime("as_of", as_of),
            "kind": _kind(kind),
        },
        parse=lambda rows: [record(row) for row in rows],
        fallback=[],
    )


def delete(owner: str, key: str, namespace: Sequence[str], *, erase: bool) -> Operation[bool]:
    address = address_of(owner, namespace, key)
    return Operation(
        statement="memories.erase" if erase else "memories.delete",
        owner=owner,
        parameters=address,
        parse=lambda rows: bool(rows),
        fallback=True,
        writes=True,
        lock=key_lock(owner, address["namespace"], address["key"]),
    )


def encode_filter(filter: Mapping[str, Any] | None) -> str:
    return encode_metadata({} if filter is None else filter, "filter")


def address_of(owner: str, namespace: Sequence[str], key: str) -> dict[str, Any]:
    return {
        "owner": owner,
        "namespace": check_namespace(namespace),
        "key": check_identifier("key", key),
    }


def key_lock(owner: str, namespace: Sequence[str], key: str) -> str:
    return json.dumps([owner, list(namespace), key])


def _kind(kind: object) -> str | None:
    if kind is not None and kind not in get_args(MemoryKind):
        raise InvalidInputError("kind must be 'fact' or 'turn'")
    return cast("str | None", kind)


def _thresholds(policy: DuplicatePolicy | None) -> dict[str, float | None]:
    if policy is None:
        return dict.fromkeys(("merge", "link", "overlap"))
    return {name: check_fraction(name, getattr(policy, name), least=0) for name in ("merge", "link", "overlap")}


def _saved(rows: Rows) -> MemoryRecord:
    return record(rows[0], rows[0][-1])
