"""What a handler is given: the run, and the way to say what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from lakemem._async.memory import AsyncMemory
from lakemem._async.scoped import AsyncScopedMemory
from lakemem.errors import InvalidInputError
from lakemem.operations.running import Ending
from lakemem.run_types import Run, RunEvent, RunFailure
from lakemem.running.appending import Appender, Journal
from lakemem.validation import MAX_ITEM_BYTES, encode_json, encode_metadata

MAX_EVENT_BYTES = 4 * 1024 * 1024


class Attempt:
    """One attempt at a run. What it does to the run is done only while it is the run's last attempt.

    Attributes:
        run: the run as it was claimed.
        cancelled: is set when the handler is to end: the run was cancelled, is out of time, was taken by another
            worker, or is handed over. An async handler is cancelled besides.
    """

    def __init__(self, memory: AsyncMemory, run: Run, journal: Journal, appender: Appender) -> None:
        self._memory = memory
        self._journal = journal
        self._appender = appender
        self.run = run
        self.cancelled = asyncio.Event()

    @property
    def number(self) -> int:
        """Which attempt this is, from 1; a token that grows, for tools that must not do a thing twice."""
        return self.run.attempt

    @property
    def request(self) -> dict[str, Any]:
        """What is to be done."""
        return self.run.request

    @property
    def owner(self) -> str:
        """To whom the run belongs."""
        return self.run.owner

    @property
    def answer(self) -> Any:
        """The person's answer to what an earlier attempt asked; None without one."""
        return self.run.answer

    @property
    def is_recovery(self) -> bool:
        """Whether an earlier attempt ended before its end: its process was killed, it failed, or was handed over."""
        return self.number > self.run.asked_by + 1

    @property
    def memory(self) -> AsyncScopedMemory:
        """The memory of the run's owner."""
        return self._memory._of(self.owner, ())

    @property
    def previous(self) -> AsyncIterator[RunEvent]:
        """The events of earlier attempts."""
        return self._previous()

    async def _previous(self) -> AsyncIterator[RunEvent]:
        runs, last = self.memory.runs, self.run.last_sequence
        after = -1
        while after < last and (events := await runs.events(self.run.run_id, after=after)):
            for event in events:
                if event.sequence_number <= last:
                    yield event
            after = events[-1].sequence_number

    async def emit(self, event: Mapping[str, Any]) -> None:
        """Add an event. It is stored soon, and delivered then; this waits only while too many are on their way.

        Raises:
            LeaseLostError: another worker has the run, or it is gone.
            RunError: the attempt has ended.
            InvalidInputError: the event is not JSON, or over 4 MB.
        """
        if not isinstance(event, Mapping):
            raise InvalidInputError(f"an event must be a mapping, not {type(event).__name__}")
        journal = self._journal
        journal.check()
        self._appender.add(journal, encode_json("event", dict(event), limit=MAX_EVENT_BYTES))
        while journal.is_full:
            await journal.wait()
            journal.check()

    async def flush(self) -> None:
        """Return when everything that was emitted is stored.

        Raises:
            LeaseLostError: another worker has the run, or it is gone.
        """
        journal = self._journal
        journal.check()
        last = journal.position.last_sequence + journal.unstored
        self._appender.touch(journal, is_urgent=True)
        await journal.wait()
        while journal.position.last_sequence < last and not journal.is_closed:
            await journal.wait()
        journal.check()

    async def complete(
        self,
        output: Sequence[Any] | None = None,
        *,
        status: Literal["completed", "incomplete", "failed"] = "completed",
        error: RunFailure | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """End the run, in one step with its last events. A handler that returns without it has completed its run.

        Args:
            output: what the run returns.
            status: how it ends.
            error: why it failed, or is incomplete.
            metadata: is added to what the run has.

        Raises:
            LeaseLostError: another worker has the run, or it is gone.
            RunError: the attempt has ended before.
            InvalidInputError: an argument is not what it should be.
        """
        if status not in ("completed", "incomplete", "failed"):
            raise InvalidInputError("status must be 'completed', 'incomplete' or 'failed'")
        await self._conclude(
            Ending(
                outcome=status,
                output=None if output is None else encode_json("output", list(output), limit=MAX_ITEM_BYTES),
                metadata=None if metadata is None else encode_metadata(metadata),
                failure=error,
            )
        )

    async def wait_for(self, question: Any) -> None:
        """Let the run wait for a person, and end this attempt: the handler returns then.

        With the answer the run goes on in a new attempt, which has it as `answer`.

        Args:
            question: what the person is asked, as JSON; `Run.question` has it.

        Raises:
            LeaseLostError: another worker has the run, or it is gone.
            RunError: the attempt has ended before.
        """
        text = encode_json("question", question, limit=MAX_ITEM_BYTES)
        await self._conclude(Ending(outcome="waiting", question=text))

    async def _conclude(self, ending: Ending) -> None:
        self._journal.check()
        await self._appender.conclude(self._journal, ending)
        if self._journal.is_lost:
            self._journal.check()


Handler: TypeAlias = Callable[[Attempt], Awaitable[None]]
"""Works on a run."""
