"""The OpenAI Agents SDK: a session on a thread, and memory tools (extra ``openai-agents``)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from lakemem._async.memory import AsyncMemory
from lakemem._async.toolbox import AsyncToolbox
from lakemem._sync.memory import Memory, ScopedMemory
from lakemem.errors import ConfigurationError, MissingExtraError
from lakemem.protocols import AsyncLongTermMemory, AsyncShortTermMemory
from lakemem.tool_specs import TOOL_SPECS, ToolSpec

try:
    from agents import FunctionTool, Tool
    from agents.memory import SessionSettings
except ImportError as error:
    raise MissingExtraError("openai-agents", "lakemem.integrations.openai_agents") from error

if TYPE_CHECKING:
    from agents.items import TResponseInputItem
    from agents.tool_context import ToolContext


class LakebaseSession:
    """A thread as a session of the SDK: ``Runner.run(agent, "Hello", session=LakebaseSession(thread))``.

    Every method is one round trip and one transaction. Items come back exactly as the SDK stored them.

    Source: the Session protocol, https://openai.github.io/openai-agents-python/sessions/

    Args:
        thread: the conversation, such as ``memory.for_user(...).thread(...)``.
        session_settings: how many of the newest items a run reads, unless the run itself says so.
    """

    def __init__(
        self, thread: AsyncShortTermMemory, *, session_settings: SessionSettings | dict[str, Any] | None = None
    ) -> None:
        self._thread = thread
        self.session_id = thread.thread_id
        self.session_settings = (
            SessionSettings(**session_settings) if isinstance(session_settings, dict) else session_settings
        )

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """Return the newest `limit` items, the oldest of them first; by default as many as the settings say."""
        if limit is None and self.session_settings is not None:
            limit = self.session_settings.limit
        return cast("list[TResponseInputItem]", await self._thread.items(limit))

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Add items at the end, all or none of them."""
        await self._thread.append(cast("list[dict[str, Any]]", items))

    async def pop_item(self) -> TResponseInputItem | None:
        """Remove the newest item and return it; None where there is none."""
        return cast("TResponseInputItem | None", await self._thread.pop())

    async def clear_session(self) -> None:
        """Remove all items."""
        await self._thread.clear()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.session_id!r}>"


def memory_tools(memory: AsyncMemory | AsyncLongTermMemory, *, namespace: Sequence[str] = ()) -> list[Tool]:
    """Return the memory tools for an agent.

    The model never says whose memory it is. With ``memory.for_user(...)`` the tools work for that user. With the
    memory itself they serve every run, and each run's context says who its user is: the ``context`` given to
    ``Runner.run`` has a ``user_id``, as a :class:`~lakemem.RequestContext` does.

    Raises:
        ConfigurationError: the memory is a sync one.
    """
    if isinstance(memory, Memory | ScopedMemory):
        raise ConfigurationError("the OpenAI Agents SDK calls its tools on an event loop: give an AsyncMemory")
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


def _parsed(arguments: str) -> object:
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return None


def _user_of(memory: AsyncMemory | AsyncLongTermMemory, context: Any) -> AsyncLongTermMemory:
    if not isinstance(memory, AsyncMemory):
        return memory
    user_id = context.get("user_id") if isinstance(context, Mapping) else getattr(context, "user_id", None)
    if user_id is None:
        raise ConfigurationError(
            "the memory tools do not know the user: run the agent with a context that has a user_id, such as "
            "Runner.run(..., context=resolve_context(request)), or make the tools with memory.for_user(...)"
        )
    return memory.for_user(user_id)
