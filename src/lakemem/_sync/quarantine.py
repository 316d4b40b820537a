# Generated from src/lakemem/_async/quarantine.py by tools/unasync.py: edit that file, then run `make generate`.
"""What a policy holds back of an owner: looked at, let through, or dropped."""

from __future__ import annotations

from lakemem._sync.database import Storage
from lakemem._sync.embeddings import Embeddings
from lakemem.errors import NotFoundError
from lakemem.memory_types import MemoryRecord, QuarantinedWrite
from lakemem.operations import quarantine


class Quarantine:
    """The writes of one owner that a policy holds back. They are no memories: nothing else reads them.

    While memory is down, each of these raises, also behind :func:`~lakemem.degrading`. Given by
    :attr:`ScopedMemory.quarantine`.
    """

    def __init__(self, storage: Storage, embeddings: Embeddings, owner: str) -> None:
        self._storage = storage
        self._embeddings = embeddings
        self._owner = owner

    def list(self, limit: int | None = 100) -> list[QuarantinedWrite]:
        """Return what is held back, the longest held first.

        Args:
            limit: how many at the most; None for all.
        """
        return self._storage.run(quarantine.listing(self._owner, limit))

    def release(self, id: str) -> MemoryRecord | None:
        """Make a write as it was to be made; it takes the place of whatever stands under its key now.

        Its trust stays what it was: to look at something is not to have said it.

        Returns:
            The memory; None for a turn of a conversation that is there already.

        Raises:
            NotFoundError: there is no such write any more.
            MemoryNotFoundError: the memory that was to be changed is gone, and the write with it.
            EmbeddingError: the embedder returned something that is not a vector. Nothing was written.
        """
        held = self._storage.run(quarantine.get(self._owner, id))
        if held is None:
            raise NotFoundError("there is no such write in quarantine: `list` has those that there are")
        embedded = self._embeddings.embed(quarantine.text_of(held))
        return self._storage.run(quarantine.release(held, embedded))

    def reject(self, id: str) -> bool:
        """Drop a write for good; False where there is no such write any more."""
        return self._storage.run(quarantine.reject(self._owner, id))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._owner}>"
