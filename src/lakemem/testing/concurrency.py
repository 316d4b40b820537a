"""Many calls at once, in each world; for tests that are written for asyncio and generated for threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


async def agather(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Await all calls at once, and return their results in order."""
    return list(await asyncio.gather(*(call() for call in calls)))


def gather(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make all calls at once, each on a thread, and return their results in order."""
    with ThreadPoolExecutor(max_workers=max(1, len(calls))) as threads:
        return [future.result() for future in [threads.submit(call) for call in calls]]
