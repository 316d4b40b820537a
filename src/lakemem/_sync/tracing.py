# Generated from src/lakemem/_async/tracing.py by tools/unasync.py: edit that file, then run `make generate`.
"""Lets an observer see every operation, and what came of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from lakemem._sync.database import Storage
from lakemem.operations import Operation
from lakemem.types import Health

T = TypeVar("T")


class Observer(Protocol):
    """Is around an operation while it runs, and is given its result."""

    def __call__(self, operation: Operation[Any], /) -> AbstractContextManager[Callable[[Any], None]]: ...


class TracedStorage:
    """Stands before a storage and shows its operations to an observer."""

    def __init__(self, storage: Storage, observer: Observer) -> None:
        self._storage = storage
        self._observer = observer

    @property
    def is_open(self) -> bool:
        return self._storage.is_open

    @property
    def is_degraded(self) -> bool:
        return self._storage.is_degraded

    def open(self) -> None:
        self._storage.open()

    def close(self) -> None:
        self._storage.close()

    def setup(self) -> list[str]:
        return self._storage.setup()

    def health(self) -> Health:
        return self._storage.health()

    def run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T:
        with self._observer(operation) as note:
            result = self._storage.run(operation, write_id=write_id)
            note(result)
        return result
