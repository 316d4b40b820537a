"""Whether an event loop gets round to others while something is under way."""

from __future__ import annotations

import asyncio
import threading

PATIENCE = 10.0


class Attention:
    """Of the loop that runs where it is made.

    Attributes:
        answers: of each time that the loop was asked, whether it answered.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.answers: list[bool] = []

    def ask(self) -> None:
        """Wait, on whatever thread, for the loop to do a thing: where it stands still, for ten seconds."""
        answered = threading.Event()
        self._loop.call_soon_threadsafe(answered.set)
        self.answers.append(answered.wait(PATIENCE))
