"""LangGraph: a checkpointer, a store, and memory tools (extra ``langgraph``).

Source: langgraph.checkpoint.base, https://reference.langchain.com/python/langgraph/checkpoints/
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, NoReturn, cast

from lakemem._async.memory import AsyncMemory, AsyncScopedMemory
from lakemem._async.toolbox import AsyncToolbox
from lakemem._sync.memory import Memory, ScopedMemory
from lakemem._sync.toolbox import Toolbox
from lakemem.errors import ConfigurationError, MissingExtraError
from lakemem.integrations.langgraph_store import AsyncLakebaseStore as AsyncLakebaseStore
from lakemem.integrations.langgraph_store import LakebaseStore as LakebaseStore
from lakemem.operations.checkpoints import Address, Blob, StoredCheckpoint
from lakemem.tool_specs import TOOL_SPECS, ToolSpec
from lakemem.validation import encode_json, without_nul

try:
    from langchain_core.runnables import RunnableConfig
    from langchain_core.tools import BaseTool, StructuredTool
    from langgraph.checkpoint.base import (
        WRITES_IDX_MAP,
        BaseCheckpointSaver,
        ChannelVersions,
        Checkpoint,
        CheckpointMetadata,
        CheckpointTuple,
        get_checkpoint_id,
        get_serializable_checkpoint_metadata,
    )
    from langgraph.checkpoint.serde.base import SerializerProtocol
except ImportError as error:
    raise MissingExtraError("langgraph", "lakemem.integrations.langgraph") from error

MAX_METADATA_BYTES = 1024 * 1024
MAX_INLINE_TEXT = 1024
"""A longer text is stored apart, and so not again with every checkpoint that it stands in."""


class _Codec(BaseCheckpointSaver[str]):
    """What both savers share: from LangGraph's values to rows and back. It does no I/O."""

    def get_next_version(self, current: str | int | None, channel: None) -> str:
        """Return a version that sorts behind `current`.

        The random end keeps two branches apart that go on from the same checkpoint: each stores its own value.
        """
        number = 0 if current is None else int(str(current).partition(".")[0])
        return f"{number + 1:032}.{uuid.uuid4().hex[:16]}"

    def _address(self, config: RunnableConfig, checkpoint_id: str) -> Address:
        configurable = config["configurable"]
        return Address(str(configurable["thread_id"]), configurable.get("checkpoint_ns", ""), checkpoint_id)

    def _encode_checkpoint(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> dict[str, Any]:
        """The arguments of `Checkpoints.put`, beside the address.

        Small plain values stay within the checkpoint; every other value is stored once for each version of its
        channel.
        """
        versions, values = checkpoint["channel_versions"], checkpoint["channel_values"]
        apart = {name for name, value in values.items() if name in versions and not _is_small(value)}
        body = {
            **checkpoint,
            "channel_values": {name: value for name, value in values.items() if name not in apart},
        }
        return {
            "parent_checkpoint_id": get_checkpoint_id(config),
            "checkpoint": self._dump(body),
            "metadata": _encode_metadata(get_serializable_checkpoint_metadata(config, metadata)),
            "channel_versions": json.dumps({name: str(versions[name]) for name in apart}),
            "blobs": {
                name: (str(version), self._dump(values[name]))
                for name, version in new_versions.items()
                if name in apart
            },
        }

    def _encode_writes(self, writes: Sequence[tuple[str, Any]]) -> list[tuple[int, str, Blob]]:
        """What was written, for `Checkpoints.put_writes`: of several errors, interrupts or resumes the last counts."""
        by_index = {
            WRITES_IDX_MAP.get(channel, place): (channel, value) for place, (channel, value) in enumerate(writes)
        }
        return [(index, channel, self._dump(value)) for index, (channel, value) in by_index.items()]

    def _decode(self, config: RunnableConfig | None, stored: StoredCheckpoint) -> CheckpointTuple:
        checkpoint = cast(Checkpoint, self._load(stored.checkpoint))
        checkpoint["channel_values"].update({name: self._load(blob) for name, blob in stored.channels.items()})
        parent = stored.parent_checkpoint_id
        return CheckpointTuple(
            config=_config_of(config, stored, stored.checkpoint_id),
            checkpoint=checkpoint,
            metadata=json.loads(stored.metadata),
            parent_config=None if parent is None else _config_of(config, stored, parent),
            pending_writes=[(task, channel, self._load(blob)) for task, channel, blob in stored.writes],
        )

    def _dump(self, value: Any) -> Blob:
        return Blob(*self.serde.dumps_typed(value))

    def _load(self, blob: Blob) -> Any:
        return self.serde.loads_typed((blob.type, blob.data))


class AsyncLakebaseSaver(_Codec):
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
        thread_id, checkpoint_ns, checkpoint_id = _named(config)
        stored = await self._owner(config).checkpoints.get(thread_id, checkpoint_ns, checkpoint_id)
        return None if stored is None else self._decode(config, stored)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        checkpoints = self._owner(config).checkpoints
        for stored in await checkpoints.list(**_listed(config, filter, before), limit=limit):
            yield self._decode(config, stored)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        address = self._address(config, checkpoint["id"])
        encoded = self._encode_checkpoint(config, checkpoint, metadata, new_versions)
        await self._owner(config).checkpoints.put(address, **encoded)
        return _config_of(config, address, address.checkpoint_id)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        if writes:
            await self._owner(config).checkpoints.put_writes(
                self._address(config, config["configurable"]["checkpoint_id"]),
                task_id=task_id,
                task_path=task_path,
                writes=self._encode_writes(writes),
            )

    async def adelete_thread(self, thread_id: str) -> None:
        await self._owner(None).checkpoints.delete_thread(str(thread_id))

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

    def _owner(self, config: RunnableConfig | None) -> AsyncScopedMemory:
        memory = self._memory
        return memory if isinstance(memory, AsyncScopedMemory) else memory.for_user(_user_id(config))


class LakebaseSaver(_Codec):
    """The twin of :class:`AsyncLakebaseSaver` for graphs that run without asyncio, on a :class:`~lakemem.Memory`.

    Its async methods work too, each on a thread.
    """

    def __init__(self, memory: Memory | ScopedMemory, *, serde: SerializerProtocol | None = None) -> None:
        if not isinstance(memory, Memory | ScopedMemory):
            raise ConfigurationError("LakebaseSaver needs a Memory; for an AsyncMemory there is AsyncLakebaseSaver")
        super().__init__(serde=serde)
        self._memory = memory

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        thread_id, checkpoint_ns, checkpoint_id = _named(config)
        stored = self._owner(config).checkpoints.get(thread_id, checkpoint_ns, checkpoint_id)
        return None if stored is None else self._decode(config, stored)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        checkpoints = self._owner(config).checkpoints
        for stored in checkpoints.list(**_listed(config, filter, before), limit=limit):
            yield self._decode(config, stored)

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        address = self._address(config, checkpoint["id"])
        encoded = self._encode_checkpoint(config, checkpoint, metadata, new_versions)
        self._owner(config).checkpoints.put(address, **encoded)
        return _config_of(config, address, address.checkpoint_id)

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        if writes:
            self._owner(config).checkpoints.put_writes(
                self._address(config, config["configurable"]["checkpoint_id"]),
                task_id=task_id,
                task_path=task_path,
                writes=self._encode_writes(writes),
            )

    def delete_thread(self, thread_id: str) -> None:
        self._owner(None).checkpoints.delete_thread(str(thread_id))

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

    def _owner(self, config: RunnableConfig | None) -> ScopedMemory:
        memory = self._memory
        return memory if isinstance(memory, ScopedMemory) else memory.for_user(_user_id(config))


def memory_tools(
    memory: AsyncMemory | AsyncScopedMemory | Memory | ScopedMemory, *, namespace: Sequence[str] = ()
) -> list[BaseTool]:
    """Return the memory tools for a graph; async ones for an async memory, and sync ones for a sync memory.

    The model never says whose memory it is. With ``memory.for_user(...)`` the tools work for that user. With the
    memory itself they serve every run, whose config says who its user is:
    ``{"configurable": {"user_id": ...}}``.
    """
    if isinstance(memory, AsyncMemory | AsyncScopedMemory):
        return [_async_tool(spec, memory, namespace) for spec in TOOL_SPECS]
    return [_sync_tool(spec, memory, namespace) for spec in TOOL_SPECS]


class _MemoryTool(StructuredTool):
    """Hands on what the model gave as it is, and so the toolbox can tell the model what is wrong with it."""

    def _to_args_and_kwargs(self, tool_input: Any, tool_call_id: str | None) -> tuple[tuple[()], dict[str, Any]]:
        return (), {"arguments": tool_input}


def _async_tool(spec: ToolSpec, memory: AsyncMemory | AsyncScopedMemory, namespace: Sequence[str]) -> BaseTool:
    async def call(arguments: Any, config: RunnableConfig) -> str:
        user = memory if isinstance(memory, AsyncScopedMemory) else memory.for_user(_user_id(config))
        return await AsyncToolbox(user, namespace).call(spec.name, arguments)

    return _MemoryTool(name=spec.name, description=spec.description, args_schema=spec.json_schema, coroutine=call)


def _sync_tool(spec: ToolSpec, memory: Memory | ScopedMemory, namespace: Sequence[str]) -> BaseTool:
    def call(arguments: Any, config: RunnableConfig) -> str:
        user = memory if isinstance(memory, ScopedMemory) else memory.for_user(_user_id(config))
        return Toolbox(user, namespace).call(spec.name, arguments)

    return _MemoryTool(name=spec.name, description=spec.description, args_schema=spec.json_schema, func=call)


def _user_id(config: RunnableConfig | None) -> str:
    user_id = (config or {}).get("configurable", {}).get("user_id")
    if user_id is None:
        raise ConfigurationError(
            'this call does not say whose memory it is: put "user_id" beside "thread_id" into the config\'s '
            '"configurable", or give memory.for_user(...) in place of the memory'
        )
    return str(user_id)


def _named(config: RunnableConfig) -> tuple[str, str, str | None]:
    configurable = config["configurable"]
    return str(configurable["thread_id"]), configurable.get("checkpoint_ns", ""), get_checkpoint_id(config)


def _listed(
    config: RunnableConfig | None, filter: Mapping[str, Any] | None, before: RunnableConfig | None
) -> dict[str, Any]:
    """The arguments of `Checkpoints.list`."""
    configurable = (config or {}).get("configurable", {})
    thread_id = configurable.get("thread_id")
    return {
        "thread_id": None if thread_id is None else str(thread_id),
        "checkpoint_ns": configurable.get("checkpoint_ns"),
        "checkpoint_id": configurable.get("checkpoint_id"),
        "before": None if before is None else get_checkpoint_id(before),
        "filter": _encode_metadata(filter or {}),
    }


def _config_of(config: RunnableConfig | None, place: Address | StoredCheckpoint, checkpoint_id: str) -> RunnableConfig:
    """The config that names a checkpoint, and its user where the config at hand does."""
    configurable = {
        "thread_id": place.thread_id,
        "checkpoint_ns": place.checkpoint_ns,
        "checkpoint_id": checkpoint_id,
    }
    user_id = (config or {}).get("configurable", {}).get("user_id")
    return {"configurable": configurable if user_id is None else {**configurable, "user_id": user_id}}


def _encode_metadata(metadata: Mapping[str, Any]) -> str:
    return encode_json("checkpoint metadata", without_nul(dict(metadata)), limit=MAX_METADATA_BYTES)


def _is_small(value: Any) -> bool:
    if type(value) is str:
        return len(value) <= MAX_INLINE_TEXT
    return value is None or type(value) in (int, float, bool)


def _refuse_sync() -> NoReturn:
    raise NotImplementedError(
        "AsyncLakebaseSaver has async methods only: call ainvoke, astream and aget_state on the graph, "
        "or compile it with LakebaseSaver(Memory(...))"
    )
