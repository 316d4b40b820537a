"""What an owner's memories have to say to a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lakemem._async.database import AsyncStorage
from lakemem._async.embeddings import AsyncEmbeddings
from lakemem.operations import memories
from lakemem.types import Hit


class AsyncRecall:
    """Searches what one owner remembers."""

    def __init__(self, storage: AsyncStorage, embeddings: AsyncEmbeddings, owner: str) -> None:
        self._storage = storage
        self._embeddings = embeddings
        self._owner = owner

    @property
    def owner(self) -> str:
        """``user:ID`` or ``scope:ID``."""
        return self._owner

    async def search(
        self,
        query: str,
        *,
        namespace: Sequence[str] = (),
        filter: Mapping[str, Any] | None = None,
        limit: int | None = 10,
        min_similarity: float | None = None,
    ) -> list[Hit]:
        """Return the memories that fit a question best, by meaning and by words, the best first.

        Without an embedder, or while it is down, the search goes by words alone, and `Hit.arms` says so.

        Args:
            query: a question, or key words.
            namespace: the first labels of the namespaces to look in; by default all.
            filter: what their metadata must contain.
            limit: how many at the most; None for all.
            min_similarity: leave out what is less similar in meaning than this, -1 to 1. What has no vector to
                compare is found by its words all the same.
        """
        embedded = await self._embeddings.embed(memories.check_query(query))
        return await self._storage.run(
            memories.search(
                self._owner,
                memories.check_query(query),
                embedded,
                namespace=namespace,
                filter=filter,
                limit=limit,
                min_similarity=min_similarity,
            )
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._owner}>"
