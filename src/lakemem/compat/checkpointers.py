"""CheckpointSaver and AsyncCheckpointSaver of databricks-langchain, and ShortTermMemory around them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Unpack

from lakemem._async.memory import AsyncMemory
from lakemem._sync.memory import Memory
from lakemem.compat.arguments import LakebaseArguments, MoreArguments, Settings
from lakemem.compat.memories import async_memory, async_owned, memory, owned
from lakemem.context import resolve_thread_id
from lakemem.integrations.langgraph import AsyncLakebaseSaver, LakebaseSaver


class CheckpointSaver(LakebaseSaver):
    """A checkpointer with a pool of its own; a context manager closes it.

    Args:
        arguments: see :class:`~lakemem.compat.arguments.LakebaseArguments`.
    """

    def __init__(self, **arguments: Unpack[LakebaseArguments]) -> None:
        settings = Settings.of(type(self).__name__, arguments)
        self._root: Memory = memory(settings)
        super().__init__(owned(self._root, settings))

    def setup(self) -> None:
        """Create or upgrade lakemem's tables."""
        self._root.setup()

    def close(self) -> None:
        """Close the pool."""
        self._root.close()

    def __enter__(self) -> CheckpointSaver:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncCheckpointSaver(AsyncLakebaseSaver):
    """The twin of :class:`CheckpointSaver` for graphs that run on asyncio."""

    def __init__(self, **arguments: Unpack[LakebaseArguments]) -> None:
        settings = Settings.of(type(self).__name__, arguments)
        self._root: AsyncMemory = async_memory(settings)
        super().__init__(async_owned(self._root, settings))

    async def setup(self) -> None:
        """Create or upgrade lakemem's tables."""
        await self._root.setup()

    async def close(self) -> None:
        """Close the pool."""
        await self._root.close()

    async def __aenter__(self) -> AsyncCheckpointSaver:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class ShortTermMemory:
    """The conversation's memory as Databricks' examples wrap it: a checkpointer, and the id of the thread.

    Args:
        instance_name: a provisioned Lakebase instance.
        arguments: see :class:`~lakemem.compat.arguments.MoreArguments`.
    """

    def __init__(self, instance_name: str | None = None, **arguments: Unpack[MoreArguments]) -> None:
        self._saver = CheckpointSaver(instance_name=instance_name, **arguments)

    def setup(self) -> None:
        """Create or upgrade lakemem's tables."""
        self._saver.setup()

    @contextmanager
    def get_checkpointer(self) -> Iterator[CheckpointSaver]:
        """Lend the checkpointer; its pool stays for the next time, until `close`."""
        yield self._saver

    def close(self) -> None:
        """Close the pool."""
        self._saver.close()

    @staticmethod
    def generate_thread_id() -> str:
        return resolve_thread_id()

    @staticmethod
    def resolve_thread_id(custom_inputs: dict[str, Any] | None = None, conversation_id: str | None = None) -> str:
        """See :func:`lakemem.resolve_thread_id`."""
        return resolve_thread_id(custom_inputs, conversation_id)

    @staticmethod
    def get_checkpoint_config(thread_id: str) -> dict[str, dict[str, str]]:
        return {"configurable": {"thread_id": thread_id}}
