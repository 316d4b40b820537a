# Generated from src/lakemem/_async/remembering.py by tools/unasync.py: edit that file, then run `make generate`.
"""Conversations as memories: what was said is kept at once, the facts in it are extracted later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lakemem._sync.extracting import Extracting
from lakemem._sync.memories import Memories
from lakemem.operations import facts, jobs, remembering, together
from lakemem.protocols import Extractor
from lakemem.types import Extraction, MemoryRecord


class Remembering(Memories):
    """Remembers what was said, beside what is saved under a key."""

    def remember(
        self,
        items: Sequence[object],
        *,
        thread_id: str | None = None,
        namespace: Sequence[str] = (),
        extract: bool = True,
        expires_in: float | None = None,
    ) -> list[MemoryRecord]:
        """Keep what was said, each turn as a memory of its own, and queue the extraction of the facts in it.

        Search finds the turns at once. The same turns in the same place are stored once, however often they are given;
        so a caller who does not know whether a call went through can repeat it. Of many turns, each 50 are one
        round trip and one transaction.

        Args:
            items: messages as either framework makes them, :class:`Message` of a thread, or dicts with ``role`` and
                ``content``. A dict may have a ``speaker``, a ``position``, and ``occurred_at`` (a datetime, or ISO
                8601). Calls of tools, what they return, and instructions are left out.
            thread_id: the conversation. Turns without a position follow those of it that are there.
            namespace: where the turns belong, and the facts with them.
            extract: whether a :class:`Worker` is to extract facts.
            expires_in: seconds until the turns are forgotten; the facts stay.

        Returns:
            The turns that were stored: those that were there already are not among them.

        Raises:
            InvalidInputError: an item is not a message, or cannot be stored. Nothing was written.
            EmbeddingError: the embedder returned something that is not a vector. Its 50 turns were not written.
        """
        place, drafts = remembering.drafts(items, thread_id=thread_id, namespace=namespace, expires_in=expires_in)
        stored: list[MemoryRecord] = []
        for start in range(0, len(drafts), remembering.BATCH):
            batch = drafts[start : start + remembering.BATCH]
            embedded = self._embeddings.embed_all([draft.utterance.text for draft in batch])
            write = remembering.store(self._owner, place, batch, embedded, extract=extract)
            records = self._storage.run(jobs.with_late_vectors(write, embedded))
            stored += records
        return stored

    def extract(
        self,
        items: Sequence[object],
        extractor: Extractor,
        *,
        thread_id: str | None = None,
        namespace: Sequence[str] = (),
        dry_run: bool = False,
        deadline: float = 60.0,
    ) -> Extraction:
        """Keep what was said, and save the facts in it at once, without a worker.

        Args:
            items: what was said, as :meth:`remember` takes it.
            extractor: finds the facts.
            thread_id: the conversation.
            namespace: where turns and facts belong.
            dry_run: only show what would be saved.
            deadline: seconds to wait for the extractor.

        Returns:
            The facts, and what of the extractor's proposals was dropped.

        Raises:
            InvalidInputError: an item is not a message, or cannot be stored. Nothing was written.
            ExtractionError: the extractor failed, was late, or returned no list of facts. Nothing was written.
        """
        place, drafts = remembering.drafts(items, thread_id=thread_id, namespace=namespace, expires_in=None)
        extracting = Extracting(self._storage, self._embeddings, self._owner, extractor, deadline)
        found = extracting.find(place.namespace, [remembering.as_stored(place, draft) for draft in drafts])
        if dry_run:
            return found.extraction
        self.remember(items, thread_id=thread_id, namespace=namespace, extract=False)
        if not found.drafts:
            return found.extraction
        embedded = self._embeddings.embed_all(found.texts)
        save = together("facts.save", facts.save(self._owner, found.drafts, embedded))
        saved = self._storage.run(jobs.with_late_vectors(save, embedded))
        return replace(found.extraction, facts=tuple(saved))
