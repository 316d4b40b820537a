"""The parts of graceful degradation that wait for nothing: a circuit breaker, and a buffer of writes."""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Generic, TypeVar

from lakemem.errors import CredentialError, SchemaError, StorageUnavailableError
from lakemem.operations import Operation

T = TypeVar("T")

OUTAGES = (StorageUnavailableError, CredentialError, SchemaError, TimeoutError)
"""What an agent can live through. Any other error is a mistake in a program, and is raised."""


class CircuitBreaker:
    """Says whether to try Postgres, so that only one caller in a while waits for a server that is down.

    Args:
        cooldown: seconds after a failure until the next try.
        clock: seconds on a monotonic clock.
    """

    def __init__(self, cooldown: float, clock: Callable[[], float]) -> None:
        self._cooldown = cooldown
        self._clock = clock
        self._lock = threading.Lock()
        self._detail: str | None = None
        self._next_try = 0.0
        self._succeeded_at = float("-inf")

    @property
    def detail(self) -> str | None:
        """What the last try met; None while all is well."""
        return self._detail

    def allows(self) -> bool:
        """Whether to try now. While the circuit is open this is True once in each cooldown."""
        with self._lock:
            if self._detail is None:
                return True
            now = self._clock()
            if now < self._next_try:
                return False
            self._next_try = now + self._cooldown
            return True

    def succeeded(self) -> bool:
        """Close the circuit. Returns whether it was open."""
        with self._lock:
            was_open, self._detail = self._detail is not None, None
            self._succeeded_at = self._clock()
            return was_open

    def failed(self, detail: str, *, began: float | None = None) -> bool:
        """Open the circuit. Returns whether it was closed.

        Args:
            began: when the try that failed was begun. If another has succeeded since, it is old news.
        """
        with self._lock:
            if began is not None and began < self._succeeded_at:
                return False
            was_closed, self._detail = self._detail is None, detail
            self._next_try = self._clock() + self._cooldown
            return was_closed


@dataclass(frozen=True, slots=True)
class PendingWrite(Generic[T]):
    """An accepted write, and the id under which it is applied once.

    Attributes:
        accepted_at: seconds on a monotonic clock.
    """

    operation: Operation[T]
    write_id: uuid.UUID = field(default_factory=uuid.uuid4)
    accepted_at: float = field(default_factory=monotonic)


class WriteBuffer:
    """Accepted writes that wait for the database, in their order.

    Args:
        max_writes: how many it holds.
        max_bytes: how many bytes their parameters may take together.
    """

    def __init__(self, max_writes: int, max_bytes: int) -> None:
        self._max_writes = max_writes
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._writes: deque[PendingWrite[Any]] = deque()
        self._bytes = 0
        self._refused = 0
        self._failed = 0

    def __len__(self) -> int:
        return len(self._writes)

    @property
    def refused(self) -> int:
        """How many writes found no room."""
        return self._refused

    @property
    def failed(self) -> int:
        """How many writes Postgres refused for good."""
        return self._failed

    def accept(self, write: PendingWrite[Any]) -> bool:
        """Keep a write; False where there is no room for it."""
        with self._lock:
            size = write.operation.size
            if len(self._writes) >= self._max_writes or self._bytes + size > self._max_bytes:
                self._refused += 1
                return False
            self._writes.append(write)
            self._bytes += size
            return True

    def first(self) -> PendingWrite[Any] | None:
        """The write that is to be replayed next."""
        with self._lock:
            return self._writes[0] if self._writes else None

    def done(self, write: PendingWrite[Any], *, failed: bool = False) -> None:
        """Let go of the first write: it is applied, or refused for good."""
        with self._lock:
            self._writes.remove(write)
            self._bytes -= write.operation.size
            self._failed += failed

    def drop(self, owner: str) -> None:
        """Let go of what waits to be written for an owner."""
        with self._lock:
            self._writes = deque(write for write in self._writes if write.operation.owner != owner)
            self._bytes = sum(write.operation.size for write in self._writes)
