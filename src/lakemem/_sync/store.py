# Generated from src/lakemem/_async/store.py by tools/unasync.py: edit that file, then run `make generate`.
"""Memories as LangGraph's store deals with them; `lakemem.integrations.langgraph` gives them its types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lakemem._sync.embeddings import Embeddings
from lakemem._sync.memory import Memory
from lakemem._sync.scoped import ScopedMemory
from lakemem.operations import jobs, quarantine, store, together
from lakemem.operations.store import Answer, Change, Question


class Items:
    """The memories of one owner, in batches.

    Args:
        embeddings: in place of the memory's own.
    """

    def __init__(self, memory: ScopedMemory, embeddings: Embeddings | None = None) -> None:
        self._storage = memory._storage
        self._embeddings = memory._embeddings if embeddings is None else embeddings
        self._owner = memory.owner
        self._guard = memory._guard

    def batch(self, questions: Sequence[Question], changes: Sequence[Change]) -> list[Answer]:
        """Answer questions, then make changes, which are to different addresses.

        One round trip and one transaction for all questions, and one for each 500 changes. What they need of the
        embedder is asked for at once, before.
        """
        changes = self._let_through(changes)
        texts = store.texts(questions, changes)
        embedded = dict(zip(texts, self._embeddings.embed_all(texts), strict=True))
        answers: list[Answer] = []
        if questions:
            answers = self._storage.run(store.read(self._owner, questions, embedded))
        for start in range(0, len(changes), store.MAX_CHANGES):
            some = changes[start : start + store.MAX_CHANGES]
            write = store.write(self._owner, some, embedded)
            self._storage.run(jobs.with_late_vectors(write, list(embedded.values())))
        return answers

    def _let_through(self, changes: Sequence[Change]) -> list[Change]:
        """Redact what is to be saved, and hold back what a policy flags; return the rest."""
        saved = [change for change in changes if change.draft is not None]
        checked = self._guard.drafts(self._owner, [change.draft for change in saved if change.draft is not None])
        keep_for = self._guard.keep_quarantined
        held = [
            quarantine.hold(self._owner, draft, why, keep_for=keep_for) for draft, why in checked if why is not None
        ]
        if held:
            self._storage.run(together("quarantine.hold", held))
        through = [
            replace(change, draft=draft)
            for change, (draft, reason) in zip(saved, checked, strict=True)
            if reason is None
        ]
        return [*through, *(change for change in changes if change.draft is None)]


class ItemSweep:
    """Erases memories that have expired, with all their versions: those of one owner, or everybody's."""

    def __init__(self, memory: Memory | ScopedMemory) -> None:
        self._storage = memory._storage
        self._owner = memory.owner if isinstance(memory, ScopedMemory) else None

    @property
    def can_run(self) -> bool:
        """Whether the memory is open."""
        return self._storage.is_open

    def run(self, stopped: Callable[[], bool] = lambda: False) -> int:
        """Erase what there is, in small transactions, unless it is stopped in between. Returns how many memories."""
        erased = 0
        while not stopped() and (some := self._erase_some()):
            erased += some
        return erased

    def _erase_some(self) -> int:
        owners = [self._owner] if self._owner is not None else self._storage.run(store.owners_of_expired())
        erased = 0
        for owner in owners:
            erased += self._storage.run(store.sweep(owner))
        return erased
