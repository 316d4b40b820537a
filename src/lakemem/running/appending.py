"""Storing what handlers emit: the events of all runs of a process in one transaction after the other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from lakemem._async.database import AsyncStorage
from lakemem.errors import LeaseLostError, RunError, StorageError
from lakemem.operations import Operation, together
from lakemem.operations.running import Ending, Position, Receipt, append
from lakemem.resilience import OUTAGES
from lakemem.run_types import RunEvent
from lakemem.tails import RunTails
from lakemem.waiting import monotonic

logger = logging.getLogger("lakemem")

BUFFERED_EVENTS = 2_000
BUFFERED_BYTES = 4 * 1024 * 1024
"""Of a run, before its handler has to wait."""
EVENTS_AT_ONCE = 1_000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0


@dataclass(eq=False, slots=True)
class Journal:
    """The events of one attempt on their way to the database.

    Attributes:
        position: where the attempt stands, as far as it is known to be stored.
        unstored: how many events are on their way: those in `texts`, and those that are being appended.
        status: of the run, once the attempt has ended.
        is_lost: whether the attempt is no longer the run's.
        cancel_requested: is set when somebody wants the run to end.
    """

    position: Position
    texts: list[str] = field(default_factory=list)
    size: int = 0
    unstored: int = 0
    ending: Ending | None = None
    status: str | None = None
    is_lost: bool = False
    failure: StorageError | None = None
    cancel_requested: asyncio.Event = field(default_factory=asyncio.Event)
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def key(self) -> tuple[str, str]:
        return self.position.owner, self.position.run_id

    @property
    def is_full(self) -> bool:
        return len(self.texts) >= BUFFERED_EVENTS or self.size >= BUFFERED_BYTES

    @property
    def is_closed(self) -> bool:
        return self.is_lost or self.status is not None

    def check(self) -> None:
        """Refuse what cannot be stored any more.

        Raises:
            LeaseLostError: another worker has the run, or it is gone.
            RunError: the attempt has ended.
            StorageError: Postgres refused an event.
        """
        if self.failure is not None:
            raise self.failure
        if self.is_lost:
            raise LeaseLostError("another worker has taken this run, or it is gone: nothing was written")
        if self.ending is not None:
            raise RunError("this attempt has ended: it can emit nothing more", code="attempt_ended")

    async def wait(self) -> None:
        """Until something was stored, or the attempt was lost."""
        self.moved.clear()
        await self.moved.wait()

    def ring(self) -> None:
        self.moved.set()


class Appender:
    """Appends what gathers in the journals.

    What is emitted while an append is under way goes with the next one, so the more there is to do the less it costs.
    One whose answer was lost is made again as it was: Postgres tells by the attempt and the last number whether it
    had been applied.

    Args:
        storage: where runs are.
        tails: are told of what was stored.
        lease: seconds of a lease, which each append renews.
        delay: seconds between the beginnings of two appends, unless a handler waits.
        failure_events: the types of the last events of a run that failed.
    """

    def __init__(
        self,
        storage: AsyncStorage,
        tails: RunTails,
        *,
        lease: float,
        delay: float,
        failure_events: Sequence[str] = (),
    ) -> None:
        self._storage = storage
        self._tails = tails
        self._lease = lease
        self._delay = delay
        self._failure_events = failure_events
        self._dirty: dict[tuple[str, str], Journal] = {}
        self._wanted = asyncio.Event()
        self._urgent = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self.contact_at = monotonic()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def add(self, journal: Journal, text: str) -> None:
        journal.texts.append(text)
        journal.unstored += 1
        journal.size += len(text)
        self.touch(journal, is_urgent=journal.is_full)

    def touch(self, journal: Journal, *, is_urgent: bool = False) -> None:
        """Renew the lease of a journal's run with the next append, and store what is in it."""
        self._dirty[journal.key] = journal
        self._wanted.set()
        if is_urgent:
            self._urgent.set()

    def renew(self, journal: Journal, worker: int | None) -> None:
        """Touch a run that another lock stands for by now than the one it was written with.

        Without its worker's lock, a run is missed only when its lease has ended.
        """
        if not journal.is_closed and worker != self._tails.pulse.worker:
            self.touch(journal)

    async def conclude(self, journal: Journal, ending: Ending) -> None:
        """Store what is left of an attempt and how it ends, and return when that is done."""
        if journal.ending is None:
            journal.ending = ending
            self.touch(journal, is_urgent=True)
        while not journal.is_closed:
            await journal.wait()

    async def _run(self) -> None:
        began = 0.0
        while not self._stopping:
            await self._wanted.wait()
            await self._linger(began + self._delay - monotonic())
            began = monotonic()
            self._urgent.clear()
            self._wanted.clear()
            batch = sorted((each for each in self._dirty.values() if not each.is_closed), key=lambda each: each.key)
            self._dirty.clear()
            if batch:
                await self._store([_Part.of(journal) for journal in batch])

    async def _linger(self, seconds: float) -> None:
        if seconds > 0 and not self._urgent.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._urgent.wait()

    async def _store(self, parts: Sequence[_Part]) -> None:
        """Append until it is known what became of it: what is out of order with Postgres is waited for."""
        pause = _FIRST_PAUSE
        while not self._stopping and (parts := [part for part in parts if not part.journal.is_closed]):
            worker = self._tails.pulse.worker
            try:
                appends = [part.operation(self._lease, worker, self._failure_events) for part in parts]
                receipts = await self._storage.run(together("running.append", appends))
            except Exception as error:
                if isinstance(error, OUTAGES) or (isinstance(error, StorageError) and error.retryable):
                    logger.debug("events wait for Postgres: %s", error)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
                else:
                    await self._store_apart(parts, error)
                    return
            else:
                self.contact_at = monotonic()
                for part, receipt in zip(parts, receipts, strict=True):
                    self._note(part, receipt)
                    self.renew(part.journal, worker)
                return

    async def _store_apart(self, parts: Sequence[_Part], error: Exception) -> None:
        """What is refused of one run does not hold up the others."""
        if len(parts) > 1:
            for part in parts:
                await self._store([part])
            return
        journal = parts[0].journal
        logger.error("the events of a run cannot be stored: %s", error)
        journal.failure = error if isinstance(error, StorageError) else StorageError("an event cannot be stored")
        journal.is_lost = True
        journal.ring()

    def _note(self, part: _Part, receipt: Receipt) -> None:
        journal = part.journal
        if receipt.cancel_requested:
            journal.cancel_requested.set()
        if receipt.status is None:
            journal.is_lost = True
            journal.ring()
            return
        journal.unstored -= len(part.texts)
        first = journal.position.last_sequence + 1
        attempt = journal.position.attempt
        events = [RunEvent(first + place, attempt, text) for place, text in enumerate(part.texts)]
        journal.position = Position(
            owner=journal.position.owner,
            run_id=journal.position.run_id,
            attempt=attempt,
            last_sequence=first + len(events) - 1,
        )
        if part.ending is not None:
            journal.status = receipt.status
        if events or part.ending is not None:
            self._tails.publish(journal.key, events, receipt.status, receipt.last_sequence)
        if not journal.is_closed and (journal.texts or journal.ending is not None):
            self.touch(journal, is_urgent=journal.is_full or journal.ending is not None)
        journal.ring()


@dataclass(frozen=True, slots=True)
class _Part:
    """What one append takes from a journal. It stays as it is until its outcome is known."""

    journal: Journal
    texts: list[str]
    ending: Ending | None

    @classmethod
    def of(cls, journal: Journal) -> _Part:
        texts = journal.texts[:EVENTS_AT_ONCE]
        journal.texts = journal.texts[EVENTS_AT_ONCE:]
        journal.size -= sum(map(len, texts))
        return cls(journal, texts, None if journal.texts else journal.ending)

    def operation(self, lease: float, worker: int | None, failure_events: Sequence[str]) -> Operation[Receipt]:
        return append(
            self.journal.position,
            self.texts,
            lease=lease,
            worker=worker,
            ending=self.ending,
            failure_events=failure_events,
        )
