"""All that one owner has: its memories and its threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from lakemem._async.archive import AsyncArchive
from lakemem._async.checkpoints import AsyncCheckpoints
from lakemem._async.remembering import AsyncRemembering
from lakemem._async.runs import AsyncRuns
from lakemem._async.threads import AsyncThread
from lakemem.context import resolve_thread_id
from lakemem.operations import threads, transcripts
from lakemem.types import Imported, ThreadHit, ThreadInfo
from lakemem.validation import check_identifier


class AsyncScopedMemory(AsyncRemembering):
    """What one user, or one shared scope, remembers. Nothing that it does can touch anyone else's rows.

    What it remembers across conversations it saves and searches itself; `thread` gives one conversation.
    """

    @property
    def is_degraded(self) -> bool:
        """Whether memory is down and :func:`~lakemem.degrading` answers in its place: what is read is empty."""
        return self._storage.is_degraded

    @property
    def checkpoints(self) -> AsyncCheckpoints:
        """The checkpoints of this owner's graphs, for adapters."""
        return AsyncCheckpoints(self._storage, self._owner)

    def thread(self, thread_id: str | None = None) -> AsyncThread:
        """A conversation of this owner; a new one without an id. No I/O: a thread begins with its first item."""
        thread_id = resolve_thread_id() if thread_id is None else check_identifier("thread_id", thread_id)
        return AsyncThread(self._storage, self._owner, thread_id)

    @property
    def runs(self) -> AsyncRuns:
        """This owner's runs: requests that are worked on in the background."""
        return AsyncRuns(self._storage, self._owner)

    async def threads(
        self, limit: int | None = 100, *, filter: Mapping[str, Any] | None = None, after: str | None = None
    ) -> list[ThreadInfo]:
        """Return this owner's threads, the last active first.

        Args:
            limit: how many at the most; None for all.
            filter: what their metadata must contain.
            after: the `cursor` of the last thread of a page, for the page after it. What is written in the
                meantime neither repeats nor skips a thread, unless that thread itself becomes active: then it is
                on top of the first page.

        Raises:
            InvalidInputError: an argument is not what it should be.
        """
        return await self._storage.run(threads.listing(self._owner, limit, filter=filter, after=after))

    async def search_threads(self, query: str, *, limit: int | None = 10) -> list[ThreadHit]:
        """Return the items of this owner's threads in which words of the query stand, the best first.

        Words are compared by their stems, by the rules of English. The more and the rarer the words, the better
        the hit; of equally good ones the newest is first. It reads every item of the owner: some 10 ms for each
        thousand of them.

        Args:
            query: words to look for. Those that stand everywhere, such as "the", do not count.
            limit: how many at the most; None for all.

        Raises:
            InvalidInputError: the query is blank, or not a text.
        """
        return await self._storage.run(transcripts.search(self._owner, query, limit))

    async def export(self, thread_id: str | None = None, *, vectors: bool = False) -> AsyncIterator[dict[str, Any]]:
        """Yield all that is stored of this owner as JSON objects: each thread with its items behind it, then memories.

        Each has a ``kind``: ``"thread"``, ``"item"``, or ``"memory"`` for one version of a memory. Times are ISO 8601.
        They are read in batches, each of them one round trip; so what others write in the meantime may be in it or
        not. :meth:`import_archive` brings them back.

        Args:
            thread_id: only this thread, and no memories.
            vectors: whether memories come with their vectors.

        Raises:
            StorageUnavailableError: memory is down. :func:`~lakemem.degrading` does not answer in its place.
        """
        archive = AsyncArchive(self._storage, self._embeddings, self._owner)
        async for record in archive.threads(thread_id):
            yield record
        if thread_id is None:
            async for record in archive.memories(vectors=vectors):
                yield record

    async def import_archive(self, lines: Iterable[str | Mapping[str, Any]]) -> Imported:
        """Store what an export gave as this owner's: the same threads, items, and versions of memories.

        It goes in batches of some hundred lines, each of them one transaction. Importing again changes nothing, so
        one that was cut off is run again. What is there already stays; a version that is still current here and was
        superseded in the archive is closed. What has expired since the export is passed over. Memories without a
        vector get one, where there is an embedder.

        Args:
            lines: JSON Lines, such as an open file, or the objects themselves.

        Returns:
            How much of it is new.

        Raises:
            InvalidInputError: a line is none of an archive. The message has its number; of the batch that it is in,
                and of those behind it, nothing was stored.
            ConflictError: at the place of an item or a version there is another one. The message says between which
                lines; of that batch, and of those behind it, nothing was stored.
            StorageUnavailableError: memory is down. :func:`~lakemem.degrading` does not put an import off.
        """
        return await AsyncArchive(self._storage, self._embeddings, self._owner).put(lines)
