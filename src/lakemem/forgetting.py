"""What an erasure leaves: its receipt; and what puts one off, or tells of it. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lakemem.types import Namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """The receipt of an erasure. Printed, it is JSON.

    Attributes:
        owner: what the audit log calls whoever was erased: ``erased:`` and a keyed hash. It names nobody.
        event_id: the number of the erasure in the audit log of this owner.
        erased_at: when.
        actor: the Postgres role that did it.
        requested_by: who asked for it, where that was said.
        reason: why, where that was said.
        counts: how many rows went, by table; of the audit log, how many now bear the hash.
    """

    owner: str
    event_id: int
    erased_at: datetime
    actor: str
    requested_by: str | None = None
    reason: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows went, of all tables but the audit log."""
        return sum(count for table, count in self.counts.items() if table != "memory_events")

    @property
    def digest(self) -> str:
        """The SHA-256 of all the rest, in hexadecimal digits: a receipt that was changed has another one."""
        return hashlib.sha256(_canonical(self._facts())).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Everything that it says, the digest included, as JSON can say it."""
        return {**self._facts(), "digest": self.digest}

    def __str__(self) -> str:
        return json.dumps(self.to_dict())

    def _facts(self) -> dict[str, Any]:
        return {
            "owner": self.owner,
            "event_id": self.event_id,
            "erased_at": self.erased_at.isoformat(),
            "actor": self.actor,
            "requested_by": self.requested_by,
            "reason": self.reason,
            "counts": dict(sorted(self.counts.items())),
        }


def _canonical(facts: Mapping[str, Any]) -> bytes:
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A legal hold: while there is one, nothing of its owner is removed.

    Attributes:
        name: such as the number of a case.
        reason: why it was placed.
        placed_by: who did so.
        placed_at: when.
    """

    name: str
    reason: str
    placed_by: str
    placed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One entry of the audit log. It never has a text.

    Attributes:
        event_id: its number; a later one of the same owner has a higher number.
        action: what was done.
        actor: the Postgres role that did it.
        at: when.
        namespace: where the memory is that it was done to; None where it concerns all that the owner has, and once
            that was erased.
        key: of that memory.
        version: of that memory.
        requested_by: who asked for it, where that was said.
        reason: why, where that was said.
        details: the name of a hold, or what an erasure removed.
    """

    event_id: int
    action: str
    actor: str
    at: datetime
    namespace: Namespace | None = None
    key: str | None = None
    version: int | None = None
    requested_by: str | None = None
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
