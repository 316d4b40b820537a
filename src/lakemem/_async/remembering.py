"""Conversations as memories: what was said is kept at once, the facts in it are extracted later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lakemem._async.extracting import AsyncExtracting
from lakemem._async.memories import AsyncMemories
from lakemem._async.naming import named
from lakemem.extraction_types import Extraction
from lakemem.memory_types import MemoryRecord
from lakemem.operations import jobs, quarantine, remembering, together
from lakemem.operations.remembering import Draft, Place
from lakemem.protocols import Extractor


class AsyncRemembering(AsyncMemories):
    """Remembers what was said, beside what is saved under a key."""

    async def remember(
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
            extract: whether a :class:`AsyncWorker` is to extract facts.
            expires_in: seconds until the turns are forgotten; the facts stay.

        Returns:
            The turns that were stored: those that were there already are not among them. Behind them those that a
            policy holds back.

        Raises:
            InvalidInputError: an item is not a message, or cannot be stored. Nothing was written.
            EmbeddingError: the embedder returned something that is not a vector. Its 50 turns were not written.
            GuardError: a redactor or a policy failed. Nothing was written.
        """
        place, drafts = remembering.drafts(items, thread_id=thread_id, namespace=namespace, expires_in=expires_in)
        checked = await named(self._storage, self._owner, await self._guard.turns(self._owner, place, drafts))
        return await self._remember(place, checked, extract=extract)

    async def _remember(
        self, place: Place, checked: Sequence[tuple[Draft, str | None]], *, extract: bool
    ) -> list[MemoryRecord]:
        stored: list[MemoryRecord] = []
        drafts = [draft for draft, reason in checked if reason is None]
        for start in range(0, len(drafts), remembering.BATCH):
            batch = drafts[start : start + remembering.BATCH]
            embedded = await self._embeddings.embed_all([draft.utterance.text for draft in batch])
            write = remembering.store(self._owner, place, batch, embedded, extract=extract)
            records = await self._storage.run(jobs.with_late_vectors(write, embedded))
            stored += records
        keep_for = self._guard.keep_quarantined
        holds = [
            quarantine.hold_turn(self._owner, place, draft, reason, keep_for=keep_for, extract=extract)
            for draft, reason in checked
            if reason is not None
        ]
        if not holds:
            return stored
        held: list[MemoryRecord] = await self._storage.run(together("quarantine.hold", holds))
        return stored + held

    async def extract(
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
            GuardError: a redactor or a policy failed.
        """
        place, drafts = remembering.drafts(items, thread_id=thread_id, namespace=namespace, expires_in=None)
        checked = await named(self._storage, self._owner, await self._guard.turns(self._owner, place, drafts))
        # No extractor is shown what is held back.
        turns = [remembering.as_stored(place, draft) for draft, reason in checked if reason is None]
        extracting = AsyncExtracting(self._storage, self._embeddings, self._owner, extractor, deadline, self._guard)
        found = await extracting.find(place.namespace, turns)
        if dry_run:
            return found.extraction
        await self._remember(place, checked, extract=False)
        writes = await extracting.writes(found)
        if not writes:
            return found.extraction
        saved: list[MemoryRecord] = await self._storage.run(together("facts.save", writes))
        return replace(found.extraction, facts=tuple(saved))
