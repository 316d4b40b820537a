# Generated from src/lakemem/_async/store.py by tools/unasync.py: edit that file, then run `make generate`.
"""Memories as LangGraph's store deals with them; `lakemem.integrations.langgraph` gives them its types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from lakemem._sync.memory import ScopedMemory
from lakemem.operations import memories, store
from lakemem.types import Hit, MemoryRecord


@dataclass(frozen=True, slots=True)
class StoredItem:
    """A memory, when it was first saved, and how well it fits a question."""

    record: MemoryRecord
    created_at: datetime
    score: float | None = None


class Items:
    """The memories of one owner. Every method is one round trip; a second one asks when changed items began."""

    def __init__(self, memory: ScopedMemory) -> None:
        self._storage = memory._storage
        self._embeddings = memory._embeddings
        self._owner = memory.owner

    def get(self, namespace: Sequence[str], key: str) -> StoredItem | None:
        record = self._storage.run(memories.get(self._owner, key, namespace))
        return None if record is None else (self._dated([record]))[0]

    def put(
        self,
        namespace: Sequence[str],
        key: str,
        value: Mapping[str, Any],
        *,
        text: str | None = None,
        expires_in: float | None = None,
    ) -> None:
        """Save a value.

        Args:
            text: what search reads; by default the words of the key and the value, and nothing where it is empty.
        """
        draft = memories.draft(
            key,
            dict(value),
            namespace=namespace,
            text=text or None,
            metadata=None,
            importance=0.5,
            thread_id=None,
            position=None,
            occurred_at=None,
            expires_in=expires_in,
        )
        if text == "":
            draft = replace(draft, text="")
        embedded = self._embeddings.embed(draft.text or None)
        self._storage.run(memories.save(self._owner, draft, embedded))

    def delete(self, namespace: Sequence[str], key: str) -> None:
        self._storage.run(memories.delete(self._owner, key, namespace, erase=False))

    def search(
        self,
        namespace: Sequence[str],
        *,
        query: str | None,
        filter: Mapping[str, Any] | None,
        limit: int,
        offset: int,
    ) -> list[StoredItem]:
        """Return what fits the query best; without one, what was saved last."""
        conditions = store.conditions(filter)
        if not query:
            listing = memories.items(
                self._owner, namespace=namespace, filter=None, limit=limit, offset=offset, conditions=conditions
            )
            return self._dated(self._storage.run(listing))
        embedded = self._embeddings.embed(memories.check_query(query))
        search = memories.search(
            self._owner,
            memories.check_query(query),
            embedded,
            namespace=namespace,
            filter=None,
            limit=offset + limit,
            min_similarity=None,
            conditions=conditions,
        )
        hits: list[Hit] = (self._storage.run(search))[offset:]
        dated = self._dated([hit.record for hit in hits])
        return [replace(item, score=hit.score) for item, hit in zip(dated, hits, strict=True)]

    def namespaces(
        self,
        patterns: Sequence[tuple[Sequence[str], bool]],
        *,
        depth: int | None,
        limit: int,
        offset: int,
    ) -> list[tuple[str, ...]]:
        """See :func:`lakemem.operations.store.namespaces`."""
        operation = store.namespaces(self._owner, patterns, depth=depth, limit=limit, offset=offset)
        return self._storage.run(operation)

    def _dated(self, records: list[MemoryRecord]) -> list[StoredItem]:
        """A first version was created when it was saved; of later ones the database knows."""
        changed = [record for record in records if record.version > 1]
        began = self._storage.run(store.created(self._owner, changed)) if changed else {}
        return [StoredItem(record, began.get((record.namespace, record.key), record.valid_from)) for record in records]
