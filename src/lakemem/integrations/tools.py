"""The memory tools of either framework, by one name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from lakemem._async.memory import AsyncMemory
from lakemem._async.scoped import AsyncScopedMemory
from lakemem._sync.memory import Memory
from lakemem._sync.scoped import ScopedMemory
from lakemem.errors import ConfigurationError


def create_memory_tools(
    memory: AsyncMemory | AsyncScopedMemory | Memory | ScopedMemory,
    framework: Literal["openai-agents", "langgraph"],
    *,
    namespace: Sequence[str] = (),
    kind: Literal["facts", "files"] = "facts",
) -> list[Any]:
    """Return save_memory, get_memory, search_memories, list_memories, update_memory and delete_memory.

    With ``kind="files"`` it is one tool, ``memory``, with the commands of :class:`~lakemem.AsyncFileMemory`.
    See ``memory_tools`` of :mod:`lakemem.integrations.openai_agents` and :mod:`lakemem.integrations.langgraph`.

    Raises:
        ConfigurationError: the framework or the kind is neither of the two, or cannot work with a sync memory.
        MissingExtraError: the framework is not installed.
    """
    if kind not in ("facts", "files"):
        raise ConfigurationError(f"kind is 'facts' or 'files', not {kind!r}")
    if framework == "langgraph":
        from lakemem.integrations import langgraph

        return list(langgraph.memory_tools(memory, namespace=namespace, kind=kind))
    if framework != "openai-agents":
        raise ConfigurationError(f"framework is 'openai-agents' or 'langgraph', not {framework!r}")
    from lakemem.integrations import openai_agents

    return list(openai_agents.memory_tools(memory, namespace=namespace, kind=kind))  # type: ignore[arg-type]
