# Generated from src/lakemem/_async/opening.py by tools/unasync.py: edit that file, then run `make generate`.
"""A storage that is opened by its first operation."""

from __future__ import annotations

import uuid
from typing import TypeVar

from lakemem._sync.wrapping import WrappedStorage
from lakemem.operations import Operation

T = TypeVar("T")


class Opening(WrappedStorage):
    """Opens a storage when it is first used, for code that knows no `open`."""

    def run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T:
        if not self.is_open:
            self.open()
        return super().run(operation, write_id=write_id)
