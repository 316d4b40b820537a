"""Memories as LangGraph's store deals with them; `lakemem.integrations.langgraph` gives them its types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lakemem._async.embeddings import AsyncEmbeddings
from lakemem._async.memory import AsyncMemory
from lakemem._async.scoped import AsyncScopedMemory
from lakemem.operations import jobs, quarantine, store, together
from lakemem.operations.store import Answer, Change, Question


class AsyncItems:
    """The memories of one owner, in batches.

    Args:
        embeddings: in place of the memory's own.
    """

    def __init__(self, memory: AsyncScopedMemory, embeddings: AsyncEmbeddings | None = None) -> None:
        self._storage = memory._storage
        self._embeddings = memory._embeddings if embeddings is None else embeddings
        self._owner = memory.owner
        self._guard = memory._guard

    async def batch(self, questions: Sequence[Question], changes: Sequence[Change]) -> list[Answer]:
        """Answer questions, then make changes, which are to different addresses.

        One round trip and one transaction for all questions, and one for each 500 changes. What they need of the
        embedder is asked for at once, before.
        """
        changes = await self._let_through(changes)
        texts = store.texts(questions, changes)
        embedded = dict(zip(texts, await self._embeddings.embed_all(texts), strict=True))
        answers: list[Answer] = []
        if questions:
            answers = await self._storage.run(store.read(self._owner, questions, embedded))
        for start in range(0, len(changes), store.MAX_CHANGES):
            some = changes[start : start + store.MAX_CHANGES]
            write = store.write(self._owner, some, embedded)
            await self._storage.run(jobs.with_late_vectors(write, list(embedded.values())))
        return answers

    async def _let_through(self, changes: Sequence[Change]) -> list[Change]:
        """Redact what is to be saved, and hold back what a policy flags; return the rest."""
        saved = [change for change in changes if change.draft is not None]
        checked = await self._guard.drafts(self._owner, [change.draft for change in saved if change.draft is not None])
        keep_for = self._guard.keep_quarantined
        held = [
            quarantine.hold(self._owner, draft, why, keep_for=keep_for) for draft, why in checked if why is not None
        ]
        if held:
            await self._storage.run(together("quarantine.hold", held))
        through = [
            replace(change, draft=draft)
            for change, (draft, reason) in zip(saved, checked, strict=True)
            if reason is None
        ]
        return [*through, *(change for change in changes if change.draft is None)]


class AsyncItemSweep:
    """Erases memories that have expired, with all their versions: those of one owner, or everybody's."""

    def __init__(self, memory: AsyncMemory | AsyncScopedMemory) -> None:
        self._storage = memory._storage
        self._owner = memory.owner if isinstance(memory, AsyncScopedMemory) else None

    @property
    def can_run(self) -> bool:
        """Whether the memory is open."""
        return self._storage.is_open

    async def run(self, stopped: Callable[[], bool] = lambda: False) -> int:
        """Erase what there is, in small transactions, unless it is stopped in between. Returns how many memories."""
        erased = 0
        while not stopped() and (some := await self._erase_some()):
            erased += some
        return erased

    async def _erase_some(self) -> int:
        owners = [self._owner] if self._owner is not None else await self._storage.run(store.owners_of_expired())
        erased = 0
        for owner in owners:
            erased += await self._storage.run(store.sweep(owner))
        return erased
