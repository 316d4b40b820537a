"""What this process keeps of people beside the database, so that an erasure reaches that, too."""

from __future__ import annotations

from typing import Protocol
from weakref import WeakSet


class Cache(Protocol):
    """Keeps something for later that came from what is stored."""

    def forget_owner(self, owner: str) -> None:
        """Drop what belongs to an owner, or everything where that is not known."""


_caches: WeakSet[Cache] = WeakSet()


def register(cache: Cache) -> None:
    """Let erasures in this process reach a cache, for as long as it lives."""
    _caches.add(cache)


def forget_owner(owner: str) -> None:
    """Drop what all caches of this process keep of an owner."""
    for cache in list(_caches):
        cache.forget_owner(owner)
