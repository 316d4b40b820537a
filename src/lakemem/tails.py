"""Waking those who wait for the events of runs: directly in this process, by NOTIFY from another one, or by polling.

All tails of a process share one connection that listens, and one query where nothing can be heard: what they cost the
database does not depend on how many they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, TypeAlias, TypeVar

from lakemem.connecting import Connector
from lakemem.errors import RunNotFoundError
from lakemem.operations import Operation, together
from lakemem.operations.runs import Page, mark_of, moved, notify, page
from lakemem.pulse import Pulse
from lakemem.resilience import OUTAGES
from lakemem.run_types import RunEvent, is_at_rest
from lakemem.waiting import acall_blocking, monotonic

T = TypeVar("T")
RunKey: TypeAlias = tuple[str, str]
"""The owner and the id of a run."""

logger = logging.getLogger("lakemem")

PAGE = 500
KEPT_EVENTS = 2_000
"""Of each run that is tailed, for all of its tails; a slower one reads from the database."""
REFRESHED_AT_ONCE = 100
PAYLOAD_MARKS = 400
"""A payload has less than 8,000 bytes."""
NOTIFY_GAP = 0.004
"""Seconds between two notifications of a process: each takes a lock that all others of the server wait for."""
HEARING_POLL = 15.0
"""Seconds between two looks while notifications are heard."""
FIRST_POLL, LONGEST_POLL = 0.05, 1.0
_PAUSE = 0.5


class Runs(Protocol):
    """Runs an operation, as a storage does."""

    async def __call__(self, operation: Operation[T], /) -> T: ...


@dataclass(eq=False, slots=True)
class _Watch:
    """What is known of a run that somebody tails.

    Attributes:
        events: the newest, without a gap.
        version: counts the changes, so that an answer which was asked for before one is not taken for news.
    """

    key: RunKey
    status: str = "queued"
    last_sequence: int = -1
    is_deleted: bool = False
    events: deque[RunEvent] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    bells: set[asyncio.Event] = field(default_factory=set)
    version: int = 0

    def behind(self, cursor: int) -> list[RunEvent]:
        """The events that follow a number, if they are kept."""
        if not self.events or not self.events[0].sequence_number <= cursor + 1 <= self.events[-1].sequence_number:
            return []
        return list(islice(self.events, cursor + 1 - self.events[0].sequence_number, None))

    def add(self, events: Sequence[RunEvent], status: str, last_sequence: int) -> None:
        newest = self.events[-1].sequence_number if self.events else None
        if newest is not None:
            events = [event for event in events if event.sequence_number > newest]
            if events and events[0].sequence_number != newest + 1:
                self.events.clear()
        self.events.extend(events)
        self.status = status
        self.last_sequence = max(self.last_sequence, last_sequence, events[-1].sequence_number if events else -1)
        self.ring()

    def ring(self) -> None:
        self.version += 1
        for bell in self.bells:
            bell.set()


class RunTails:
    """All that waits for runs in this process.

    Args:
        connector: says how to log in, for the connection that listens.
        schema: where lakemem's tables are.
        run: runs an operation.
    """

    def __init__(self, connector: Connector, schema: str, run: Runs) -> None:
        self._name = secrets.token_hex(4)
        self._run = run
        self._watches: dict[RunKey, _Watch] = {}
        self._by_mark: dict[str, set[RunKey]] = {}
        self._stale: dict[RunKey, _Watch] = {}
        self._stale_bell = asyncio.Event()
        self._poll_bell = asyncio.Event()
        self._marks: dict[str, None] = {}
        self._marks_bell = asyncio.Event()
        self._closing = False
        self._announced_at = 0.0
        self._pause = FIRST_POLL
        self._hears = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._observers: list[Callable[[str, frozenset[str]], None]] = []
        self.pulse = Pulse(connector, schema, heard=self._later(self._heard), changed=self._later(self._changed))

    @property
    def hears(self) -> bool:
        """Whether notifications arrive; if not, it polls."""
        return self._hears

    def start(self) -> None:
        """Connect, and begin to listen; nothing where that was done before."""
        if self._loop is not None:
            return
        self._loop = asyncio.get_running_loop()
        self.pulse.start()
        for work in (self._refresh, self._poll, self._announce):
            self._tasks.append(self._loop.create_task(self._repeat(work)))

    async def close(self) -> None:
        if self._loop is None:
            return
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await acall_blocking(self.pulse.stop)
        for watch in self._watches.values():
            watch.is_deleted = True
            watch.ring()

    def observe(self, observer: Callable[[str, frozenset[str]], None]) -> None:
        """Tell an observer of every notification of others: its kind, and the marks of the runs that it names."""
        self._observers.append(observer)

    def unobserve(self, observer: Callable[[str, frozenset[str]], None]) -> None:
        self._observers.remove(observer)

    def publish(self, key: RunKey, events: Sequence[RunEvent], status: str, last_sequence: int) -> None:
        """Give what was committed to the tails of this process, and tell the others."""
        if watch := self._watches.get(key):
            watch.add(events, status, last_sequence)
        self._marks[mark_of(key[1])] = None
        self._marks_bell.set()

    async def tail(self, key: RunKey, after: int) -> AsyncIterator[RunEvent]:
        """Yield the events behind a number, as they come, until the run has ended or waits for a person."""
        self.start()
        bell = asyncio.Event()
        watch = self._watch(key, bell)
        cursor, is_known = after, False
        try:
            while True:
                bell.clear()
                if is_known and (events := watch.behind(cursor)):
                    pass
                elif not is_known or watch.last_sequence > cursor:
                    events = await self._read(watch, cursor, is_known)
                elif is_at_rest(watch.status) or watch.is_deleted:
                    return
                else:
                    await bell.wait()
                    continue
                is_known = True
                for event in events:
                    yield event
                    cursor = event.sequence_number
        finally:
            self._unwatch(watch, bell)

    async def _read(self, watch: _Watch, cursor: int, is_known: bool) -> list[RunEvent]:
        """Read from the database what is not kept, or not known at all."""
        version = watch.version
        found = await self._run(page(*watch.key, after=cursor, limit=PAGE))
        if found is None:
            if not is_known:
                raise RunNotFoundError("there is no such run")
            watch.is_deleted, watch.status, watch.last_sequence = True, "cancelled", cursor
            return []
        if watch.version == version:
            # Not the events: those that are kept go on without a gap.
            watch.status = found.state.status
            watch.last_sequence = max(watch.last_sequence, found.state.last_sequence)
        return found.events

    def _watch(self, key: RunKey, bell: asyncio.Event) -> _Watch:
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = _Watch(key)
            self._by_mark.setdefault(mark_of(key[1]), set()).add(key)
        watch.bells.add(bell)
        return watch

    def _unwatch(self, watch: _Watch, bell: asyncio.Event) -> None:
        watch.bells.discard(bell)
        if not watch.bells and self._watches.get(watch.key) is watch:
            del self._watches[watch.key]
            mark = mark_of(watch.key[1])
            self._by_mark[mark].discard(watch.key)
            if not self._by_mark[mark]:
                del self._by_mark[mark]

    def _later(self, function: Callable[..., None]) -> Callable[..., None]:
        """The function, called on the event loop from any thread."""

        def call(*arguments: Any) -> None:
            # The loop may be closed by now.
            with contextlib.suppress(RuntimeError):
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(function, *arguments)

        return call

    def _changed(self, is_connected: bool) -> None:
        self._hears = False
        if is_connected:
            self._try_hearing()
        self._poll_bell.set()
        for observer in list(self._observers):
            observer("connected" if is_connected else "disconnected", frozenset())

    def _try_hearing(self) -> None:
        """Send what shows, when it is heard, that a session is what it seems: poolers lend one for a transaction."""
        self._marks["hearing"] = None
        self._marks_bell.set()

    def _heard(self, payload: str, was_idle: bool) -> None:
        sender, kind, *marks = payload.split(" ")
        if sender == self._name:
            if "hearing" in marks and was_idle:
                self._hears = True
                self.pulse.proved_session()
            elif "hearing" in marks:
                # A statement of this connection had borrowed a server just then: that shows nothing.
                self._try_hearing()
            return
        for mark in marks:
            for key in self._by_mark.get(mark, ()):
                self._renew(self._watches[key])
        for observer in list(self._observers):
            observer(kind, frozenset(marks))

    def _renew(self, watch: _Watch) -> None:
        self._stale[watch.key] = watch
        self._stale_bell.set()

    async def _refresh(self) -> None:
        """Read what is new of the runs that others have appended to: of all of them at once."""
        await self._stale_bell.wait()
        self._stale_bell.clear()
        try:
            await self._refresh_all()
        except OUTAGES:
            self._stale_bell.set()
            raise

    async def _refresh_all(self) -> None:
        while self._stale:
            watches = [watch for watch in islice(self._stale.values(), REFRESHED_AT_ONCE) if watch.bells]
            for key in list(islice(self._stale, REFRESHED_AT_ONCE)):
                del self._stale[key]
            if not watches:
                continue
            try:
                pages = await self._run(together("runs.events", [_newest(watch) for watch in watches]))
            except OUTAGES:
                self._stale.update({watch.key: watch for watch in watches})
                raise
            for watch, found in zip(watches, pages, strict=True):
                self._take(watch, found)

    def _take(self, watch: _Watch, found: Page | None) -> None:
        if found is None:
            watch.is_deleted = True
            watch.status = "cancelled"
            watch.ring()
            return
        is_all = len(found.events) < PAGE
        watch.add(found.events, found.state.status if is_all else watch.status, found.state.last_sequence)
        if not is_all:
            self._renew(watch)

    async def _poll(self) -> None:
        """Look how far all runs have come: now and then while notifications are heard, else the more often the more
        goes on."""
        self._poll_bell.clear()
        self._pause = FIRST_POLL if await self._look() else min(self._pause * 1.5, LONGEST_POLL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEARING_POLL if self._hears else self._pause):
                await self._poll_bell.wait()

    async def _look(self) -> bool:
        if not self._watches:
            return False
        watches = dict(self._watches)
        states = await self._run(moved(list(watches)))
        found = [watch for key, watch in watches.items() if states.get(key) != (watch.status, watch.last_sequence)]
        for watch in found:
            self._renew(watch)
        return bool(found)

    async def _announce(self) -> None:
        """Tell other processes: at once after a pause, then what has gathered."""
        await self._marks_bell.wait()
        await asyncio.sleep(max(0.0, self._announced_at + NOTIFY_GAP - monotonic()))
        self._marks_bell.clear()
        self._announced_at = monotonic()
        marks = list(self._marks)
        self._marks.clear()
        try:
            for begin in range(0, len(marks), PAYLOAD_MARKS):
                await self._run(notify(" ".join([self._name, "moved", *marks[begin : begin + PAYLOAD_MARKS]])))
        except OUTAGES:
            self._marks.update(dict.fromkeys(marks))
            self._marks_bell.set()
            raise

    async def _repeat(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do a thing again and again. Nothing that goes wrong ends it: tails of this process depend on it."""
        # Not only until it is cancelled: asyncio.wait_for, which a pool waits by, loses that at times (Python 3.11).
        while not self._closing:
            try:
                await work()
            except OUTAGES as error:
                logger.debug("tails of runs wait for Postgres: %s", error)
                await asyncio.sleep(_PAUSE)
            except Exception:
                logger.exception("tails of runs could not be served")
                await asyncio.sleep(_PAUSE)


def _newest(watch: _Watch) -> Operation[Page | None]:
    newest = watch.events[-1].sequence_number if watch.events else watch.last_sequence
    return page(*watch.key, after=newest, limit=PAGE)
