"""The OpenAI Agents SDK: a session on a thread, and memory tools (extra ``openai-agents``)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from lakemem._async.files import AsyncFileMemory
from lakemem._async.memory import AsyncMemory
from lakemem._async.scoped import AsyncScopedMemory
from lakemem._async.toolbox import AsyncToolbox
from lakemem._sync.memory import Memory
from lakemem._sync.scoped import ScopedMemory
from lakemem.errors import ConfigurationError, MissingExtraError
from lakemem.integrations.openai_context import user_of
from lakemem.integrations.openai_runner import respond as respond
from lakemem.integrations.openai_runner import stream as stream
from lakemem.integrations.openai_session import LakebaseSession as LakebaseSession
from lakemem.protocols import AsyncLongTermMemory
from lakemem.tool_specs import FILE_TOOL_DESCRIPTION, FILE_TOOL_NAME, TOOL_SPECS, ToolSpec, file_tool_schema

try:
    from agents import FunctionTool, Tool
except ImportError as error:
    raise MissingExtraError("openai-agents", "lakemem.integrations.openai_agents") from error

if TYPE_CHECKING:
    from agents.tool_context import ToolContext


def memory_tools(
    memory: AsyncMemory | AsyncLongTermMemory,
    *,
    namespace: Sequence[str] = (),
    kind: Literal["facts", "files"] = "facts",
) -> list[Tool]:
    """Return the memory tools for an agent, or with ``kind="files"`` one tool that keeps memory as files.

    The model never says whose memory it is. With ``memory.for_user(...)`` the tools work for that user. With the
    memory itself they serve every run, and each run's context says who its user is: the ``context`` given to
    ``Runner.run`` has a ``user_id``, as a :class:`~lakemem.RequestContext` does.

    Raises:
        ConfigurationError: the memory is a sync one, or it keeps no files.
    """
    if isinstance(memory, Memory | ScopedMemory):
        raise ConfigurationError("the OpenAI Agents SDK calls its tools on an event loop: give an AsyncMemory")
    if kind == "files":
        if not isinstance(memory, AsyncMemory | AsyncScopedMemory):
            raise ConfigurationError(
                f"files are kept by an AsyncMemory or its for_user(...), not {type(memory).__name__}"
            )
        return [_file_tool(memory, namespace)]
    return [_function_tool(spec, memory, namespace) for spec in TOOL_SPECS]


def _function_tool(spec: ToolSpec, memory: AsyncMemory | AsyncLongTermMemory, namespace: Sequence[str]) -> FunctionTool:
    async def invoke(context: ToolContext[Any], arguments: str) -> str:
        toolbox = AsyncToolbox(_user_of(memory, context.context), namespace)
        return await toolbox.call(spec.name, _parsed(arguments))

    return FunctionTool(
        name=spec.name,
        description=spec.description,
        params_json_schema=spec.json_schema,
        on_invoke_tool=invoke,
    )


def _file_tool(memory: AsyncMemory | AsyncScopedMemory, namespace: Sequence[str]) -> FunctionTool:
    async def invoke(context: ToolContext[Any], arguments: str) -> str:
        user = memory if isinstance(memory, AsyncScopedMemory) else memory.for_user(_user_id_of(context.context))
        return await AsyncFileMemory(user, namespace=namespace).call(_parsed(arguments))

    return FunctionTool(
        name=FILE_TOOL_NAME,
        description=FILE_TOOL_DESCRIPTION,
        params_json_schema=file_tool_schema(),
        on_invoke_tool=invoke,
    )


def _parsed(arguments: str) -> object:
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return None


def _user_of(memory: AsyncMemory | AsyncLongTermMemory, context: Any) -> AsyncLongTermMemory:
    return memory.for_user(_user_id_of(context)) if isinstance(memory, AsyncMemory) else memory


def _user_id_of(context: Any) -> str:
    user_id = user_of(context)
    if user_id is None:
        raise ConfigurationError(
            "the memory tools do not know the user: run the agent with a context that has a user_id, such as "
            "Runner.run(..., context=resolve_context(request)), or make the tools with memory.for_user(...)"
        )
    return str(user_id)
