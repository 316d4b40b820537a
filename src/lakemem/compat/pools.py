"""The pools that sessions share: one for each database, login and event loop, and never more than a few."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

from lakemem._async.database import AsyncStorage
from lakemem._async.opening import AsyncOpening
from lakemem.operations import Operation
from lakemem.types import Health

T = TypeVar("T")

MAX_POOLS = 16


class SharedPools:
    """Keeps storages by what their users have in common, the least recently used leaving first.

    Args:
        size: how many to keep.
    """

    def __init__(self, size: int = MAX_POOLS) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._storages: OrderedDict[tuple[Hashable, asyncio.AbstractEventLoop], AsyncStorage] = OrderedDict()
        self._closing: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return len(self._storages)

    def storage(self, key: Hashable, make: Callable[[], AsyncStorage]) -> AsyncStorage:
        """Return the storage of this key on the running event loop; a new one where there is none."""
        place = (key, asyncio.get_running_loop())
        with self._lock:
            if place not in self._storages:
                self._forget_closed_loops()
                self._storages[place] = AsyncOpening(make())
            storage = self._storages[place]
            self._storages.move_to_end(place)
            leaving = [self._storages.popitem(last=False) for _ in range(len(self._storages) - self._size)]
        for (_, loop), old in leaving:
            self._close_on(loop, old)
        return storage

    async def close(self) -> None:
        """Close the storages of the running event loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            mine = [self._storages.pop(place) for place in list(self._storages) if place[1] is loop]
        for storage in mine:
            await storage.close()

    def _forget_closed_loops(self) -> None:
        """Their connections cannot be closed any more, but by the garbage collector."""
        for place in [place for place in self._storages if place[1].is_closed()]:
            del self._storages[place]

    def _close_on(self, loop: asyncio.AbstractEventLoop, storage: AsyncStorage) -> None:
        """Close a storage on its own event loop, in the background; what is under way ends first."""
        if loop is asyncio.get_running_loop():
            task = loop.create_task(storage.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        elif loop.is_running():
            asyncio.run_coroutine_threadsafe(storage.close(), loop)


class SharedStorage:
    """The storage of a key, found anew for every operation: it may have been closed, or be another loop's."""

    def __init__(self, pools: SharedPools, key: Hashable, make: Callable[[], AsyncStorage]) -> None:
        self._pools = pools
        self._key = key
        self._make = make

    @property
    def is_open(self) -> bool:
        return self._storage.is_open

    @property
    def is_degraded(self) -> bool:
        return False

    async def open(self) -> None:
        await self._storage.open()

    async def close(self) -> None:
        """Leave the pool to the others."""

    async def setup(self) -> list[str]:
        return await self._storage.setup()

    async def health(self) -> Health:
        return await self._storage.health()

    async def run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T:
        return await self._storage.run(operation, write_id=write_id)

    @property
    def _storage(self) -> AsyncStorage:
        return self._pools.storage(self._key, self._make)
