"""Memories that are checked, and not yet saved."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from lakemem.errors import InvalidInputError
from lakemem.guarding import Redact, redacted_json
from lakemem.memory_types import MemoryKind, MemoryRecord, ProposedWrite, Trust
from lakemem.trust import check_trust
from lakemem.validation import (
    MAX_VALUE_BYTES,
    check_datetime,
    check_fraction,
    check_identifier,
    check_namespace,
    check_ordinal,
    check_seconds,
    check_text,
    encode_json,
    encode_metadata,
    indexable,
)

_CONTENT = uuid.UUID("6b1d6a1e-6a0f-5d0b-9c5e-3c1f0b7d9a42")

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
    """A memory that is checked, and ready to be saved once its text is embedded.

    Attributes:
        text_says_all: whether the text was made of the value, so that two of one text are of one content.
        is_named: whether somebody chose its key, and it was not made of its content.
        is_subject: whether its key is a subject, which has one value at a time.
        trust: who says it; None where a change does not say, and leaves it as it is.
    """

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
    kind: MemoryKind = "fact"
    valid_from: datetime | None = None
    sources: list[str] = field(default_factory=list)
    text_says_all: bool = True
    is_named: bool = True
    is_subject: bool = False
    trust: Trust | None = "unknown"

    @property
    def content_hash(self) -> bytes | None:
        return None if self.value is None else content_hash(self.value)


def content_hash(value: str) -> bytes:
    """What equal values are found by."""
    return hashlib.sha256(value.encode()).digest()


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
    subject: str | None = None,
    valid_from: datetime | None = None,
    sources: Sequence[str] = (),
    trust: Trust = "unknown",
) -> Draft:
    if subject is not None:
        if key not in (None, subject):
            raise InvalidInputError("the subject is the key of its memory: give no other key besides")
        key = check_identifier("subject", subject)
    elif key is not None:
        key = check_identifier("key", key)
    labels = check_namespace(namespace)
    encoded = encode_json("value", value, limit=MAX_VALUE_BYTES)
    searched = indexable(describe(key or "", value) if text is None else check_text("text", text))
    return Draft(
        namespace=labels,
        key=_made_up_key(labels, encoded, searched) if key is None else key,
        value=encoded,
        text=searched,
        metadata=encode_metadata({} if metadata is None else metadata),
        importance=check_fraction("importance", importance, least=0),
        thread_id=None if thread_id is None else check_identifier("thread_id", thread_id),
        position=check_ordinal("position", position),
        occurred_at=check_datetime("occurred_at", occurred_at),
        expires_in=check_seconds("expires_in", expires_in),
        valid_from=_past("valid_from", valid_from),
        sources=_keys("sources", sources),
        text_says_all=text is None,
        is_named=key is not None,
        is_subject=subject is not None,
        trust=check_trust(trust),
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
    trust: Trust | None = None,
) -> Draft:
    """What an update changes; what stays None is taken over from the current version."""
    key = check_identifier("key", key)
    if not has_value and text is None and metadata is None and expires_in is None:
        raise InvalidInputError("an update needs a value, a text, metadata or expires_in")
    encoded = encode_json("value", value, limit=MAX_VALUE_BYTES) if has_value else None
    says_all = text is None
    if text is None and has_value:
        text = describe(key, value)
    if trust is None and text is not None:
        trust = "unknown"
    return Draft(
        namespace=check_namespace(namespace),
        key=key,
        value=encoded,
        text=None if text is None else indexable(check_text("text", text)),
        metadata=None if metadata is None else encode_metadata(metadata),
        expires_in=check_seconds("expires_in", expires_in),
        text_says_all=says_all,
        trust=None if trust is None else check_trust(trust),
    )


def redacted(draft: Draft, redact: Redact) -> Draft:
    """A draft without what is not to be stored; a key that was made of the content is made anew.

    Raises:
        InvalidInputError: what is not to be stored is in the key, which others look it up by.
    """
    if draft.is_named and redact(draft.key) != draft.key:
        raise InvalidInputError("the key holds a secret or a personal identifier: choose another one")
    value = draft.value and encode_json("value", redacted_json(json.loads(draft.value), redact), limit=MAX_VALUE_BYTES)
    text = draft.text
    if text and value is not None and draft.text_says_all:
        text = indexable(describe(draft.key if draft.is_named else "", json.loads(value)))
    elif text:
        text = indexable(redact(text))
    return replace(
        draft,
        key=draft.key if draft.is_named else _made_up_key(draft.namespace, value or "", text or ""),
        value=value,
        text=text,
        metadata=draft.metadata and encode_metadata(redacted_json(json.loads(draft.metadata), redact)),
    )


def proposed(owner: str, draft: Draft) -> ProposedWrite | None:
    """What a policy is shown of a draft; nothing where it brings no text."""
    if draft.text is None:
        return None
    return ProposedWrite(
        owner=owner,
        namespace=tuple(draft.namespace),
        key=draft.key if draft.is_named else None,
        text=draft.text or describe("", json.loads(draft.value or "null")),
        kind=draft.kind,
        trust=draft.trust or "unknown",
    )


def pending(owner: str, draft: Draft, embedded: Embedded) -> MemoryRecord:
    """What a caller gets while the write waits for the database: version 0 says so."""
    now = datetime.now(UTC)
    return MemoryRecord(
        namespace=tuple(draft.namespace),
        key=draft.key,
        value=None if draft.value is None else json.loads(draft.value),
        text=draft.text or "",
        metadata=json.loads(draft.metadata or "{}"),
        version=0,
        valid_from=draft.valid_from or now,
        occurred_at=draft.occurred_at,
        expires_at=None if draft.expires_in is None else now + timedelta(seconds=draft.expires_in),
        embedded=embedded.vector is not None,
        owner=owner,
        kind=draft.kind,
        thread_id=draft.thread_id,
        position=draft.position,
        importance=draft.importance,
        sources=tuple(draft.sources),
        trust=draft.trust or "unknown",
    )


def id_of_digest(digest: bytes) -> str:
    """An id that nobody chose, such as the key of a memory: a UUID, like one that is made of a content."""
    return str(uuid.UUID(bytes=digest[:16], version=5))


def describe(key: str, value: Any) -> str:
    """A text for search: the words of the key (unless it was made up) and all that the value says."""
    name = "" if _UUID.fullmatch(key) else re.sub(r"[_\-./:]+", " ", key)
    return ": ".join(part for part in (name, ", ".join(_words(value))) if part)


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


def _made_up_key(namespace: list[str], value: str, text: str) -> str:
    """A key for a content: the same for the same one, so that the primary key lets it be stored once."""
    return str(uuid.uuid5(_CONTENT, json.dumps([namespace, value, text])))


def _past(name: str, moment: datetime | None) -> datetime | None:
    moment = check_datetime(name, moment)
    if moment is not None and moment > datetime.now(UTC):
        raise InvalidInputError(f"{name} is in the future: save what is to come when it is true")
    return moment


def _keys(name: str, keys: object) -> list[str]:
    if isinstance(keys, str) or not isinstance(keys, Sequence):
        raise InvalidInputError(f"{name} must be a sequence of keys")
    return list(dict.fromkeys(check_identifier(f"a key of {name}", key) for key in keys))
