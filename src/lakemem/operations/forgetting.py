"""Erasure of all that somebody has, holds, and the audit log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from time import monotonic
from typing import Any, TypeVar, cast

from lakemem.errors import InvalidInputError
from lakemem.forgetting import AuditEvent, Erasure, Hold
from lakemem.operations import Operation, Rows
from lakemem.validation import check_count, check_identifier

AUDITED_AT_ONCE = 1000
SPARE_SECONDS = 0.25
"""How long a write may be on its way to the database: it has waited that much longer than is known here."""

T = TypeVar("T")


def erase(owner: str, *, requested_by: str | None, reason: str | None) -> Operation[Erasure]:
    """Remove all that somebody has, and say how much that was."""
    return Operation(
        statement="forgetting.erase",
        owner=owner,
        parameters={"owner": owner, **who_and_why(owner, requested_by, reason)},
        parse=_erasure,
        fallback=None,  # type: ignore[arg-type]
        writes=True,
        alone=True,
        erases=True,
        waits=False,
    )


def residue(owner: str) -> Operation[dict[str, int]]:
    """How many rows there are of somebody, by table."""
    return Operation(
        statement="forgetting.residue",
        owner=owner,
        parameters={"owner": owner},
        parse=dict,
        fallback={},
        waits=False,
    )


def unless_erased(operation: Operation[T], accepted_at: float) -> Operation[T]:
    """The same write, refused where all of its owner was erased since it was accepted.

    Args:
        accepted_at: seconds on a monotonic clock.
    """
    guard: Operation[None] = Operation(
        statement="forgetting.unless_erased",
        owner=operation.owner,
        parameters=_Waiting(operation.owner, accepted_at),
        parse=lambda _: None,
        fallback=None,
        writes=True,
    )

    def without_guard(results: Rows) -> T:
        return operation.parse(results[1:]) if operation.parts else cast("T", results[1][0])

    return replace(operation, parts=(guard, *(operation.parts or (operation,))), parse=without_guard)


class _Waiting(Mapping[str, Any]):
    """Says how long a write has waited by the time that it is sent: it may wait for a connection, too."""

    def __init__(self, owner: str, accepted_at: float) -> None:
        self._owner = owner
        self._accepted_at = accepted_at

    def __getitem__(self, name: str) -> Any:
        return {"owner": self._owner, "waited": monotonic() - self._accepted_at + SPARE_SECONDS}[name]

    def __iter__(self) -> Iterator[str]:
        return iter(("owner", "waited"))

    def __len__(self) -> int:
        return 2


def hold(owner: str, name: str, *, placed_by: str, reason: str) -> Operation[Hold]:
    """Place a hold. It waits for those who are removing something, and whoever comes later finds it."""
    return Operation(
        statement="forgetting.hold",
        owner=owner,
        parameters={
            "owner": owner,
            "name": _check_nameless("name", name, owner),
            **who_and_why(owner, placed_by, reason),
        },
        parse=lambda rows: _hold(*rows[0]),
        fallback=None,  # type: ignore[arg-type]
        writes=True,
        alone=True,
        waits=False,
    )


def release(owner: str, name: str, *, released_by: str, reason: str | None) -> Operation[bool]:
    """Lift a hold; False where there is none of this name."""
    return Operation(
        statement="forgetting.release",
        owner=owner,
        parameters={
            "owner": owner,
            "name": check_identifier("name", name),
            **who_and_why(owner, released_by, reason),
        },
        parse=bool,
        fallback=False,
        writes=True,
        alone=True,
        waits=False,
    )


def holds(owner: str) -> Operation[list[Hold]]:
    """The holds that are placed, the oldest first."""
    return Operation(
        statement="forgetting.holds",
        owner=owner,
        parameters={"owner": owner},
        parse=lambda rows: [_hold(*row) for row in rows],
        fallback=[],
        waits=False,
    )


def pseudonym(owner: str) -> Operation[str]:
    """What the audit log calls somebody who was erased."""
    return Operation(
        statement="forgetting.pseudonym",
        owner=owner,
        parameters={"owner": owner},
        parse=lambda rows: str(rows[0][0]),
        fallback="",
        waits=False,
    )


def events(owner: str, after: int, limit: int = AUDITED_AT_ONCE) -> Operation[list[AuditEvent]]:
    """Entries of the audit log behind a number."""
    return Operation(
        statement="forgetting.events",
        owner=owner,
        parameters={"owner": owner, "after": after, "limit": check_count("limit", limit)},
        parse=lambda rows: [_event(*row) for row in rows],
        fallback=[],
        waits=False,
    )


def note(owner: str, action: str, *, requested_by: str | None = None, reason: str | None = None) -> Operation[None]:
    """Write what concerns all that somebody has to the audit log."""
    return Operation(
        statement="forgetting.note",
        owner=owner,
        parameters={
            "owner": owner,
            "action": action,
            **who_and_why(owner, requested_by, reason),
        },
        parse=lambda _: None,
        fallback=None,
        writes=True,
        waits=False,
    )


def who_and_why(owner: str, requested_by: str | None, reason: str | None) -> dict[str, str | None]:
    """Check what the audit log says for ever. Who asks may be the person in question: that is put in other words."""
    who = None if requested_by is None else check_identifier("requested_by", requested_by)
    if who is not None and who != owner.partition(":")[2]:
        _check_nameless("requested_by", who, owner)
    return {"requested_by": who, "reason": None if reason is None else _check_nameless("reason", reason, owner)}


def _check_nameless(name: str, given: str, owner: str) -> str:
    person = owner.partition(":")[2]
    if re.search(rf"(?<!\w){re.escape(person)}(?!\w)", check_identifier(name, given)):
        raise InvalidInputError(
            f"{name} stays in the audit log when its subject is erased: name a case there, and not the person"
        )
    return given


def _erasure(rows: Rows) -> Erasure:
    receipt = json.loads(rows[0][1])
    counts = dict(sorted(receipt["counts"].items()))
    return Erasure(**{**receipt, "erased_at": datetime.fromisoformat(receipt["erased_at"]), "counts": counts})


def _hold(name: str, reason: str, placed_by: str, placed_at: datetime) -> Hold:
    return Hold(name=name, reason=reason, placed_by=placed_by, placed_at=placed_at)


def _event(
    event_id: int,
    action: str,
    actor: str,
    at: datetime,
    namespace: list[str] | None,
    key: str | None,
    version: int | None,
    requested_by: str | None,
    reason: str | None,
    details: str | None,
) -> AuditEvent:
    return AuditEvent(
        event_id=event_id,
        action=action,
        actor=actor,
        at=at,
        namespace=None if namespace is None else tuple(namespace),
        key=key,
        version=version,
        requested_by=requested_by,
        reason=reason,
        details={} if details is None else json.loads(details),
    )
