from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from lakemem import AsyncMemory, Lakebase, Memory
from lakemem.integrations.langgraph import AsyncLakebaseSaver, LakebaseSaver

Saver = AsyncLakebaseSaver | LakebaseSaver


@pytest.fixture
async def async_memory(target: Lakebase) -> AsyncIterator[AsyncMemory]:
    async with AsyncMemory(target) as memory:
        yield memory


@pytest.fixture(params=["async", "sync"])
async def memory(request: pytest.FixtureRequest, target: Lakebase) -> AsyncIterator[AsyncMemory | Memory]:
    """A memory of each world, on the same tables."""
    if request.param == "async":
        async with AsyncMemory(target) as memory:
            yield memory
    else:
        with Memory(target) as sync_memory:
            yield sync_memory


@pytest.fixture
async def saver(memory: AsyncMemory | Memory) -> Saver:
    """Each saver, for one user."""
    return saver_of(memory, "alice")


def saver_of(memory: AsyncMemory | Memory, user_id: str | None = None) -> Saver:
    """The saver of a memory's world: for one user, or for whomever the config names."""
    if isinstance(memory, AsyncMemory):
        return AsyncLakebaseSaver(memory if user_id is None else memory.for_user(user_id))
    return LakebaseSaver(memory if user_id is None else memory.for_user(user_id))
