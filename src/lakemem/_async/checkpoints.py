"""The checkpoints of one user's graphs, as stored; `lakemem.integrations.langgraph` gives them their meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lakemem._async.database import AsyncStorage
from lakemem.operations import checkpoints, pruning
from lakemem.operations.checkpoints import Address, Blob, Composition, StoredCheckpoint
from lakemem.work_types import Retention


class AsyncCheckpoints:
    """Every method is one round trip and one transaction, but `prune`, which goes in batches."""

    def __init__(self, storage: AsyncStorage, owner: str) -> None:
        self._storage = storage
        self._owner = owner

    async def put(
        self,
        address: Address,
        *,
        parent_checkpoint_id: str | None,
        checkpoint: Blob,
        metadata: str,
        channel_versions: str,
        blobs: Mapping[str, tuple[str, Blob]],
        compositions: Mapping[str, tuple[str, Composition]] | None = None,
    ) -> Mapping[str, int]:
        """See :func:`lakemem.operations.checkpoints.put`."""
        return await self._storage.run(
            checkpoints.put(
                self._owner,
                address,
                parent_checkpoint_id=parent_checkpoint_id,
                checkpoint=checkpoint,
                metadata=metadata,
                channel_versions=channel_versions,
                blobs=blobs,
                compositions=compositions,
            )
        )

    async def put_writes(
        self,
        address: Address,
        *,
        task_id: str,
        task_path: str,
        writes: Sequence[tuple[int, str, Blob]],
    ) -> None:
        """See :func:`lakemem.operations.checkpoints.put_writes`."""
        await self._storage.run(
            checkpoints.put_writes(self._owner, address, task_id=task_id, task_path=task_path, writes=writes)
        )

    async def get(
        self, thread_id: str, checkpoint_ns: str, checkpoint_id: str | None = None
    ) -> StoredCheckpoint | None:
        """Return the checkpoint with this id, or the newest where it is None."""
        return await self._storage.run(checkpoints.get(self._owner, thread_id, checkpoint_ns, checkpoint_id))

    async def take(self, address: Address) -> Blob | None:
        """Remove a checkpoint that is stored whole, and return it; None where there is none, or somebody took it."""
        return await self._storage.run(checkpoints.take(self._owner, address))

    async def list(
        self,
        *,
        thread_id: str | None = None,
        checkpoint_ns: str | None = None,
        checkpoint_id: str | None = None,
        before: str | None = None,
        filter: str = "{}",
        limit: int | None = None,
        after: StoredCheckpoint | None = None,
    ) -> list[StoredCheckpoint]:
        """Return checkpoints, the newest first; see :func:`lakemem.operations.checkpoints.listing`."""
        return await self._storage.run(
            checkpoints.listing(
                self._owner,
                thread_id=thread_id,
                checkpoint_ns=checkpoint_ns,
                checkpoint_id=checkpoint_id,
                before=before,
                filter=filter,
                limit=limit,
                after=after,
            )
        )

    async def delete_thread(self, thread_id: str) -> None:
        """Remove all checkpoints of a thread; its items stay."""
        await self._storage.run(checkpoints.delete_thread(self._owner, thread_id))

    async def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove the checkpoints that these runs stored, in all threads.

        Raises:
            ConflictError: a checkpoint that stays needs them to rebuild a delta channel. Nothing was removed.
        """
        if run_ids:
            await self._storage.run(pruning.delete_for_runs(self._owner, run_ids))

    async def copy_thread(self, thread_id: str, target_id: str) -> bool:
        """Copy all checkpoints of a thread to another; its items stay. False where there is nothing to copy.

        Raises:
            ConflictError: the other thread has checkpoints already. Nothing was copied.
        """
        return await self._storage.run(pruning.copy(self._owner, thread_id, target_id))

    async def prune(self, thread_id: str, retention: Retention) -> int:
        """Remove the checkpoints that `retention` does not keep, and return how many there were.

        They go in batches, each of them one round trip and one transaction: whoever reads or writes the thread
        meanwhile waits for one batch at the most.
        """
        removed = 0
        while batch := await self._storage.run(pruning.prune(self._owner, thread_id, retention)):
            removed += batch
            if batch < pruning.BATCH:
                break
        return removed

    async def history(
        self, thread_id: str, checkpoint_ns: str, checkpoint_id: str | None, channels: Sequence[str]
    ) -> Sequence[StoredCheckpoint]:
        """See :func:`lakemem.operations.pruning.history`."""
        return await self._storage.run(pruning.history(self._owner, thread_id, checkpoint_ns, checkpoint_id, channels))
