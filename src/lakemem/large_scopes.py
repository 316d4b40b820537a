"""Which scopes have grown so large that an index pays."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from lakemem import caches
from lakemem.operations.indexing import LARGE
from lakemem.waiting import monotonic

MAX_SCOPES = 10_000
PAUSE = 600.0
"""Seconds between two requests for an index."""


@dataclass(slots=True)
class _Scope:
    is_indexed: bool = False
    asked_at: float | None = None


class LargeScopes:
    """What searches have found of the size of what they read, of those that are large.

    A search need not know: without an index it goes through everything, and the result is the same.
    """

    def __init__(self) -> None:
        self._scopes: OrderedDict[tuple[str, ...], _Scope] = OrderedDict()
        self._lock = threading.Lock()
        caches.register(self)

    def is_indexed(self, owners: tuple[str, ...]) -> bool:
        """Whether an index serves most of what these owners have."""
        with self._lock:
            scope = self._scopes.get(owners)
            return scope is not None and scope.is_indexed

    def learn(self, owners: tuple[str, ...], memories: int, unindexed: int) -> bool:
        """Keep what a search has found, and say whether to ask for an index.

        Args:
            owners: those whose memories it read.
            memories: how many they have.
            unindexed: how many of them no index has.
        """
        with self._lock:
            if memories < LARGE:
                self._scopes.pop(owners, None)
                return False
            scope = self._scopes.setdefault(owners, _Scope())
            self._scopes.move_to_end(owners)
            while len(self._scopes) > MAX_SCOPES:
                self._scopes.popitem(last=False)
            scope.is_indexed = unindexed <= memories / 2
            now = monotonic()
            is_wanted = unindexed >= max(LARGE, memories / 10) and (
                scope.asked_at is None or now - scope.asked_at > PAUSE
            )
            if is_wanted:
                scope.asked_at = now
            return is_wanted

    def forget_owner(self, owner: str) -> None:
        with self._lock:
            for owners in [owners for owners in self._scopes if owner in owners]:
                del self._scopes[owners]
