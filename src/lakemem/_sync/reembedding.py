# Generated from src/lakemem/_async/reembedding.py by tools/unasync.py: edit that file, then run `make generate`.
"""Changing the embedder, beside all that goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace as changed
from itertools import groupby

from lakemem._sync.database import Storage
from lakemem.embedding import CheckedEmbedder
from lakemem.errors import ConflictError, EmbedderUnavailableError, EmbeddingError
from lakemem.operations import maintenance, reembedding
from lakemem.operations.reembedding import Count, Filling, Place, Unfilled
from lakemem.protocols import Embedder
from lakemem.waiting import call_blocking
from lakemem.work_types import Reembedded

PASSES = 10
"""How often to look for what was saved meanwhile: where an app saves all the time, there is always something."""


class Reembedding:
    """Gives the memories of all owners vectors of another embedder.

    It goes in batches, each of them one transaction, and may be stopped and begun again at any time.

    Args:
        replace: whether to drop the vectors of another change that was begun.
        progress: is told what was done so far, after each batch.
    """

    def __init__(
        self,
        storage: Storage,
        embedder: Embedder,
        *,
        replace: bool,
        progress: Callable[[Reembedded], None] | None,
    ) -> None:
        self._storage = storage
        self._embedder = embedder
        self._checked = CheckedEmbedder(embedder)
        self._replace = replace
        self._progress = progress
        self._without: set[Place] = set()
        self._done = Reembedded(model=self._checked.model)

    def look(self) -> Reembedded:
        """Say what there is to do."""
        self._storage.run(maintenance.check_allowed())
        self._note(self._storage.run(reembedding.counts()))
        return self._done

    def fill(self) -> Reembedded:
        """Give every version that lacks it a vector of the embedder, besides the one that it has."""
        self.look()
        self._check_other_changes()
        self._tell()
        for _ in range(PASSES):
            found = self._fill_those(current=True)
            if not found + self._fill_those(current=False):
                break
        return self.look()

    def move(self) -> Reembedded:
        """Let the vectors of the embedder take the place of those that were there before."""
        for _ in range(PASSES):
            if not self._move_once():
                break
        return self.look()

    def _check_other_changes(self) -> None:
        counts = self._storage.run(reembedding.counts())
        blocked = [count for count in counts if count.next_model is not None and not count.has(self._done.model)]
        if blocked and not self._replace:
            raise ConflictError(
                f"{sum(count.versions for count in blocked):,} versions hold vectors of {blocked[0].next_model}, by a "
                "change of the embedder that was not finished: finish it, or ask to replace them"
            )

    def _fill_those(self, *, current: bool) -> int:
        """One pass through all versions that are current, or are not; say how many were found."""
        found = 0
        for page in self._unfilled(current=current):
            found += len(page)
            vectors = self._vectors([each.text for each in page])
            self._store([Filling(each, vector) for each, vector in zip(page, vectors, strict=True)])
        return found

    def _unfilled(self, *, current: bool) -> Iterator[list[Unfilled]]:
        place = Place()
        while page := self._storage.run(
            reembedding.unfilled(self._done.model, place, current=current, replace=self._replace)
        ):
            place = page[-1].place
            # Those that the embedder has no vector for are found by every pass.
            if new := [each for each in page if each.place not in self._without]:
                yield new

    def _vectors(self, texts: Sequence[str]) -> list[str | None]:
        """The vectors of texts; None for a text that the embedder alone refuses, such as one that is too long."""
        try:
            return call_blocking(lambda: self._checked.embed(texts))
        except EmbedderUnavailableError:
            self._check_embedder()
        except EmbeddingError as error:
            raise type(error)(f"{error}; {self._kept()}") from None
        if len(texts) == 1:
            return [None]
        half = len(texts) // 2
        return [*self._vectors(texts[:half]), *self._vectors(texts[half:])]

    def _check_embedder(self) -> None:
        """Tell an embedder that is down from one that refuses a text."""
        try:
            call_blocking(lambda: CheckedEmbedder(self._embedder).embed(["a text to try"]))
        except EmbeddingError as error:
            raise type(error)(f"{error}; {self._kept()}") from None

    def _kept(self) -> str:
        return f"{self._done.filled:,} versions have got their vectors and keep them: run it again to go on"

    def _store(self, fillings: Sequence[Filling]) -> None:
        self._without.update(filling.version.place for filling in fillings if filling.vector is None)
        embedded = [filling for filling in fillings if filling.vector is not None]
        filled = 0
        for owner, of_owner in groupby(embedded, key=lambda filling: filling.version.place.owner):
            filled += self._storage.run(
                reembedding.fill(owner, self._done.model, list(of_owner), replace=self._replace)
            )
        self._done = changed(
            self._done,
            filled=self._done.filled + filled,
            left=max(0, self._done.left - filled),
            without_vector=len(self._without),
        )
        self._tell()

    def _move_once(self) -> int:
        """One pass through all versions; say how many were found."""
        found = 0
        place = Place()
        while page := self._storage.run(reembedding.unmoved(self._done.model, place)):
            place = page[-1]
            found += len(page)
            moved = 0
            for owner, places in groupby(page, key=lambda each: each.owner):
                moved += self._storage.run(reembedding.move(owner, self._done.model, list(places)))
            self._done = changed(self._done, moved=self._done.moved + moved)
            self._tell()
        return found

    def _note(self, counts: list[Count]) -> None:
        models = {model for count in counts for model in (count.model, count.next_model) if model is not None}
        self._done = changed(
            self._done,
            left=sum(count.versions for count in counts if not count.has(self._done.model)),
            models={model: sum(count.versions for count in counts if count.has(model)) for model in sorted(models)},
        )

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._done)
