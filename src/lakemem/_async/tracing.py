"""Lets an observer see every operation, and what came of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from lakemem._async.database import AsyncStorage
from lakemem._async.wrapping import AsyncWrappedStorage
from lakemem.operations import Operation

T = TypeVar("T")


class AsyncObserver(Protocol):
    """Is around an operation while it runs, and is given its result."""

    def __call__(self, operation: Operation[Any], /) -> AbstractContextManager[Callable[[Any], None]]: ...


class AsyncTracedStorage(AsyncWrappedStorage):
    """Stands before a storage and shows its operations to an observer."""

    def __init__(self, storage: AsyncStorage, observer: AsyncObserver) -> None:
        super().__init__(storage)
        self._observer = observer

    async def run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T:
        with self._observer(operation) as note:
            result = await super().run(operation, write_id=write_id)
            note(result)
        return result
