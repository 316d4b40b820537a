"""Asking an extractor for the facts in some turns."""

from __future__ import annotations

from collections.abc import Sequence

from lakemem._async.database import AsyncStorage
from lakemem._async.embeddings import AsyncEmbeddings
from lakemem._async.guarding import UNGUARDED, AsyncGuarding
from lakemem._async.naming import named
from lakemem._async.recall import AsyncRecall
from lakemem.errors import ExtractionError
from lakemem.extraction import checked, without_subjects
from lakemem.extraction_types import Extraction, KnownMemory, SourceTurn
from lakemem.memory_types import MemoryRecord
from lakemem.operations import Operation, facts, jobs, quarantine
from lakemem.operations.facts import Found
from lakemem.operations.remembering import StoredTurn
from lakemem.protocols import Extractor
from lakemem.waiting import acall_blocking


class AsyncExtracting:
    """Shows an extractor some turns, and what their owner remembers near to them; checks what it proposes.

    Args:
        deadline: seconds to wait for the extractor.
        guard: what the facts pass before they are saved.
    """

    def __init__(
        self,
        storage: AsyncStorage,
        embeddings: AsyncEmbeddings,
        owner: str,
        extractor: Extractor,
        deadline: float,
        guard: AsyncGuarding = UNGUARDED,
    ) -> None:
        self._storage = storage
        self._recall = AsyncRecall(storage, embeddings, owner)
        self._extractor = extractor
        self._deadline = deadline
        self._embeddings = embeddings
        self._guard = guard

    async def find(self, namespace: Sequence[str], turns: Sequence[StoredTurn]) -> Found:
        """Return the facts in those of the turns that are new.

        Raises:
            ExtractionError: the extractor failed, was late, or returned no list of facts.
        """
        if not any(turn.is_new for turn in turns):
            return Found(Extraction())
        known = await self._known(namespace, turns)
        shown, remembered = facts.shown_turns(turns), facts.shown_memories(known)
        extraction = checked(await self._proposals(shown, remembered), shown, remembered)
        standing = await self._standing(namespace, extraction)
        extraction = without_subjects(extraction, facts.taken_by(standing, turns, yields=self._guard.facts_yield))
        return Found(extraction, facts.drafts(namespace, turns, known, extraction.proposals))

    async def writes(self, found: Found) -> list[Operation[MemoryRecord]]:
        """Return what stores the facts: a write for each, which holds it back where a policy says so."""
        owner, guard = self._recall.owner, self._guard
        checked_drafts = await named(self._storage, owner, await guard.drafts(owner, found.drafts))
        texts = [draft.text if reason is None else None for draft, reason in checked_drafts]
        embedded = await self._embeddings.embed_all(texts)
        return [
            jobs.with_late_vectors(facts.save(owner, draft, vector, yields=guard.facts_yield), [vector])
            if reason is None
            else quarantine.hold(owner, draft, reason, keep_for=guard.keep_quarantined)
            for (draft, reason), vector in zip(checked_drafts, embedded, strict=True)
        ]

    async def _known(self, namespace: Sequence[str], turns: Sequence[StoredTurn]) -> list[MemoryRecord]:
        hits = await self._recall.search(facts.question(turns), namespace=namespace, kind="fact", limit=facts.KNOWN)
        return [hit.record for hit in hits if hit.record.namespace == tuple(namespace)]

    async def _proposals(self, turns: Sequence[SourceTurn], known: Sequence[KnownMemory]) -> object:
        try:
            return await acall_blocking(lambda: self._extractor.extract(turns, known), deadline=self._deadline)
        except ExtractionError:
            raise
        except TimeoutError:
            message = f"the extractor gave no answer within {self._deadline:g} s"
            raise ExtractionError(message, error="TimeoutError") from None
        except Exception as error:
            # The words of a foreign error may quote what was said.
            name = type(error).__name__
            raise ExtractionError(f"the extractor failed with {name}", error=name) from None

    async def _standing(self, namespace: Sequence[str], extraction: Extraction) -> list[MemoryRecord | None]:
        """What stands under the subjects of the proposals."""
        lookup = facts.taken_subjects(self._recall.owner, namespace, extraction.proposals)
        return [] if lookup is None else await self._storage.run(lookup)
