# Generated from src/lakemem/_async/wrapping.py by tools/unasync.py: edit that file, then run `make generate`.
"""What stands before a storage: it passes everything on, and a subclass does one thing more."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TypeVar

from lakemem._sync.database import Storage
from lakemem.operations import Operation
from lakemem.types import Health

T = TypeVar("T")


class WrappedStorage:
    """Passes everything on to another storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    @property
    def is_open(self) -> bool:
        return self._storage.is_open

    @property
    def is_degraded(self) -> bool:
        return self._storage.is_degraded

    @property
    def encrypts(self) -> bool:
        return self._storage.encrypts

    def open(self) -> None:
        self._storage.open()

    def close(self) -> None:
        self._storage.close()

    def setup(self) -> list[str]:
        return self._storage.setup()

    def health(self) -> Health:
        return self._storage.health()

    def run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T:
        return self._storage.run(operation, write_id=write_id)

    def made_up_keys(self, owner: str, made: Sequence[str]) -> list[str]:
        return self._storage.made_up_keys(owner, made)
