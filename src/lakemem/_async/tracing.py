"""Lets an observer see every operation, and what came of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from lakemem._async.database import AsyncStorage
from lakemem.operations import Operation
from lakemem.types import Health

T = TypeVar("T")


class AsyncObserver(Protocol):
    """Is around an operation while it runs, and is given its result."""

    def __call__(self, operation: Operation[Any], /) -> AbstractContextManager[Callable[[Any], None]]: ...


class AsyncTracedStorage:
    """Stands before a storage and shows its operations to an observer."""

    def __init__(self, storage: AsyncStorage, observer: AsyncObserver) -> None:
        self._storage = storage
        self._observer = observer

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
        with self._observer(operation) as note:
            result = await self._storage.run(operation, write_id=write_id)
            note(result)
        return result
