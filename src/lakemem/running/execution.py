"""One attempt at a run, as the worker sees it: the handler at work, and how the run goes on."""

from __future__ import annotations

import asyncio
import logging
from typing import Literal, TypeAlias

from lakemem._async.memory import AsyncMemory
from lakemem.attempts import CurrentAttempt, begin
from lakemem.errors import LeaseLostError, RunError
from lakemem.operations.running import Claimed, Ending
from lakemem.operations.runs import mark_of
from lakemem.run_types import RunFailure
from lakemem.running.appending import Appender, Journal
from lakemem.running.attempt import Attempt, Handler

logger = logging.getLogger("lakemem")

Reason: TypeAlias = Literal["cancelled", "timeout", "lost", "released"]
"""Why a handler is to end before its end."""

GRACE = 5.0
"""Seconds that a handler which was cancelled has for its own affairs."""


class Execution:
    """One attempt: the handler, and what ends it before its end."""

    max_attempts = 1
    pause = 0.0

    def __init__(
        self, memory: AsyncMemory, handler: Handler, claimed: Claimed, journal: Journal, appender: Appender
    ) -> None:
        self._memory = memory
        self._handler = handler
        self._remaining = claimed.remaining
        self._appender = appender
        self._attempt = Attempt(memory, claimed.run, journal, appender)
        self._task: asyncio.Task[None] | None = None
        self._reason: Reason | None = None
        self._grace = GRACE
        self._stopped = asyncio.Event()
        self.journal = journal
        self.mark = mark_of(claimed.run.run_id)

    def stop(self, reason: Reason, *, grace: float = GRACE) -> None:
        """Let the handler end, for the first reason that is given."""
        if self._reason is None:
            self._reason = reason
        if reason == "lost":
            self._reason = reason
            self.journal.is_lost = True
            self.journal.ring()
        self._grace = min(self._grace, grace)
        self._attempt.cancelled.set()
        self._stopped.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(max(0.0, self._remaining), self.stop, "timeout")
        self._task = task = loop.create_task(self._handle(), name=f"lakemem {self._attempt.run.run_id}")
        watch = loop.create_task(self._watch_cancelling())
        try:
            stopped = loop.create_task(self._stopped.wait())
            await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            for _ in range(2):
                # Twice: what it awaits may lose the first (Python 3.11).
                if not task.done():
                    task.cancel()
                    await asyncio.wait([task], timeout=self._grace / 2)
            if not task.done():
                logger.warning("a handler goes on although its run was %s: it is left to itself", self._reason)
        finally:
            timer.cancel()
            watch.cancel()
            if not task.done():
                task.cancel()
        await self._conclude(task)

    async def _handle(self) -> None:
        run = self._attempt.run
        begin(CurrentAttempt(self._memory.target, self._memory.schema, run.owner, run.run_id, run.attempt))
        await self._handler(self._attempt)

    async def _watch_cancelling(self) -> None:
        await self.journal.cancel_requested.wait()
        self.stop("cancelled")

    async def _conclude(self, task: asyncio.Task[None]) -> None:
        ending = self._ending(task)
        if ending is not None and not self.journal.is_lost:
            await self._appender.conclude(self.journal, ending)

    def _ending(self, task: asyncio.Task[None]) -> Ending | None:
        """How the run goes on. What the handler has said itself counts first."""
        error = None if not task.done() or task.cancelled() else task.exception()
        if self.journal.ending is not None:
            return self.journal.ending
        if self._reason == "lost" or isinstance(error, LeaseLostError):
            return None
        if self._reason == "timeout":
            return Ending(outcome="failed", failure=RunFailure("timeout", "the run took longer than its timeout"))
        if self._reason is not None:
            return Ending(outcome=self._reason)
        if isinstance(error, RunError):
            return Ending(outcome="failed", failure=RunFailure(error.code, str(error)))
        if error is None and not task.cancelled():
            return Ending(outcome="completed")
        name = "CancelledError" if error is None else type(error).__name__
        logger.warning("attempt %d at a run failed (%s)", self._attempt.number, name, exc_info=error)
        return Ending(
            outcome="erred",
            failure=RunFailure("handler_failed", f"the agent failed ({name})"),
            max_attempts=self.max_attempts,
            pause=self.pause,
        )
