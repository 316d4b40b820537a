# Generated from src/lakemem/_async/auditing.py by tools/unasync.py: edit that file, then run `make generate`.
"""Reading the audit log."""

from __future__ import annotations

from collections.abc import Iterator

from lakemem._sync.database import Storage
from lakemem.forgetting import AuditEvent
from lakemem.operations import forgetting


class AuditLog:
    """What was done to whose memories. Only the owner of the tables may read it."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def of(self, owner: str) -> Iterator[AuditEvent]:
        """Yield what the log says of somebody: first what is from before they were erased, if they ever were."""
        for name in (self._storage.run(forgetting.pseudonym(owner)), owner):
            for event in self.under(name):
                yield event

    def under(self, name: str) -> Iterator[AuditEvent]:
        """Yield what stands under an owner, or under the name that an erasure gave it, in its order."""
        after = 0
        while events := self._storage.run(forgetting.events(name, after)):
            for event in events:
                yield event
            after = events[-1].event_id
