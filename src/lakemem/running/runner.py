"""The worker of runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence

from lakemem._async.memory import AsyncMemory
from lakemem.errors import ConfigurationError, InvalidInputError
from lakemem.operations import running
from lakemem.operations.running import Claimed, Position
from lakemem.operations.runs import check_attempts
from lakemem.pulse import Beat, Leases, Search
from lakemem.resilience import OUTAGES
from lakemem.run_types import Run
from lakemem.running.appending import Appender, Journal
from lakemem.running.attempt import Handler
from lakemem.running.execution import Execution
from lakemem.validation import check_count, check_seconds
from lakemem.waiting import monotonic

logger = logging.getLogger("lakemem")

MAX_DELAY = 0.025
CAUTION = 3.0
"""Seconds after it has connected in which a worker takes nothing over: after a restart of Postgres, all locks are gone
at once, and those who held them come back just as this one does."""
UNTOLD = 15.0
"""Seconds between two looks for runs by way of the pool, while the connection that is not of it looks."""
BARREN = 2.0
"""Seconds for which an owner is not asked for queued runs again when what is due of it cannot be claimed."""
STALL = 300.0
"""Seconds for which the event loop may stand still before the leases of its runs are given up."""
_PAUSE = 1.0


class AsyncRunner:
    """Works on the runs of all owners. One a process; any number of processes beside each other.

    Which of them has a run, Postgres says, by its own clock. A process that was killed is missed after one to two
    seconds, since the lock that its connection held is free then; one that hangs, or cannot be reached, when its lease
    has ended. Then another one takes its runs over, each as a new attempt; what the first may still do writes nothing.

    Args:
        memory: where runs are; it is to be open.
        handler: works on a run. When it returns, the run is completed; an exception is a failed attempt; a
            :class:`RunError` ends the run with its message.
        concurrency: how many runs at once.
        per_owner: how many of one owner at once, over all processes; None for any number.
        lease: seconds for which a run is its worker's after each sign of life.
        heartbeat: seconds between two of these; by default a quarter of the lease.
        batch_delay: seconds between two appends, 0.025 at the most; what is emitted meanwhile goes together.
        max_attempts: how often a run is tried at the most, whatever it says itself.
        pause: seconds before the second attempt at a run that failed; each further pause is twice as long.
        poll: seconds between two looks for runs that nobody tells of: those of a worker that is gone, above all.
        patience: seconds without Postgres after which the handlers are cancelled, since another worker may have
            their runs.
        failure_events: the types of the events with which a run ends that failed, whoever ends it. Each has the
            `code` and the `message` of the failure. By default there are none.

    Raises:
        InvalidInputError: a number cannot be.
    """

    def __init__(
        self,
        memory: AsyncMemory,
        handler: Handler,
        *,
        concurrency: int = 10,
        per_owner: int | None = None,
        lease: float = 10.0,
        heartbeat: float | None = None,
        batch_delay: float = 0.005,
        max_attempts: int = 2,
        pause: float = 1.0,
        poll: float = 0.9,
        patience: float = 30.0,
        failure_events: Sequence[str] = (),
    ) -> None:
        heartbeat = lease / 4 if heartbeat is None else heartbeat
        for name, seconds in {"lease": lease, "heartbeat": heartbeat, "pause": pause, "poll": poll}.items():
            if check_seconds(name, seconds) is None:
                raise InvalidInputError(f"{name} must be a number of seconds, not None")
        if heartbeat * 2 > lease:
            raise InvalidInputError("a lease must be at least twice as long as the time between two heartbeats")
        if not 0 <= batch_delay <= MAX_DELAY:
            raise InvalidInputError(f"batch_delay must be from 0 to {MAX_DELAY:g} seconds")
        self._memory = memory
        self._handler = handler
        self._concurrency = max(1, check_count("concurrency", concurrency))
        self._per_owner = None if per_owner is None else max(1, check_count("per_owner", per_owner))
        self._lease = lease
        self._max_attempts = check_attempts(max_attempts)
        self._pause = pause
        self._poll = poll
        self._patience = patience
        self._storage = memory._storage
        self._tails = self._storage.tails
        self._bell = asyncio.Event()
        self._failure_events = tuple(failure_events)
        self._appender = Appender(
            self._storage, self._tails, lease=lease, delay=batch_delay, failure_events=self._failure_events
        )
        self._leases = Leases(
            lease,
            heartbeat,
            poll,
            search=self._search,
            due=self._on_loop(self._bell.set),
            beaten=self._on_loop(self._beaten),
            is_alive=self._is_alive,
        )
        self._executions: dict[tuple[str, str], Execution] = {}
        self._works: set[asyncio.Task[None]] = set()
        self._claiming = 0
        self._barren: dict[str, float] = {}
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticked_at = self._contact_at = monotonic()

    @property
    def running(self) -> int:
        """How many runs this process works on."""
        return len(self._executions)

    @property
    def has_room(self) -> bool:
        """Whether this process would work on another run."""
        return len(self._executions) + self._claiming < self._concurrency

    async def start(self) -> None:
        """Begin to claim runs.

        Raises:
            ConfigurationError: the memory is not open, or has a runner already.
        """
        if self._loop is not None:
            raise ConfigurationError("a runner is started once")
        if not self._memory._storage.is_open:
            raise ConfigurationError("the memory is not open: use `async with`, or call open()")
        self._tails.pulse.keep(self._leases)
        self._loop = asyncio.get_running_loop()
        self._ticked_at = self._contact_at = monotonic()
        self._tails.start()
        self._tails.observe(self._heard)
        self._tails.pulse.beat()
        self._appender.start()
        self._tasks = [self._loop.create_task(self._claim_all()), self._loop.create_task(self._watch())]

    async def stop(self, drain: float = 15.0) -> None:
        """Claim no more runs, and return within `drain` seconds.

        What has not ended by itself shortly before is cancelled and handed over: another worker goes on with it at
        once, and the attempt does not count.
        """
        if self._stopping or self._loop is None:
            return
        self._stopping = True
        self._bell.set()
        end = monotonic() + drain
        reserve = min(3.0, drain / 3)
        if self._works:
            await asyncio.wait(self._works, timeout=max(0.0, end - reserve - monotonic()))
        for execution in list(self._executions.values()):
            execution.stop("released", grace=reserve / 3)
        if self._works:
            await asyncio.wait(self._works, timeout=max(0.0, end - monotonic()))
        for task in [*self._tasks, *self._works]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._works, return_exceptions=True)
        await self._appender.stop()
        self._tails.unobserve(self._heard)
        self._tails.pulse.release()

    async def take(self, run: Run) -> bool:
        """Begin a queued run in this process, whatever its delay.

        Returns whether it did: not where there is no room, another run of its thread comes first, or somebody has it.

        Raises:
            StorageError: Postgres cannot be reached, or refuses.
        """
        if self._stopping or self._loop is None or not self.has_room:
            return False
        return await self._claim(run.owner, takes_over=False, run_id=run.run_id)

    async def backlog(self) -> int:
        """How many runs of all owners are queued and could begin."""
        return await self._storage.run(running.backlog())

    async def dead(self) -> list[Run]:
        """The runs of all owners that were given up since their attempts were used up: a thousand at the most."""
        return await self._storage.run(running.dead())

    def _heard(self, kind: str, marks: frozenset[str]) -> None:
        if kind == "queued":
            self._barren.clear()
            self._bell.set()
        elif kind == "moved" and any(execution.mark in marks for execution in self._executions.values()):
            # Not by this process: it may be cancelled.
            self._tails.pulse.beat()
        elif kind == "disconnected":
            self._touch_all()

    def _touch_all(self) -> None:
        """Give signs of life by appends, where the connection that does so is gone, and with it the lock."""
        for execution in self._executions.values():
            self._appender.touch(execution.journal)

    def _is_alive(self) -> bool:
        return monotonic() - self._ticked_at < STALL

    def _on_loop(self, function: Callable[..., object]) -> Callable[..., None]:
        """The function, called on the event loop from the thread of the pulse."""

        def call(*arguments: object) -> None:
            # The loop may be closed by now.
            with contextlib.suppress(RuntimeError):
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(function, *arguments)

        return call

    def _search(self) -> Search | None:
        """What the pulse is to look for; on its thread."""
        if self._stopping or not self.has_room:
            return None
        # A copy in one step: the event loop changes it meanwhile.
        now, barren = monotonic(), list(self._barren.items())
        return Search(self._takes_over, [owner for owner, until in barren if until > now])

    @property
    def _takes_over(self) -> bool:
        return self._tails.pulse.connected_for >= CAUTION

    def _beaten(self, beat: Beat) -> None:
        self._contact_at = monotonic()
        for key in beat.cancelled:
            if execution := self._executions.get(key):
                execution.stop("cancelled")
        for owner, run_id, attempt in beat.lost:
            execution = self._executions.get((owner, run_id))
            # One that has just ended is not lost: the append of its end says what became of it.
            if execution and execution.journal.position.attempt == attempt and execution.journal.ending is None:
                execution.stop("lost")

    async def _watch(self) -> None:
        while True:
            self._ticked_at = monotonic()
            if self._ticked_at - max(self._contact_at, self._appender.contact_at) > self._patience:
                for execution in list(self._executions.values()):
                    execution.stop("lost")
            if not self._tails.pulse.connected_for:
                self._touch_all()
            await asyncio.sleep(min(1.0, self._patience / 4))

    async def _claim_all(self) -> None:
        while not self._stopping:
            self._bell.clear()
            try:
                await self._claim_due()
            except OUTAGES as error:
                logger.debug("the runner waits for Postgres: %s", error)
                await asyncio.sleep(_PAUSE)
            except Exception:
                logger.exception("runs could not be claimed")
                await asyncio.sleep(_PAUSE)
            # As long as the pulse is there, it looks, and rings.
            pause = UNTOLD if self._tails.pulse.connected_for else self._poll * random.uniform(0.9, 1.1)  # noqa: S311
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._bell.wait()

    async def _claim_due(self) -> None:
        """Claim until nothing is due, or there is no room."""
        has_claimed = True
        while has_claimed and not self._stopping and self.has_room:
            has_claimed = False
            takes_over = self._takes_over
            now = monotonic()
            self._barren = {owner: until for owner, until in self._barren.items() if until > now}
            for owner in await self._storage.run(running.due(takes_over=takes_over, besides=list(self._barren))):
                if self._stopping or not self.has_room:
                    return
                if await self._claim(owner, takes_over=takes_over):
                    has_claimed = True
                else:
                    self._barren[owner] = monotonic() + BARREN

    async def _claim(self, owner: str, *, takes_over: bool, run_id: str | None = None) -> bool:
        """Claim a run of an owner and begin it; whether there was one."""
        worker = self._tails.pulse.worker
        claim = running.claim(
            owner,
            worker=worker,
            lease=self._lease,
            takes_over=takes_over,
            max_attempts=self._max_attempts,
            per_owner=self._per_owner,
            failure_events=self._failure_events,
            run_id=run_id,
        )
        self._claiming += 1
        try:
            claimed = await self._storage.run(claim)
        finally:
            self._claiming -= 1
        self._contact_at = monotonic()
        if claimed is not None:
            journal = self._begin(claimed)
            self._appender.renew(journal, worker)
        return claimed is not None

    def _begin(self, claimed: Claimed) -> Journal:
        run = claimed.run
        key = (run.owner, run.run_id)
        position = Position(owner=run.owner, run_id=run.run_id, attempt=run.attempt, last_sequence=run.last_sequence)
        execution = Execution(self._memory, self._handler, claimed, Journal(position), self._appender)
        execution.max_attempts, execution.pause = self._max_attempts, self._pause
        self._executions[key] = execution
        self._leases.attempts[key] = run.attempt
        self._tails.publish(key, [], "in_progress", run.last_sequence)
        work = asyncio.get_running_loop().create_task(self._work(key, execution))
        self._works.add(work)
        work.add_done_callback(self._works.discard)
        return execution.journal

    async def _work(self, key: tuple[str, str], execution: Execution) -> None:
        try:
            await execution.run()
        finally:
            if self._executions.get(key) is execution:
                del self._executions[key]
                self._leases.attempts.pop(key, None)
            self._barren.pop(key[0], None)
            self._bell.set()
