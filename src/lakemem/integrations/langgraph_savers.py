"""LangGraph's checkpointers (extra ``langgraph``).

Source: langgraph.checkpoint.base, https://reference.langchain.com/python/langgraph/checkpoints/
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, NoReturn

from lakemem._async.memory import AsyncMemory
from lakemem._async.scoped import AsyncScopedMemory
from lakemem._sync.memory import Memory
from lakemem._sync.scoped import ScopedMemory
from lakemem.errors import ConfigurationError, MissingExtraError
from lakemem.integrations.langgraph_codec import CheckpointCodec
from lakemem.integrations.langgraph_configs import address_of, config_of, kept_by, listed, named, page_sizes, user_id_of
from lakemem.operations.checkpoints import ReusedVersionGone
from lakemem.work_types import Retention

try:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
    from langgraph.checkpoint.serde.base import SerializerProtocol
except ImportError as error:
    raise MissingExtraError("langgraph", "lakemem.integrations.langgraph") from error


class AsyncLakebaseSaver(CheckpointCodec):
    """A checkpointer for graphs that run on asyncio: ``builder.compile(checkpointer=AsyncLakebaseSaver(memory))``.

    Every method is one round trip and one transaction on lakemem's pool, so as many run at once as it has
    connections.

    Args:
        memory: with ``memory.for_user(...)``, all threads are that user's. With the memory itself, each call's
            config says whose they are: ``{"configurable": {"thread_id": ..., "user_id": ...}}``.
        serde: how values become bytes; by default LangGraph's own serializer.
    """

    def __init__(self, memory: AsyncMemory | AsyncScopedMemory, *, serde: SerializerProtocol | None = None) -> None:
        if not isinstance(memory, AsyncMemory | AsyncScopedMemory):
            raise ConfigurationError("AsyncLakebaseSaver needs an AsyncMemory; for a Memory there is LakebaseSaver")
        super().__init__(serde=serde)
        self._memory = memory

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        thread_id, checkpoint_ns, checkpoint_id = named(config)
        user = self._owner(config)
        stored = await user.checkpoints.get(thread_id, checkpoint_ns, checkpoint_id)
        if stored is None:
            return None
        found = self._decode(config, stored)
        self._remember_read(stored, found.checkpoint, owner=user.owner)
        return found

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        checkpoints, asked = self._owner(config).checkpoints, listed(config, filter, before)
        last = None
        for size in page_sizes(limit):
            page = await checkpoints.list(**asked, limit=size, after=last)
            for stored in page:
                yield self._decode(config, stored)
            if len(page) < size:
                return
            last = page[-1]

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        user = self._owner(config)
        address = address_of(config, checkpoint["id"])
        encoded = self._encode_checkpoint(config, checkpoint, metadata, new_versions, owner=user.owner)
        try:
            before = await user.checkpoints.put(address, **encoded.arguments)
        except ReusedVersionGone:
            encoded = self._encode_anew(config, checkpoint, metadata, new_versions, owner=user.owner)
            before = await user.checkpoints.put(address, **encoded.arguments)
        self._remember_written(config, encoded, before, owner=user.owner)
        return config_of(config, address, address.checkpoint_id)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        if writes:
            await self._owner(config).checkpoints.put_writes(
                address_of(config, config["configurable"]["checkpoint_id"]),
                task_id=task_id,
                task_path=task_path,
                writes=self._encode_writes(writes),
            )

    async def adelete_thread(self, thread_id: str) -> None:
        user = self._owner(None)
        self._known.forget_thread(user.owner, str(thread_id))
        await user.checkpoints.delete_thread(str(thread_id))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await self._owner(None).checkpoints.delete_for_runs([str(run_id) for run_id in run_ids])

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await self._owner(None).checkpoints.copy_thread(str(source_thread_id), str(target_thread_id))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str | Retention = "keep_latest") -> None:
        """Thin out the history of threads, in bounded batches.

        Args:
            strategy: ``"keep_latest"`` keeps the newest checkpoint of each namespace, ``"delete"`` none, and a
                :class:`~lakemem.Retention` what it says. What delta channels are rebuilt from is kept in any case.
        """
        retention = kept_by(strategy)
        for thread_id in map(str, thread_ids):
            if retention is None:
                await self.adelete_thread(thread_id)
            else:
                await self._owner(None).checkpoints.prune(thread_id, retention)

    async def aget_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> dict[str, Any]:
        if not channels:
            return {}
        ancestors = await self._owner(config).checkpoints.history(*named(config), channels)
        return self._decode_history(ancestors, channels)

    def get_tuple(self, config: RunnableConfig) -> NoReturn:
        _refuse_sync()

    def list(self, config: RunnableConfig | None, **_: Any) -> NoReturn:
        _refuse_sync()

    def put(self, config: RunnableConfig, *_: Any) -> NoReturn:
        _refuse_sync()

    def put_writes(self, config: RunnableConfig, *_: Any, **__: Any) -> NoReturn:
        _refuse_sync()

    def delete_thread(self, thread_id: str) -> NoReturn:
        _refuse_sync()

    def delete_for_runs(self, run_ids: Sequence[str]) -> NoReturn:
        _refuse_sync()

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> NoReturn:
        _refuse_sync()

    def prune(self, thread_ids: Sequence[str], **_: Any) -> NoReturn:
        _refuse_sync()

    def get_delta_channel_history(self, **_: Any) -> NoReturn:
        _refuse_sync()

    def _owner(self, config: RunnableConfig | None) -> AsyncScopedMemory:
        memory = self._memory
        return memory if isinstance(memory, AsyncScopedMemory) else memory.for_user(user_id_of(config))


class LakebaseSaver(CheckpointCodec):
    """The twin of :class:`AsyncLakebaseSaver` for graphs that run without asyncio, on a :class:`~lakemem.Memory`.

    Its async methods work too, each on a thread.
    """

    def __init__(self, memory: Memory | ScopedMemory, *, serde: SerializerProtocol | None = None) -> None:
        if not isinstance(memory, Memory | ScopedMemory):
            raise ConfigurationError("LakebaseSaver needs a Memory; for an AsyncMemory there is AsyncLakebaseSaver")
        super().__init__(serde=serde)
        self._memory = memory

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        thread_id, checkpoint_ns, checkpoint_id = named(config)
        user = self._owner(config)
        stored = user.checkpoints.get(thread_id, checkpoint_ns, checkpoint_id)
        if stored is None:
            return None
        found = self._decode(config, stored)
        self._remember_read(stored, found.checkpoint, owner=user.owner)
        return found

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        checkpoints, asked = self._owner(config).checkpoints, listed(config, filter, before)
        last = None
        for size in page_sizes(limit):
            page = checkpoints.list(**asked, limit=size, after=last)
            for stored in page:
                yield self._decode(config, stored)
            if len(page) < size:
                return
            last = page[-1]

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        user = self._owner(config)
        address = address_of(config, checkpoint["id"])
        encoded = self._encode_checkpoint(config, checkpoint, metadata, new_versions, owner=user.owner)
        try:
            before = user.checkpoints.put(address, **encoded.arguments)
        except ReusedVersionGone:
            encoded = self._encode_anew(config, checkpoint, metadata, new_versions, owner=user.owner)
            before = user.checkpoints.put(address, **encoded.arguments)
        self._remember_written(config, encoded, before, owner=user.owner)
        return config_of(config, address, address.checkpoint_id)

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        if writes:
            self._owner(config).checkpoints.put_writes(
                address_of(config, config["configurable"]["checkpoint_id"]),
                task_id=task_id,
                task_path=task_path,
                writes=self._encode_writes(writes),
            )

    def delete_thread(self, thread_id: str) -> None:
        user = self._owner(None)
        self._known.forget_thread(user.owner, str(thread_id))
        user.checkpoints.delete_thread(str(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        self._owner(None).checkpoints.delete_for_runs([str(run_id) for run_id in run_ids])

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        self._owner(None).checkpoints.copy_thread(str(source_thread_id), str(target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str | Retention = "keep_latest") -> None:
        """Thin out the history of threads, in bounded batches.

        Args:
            strategy: ``"keep_latest"`` keeps the newest checkpoint of each namespace, ``"delete"`` none, and a
                :class:`~lakemem.Retention` what it says. What delta channels are rebuilt from is kept in any case.
        """
        retention = kept_by(strategy)
        for thread_id in map(str, thread_ids):
            if retention is None:
                self.delete_thread(thread_id)
            else:
                self._owner(None).checkpoints.prune(thread_id, retention)

    def get_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> dict[str, Any]:
        if not channels:
            return {}
        ancestors = self._owner(config).checkpoints.history(*named(config), channels)
        return self._decode_history(ancestors, channels)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        found = await asyncio.to_thread(lambda: tuple(self.list(config, filter=filter, before=before, limit=limit)))
        for checkpoint in found:
            yield checkpoint

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await asyncio.to_thread(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await asyncio.to_thread(self.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        await asyncio.to_thread(self.delete_thread, thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await asyncio.to_thread(self.delete_for_runs, run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await asyncio.to_thread(self.copy_thread, source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str | Retention = "keep_latest") -> None:
        await asyncio.to_thread(lambda: self.prune(thread_ids, strategy=strategy))

    async def aget_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> dict[str, Any]:
        return await asyncio.to_thread(lambda: self.get_delta_channel_history(config=config, channels=channels))

    def _owner(self, config: RunnableConfig | None) -> ScopedMemory:
        memory = self._memory
        return memory if isinstance(memory, ScopedMemory) else memory.for_user(user_id_of(config))


def _refuse_sync() -> NoReturn:
    raise NotImplementedError(
        "AsyncLakebaseSaver has async methods only: call ainvoke, astream and aget_state on the graph, "
        "or compile it with LakebaseSaver(Memory(...))"
    )
