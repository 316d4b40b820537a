from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from lakemem import AsyncMemory, AsyncScopedMemory, Lakebase


@pytest.fixture
async def memory(target: Lakebase) -> AsyncIterator[AsyncMemory]:
    async with AsyncMemory(target) as memory:
        yield memory


@pytest.fixture
async def alice(memory: AsyncMemory) -> AsyncScopedMemory:
    return memory.for_user("alice")


@pytest.fixture
async def bob(memory: AsyncMemory) -> AsyncScopedMemory:
    return memory.for_user("bob")
