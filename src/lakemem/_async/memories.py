"""Memories under their keys: saved, read, changed and deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from lakemem._async.recall import AsyncRecall
from lakemem.operations import memories
from lakemem.types import MemoryRecord

_UNCHANGED: Any = object()


class AsyncMemories(AsyncRecall):
    """What one owner remembers across conversations.

    A memory is a JSON value under a key, in a namespace: a tuple of labels, such as ``("preferences",
    "travel")``. Saving under the same key again makes a new version.
    """

    async def save(
        self,
        key: str | None,
        value: Any,
        *,
        namespace: Sequence[str] = (),
        text: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        importance: float = 0.5,
        thread_id: str | None = None,
        position: int | None = None,
        occurred_at: datetime | None = None,
        expires_in: float | None = None,
    ) -> MemoryRecord:
        """Remember a JSON value; a value that is there already becomes an earlier version.

        Args:
            key: the name of the memory; None to make one up.
            value: what to remember: anything that JSON can say.
            namespace: where the key belongs; the same key in another namespace is another memory.
            text: what search reads; by default the words of the key and the value.
            metadata: a JSON object to filter by.
            importance: 0 to 1.
            thread_id, position: the thread and the item it was learnt from.
            occurred_at: when it happened.
            expires_in: seconds until it is forgotten.

        Returns:
            The version that was saved.

        Raises:
            InvalidInputError: an argument cannot be stored. Nothing was written.
            EmbeddingError: the embedder returned something that is not a vector. Nothing was written.
        """
        draft = memories.draft(
            key,
            value,
            namespace=namespace,
            text=text,
            metadata=metadata,
            importance=importance,
            thread_id=thread_id,
            position=position,
            occurred_at=occurred_at,
            expires_in=expires_in,
        )
        embedded = await self._embeddings.embed(draft.text)
        return await self._storage.run(memories.save(self._owner, draft, embedded))

    async def get(self, key: str, *, namespace: Sequence[str] = ()) -> MemoryRecord | None:
        """Return the current version of a memory; None where there is none, or it has expired."""
        return await self._storage.run(memories.get(self._owner, key, namespace))

    async def items(
        self,
        *,
        namespace: Sequence[str] = (),
        filter: Mapping[str, Any] | None = None,
        limit: int | None = 100,
        offset: int = 0,
    ) -> list[MemoryRecord]:
        """Return current memories, the newest first.

        Args:
            namespace: the first labels of the namespaces to look in; by default all.
            filter: what their metadata must contain.
            limit: how many at the most; None for all.
            offset: how many to leave out first.
        """
        return await self._storage.run(
            memories.items(self._owner, namespace=namespace, filter=filter, limit=limit, offset=offset)
        )

    async def update(
        self,
        key: str,
        value: Any = _UNCHANGED,
        *,
        namespace: Sequence[str] = (),
        text: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_in: float | None = None,
        expected_version: int | None = None,
    ) -> MemoryRecord:
        """Change a memory that is there; what is not given stays as it is.

        Args:
            key: the name of the memory.
            value: the new value; the text that search reads follows it, unless `text` is given too.
            namespace: where the key belongs.
            text: what search reads.
            metadata: replaces all metadata.
            expires_in: seconds from now until it is forgotten.
            expected_version: fail unless this is the current version.

        Returns:
            The new version.

        Raises:
            MemoryNotFoundError: there is no memory under this key.
            ConflictError: it is at another version than expected.
            InvalidInputError: an argument cannot be stored. Nothing was written.
        """
        draft = memories.change(
            key,
            value,
            has_value=value is not _UNCHANGED,
            namespace=namespace,
            text=text,
            metadata=metadata,
            expires_in=expires_in,
        )
        embedded = await self._embeddings.embed(draft.text)
        return await self._storage.run(memories.update(self._owner, draft, embedded, expected_version=expected_version))

    async def delete(self, key: str, *, namespace: Sequence[str] = (), erase: bool = False) -> bool:
        """Forget a memory; False where there is none.

        It is found no more. Its versions stay in the database for the record, unless they are erased.

        Args:
            key: the name of the memory.
            namespace: where the key belongs.
            erase: remove every version for good.
        """
        return await self._storage.run(memories.delete(self._owner, key, namespace, erase=erase))
