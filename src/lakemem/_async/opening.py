"""A storage that is opened by its first operation."""

from __future__ import annotations

import uuid
from typing import TypeVar

from lakemem._async.database import AsyncStorage
from lakemem.operations import Operation
from lakemem.types import Health

T = TypeVar("T")


class AsyncOpening:
    """Opens a storage when it is first used, for code that knows no `open`."""

    def __init__(self, storage: AsyncStorage) -> None:
        self._storage = storage

    @property
    def is_open(self) -> bool:
        return self._storage.is_open

    @property
    def is_degraded(self) -> bool:
        return self._storage.is_degraded

    async def open(self) -> None:
        await self._storage.open()

    async def close(self) -> None:
        await self._storage.close()

    async def setup(self) -> list[str]:
        return await self._storage.setup()

    async def health(self) -> Health:
        return await self._storage.health()

    async def run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T:
        if not self._storage.is_open:
            await self._storage.open()
        return await self._storage.run(operation, write_id=write_id)
