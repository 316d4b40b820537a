"""Memories under their keys: saved, read, changed and deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from lakemem._async.consolidating import AsyncConsolidating
from lakemem._async.database import AsyncStorage
from lakemem._async.embeddings import AsyncEmbeddings
from lakemem._async.guarding import UNGUARDED, AsyncGuarding
from lakemem._async.naming import named
from lakemem._async.recall import AsyncRecall
from lakemem.consolidation import Consolidation
from lakemem.memory_types import DuplicatePolicy, MemoryKind, MemoryRecord, Trust
from lakemem.operations import drafting, jobs, memories, quarantine, versions
from lakemem.work_types import Consolidated

_UNCHANGED: Any = object()
_DUPLICATES = DuplicatePolicy()


class AsyncMemories(AsyncRecall):
    """What one owner remembers across conversations.

    A memory is a JSON value under a key, in a namespace: a tuple of labels, such as ``("preferences",
    "travel")``. Saving under the same key again makes a new version.

    Args:
        also_read: the owners of shared scopes whose memories a search finds besides.
        guard: what every write passes first.
    """

    def __init__(
        self,
        storage: AsyncStorage,
        embeddings: AsyncEmbeddings,
        owner: str,
        also_read: Sequence[str] = (),
        guard: AsyncGuarding = UNGUARDED,
    ) -> None:
        super().__init__(storage, embeddings, owner, also_read)
        self._guard = guard

    async def save(
        self,
        key: str | None,
        value: Any,
        *,
        namespace: Sequence[str] = (),
        text: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        importance: float = 0.5,
        thread_id: str | None = None,
        position: int | None = None,
        occurred_at: datetime | None = None,
        expires_in: float | None = None,
        subject: str | None = None,
        valid_from: datetime | None = None,
        sources: Sequence[str] = (),
        idempotency_key: str | None = None,
        duplicates: DuplicatePolicy | None = _DUPLICATES,
        trust: Trust = "unknown",
    ) -> MemoryRecord:
        """Remember a JSON value; a value that is there already becomes an earlier version.

        Nothing is stored twice: where the same value, text and metadata are there under the key, they stay as they
        are. Without a key, one is made of the namespace and the content, and the facts of the namespace are looked
        through for one that says nearly the same. `outcome` of the record says which it was.

        Args:
            key: the name of the memory; None to have one made of its content.
            value: what to remember: anything that JSON can say.
            namespace: where the key belongs; the same key in another namespace is another memory.
            text: what search reads; by default the words of the key and the value.
            metadata: a JSON object to filter by.
            importance: 0 to 1.
            thread_id, position: the thread and the item it was learnt from.
            occurred_at: when it happened.
            expires_in: seconds from now until it is forgotten.
            subject: what has one value at a time, such as ``"user.employer"``; it takes the place of the key.
            valid_from: since when it holds, where that is not now. One that is learnt late takes over the rest of
                the time of the version that was in effect then; where there was none, it holds until the next one.
            sources: the keys of the memories, in the same namespace, that it was made of.
            idempotency_key: a name for this call. A repetition with the same name changes nothing, and returns the
                memory as it is now; with version 0 if nothing of it is there any more. It is known for a week.
            duplicates: what counts as nearly the same, where neither a key nor a subject is given; None to store
                whatever is not exactly the same. Two that are saved at the same moment do not see each other.
            trust: who says it: ``"user"``, ``"model"`` or ``"tool"``. What the last two say does not take the place
                of what counts for more: that is kept. By default nothing is known of it, and it takes any place.

        Returns:
            What is stored now; `outcome` says what was done.

        Raises:
            InvalidInputError: an argument cannot be stored. Nothing was written.
            EmbeddingError: the embedder returned something that is not a vector. Nothing was written.
            GuardError: a redactor or a policy failed. Nothing was written.
        """
        draft = drafting.draft(
            key,
            value,
            namespace=namespace,
            text=text,
            metadata=metadata,
            importance=importance,
            thread_id=thread_id,
            position=position,
            occurred_at=occurred_at,
            expires_in=expires_in,
            subject=subject,
            valid_from=valid_from,
            sources=sources,
            trust=trust,
        )
        write_id = memories.write_id(idempotency_key)
        [(draft, reason)] = await named(self._storage, self._owner, await self._guard.drafts(self._owner, [draft]))
        if reason is not None:
            hold = quarantine.hold(self._owner, draft, reason, keep_for=self._guard.keep_quarantined)
            return await self._storage.run(hold, write_id=write_id)
        embedded = await self._embeddings.embed(draft.text)
        save = memories.save(
            self._owner, draft, embedded, duplicates=duplicates, yields=self._guard.yields(draft.trust)
        )
        return await self._storage.run(jobs.with_late_vectors(save, [embedded]), write_id=write_id)

    async def get(
        self, key: str, *, namespace: Sequence[str] = (), as_of: datetime | None = None
    ) -> MemoryRecord | None:
        """Return the current version of a memory; None where there is none, or it has expired.

        Args:
            key: the name of the memory.
            namespace: where the key belongs.
            as_of: return the version that was in effect at this moment, as far as is known now.
        """
        return await self._storage.run(memories.get(self._owner, key, namespace, as_of=as_of))

    async def items(
        self,
        *,
        namespace: Sequence[str] = (),
        filter: Mapping[str, Any] | None = None,
        limit: int | None = 100,
        offset: int = 0,
        as_of: datetime | None = None,
        kind: MemoryKind | None = None,
    ) -> list[MemoryRecord]:
        """Return current memories, the newest first.

        Args:
            namespace: the first labels of the namespaces to look in; by default all.
            filter: what their metadata must contain.
            limit: how many at the most; None for all.
            offset: how many to leave out first.
            as_of: return what was in effect at this moment, as far as is known now.
            kind: only ``"fact"`` or only ``"turn"``; by default both.
        """
        return await self._storage.run(
            memories.items(
                self._owner, namespace=namespace, filter=filter, limit=limit, offset=offset, as_of=as_of, kind=kind
            )
        )

    async def history(self, key: str, *, namespace: Sequence[str] = ()) -> list[MemoryRecord]:
        """Return all versions of a memory, the newest first; also of one that was deleted. Empty where there is none.

        Args:
            key: the name of the memory.
            namespace: where the key belongs.
        """
        return await self._storage.run(versions.history(self._owner, key, namespace))

    async def revert(self, key: str, version: int, *, namespace: Sequence[str] = ()) -> MemoryRecord:
        """Make the content of an old version current again, as a new version; also of a memory that was deleted.

        Args:
            key: the name of the memory.
            version: which one.
            namespace: where the key belongs.

        Returns:
            The new version.

        Raises:
            MemoryNotFoundError: there is no such version.
            StorageUnavailableError: memory is down. :func:`~lakemem.degrading` does not answer in its place.
        """
        return await self._storage.run(versions.revert(self._owner, key, version, namespace))

    async def update(
        self,
        key: str,
        value: Any = _UNCHANGED,
        *,
        namespace: Sequence[str] = (),
        text: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_in: float | None = None,
        expected_version: int | None = None,
        trust: Trust | None = None,
    ) -> MemoryRecord:
        """Change a memory that is there; what is not given stays as it is.

        Args:
            key: the name of the memory.
            value: the new value; the text that search reads follows it, unless `text` is given too.
            namespace: where the key belongs.
            text: what search reads.
            metadata: replaces all metadata.
            expires_in: seconds from now until it is forgotten.
            expected_version: fail unless this is the current version.
            trust: who says so. What ``"model"`` or ``"tool"`` say does not change what counts for more: then `outcome`
                is ``"kept"``, and it is returned as it is. By default nothing is known of a new value or text, and
                all else leaves the trust as it was.

        Returns:
            The new version, unless `outcome` says otherwise.

        Raises:
            MemoryNotFoundError: there is no memory under this key.
            ConflictError: it is at another version than expected.
            InvalidInputError: an argument cannot be stored. Nothing was written.
            GuardError: a redactor or a policy failed. Nothing was written.
        """
        draft = drafting.change(
            key,
            value,
            has_value=value is not _UNCHANGED,
            namespace=namespace,
            text=text,
            metadata=metadata,
            expires_in=expires_in,
            trust=trust,
        )
        [(draft, reason)] = await self._guard.drafts(self._owner, [draft])
        if reason is not None:
            keep_for = self._guard.keep_quarantined
            return await self._storage.run(
                quarantine.hold(self._owner, draft, reason, keep_for=keep_for, action="update")
            )
        embedded = await self._embeddings.embed(draft.text)
        yields = self._guard.yields(draft.trust)
        change = memories.update(self._owner, draft, embedded, expected_version=expected_version, yields=yields)
        return await self._storage.run(jobs.with_late_vectors(change, [embedded]))

    async def delete(self, key: str, *, namespace: Sequence[str] = (), erase: bool = False) -> bool:
        """Forget a memory; False where there is none.

        It is found no more. Its versions stay in the database for the record, unless they are erased.

        Args:
            key: the name of the memory.
            namespace: where the key belongs.
            erase: remove every version for good.
        """
        return await self._storage.run(memories.delete(self._owner, key, namespace, erase=erase))

    async def forget(
        self,
        *,
        key: str | None = None,
        namespace: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
        thread_id: str | None = None,
        before: datetime | None = None,
        erase: bool = False,
    ) -> int:
        """Forget all memories that meet every condition given, and return how many they were.

        They are found no more. Their versions stay in the database for the record, unless they are erased.

        Args:
            key: the name of a memory: in exactly `namespace`, or in all of them where none is given.
            namespace: without a key, the first labels of the namespaces.
            filter: what the metadata must contain.
            thread_id: the thread it was learnt from.
            before: what happened before this moment; where it is not known when it did, what holds since before it.
            erase: remove every version for good; also of what was deleted before, if its last version fits.

        Raises:
            InvalidInputError: there is no condition, so that everything would be forgotten; or one is not what it
                should be.
            StorageUnavailableError: memory is down. :func:`~lakemem.degrading` does not answer in its place.
        """
        return await self._storage.run(
            versions.forget(
                self._owner,
                key=key,
                namespace=namespace,
                filter=filter,
                thread_id=thread_id,
                before=before,
                erase=erase,
            )
        )

    async def consolidate(
        self,
        policy: Consolidation | None = None,
        *,
        dry_run: bool = False,
        progress: Callable[[Consolidated], None] | None = None,
    ) -> Consolidated:
        """Make these memories fewer that say as much: merge twins, let importance fall with age, keep to a cap.

        It goes in batches, each of them one transaction, beside all that goes on, and may be stopped and begun again.
        What is closed stays in the history, and `revert` brings it back.

        Args:
            policy: what to do; by default twins are merged, and nothing else.
            dry_run: change nothing, and say what there is to do.
            progress: is told what was done so far, after each batch.

        Raises:
            InvalidInputError: the policy has a number that cannot be.
        """
        consolidating = AsyncConsolidating(self._storage, policy, dry_run=dry_run, progress=progress)
        return await consolidating.owner(self._owner)
