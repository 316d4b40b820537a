# Generated from src/lakemem/_async/threads.py by tools/unasync.py: edit that file, then run `make generate`.
"""One conversation of one user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lakemem._sync.database import Storage
from lakemem.operations import threads
from lakemem.types import Message, ThreadInfo


class Thread:
    """The items of one conversation: messages, tool calls, tool results, in the order they were appended.

    Every method is one round trip and one transaction. A thread begins with its first item; to anyone but its
    owner it does not exist.
    """

    def __init__(self, storage: Storage, owner: str, thread_id: str) -> None:
        self._storage = storage
        self._owner = owner
        self.thread_id = thread_id

    def append(self, items: Sequence[Mapping[str, Any]]) -> range:
        """Add JSON objects at the end, all or none of them, and return their positions.

        They come back exactly as they are: key order, unicode and ``\\u0000`` included.

        Raises:
            InvalidInputError: an item is not a JSON object, or takes more than 8 MiB. Nothing was written.
        """
        operation = threads.append(self._owner, self.thread_id, items)
        return self._storage.run(operation) if items else range(0)

    def items(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Return the newest `limit` items (None for all), the oldest of them first."""
        return self._storage.run(threads.items(self._owner, self.thread_id, limit))

    def messages(self, limit: int | None = None) -> list[Message]:
        """Return the newest `limit` items (None for all) with their positions and times, oldest first."""
        return self._storage.run(threads.messages(self._owner, self.thread_id, limit))

    def pop(self) -> dict[str, Any] | None:
        """Remove the last item and return it; None where there is none."""
        return self._storage.run(threads.pop(self._owner, self.thread_id))

    def clear(self) -> None:
        """Remove all items. The thread itself stays, and its positions go on counting."""
        self._storage.run(threads.clear(self._owner, self.thread_id))

    def delete(self) -> bool:
        """Remove the thread with its items and checkpoints; False where there was none."""
        return self._storage.run(threads.delete(self._owner, self.thread_id))

    def info(self) -> ThreadInfo | None:
        """Return when the thread began and was last written to; None where there is none."""
        return self._storage.run(threads.info(self._owner, self.thread_id))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.thread_id!r}>"
