from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from agents import set_tracing_disabled

from lakemem import AsyncMemory, AsyncScopedMemory, Lakebase, degrading
from lakemem.integrations.openai_agents import LakebaseSession

NOBODY_LISTENS = "postgresql://ada:secret@127.0.0.1:1/agents"


@pytest.fixture(autouse=True)
def _no_tracing() -> None:
    """Traces would go to the makers of the SDK."""
    set_tracing_disabled(True)


@pytest.fixture
async def memory(target: Lakebase) -> AsyncIterator[AsyncMemory]:
    async with AsyncMemory(target) as memory:
        yield memory


@pytest.fixture
async def alice(memory: AsyncMemory) -> AsyncScopedMemory:
    return memory.for_user("alice")


@pytest.fixture
async def session(alice: AsyncScopedMemory) -> LakebaseSession:
    return LakebaseSession(alice.thread("conversation"))


@pytest.fixture
async def unreachable() -> AsyncIterator[AsyncMemory]:
    """A degrading memory whose database is down."""
    memory = degrading(AsyncMemory(Lakebase.dsn(NOBODY_LISTENS)), cooldown=60.0)
    async with memory:
        yield memory
