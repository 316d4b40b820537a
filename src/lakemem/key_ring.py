"""The data keys of owners, kept in memory for a while."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from lakemem.encryption import OwnerKeys


class KeyRing:
    """The data keys that a process keeps for a while.

    Args:
        size: owners, at the most.
        seconds: for which they are kept.
        clock: seconds that never go back.
    """

    def __init__(self, size: int, seconds: float, clock: Callable[[], float]) -> None:
        self._size = size
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[OwnerKeys, float]] = OrderedDict()

    def get(self, owner: str) -> OwnerKeys | None:
        with self._lock:
            found = self._kept.get(owner)
            if found is None:
                return None
            keys, until = found
            if self._clock() >= until:
                del self._kept[owner]
                return None
            self._kept.move_to_end(owner)
            return keys

    def put(self, keys: OwnerKeys, asked_at: float) -> None:
        """Keep keys that were asked for at this moment of the clock."""
        with self._lock:
            self._kept[keys.owner] = (keys, asked_at + self._seconds)
            self._kept.move_to_end(keys.owner)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def forget_owner(self, owner: str) -> None:
        with self._lock:
            self._kept.pop(owner, None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._kept)} owners>"
