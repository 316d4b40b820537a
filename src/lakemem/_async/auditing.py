"""Reading the audit log."""

from __future__ import annotations

from collections.abc import AsyncIterator

from lakemem._async.database import AsyncStorage
from lakemem.forgetting import AuditEvent
from lakemem.operations import forgetting


class AsyncAuditLog:
    """What was done to whose memories. Only the owner of the tables may read it."""

    def __init__(self, storage: AsyncStorage) -> None:
        self._storage = storage

    async def of(self, owner: str) -> AsyncIterator[AuditEvent]:
        """Yield what the log says of somebody: first what is from before they were erased, if they ever were."""
        for name in (await self._storage.run(forgetting.pseudonym(owner)), owner):
            async for event in self.under(name):
                yield event

    async def under(self, name: str) -> AsyncIterator[AuditEvent]:
        """Yield what stands under an owner, or under the name that an erasure gave it, in its order."""
        after = 0
        while events := await self._storage.run(forgetting.events(name, after)):
            for event in events:
                yield event
            after = events[-1].event_id
