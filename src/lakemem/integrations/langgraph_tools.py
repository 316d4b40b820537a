"""Memory tools for LangGraph (extra ``langgraph``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from lakemem._async.files import AsyncFileMemory
from lakemem._async.memory import AsyncMemory
from lakemem._async.scoped import AsyncScopedMemory
from lakemem._async.toolbox import AsyncToolbox
from lakemem._sync.files import FileMemory
from lakemem._sync.memory import Memory
from lakemem._sync.scoped import ScopedMemory
from lakemem._sync.toolbox import Toolbox
from lakemem.errors import MissingExtraError
from lakemem.integrations.langgraph_configs import user_id_of
from lakemem.tool_specs import FILE_TOOL_DESCRIPTION, FILE_TOOL_NAME, TOOL_SPECS, ToolSpec, file_tool_schema

try:
    from langchain_core.runnables import RunnableConfig
    from langchain_core.tools import BaseTool, StructuredTool
except ImportError as error:
    raise MissingExtraError("langgraph", "lakemem.integrations.langgraph") from error


def memory_tools(
    memory: AsyncMemory | AsyncScopedMemory | Memory | ScopedMemory,
    *,
    namespace: Sequence[str] = (),
    kind: Literal["facts", "files"] = "facts",
) -> list[BaseTool]:
    """Return the memory tools for a graph, or with ``kind="files"`` one tool that keeps memory as files.

    They are async ones for an async memory, and sync ones for a sync memory.

    The model never says whose memory it is. With ``memory.for_user(...)`` the tools work for that user. With the
    memory itself they serve every run, whose config says who its user is:
    ``{"configurable": {"user_id": ...}}``.
    """
    if isinstance(memory, AsyncMemory | AsyncScopedMemory):
        if kind == "files":
            return [_async_file_tool(memory, namespace)]
        return [_async_tool(spec, memory, namespace) for spec in TOOL_SPECS]
    if kind == "files":
        return [_sync_file_tool(memory, namespace)]
    return [_sync_tool(spec, memory, namespace) for spec in TOOL_SPECS]


class _MemoryTool(StructuredTool):
    """Hands on what the model gave as it is, and so the toolbox can tell the model what is wrong with it."""

    def _to_args_and_kwargs(self, tool_input: Any, tool_call_id: str | None) -> tuple[tuple[()], dict[str, Any]]:
        return (), {"arguments": tool_input}


def _async_tool(spec: ToolSpec, memory: AsyncMemory | AsyncScopedMemory, namespace: Sequence[str]) -> BaseTool:
    async def call(arguments: Any, config: RunnableConfig) -> str:
        user = memory if isinstance(memory, AsyncScopedMemory) else memory.for_user(user_id_of(config))
        return await AsyncToolbox(user, namespace).call(spec.name, arguments)

    return _MemoryTool(name=spec.name, description=spec.description, args_schema=spec.json_schema, coroutine=call)


def _sync_tool(spec: ToolSpec, memory: Memory | ScopedMemory, namespace: Sequence[str]) -> BaseTool:
    def call(arguments: Any, config: RunnableConfig) -> str:
        user = memory if isinstance(memory, ScopedMemory) else memory.for_user(user_id_of(config))
        return Toolbox(user, namespace).call(spec.name, arguments)

    return _MemoryTool(name=spec.name, description=spec.description, args_schema=spec.json_schema, func=call)


def _async_file_tool(memory: AsyncMemory | AsyncScopedMemory, namespace: Sequence[str]) -> BaseTool:
    async def call(arguments: Any, config: RunnableConfig) -> str:
        user = memory if isinstance(memory, AsyncScopedMemory) else memory.for_user(user_id_of(config))
        return await AsyncFileMemory(user, namespace=namespace).call(arguments)

    return _MemoryTool(
        name=FILE_TOOL_NAME, description=FILE_TOOL_DESCRIPTION, args_schema=file_tool_schema(), coroutine=call
    )


def _sync_file_tool(memory: Memory | ScopedMemory, namespace: Sequence[str]) -> BaseTool:
    def call(arguments: Any, config: RunnableConfig) -> str:
        user = memory if isinstance(memory, ScopedMemory) else memory.for_user(user_id_of(config))
        return FileMemory(user, namespace=namespace).call(arguments)

    return _MemoryTool(
        name=FILE_TOOL_NAME, description=FILE_TOOL_DESCRIPTION, args_schema=file_tool_schema(), func=call
    )
