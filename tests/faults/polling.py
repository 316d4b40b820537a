"""Waiting until something holds, once for each world."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

PATIENCE = 60.0
PAUSE = 0.01


class AsyncPoll:
    """``await AsyncPoll.until(holds)``"""

    @staticmethod
    async def until(holds: Callable[[], Awaitable[bool]]) -> None:
        end = time.monotonic() + PATIENCE
        while not await holds():
            assert time.monotonic() < end, f"it does not hold after {PATIENCE:g} s"
            await asyncio.sleep(PAUSE)


class Poll:
    """``Poll.until(holds)``"""

    @staticmethod
    def until(holds: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, f"it does not hold after {PATIENCE:g} s"
            time.sleep(PAUSE)
