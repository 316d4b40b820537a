"""All that one owner has: its memories and its threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from lakemem import caches
from lakemem._async.archive import AsyncArchive
from lakemem._async.auditing import AsyncAuditLog
from lakemem._async.checkpoints import AsyncCheckpoints
from lakemem._async.keys import AsyncKeys
from lakemem._async.quarantine import AsyncQuarantine
from lakemem._async.remembering import AsyncRemembering
from lakemem._async.runs import AsyncRuns
from lakemem._async.threads import AsyncThread
from lakemem.context import resolve_thread_id
from lakemem.forgetting import AuditEvent, Erasure, Hold
from lakemem.operations import forgetting, keys, threads, transcripts
from lakemem.thread_types import ThreadHit, ThreadInfo
from lakemem.validation import check_identifier
from lakemem.work_types import Encrypted, Imported


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
    def quarantine(self) -> AsyncQuarantine:
        """This owner's writes that a policy holds back."""
        return AsyncQuarantine(self._storage, self._embeddings, self._owner)

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
        if thread_id is None:
            await archive.note()
        async for record in archive.threads(thread_id):
            yield record
        if thread_id is None:
            async for record in archive.memories(vectors=vectors):
                yield record
            async for record in archive.work():
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

    async def erase(self, *, requested_by: str | None = None, reason: str | None = None) -> Erasure:
        """Remove for good all that is stored of this owner, in one transaction, and return the receipt.

        Threads, items, checkpoints, memories with all their versions and vectors, jobs, runs and their events go, and
        so does what this process has in its caches, or waits to write. What others write as this owner meanwhile is
        erased, or is written after it: a write of before that comes late is refused. A run that is under way ends,
        and can write nothing more. The audit log keeps what was done and when, under a keyed hash in place of the
        owner. What a user wrote to shared scopes is the scopes', and stays.

        Args:
            requested_by: who asks for it, for the receipt and the audit log.
            reason: why, such as the number of a case. It must not name the person.

        Raises:
            InvalidInputError: an argument would keep the name of whoever is erased.
            OnHoldError: a legal hold is placed. Nothing was removed.
            StorageUnavailableError: memory is down. :func:`~lakemem.degrading` does not put an erasure off.
        """
        operation = forgetting.erase(self._owner, requested_by=requested_by, reason=reason)
        receipt = await self._storage.run(operation)
        caches.forget_owner(self._owner)
        return receipt

    async def drop_keys(self, *, requested_by: str | None = None, reason: str | None = None) -> Erasure:
        """Drop the keys of this owner: what they have encrypted can be read no more, and its rows stay as they are.

        Here it is so at once, and in another process once that has let go of the key (`keep_keys` of
        :class:`Encryption`, 300 seconds by default). What is written after this has a new key. What was stored in
        clear, such as keys, metadata and vectors, stays: :meth:`erase` removes all of it, with the keys.

        Args:
            requested_by: who asks for it, for the receipt and the audit log.
            reason: why. It must not name the person.

        Returns:
            The receipt; `counts` says how many keys there were.

        Raises:
            InvalidInputError: an argument would keep the name of whoever it is.
            OnHoldError: a legal hold is placed. Nothing was dropped.
            StorageUnavailableError: memory is down. :func:`~lakemem.degrading` does not put this off.
        """
        receipt = await self._storage.run(keys.drop(self._owner, requested_by=requested_by, reason=reason))
        caches.forget_owner(self._owner)
        return receipt

    async def rotate_key(self) -> Encrypted:
        """Give this owner a new data key, encrypt what there is with it, and forget the old one.

        It goes in batches beside all that goes on, and may be stopped and begun again.

        Raises:
            ConfigurationError: the memory has no encryption.
        """
        return await AsyncKeys(self._storage).rotate_owner(self._owner)

    async def residue(self) -> dict[str, int]:
        """Return how many rows there are of this owner, by table; empty after an erasure."""
        return await self._storage.run(forgetting.residue(self._owner))

    async def hold(self, name: str, *, placed_by: str, reason: str) -> Hold:
        """Place a legal hold: from now on nothing of this owner is removed, until every hold is released.

        Erasures, and whatever else removes memories, threads or runs for good, are refused; sweeps pass this owner by.
        What an agent takes back, compacts or clears in its work is kept beside. A hold of this name that is there
        already stays as it was placed. This needs the rights of the owner of the tables: an app has not got them.

        Args:
            name: such as the number of a case.
            placed_by: who says so.
            reason: why. Like the name, it must not name the person: the audit log keeps it.

        Raises:
            InvalidInputError: an argument would keep the name of whoever is on hold.
            StorageError: this login may not place holds.
        """
        return await self._storage.run(forgetting.hold(self._owner, name, placed_by=placed_by, reason=reason))

    async def release(self, name: str, *, released_by: str, reason: str | None = None) -> bool:
        """Lift a hold; False where there is none of this name. With the last one goes what was kept for it.

        Args:
            name: of the hold.
            released_by: who says so.
            reason: why.

        Raises:
            StorageError: this login may not lift holds.
        """
        return await self._storage.run(forgetting.release(self._owner, name, released_by=released_by, reason=reason))

    async def holds(self) -> list[Hold]:
        """Return the holds that are placed, the oldest first."""
        return await self._storage.run(forgetting.holds(self._owner))

    def audit(self) -> AsyncIterator[AuditEvent]:
        """Yield what the audit log says of this owner, also from before it was erased. It never has a text.

        Raises:
            StorageError: this login may not read the log; the owner of the tables may.
        """
        return AsyncAuditLog(self._storage).of(self._owner)
