"""A storage that is opened by its first operation."""

from __future__ import annotations

import uuid
from typing import TypeVar

from lakemem._async.wrapping import AsyncWrappedStorage
from lakemem.operations import Operation

T = TypeVar("T")


class AsyncOpening(AsyncWrappedStorage):
    """Opens a storage when it is first used, for code that knows no `open`."""

    async def run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T:
        if not self.is_open:
            await self.open()
        return await super().run(operation, write_id=write_id)
