"""The memories that sessions share: one for each database, login and event loop, and never more than a few."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from lakemem._async.memory import AsyncMemory

MAX_POOLS = 16


class SharedMemories:
    """Keeps memories, each of which has a pool, by what their users have in common. The least used leaves first.

    Args:
        size: how many to keep.
    """

    def __init__(self, size: int = MAX_POOLS) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._memories: OrderedDict[tuple[Hashable, asyncio.AbstractEventLoop], AsyncMemory] = OrderedDict()
        self._closing: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return len(self._memories)

    def memory(self, key: Hashable, make: Callable[[], AsyncMemory]) -> AsyncMemory:
        """Return the memory of this key on the running event loop; a new one where there is none."""
        place = (key, asyncio.get_running_loop())
        with self._lock:
            if place not in self._memories:
                self._forget_closed_loops()
                self._memories[place] = make()
            memory = self._memories[place]
            self._memories.move_to_end(place)
            leaving = [self._memories.popitem(last=False) for _ in range(len(self._memories) - self._size)]
        for (_, loop), old in leaving:
            self._close_on(loop, old)
        return memory

    async def close(self) -> None:
        """Close the memories of the running event loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            mine = [self._memories.pop(place) for place in list(self._memories) if place[1] is loop]
        for memory in mine:
            await memory.close()

    def _forget_closed_loops(self) -> None:
        """Their connections cannot be closed any more, but by the garbage collector."""
        for place in [place for place in self._memories if place[1].is_closed()]:
            del self._memories[place]

    def _close_on(self, loop: asyncio.AbstractEventLoop, memory: AsyncMemory) -> None:
        """Close a memory on its own event loop, in the background; what is under way ends first."""
        if loop is asyncio.get_running_loop():
            task = loop.create_task(memory.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        elif loop.is_running():
            asyncio.run_coroutine_threadsafe(memory.close(), loop)
