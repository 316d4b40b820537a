"""Writes that are held back: kept apart from memories, and made or dropped once somebody has decided."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from lakemem.memory_types import MemoryRecord, QuarantinedWrite
from lakemem.operations import Operation, Rows, drafting, jobs, memories, remembering, together
from lakemem.operations.drafting import Embedded
from lakemem.operations.sweeping import BATCH, SWEEP
from lakemem.utterances import Utterance
from lakemem.validation import check_identifier, check_limit

MAINTENANCE = "maintenance"
"""The owner as whom those who own the tables see what is held back of everybody; see the policy of this name."""
_IDS = uuid.UUID("3c0f4d1e-6f0b-5a8e-9a55-0b1d6f0d7c21")


@dataclass(frozen=True, slots=True)
class Held:
    """A write as it is held: what is told of it, and what it needs to be made."""

    write: QuarantinedWrite
    draft: Mapping[str, Any] = field(repr=False)


def hold(
    owner: str, draft: drafting.Draft, reason: str, *, keep_for: float, action: Literal["save", "update"] = "save"
) -> Operation[MemoryRecord]:
    """Hold back what was to be saved, and return it as a record that says so."""
    fields = dataclasses.asdict(draft)
    record = drafting.pending(owner, draft, Embedded())
    return _hold(owner, action, fields, reason, keep_for, record)


def hold_turn(
    owner: str, place: remembering.Place, draft: remembering.Draft, reason: str, *, keep_for: float, extract: bool
) -> Operation[MemoryRecord]:
    """Hold back a turn of a conversation."""
    fields = {**dataclasses.asdict(draft), "place": dataclasses.asdict(place), "extract": extract}
    record = remembering.pending(owner, place, draft)
    return _hold(owner, "remember", fields, reason, keep_for, record)


def _hold(
    owner: str,
    action: str,
    fields: Mapping[str, Any],
    reason: str,
    keep_for: float,
    record: MemoryRecord,
) -> Operation[MemoryRecord]:
    draft = json.dumps(fields, default=datetime.isoformat)
    record = dataclasses.replace(record, outcome="quarantined")
    return Operation(
        statement="quarantine.hold",
        owner=owner,
        parameters={
            "owner": owner,
            "quarantine_id": str(uuid.uuid5(_IDS, json.dumps([owner, action, draft]))),
            "action": action,
            "reason": reason,
            "trust": record.trust,
            "namespace": list(record.namespace),
            "key": record.key,
            "draft": draft,
            "keep_for": keep_for,
        },
        parse=lambda rows: record,
        fallback=record,
        writes=True,
    )


def listing(owner: str, limit: int | None) -> Operation[list[QuarantinedWrite]]:
    """What is held back of an owner, the longest held first; of everybody for `MAINTENANCE`."""
    return Operation(
        statement="quarantine.of_everybody" if owner == MAINTENANCE else "quarantine.listing",
        owner=owner,
        parameters={"owner": owner, "limit": check_limit(limit)},
        parse=lambda rows: [_held(row).write for row in rows],
        fallback=[],
        waits=False,
    )


def get(owner: str, quarantine_id: str) -> Operation[Held | None]:
    return Operation(
        statement="quarantine.get",
        owner=owner,
        parameters=_address(owner, quarantine_id),
        parse=lambda rows: _held(rows[0]) if rows else None,
        fallback=None,
        waits=False,
    )


def text_of(held: Held) -> str | None:
    """What is to be embedded before a write is made."""
    if held.write.action == "remember":
        return _turn(held)[1].utterance.text
    text: str | None = held.draft["text"]
    return text


def release(held: Held, embedded: Embedded) -> Operation[MemoryRecord | None]:
    """Make a write, and take it out of quarantine, both or neither. None for a turn that is there already.

    It takes the place of whatever stands under its key, for somebody has decided so.
    """
    owner = held.write.owner
    leave: Operation[Any] = Operation(
        statement="quarantine.leave",
        owner=owner,
        parameters=_address(owner, held.write.id),
        parse=bool,
        fallback=False,
        writes=True,
        waits=False,
    )
    both = together("quarantine.release", [leave, jobs.with_late_vectors(_write(held, embedded), [embedded])])

    def released(rows: Rows) -> MemoryRecord | None:
        made = both.parse(rows)[1]
        return made if isinstance(made, MemoryRecord) else next(iter(made), None)

    return Operation(
        statement=both.statement,
        owner=owner,
        parameters={},
        parse=released,
        fallback=None,
        writes=True,
        waits=False,
        parts=both.parts,
    )


def reject(owner: str, quarantine_id: str) -> Operation[bool]:
    """Drop a write; False where there is none."""
    return Operation(
        statement="quarantine.reject",
        owner=owner,
        parameters=_address(owner, quarantine_id),
        parse=bool,
        fallback=False,
        writes=True,
        waits=False,
    )


def owners_of_expired() -> Operation[list[str]]:
    """Some of those who have something to sweep."""
    return Operation(
        statement="quarantine.owners_of_expired",
        owner=SWEEP,
        parameters={"limit": BATCH},
        parse=lambda rows: [owner for (owner,) in rows],
        fallback=[],
        waits=False,
    )


def sweep(owner: str) -> Operation[int]:
    """Remove some of what was held long enough, and say how much."""
    return Operation(
        statement="quarantine.sweep",
        owner=owner,
        parameters={"owner": owner, "limit": BATCH},
        parse=lambda rows: int(rows[0][0]),
        fallback=0,
        writes=True,
        waits=False,
    )


def _address(owner: str, quarantine_id: str) -> dict[str, Any]:
    return {"owner": owner, "quarantine_id": check_identifier("id", quarantine_id)}


def _held(row: Sequence[Any]) -> Held:
    quarantine_id, owner, reason, action, trust, namespace, key, text, held_at, expires_at = row
    draft = json.loads(text)
    return Held(
        QuarantinedWrite(
            id=quarantine_id,
            owner=owner,
            reason=reason,
            action=action,
            trust=trust,
            namespace=tuple(namespace),
            key=key,
            text=Utterance(**draft["utterance"]).text if action == "remember" else draft["text"] or "",
            held_at=held_at,
            expires_at=expires_at,
        ),
        draft,
    )


def _write(held: Held, embedded: Embedded) -> Operation[Any]:
    owner = held.write.owner
    if held.write.action == "remember":
        place, turn = _turn(held)
        return remembering.store(owner, place, [turn], [embedded], extract=held.draft["extract"])
    draft = drafting.Draft(**_with_moments(held.draft, "occurred_at", "valid_from"))
    if held.write.action == "update":
        return memories.update(owner, draft, embedded, expected_version=None)
    return memories.save(owner, draft, embedded)


def _turn(held: Held) -> tuple[remembering.Place, remembering.Draft]:
    fields = held.draft
    utterance = Utterance(**_with_moments(fields["utterance"], "occurred_at"))
    return remembering.Place(**fields["place"]), remembering.Draft(fields["key"], fields["value"], utterance)


def _with_moments(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    moments = {name: fields[name] and datetime.fromisoformat(fields[name]) for name in names}
    return {**fields, **moments}
