"""Turns of conversations: stored as they were said, and read again to extract facts from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from lakemem.guarding import Redact
from lakemem.memory_types import MemoryRecord, ProposedWrite, Trust
from lakemem.operations import Operation, Rows
from lakemem.operations.drafting import Embedded
from lakemem.utterances import Utterance, keys_of, utterances
from lakemem.validation import MAX_VALUE_BYTES, check_identifier, check_namespace, check_seconds, encode_json

BATCH = 50
"""Turns in one transaction, and in one job."""
EARLIER = 6
"""Turns that are shown to an extractor before those that it is asked about."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A turn that is checked, and ready to be stored once its text is embedded."""

    key: str
    value: str = field(repr=False)
    utterance: Utterance

    @property
    def is_named(self) -> bool:
        """Nobody chooses the key of a turn: it is made of what was said, and of its place."""
        return False

    @property
    def metadata(self) -> dict[str, str]:
        return {"speaker": self.utterance.speaker}


@dataclass(frozen=True, slots=True)
class Place:
    """Where turns belong, and how long they are kept."""

    namespace: list[str]
    thread_id: str | None
    expires_in: float | None


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn as it is read for an extractor."""

    key: str
    said: str = field(repr=False)
    speaker: str
    occurred_at: datetime | None
    thread_id: str | None
    position: int | None
    trust: Trust
    is_new: bool


def drafts(
    items: Sequence[object], *, thread_id: str | None, namespace: Sequence[str], expires_in: float | None
) -> tuple[Place, list[Draft]]:
    place = Place(
        check_namespace(namespace),
        None if thread_id is None else check_identifier("thread_id", thread_id),
        check_seconds("expires_in", expires_in),
    )
    return place, _drafts(place, utterances(items))


def redacted(place: Place, drafts: Sequence[Draft], redact: Redact) -> list[Draft]:
    """Turns without what is not to be stored; their keys, which are made of what was said, are made anew."""
    spoken = [draft.utterance for draft in drafts]
    return _drafts(place, [replace(each, said=redact(each.said), speaker=redact(each.speaker)) for each in spoken])


def proposed(owner: str, place: Place, draft: Draft) -> ProposedWrite:
    """What a policy is shown of a turn."""
    said = draft.utterance
    return ProposedWrite(
        owner=owner, namespace=tuple(place.namespace), key=None, text=said.text, kind="turn", trust=said.trust
    )


def _drafts(place: Place, spoken: Sequence[Utterance]) -> list[Draft]:
    return [
        Draft(key, encode_json("a turn", each.said, limit=MAX_VALUE_BYTES), each)
        for key, each in zip(keys_of(spoken, place.thread_id), spoken, strict=True)
    ]


def store(
    owner: str, place: Place, drafts: Sequence[Draft], embedded: Sequence[Embedded], *, extract: bool
) -> Operation[list[MemoryRecord]]:
    """Store the turns that are not there yet, and return them."""
    given = {draft.key: (draft, each) for draft, each in zip(drafts, embedded, strict=True)}

    def stored(rows: Rows) -> list[MemoryRecord]:
        found = {key: where_and_when for key, *where_and_when in rows}
        return [
            _record(owner, place, draft, each, 1, *found[key]) for key, (draft, each) in given.items() if key in found
        ]

    return Operation(
        statement="remembering.store",
        owner=owner,
        parameters={
            "owner": owner,
            "namespace": place.namespace,
            "thread_id": place.thread_id,
            "expires_in": place.expires_in,
            "extract": extract,
            "keys": [draft.key for draft in drafts],
            "values": [draft.value for draft in drafts],
            "texts": [draft.utterance.text for draft in drafts],
            "metadatas": [json.dumps(draft.metadata) for draft in drafts],
            "content_hashes": [hashlib.sha256(draft.value.encode()).digest() for draft in drafts],
            "embeddings": [each.vector for each in embedded],
            "embedding_models": [each.model for each in embedded],
            "positions": [draft.utterance.position for draft in drafts],
            "times": [draft.utterance.occurred_at for draft in drafts],
            "trusts": [draft.utterance.trust for draft in drafts],
            "lock": json.dumps([owner, "turns", place.thread_id]),
        },
        parse=stored,
        fallback=[
            replace(pending(owner, place, draft), embedded=each.vector is not None) for draft, each in given.values()
        ],
        writes=True,
        first="remembering.lock",
    )


def pending(owner: str, place: Place, draft: Draft) -> MemoryRecord:
    """A turn that is not stored yet: version 0 says so."""
    now = datetime.now(UTC)
    expires_at = None if place.expires_in is None else now + timedelta(seconds=place.expires_in)
    return _record(owner, place, draft, Embedded(), 0, draft.utterance.position, now, None, expires_at)


def as_stored(place: Place, draft: Draft) -> StoredTurn:
    """A turn that is not stored yet, as an extractor is to see it."""
    each = draft.utterance
    return StoredTurn(
        draft.key, each.said, each.speaker, each.occurred_at, place.thread_id, each.position, each.trust, is_new=True
    )


def turns(owner: str, namespace: Sequence[str], keys: Sequence[str]) -> Operation[list[StoredTurn]]:
    """Those of the turns that are still there, and what went before them."""
    return Operation(
        statement="remembering.turns",
        owner=owner,
        parameters={"owner": owner, "namespace": list(namespace), "keys": list(keys), "earlier": EARLIER},
        parse=lambda rows: [
            StoredTurn(key, str(json.loads(value)), speaker, occurred_at, thread_id, position, trust, is_new)
            for key, value, speaker, occurred_at, thread_id, position, trust, is_new in rows
        ],
        fallback=[],
        waits=False,
    )


def _record(
    owner: str,
    place: Place,
    draft: Draft,
    embedded: Embedded,
    version: int,
    position: int | None,
    valid_from: datetime,
    created_at: datetime | None,
    expires_at: datetime | None,
) -> MemoryRecord:
    return MemoryRecord(
        namespace=tuple(place.namespace),
        key=draft.key,
        value=draft.utterance.said,
        text=draft.utterance.text,
        metadata=dict(draft.metadata),
        version=version,
        valid_from=valid_from,
        occurred_at=draft.utterance.occurred_at,
        expires_at=expires_at,
        embedded=embedded.vector is not None,
        owner=owner,
        kind="turn",
        thread_id=place.thread_id,
        position=position,
        created_at=created_at,
        outcome="saved" if version else None,
        trust=draft.utterance.trust,
    )
