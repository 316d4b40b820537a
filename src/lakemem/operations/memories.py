"""Long-term memory: what is known about an owner."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from lakemem.errors import ConflictError, InvalidInputError, MemoryNotFoundError
from lakemem.operations import Operation, Rows
from lakemem.types import MemoryRecord
from lakemem.validation import (
    MAX_VALUE_BYTES,
    check_count,
    check_datetime,
    check_fraction,
    check_identifier,
    check_limit,
    check_namespace,
    check_ordinal,
    check_seconds,
    check_text,
    encode_json,
    encode_metadata,
    indexable,
)

NO_CONDITIONS = "[]"

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Embedded:
    """A text's vector, as pgvector writes it, and the model that made it; both None without one.

    Attributes:
        is_late: whether there is no vector because the embedder is down, so that one is to come.
    """

    vector: str | None = field(default=None, repr=False)
    model: str | None = None
    is_late: bool = False

    @classmethod
    def of(cls, vector: str | None, model: str) -> Embedded:
        return cls(vector, None if vector is None else model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A memory that is checked, and ready to be saved once its text is embedded."""

    namespace: list[str]
    key: str
    value: str | None = field(repr=False)
    text: str | None = field(repr=False)
    metadata: str | None = field(repr=False)
    importance: float = 0.5
    thread_id: str | None = None
    position: int | None = None
    occurred_at: datetime | None = None
    expires_in: float | None = None

    @property
    def content_hash(self) -> bytes | None:
        return None if self.value is None else hashlib.sha256(self.value.encode()).digest()


def draft(
    key: str | None,
    value: Any,
    *,
    namespace: Sequence[str],
    text: str | None,
    metadata: Mapping[str, Any] | None,
    importance: float,
    thread_id: str | None,
    position: int | None,
    occurred_at: datetime | None,
    expires_in: float | None,
) -> Draft:
    key = str(uuid.uuid4()) if key is None else check_identifier("key", key)
    encoded = encode_json("value", value, limit=MAX_VALUE_BYTES)
    return Draft(
        namespace=check_namespace(namespace),
        key=key,
        value=encoded,
        text=indexable(describe(key, value) if text is None else check_text("text", text)),
        metadata=encode_metadata({} if metadata is None else metadata),
        importance=check_fraction("importance", importance, least=0),
        thread_id=None if thread_id is None else check_identifier("thread_id", thread_id),
        position=check_ordinal("position", position),
        occurred_at=check_datetime("occurred_at", occurred_at),
        expires_in=check_seconds("expires_in", expires_in),
    )


def change(
    key: str,
    value: Any,
    *,
    has_value: bool,
    namespace: Sequence[str],
    text: str | None,
    metadata: Mapping[str, Any] | None,
    expires_in: float | None,
) -> Draft:
    """What an update changes; what stays None is taken over from the current version."""
    key = check_identifier("key", key)
    if not has_value and text is None and metadata is None and expires_in is None:
        raise InvalidInputError("an update needs a value, a text, metadata or expires_in")
    encoded = encode_json("value", value, limit=MAX_VALUE_BYTES) if has_value else None
    if text is None and has_value:
        text = describe(key, value)
    return Draft(
        namespace=check_namespace(namespace),
        key=key,
        value=encoded,
        text=None if text is None else indexable(check_text("text", text)),
        metadata=None if metadata is None else encode_metadata(metadata),
        expires_in=check_seconds("expires_in", expires_in),
    )


def save(owner: str, draft: Draft, embedded: Embedded) -> Operation[MemoryRecord]:
    def record(rows: Rows) -> MemoryRecord:
        version, valid_from, expires_at = rows[0]
        return _drafted(draft, embedded, version=version, valid_from=valid_from, expires_at=expires_at)

    return Operation(
        statement="memories.save",
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
            "importance": draft.importance,
            "thread_id": draft.thread_id,
            "position": draft.position,
            "occurred_at": draft.occurred_at,
            "expires_in": draft.expires_in,
        },
        parse=record,
        fallback=_pending(draft, embedded),
        writes=True,
        lock=key_lock(owner, draft.namespace, draft.key),
    )


def update(owner: str, draft: Draft, embedded: Embedded, *, expected_version: int | None) -> Operation[MemoryRecord]:
    def record(rows: Rows) -> MemoryRecord:
        if rows:
            return _record(rows[0])
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
        },
        parse=record,
        fallback=_pending(draft, embedded),
        writes=True,
        lock=key_lock(owner, draft.namespace, draft.key),
    )


def get(owner: str, key: str, namespace: Sequence[str]) -> Operation[MemoryRecord | None]:
    return Operation(
        statement="memories.get",
        owner=owner,
        parameters=_address(owner, namespace, key),
        parse=lambda rows: _record(rows[0]) if rows else None,
        fallback=None,
    )


def items(
    owner: str,
    *,
    namespace: Sequence[str],
    filter: Mapping[str, Any] | None,
    limit: int | None,
    offset: int,
    conditions: str = NO_CONDITIONS,
) -> Operation[list[MemoryRecord]]:
    """Current memories, the newest first; `conditions` are those of :func:`lakemem.operations.store.conditions`."""
    return Operation(
        statement="memories.items",
        owner=owner,
        parameters={
            "owner": owner,
            "namespace": check_namespace(namespace),
            "filter": _filter(filter),
            "conditions": conditions,
            "limit": check_limit(limit),
            "offset": check_count("offset", offset),
        },
        parse=lambda rows: [_record(row) for row in rows],
        fallback=[],
    )


def delete(owner: str, key: str, namespace: Sequence[str], *, erase: bool) -> Operation[bool]:
    address = _address(owner, namespace, key)
    return Operation(
        statement="memories.erase" if erase else "memories.delete",
        owner=owner,
        parameters=address,
        parse=lambda rows: bool(rows),
        fallback=True,
        writes=True,
        lock=key_lock(owner, address["namespace"], address["key"]),
    )


def describe(key: str, value: Any) -> str:
    """A text for search: the words of the key (unless it was made up) and all that the value says."""
    parts = [] if _UUID.fullmatch(key) else [re.sub(r"[_\-./:]+", " ", key)]
    parts.extend(_words(value))
    return ": ".join(part for part in (parts[0] if parts else "", ", ".join(parts[1:])) if part)


def _words(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        words = []
        for name, part in value.items():
            inner = ", ".join(_words(part))
            words.append(f"{str(name).replace('_', ' ')} {inner}".strip())
        return words
    if isinstance(value, list | tuple):
        return [word for part in value for word in _words(part)]
    return [] if value is None else [json.dumps(value)]


def _filter(filter: Mapping[str, Any] | None) -> str:
    return encode_metadata({} if filter is None else filter, "filter")


def _address(owner: str, namespace: Sequence[str], key: str) -> dict[str, Any]:
    return {
        "owner": owner,
        "namespace": check_namespace(namespace),
        "key": check_identifier("key", key),
    }


def key_lock(owner: str, namespace: Sequence[str], key: str) -> str:
    return json.dumps([owner, list(namespace), key])


def _record(row: tuple[Any, ...]) -> MemoryRecord:
    (
        namespace,
        key,
        value,
        text,
        metadata,
        version,
        valid_from,
        valid_to,
        occurred_at,
        expires_at,
        embedded,
    ) = row
    return MemoryRecord(
        namespace=tuple(namespace),
        key=key,
        value=json.loads(value),
        text=text,
        metadata=json.loads(metadata),
        version=version,
        valid_from=valid_from,
        valid_to=valid_to,
        occurred_at=occurred_at,
        expires_at=expires_at,
        embedded=embedded,
    )


def _drafted(
    draft: Draft,
    embedded: Embedded,
    *,
    version: int,
    valid_from: datetime,
    expires_at: datetime | None,
) -> MemoryRecord:
    return MemoryRecord(
        namespace=tuple(draft.namespace),
        key=draft.key,
        value=None if draft.value is None else json.loads(draft.value),
        text=draft.text or "",
        metadata=json.loads(draft.metadata or "{}"),
        version=version,
        valid_from=valid_from,
        occurred_at=draft.occurred_at,
        expires_at=expires_at,
        embedded=embedded.vector is not None,
    )


def _pending(draft: Draft, embedded: Embedded) -> MemoryRecord:
    """What a caller gets while the write waits for the database: version 0 says so."""
    now = datetime.now(UTC)
    expires_at = None if draft.expires_in is None else now + timedelta(seconds=draft.expires_in)
    return _drafted(draft, embedded, version=0, valid_from=now, expires_at=expires_at)
