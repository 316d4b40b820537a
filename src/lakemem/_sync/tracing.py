# Generated from src/lakemem/_async/tracing.py by tools/unasync.py: edit that file, then run `make generate`.
"""Lets an observer see every operation, and what came of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from lakemem._sync.database import Storage
from lakemem._sync.wrapping import WrappedStorage
from lakemem.operations import Operation

T = TypeVar("T")


class Observer(Protocol):
    """Is around an operation while it runs, and is given its result."""

    def __call__(self, operation: Operation[Any], /) -> AbstractContextManager[Callable[[Any], None]]: ...


class TracedStorage(WrappedStorage):
    """Stands before a storage and shows its operations to an observer."""

    def __init__(self, storage: Storage, observer: Observer) -> None:
        super().__init__(storage)
        self._observer = observer

    def run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T:
        with self._observer(operation) as note:
            result = super().run(operation, write_id=write_id)
            note(result)
        return result
