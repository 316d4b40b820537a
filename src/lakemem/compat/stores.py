"""DatabricksStore and AsyncDatabricksStore of databricks-langchain."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Unpack

from lakemem._async.memory import AsyncMemory
from lakemem._sync.memory import Memory
from lakemem.compat.arguments import LakebaseArguments, Settings, embedder_of
from lakemem.compat.memories import async_memory, async_owned, memory, owned
from lakemem.integrations.langgraph import AsyncLakebaseStore, LakebaseStore


class DatabricksStore(LakebaseStore):
    """A store with a pool of its own; a context manager closes it.

    Args:
        embedding_endpoint: a serving endpoint for embeddings, asked as the `workspace_client`.
        embedding_dims: the length of its vectors.
        embedding_fields: the paths into a value that search reads; by default all of it.
        embeddings: LangChain's Embeddings, in place of the endpoint.
        arguments: see :class:`~lakemem.compat.arguments.LakebaseArguments`.
    """

    def __init__(
        self,
        *,
        embedding_endpoint: str | None = None,
        embedding_dims: int | None = None,
        embedding_fields: Sequence[str] | None = None,
        embeddings: Any = None,
        **arguments: Unpack[LakebaseArguments],
    ) -> None:
        settings = Settings.of(type(self).__name__, arguments, embeds=embedding_endpoint is not None)
        embedder = embedder_of(
            embedding_endpoint=embedding_endpoint,
            embedding_dims=embedding_dims,
            embeddings=embeddings,
            workspace_client=settings.workspace_client,
        )
        self._root: Memory = memory(settings, embedder)
        super().__init__(owned(self._root, settings), fields=embedding_fields or ["$"])

    def setup(self) -> None:
        """Create or upgrade lakemem's tables."""
        self._root.setup()

    def close(self) -> None:
        """Close the pool."""
        self._root.close()

    def __enter__(self) -> DatabricksStore:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncDatabricksStore(AsyncLakebaseStore):
    """The twin of :class:`DatabricksStore` for graphs that run on asyncio."""

    def __init__(
        self,
        *,
        embedding_endpoint: str | None = None,
        embedding_dims: int | None = None,
        embedding_fields: Sequence[str] | None = None,
        embeddings: Any = None,
        **arguments: Unpack[LakebaseArguments],
    ) -> None:
        settings = Settings.of(type(self).__name__, arguments, embeds=embedding_endpoint is not None)
        embedder = embedder_of(
            embedding_endpoint=embedding_endpoint,
            embedding_dims=embedding_dims,
            embeddings=embeddings,
            workspace_client=settings.workspace_client,
        )
        self._root: AsyncMemory = async_memory(settings, embedder)
        super().__init__(async_owned(self._root, settings), fields=embedding_fields or ["$"])

    async def setup(self) -> None:
        """Create or upgrade lakemem's tables."""
        await self._root.setup()

    async def close(self) -> None:
        """Close the pool."""
        await self._root.close()

    async def __aenter__(self) -> AsyncDatabricksStore:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
