"""What stands before a storage: it passes everything on, and a subclass does one thing more."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TypeVar

from lakemem._async.database import AsyncStorage
from lakemem.operations import Operation
from lakemem.tails import RunTails
from lakemem.types import Health

T = TypeVar("T")


class AsyncWrappedStorage:
    """Passes everything on to another storage."""

    def __init__(self, storage: AsyncStorage) -> None:
        self._storage = storage

    @property
    def is_open(self) -> bool:
        return self._storage.is_open

    @property
    def is_degraded(self) -> bool:
        return self._storage.is_degraded

    @property
    def encrypts(self) -> bool:
        return self._storage.encrypts

    # async only:
    @property
    def tails(self) -> RunTails:
        return self._storage.tails

    # end async only
    async def open(self) -> None:
        await self._storage.open()

    async def close(self) -> None:
        await self._storage.close()

    async def setup(self) -> list[str]:
        return await self._storage.setup()

    async def health(self) -> Health:
        return await self._storage.health()

    async def run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T:
        return await self._storage.run(operation, write_id=write_id)

    async def made_up_keys(self, owner: str, made: Sequence[str]) -> list[str]:
        return await self._storage.made_up_keys(owner, made)
