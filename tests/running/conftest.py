from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from lakemem import AsyncMemory, AsyncRunner, AsyncScopedMemory, Lakebase
from lakemem.running import runner as runner_module
from lakemem.running.attempt import Handler


@pytest.fixture
async def memory(target: Lakebase) -> AsyncIterator[AsyncMemory]:
    async with AsyncMemory(target) as memory:
        yield memory


@pytest.fixture
def alice(memory: AsyncMemory) -> AsyncScopedMemory:
    return memory.for_user("alice")


@pytest.fixture
async def run_with(memory: AsyncMemory) -> AsyncIterator[Callable[..., Any]]:
    """Start a runner with a handler; it is stopped at the end."""
    async with AsyncExitStack() as stack:

        async def start(handler: Handler, **options: Any) -> AsyncRunner:
            runner = AsyncRunner(memory, handler, **options)
            await runner.start()
            stack.push_async_callback(runner.stop, 0)
            return runner

        yield start


@pytest.fixture(autouse=True)
def _without_caution(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that has just connected takes over at once."""
    monkeypatch.setattr(runner_module, "CAUTION", 0.0)
