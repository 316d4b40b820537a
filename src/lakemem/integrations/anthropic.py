"""Anthropic's memory tool on a user's files (extra ``anthropic``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from lakemem._async.files import AsyncFileMemory
from lakemem._async.scoped import AsyncScopedMemory
from lakemem._sync.files import FileMemory
from lakemem._sync.scoped import ScopedMemory
from lakemem.errors import ConfigurationError, MissingExtraError
from lakemem.file_memory.answers import FileAnswer

try:
    from anthropic.lib.tools import BetaAbstractMemoryTool, BetaAsyncAbstractMemoryTool, ToolError
except ImportError as error:
    raise MissingExtraError("anthropic", "lakemem.integrations.anthropic") from error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthropic.types.beta import BetaCacheControlEphemeralParam


@overload
def memory_tool(
    user: AsyncScopedMemory,
    *,
    namespace: Sequence[str] = ...,
    cache_control: BetaCacheControlEphemeralParam | None = ...,
) -> BetaAsyncAbstractMemoryTool: ...


@overload
def memory_tool(
    user: ScopedMemory,
    *,
    namespace: Sequence[str] = ...,
    cache_control: BetaCacheControlEphemeralParam | None = ...,
) -> BetaAbstractMemoryTool: ...


def memory_tool(
    user: AsyncScopedMemory | ScopedMemory,
    *,
    namespace: Sequence[str] = (),
    cache_control: BetaCacheControlEphemeralParam | None = None,
) -> BetaAsyncAbstractMemoryTool | BetaAbstractMemoryTool:
    """Return the memory tool for ``client.beta.messages.tool_runner(tools=[...])``.

    It is the tool of ``AsyncAnthropic`` for an async memory, and that of ``Anthropic`` for a sync one. What is
    refused, and an outage of memory, goes to the model as an error of the tool.

    Args:
        user: whose files they are: ``memory.for_user(...)``.
        namespace: labels that stand before ``"files"``, for more than one tree.
        cache_control: as for the SDK's own tool.

    Raises:
        ConfigurationError: `user` is no such memory.
    """
    if isinstance(user, AsyncScopedMemory):
        return _AsyncMemoryTool(AsyncFileMemory(user, namespace=namespace), cache_control)
    if isinstance(user, ScopedMemory):
        return _MemoryTool(FileMemory(user, namespace=namespace), cache_control)
    raise ConfigurationError(f"a memory tool works for one user: give memory.for_user(...), not {type(user).__name__}")


class _AsyncMemoryTool(BetaAsyncAbstractMemoryTool):
    def __init__(self, files: AsyncFileMemory, cache_control: BetaCacheControlEphemeralParam | None) -> None:
        super().__init__(cache_control=cache_control)
        self._files = files

    async def call(self, input: object) -> str:
        """Take the input as the model gave it: the SDK does not check it."""
        return _told(await self._files.answer(input))

    async def execute(self, command: Any) -> str:
        return await self.call(command.model_dump())

    view = create = str_replace = insert = delete = rename = execute


class _MemoryTool(BetaAbstractMemoryTool):
    def __init__(self, files: FileMemory, cache_control: BetaCacheControlEphemeralParam | None) -> None:
        super().__init__(cache_control=cache_control)
        self._files = files

    def call(self, input: object) -> str:
        """Take the input as the model gave it: the SDK does not check it."""
        return _told(self._files.answer(input))

    def execute(self, command: Any) -> str:
        return self.call(command.model_dump())

    view = create = str_replace = insert = delete = rename = execute


def _told(answer: FileAnswer) -> str:
    if answer.is_error:
        raise ToolError(answer.text)
    return answer.text
