"""AsyncDatabricksSession of databricks-openai."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from lakemem._async.memory import AsyncMemory
from lakemem._async.threads import AsyncThread
from lakemem.compat.arguments import LakebaseArguments, Settings
from lakemem.compat.memories import async_memory, async_owned
from lakemem.compat.pools import SharedMemories
from lakemem.errors import ConfigurationError
from lakemem.integrations.openai_agents import LakebaseSession
from lakemem.validation import check_identifier

if TYPE_CHECKING:
    from agents.memory import SessionSettings

_SHARED = SharedMemories()


class AsyncDatabricksSession(LakebaseSession):
    """A conversation of the OpenAI Agents SDK, on lakemem's threads.

    Sessions of the same database, login and pool options share a pool on each event loop. The login is that of the
    `workspace_client`, so sessions of two clients never share one.

    Args:
        session_id: the thread.
        create_tables: whether the first use creates or upgrades lakemem's tables.
        sessions_table, messages_table: lakemem keeps threads in tables of its own; only the defaults are taken.
        use_cached_engine: False gives this session a pool of its own, to be closed by `close`.
        session_settings: how many of the newest items a run reads.
        arguments: see :class:`~lakemem.compat.arguments.LakebaseArguments`.
    """

    def __init__(
        self,
        session_id: str,
        *,
        create_tables: bool = True,
        sessions_table: str = "agent_sessions",
        messages_table: str = "agent_messages",
        use_cached_engine: bool = True,
        session_settings: SessionSettings | dict[str, Any] | None = None,
        **arguments: Unpack[LakebaseArguments],
    ) -> None:
        if (sessions_table, messages_table) != ("agent_sessions", "agent_messages"):
            raise ConfigurationError(
                "lakemem keeps threads in tables of its own: to keep those of two agents apart, give scope= or "
                "schema=, and move what is there with `lakemem import --sessions-table ... --messages-table ...`"
            )
        settings = Settings.of(type(self).__name__, arguments)

        own = None if use_cached_engine else async_memory(settings, migrate=create_tables)

        def memory() -> AsyncMemory:
            key = (settings.pool_key, create_tables)
            return own or _SHARED.memory(key, lambda: async_memory(settings, migrate=create_tables))

        def thread() -> AsyncThread:
            return async_owned(memory(), settings).thread(session_id)

        self._own = own
        # Found anew for every call: its memory may have been closed, or be another loop's.
        super().__init__(thread, check_identifier("session_id", session_id), session_settings=session_settings)

    async def close(self) -> None:
        """Close a pool of its own; a shared one stays for the others."""
        if self._own is not None:
            await self._own.close()


async def close_shared_pools() -> None:
    """Close the pools that sessions share on this event loop, as at the end of an app."""
    await _SHARED.close()
