"""What the routes work with: whose request it is, the runs of that user, and the worker of this process."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from lakemem._async.memory import AsyncMemory
from lakemem._async.runs import AsyncRuns
from lakemem.context import Identify, resolve_context, resolve_user_id
from lakemem.errors import InvalidInputError, QueueFullError, StorageError
from lakemem.operations.runs import owner_of
from lakemem.responses import new_id
from lakemem.run_context import Agent, Observer, untraced
from lakemem.run_types import BusyPolicy, Run
from lakemem.running.runner import AsyncRunner
from lakemem.server.asking import Asked
from lakemem.server.execution import AgentHandler
from lakemem.server.shapes import FAILURE_EVENTS
from lakemem.target import is_deployed

HEADERS_KEPT = 1_000
"""Of how many runs a process has the headers; those of the oldest go first."""

HEAD_START = 1.0
"""Seconds for which a new run is left to the process that took its request, and knows its headers."""

QUEUE_IS_KNOWN_FOR = 0.5
"""Seconds for which a count of what is queued holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a server takes on; see :func:`lakemem.server.create_app`."""

    concurrency: int
    max_queued: int
    max_queued_per_user: int
    task_timeout: float
    max_attempts: int
    on_busy: BusyPolicy
    drain: float
    keep_alive: float


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that a request asked for.

    Attributes:
        runs: of its owner.
        after: the number of its last event before this request.
    """

    runs: AsyncRuns
    run: Run
    after: int


class Service:
    """One process of a server.

    Attributes:
        stopping: set when the worker has stopped, and streams are to end.
    """

    def __init__(
        self,
        agent: Agent,
        memory: AsyncMemory,
        identify: Identify | None,
        limits: Limits,
        observe: Observer = untraced,
    ) -> None:
        self.limits = limits
        self.stopping = asyncio.Event()
        self._agent = agent
        self._memory = memory
        self._identify = identify
        self._headers: OrderedDict[str, Mapping[str, str]] = OrderedDict()
        self._runner = AsyncRunner(
            memory,
            AgentHandler(agent, self._headers, observe),
            concurrency=limits.concurrency,
            max_attempts=limits.max_attempts,
            failure_events=FAILURE_EVENTS,
        )
        self._stop: asyncio.Task[None] | None = None
        self._queued, self._counted_at = 0, float("-inf")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take runs on, until the process is told to stop."""
        self.stopping.clear()
        self._stop = None
        async with AsyncExitStack() as stack:
            if not self._memory._storage.is_open:
                await stack.enter_async_context(self._memory)
            await self._runner.start()
            stack.push_async_callback(self.stop)
            stack.enter_context(_told_of_signals(self.stop_soon))
            yield

    def stop_soon(self) -> None:
        """Begin to stop: let runs end, or hand them over; then end the streams."""
        if self._stop is None:
            self._stop = asyncio.ensure_future(self._stopped())

    async def stop(self) -> None:
        """Stop, and return when it is done."""
        self.stop_soon()
        assert self._stop is not None  # noqa: S101 - it was just begun
        await self._stop

    async def _stopped(self) -> None:
        try:
            await self._runner.stop(drain=self.limits.drain)
        finally:
            self.stopping.set()

    async def health(self) -> str:
        """How the database is, in a word."""
        return (await self._memory.health()).status

    async def runs_of(self, run_id: str, headers: Mapping[str, str], claimed: str | None) -> AsyncRuns:
        """Return the runs among which somebody may find this one.

        Where nobody verifies users, and the request claims none, they are those of the run's owner.

        Raises:
            IdentityError: deployed, and no verified user.
        """
        user_id = await asyncio.to_thread(resolve_user_id, user_id=claimed, headers=headers, identify=self._identify)
        if claimed or self._verifies:
            return self._memory.for_user(user_id).runs
        owner = await self._memory._storage.run(owner_of(run_id))
        return self._memory.for_user(user_id if owner is None else owner.partition(":")[2]).runs

    async def begin(self, asked: Asked, headers: Mapping[str, str]) -> Begun:
        """Begin the run that a request asks for, or go on with the one that it answers.

        Raises:
            IdentityError: deployed, and no verified user.
            InvalidInputError: the agent cannot answer the request, or what it refers to is not there.
            QueueFullError: too much is queued already.
            ThreadBusyError: the thread has a run under way.
            ConflictError: the idempotency key was used for another request.
        """
        context = await asyncio.to_thread(resolve_context, asked.request, headers, identify=self._identify)
        runs = self._memory.for_user(context.user_id).runs
        previous = None
        if asked.previous_response_id is not None:
            previous = await runs.get(asked.previous_response_id)
            if previous is None:
                raise InvalidInputError(f"previous_response_id: there is no response {asked.previous_response_id}")
        thread_id = self._thread_of(asked, context.thread_id, previous)
        if asked.resumes and (waiting := await self._asked_before(runs, thread_id, previous)) is not None:
            self._remember(waiting.run_id, headers)
            answer = asked.request["custom_inputs"]["resume"]
            run = await self._taken(await runs.resume(waiting.run_id, answer, delay=self._head_start))
            return Begun(runs, run, waiting.last_sequence)
        self._agent.check(asked.request)
        await self._check_queue()
        run_id = new_id("resp")
        self._remember(run_id, headers)
        run = await runs.create(
            asked.request,
            run_id=run_id,
            thread_id=thread_id,
            previous_run_id=asked.previous_response_id,
            kind=asked.kind,
            background=asked.background,
            idempotency_key=asked.idempotency_key,
            timeout=self.limits.task_timeout,
            delay=self._head_start,
            max_attempts=self.limits.max_attempts,
            on_busy=self.limits.on_busy,
            max_queued=self.limits.max_queued_per_user,
        )
        if run.run_id != run_id:
            self._headers.pop(run_id, None)
            return Begun(runs, run, -1)
        return Begun(runs, await self._taken(run), -1)

    @property
    def _head_start(self) -> float:
        return HEAD_START if self._runner.has_room else 0.0

    async def _taken(self, run: Run) -> Run:
        """Begin a run here, where the headers of its request are. If that cannot be, another process does it soon."""
        with suppress(StorageError):
            await self._runner.take(run)
        return run

    @property
    def _verifies(self) -> bool:
        """Whether users are verified here, rather than taken for who they claim to be."""
        return self._identify is not None or is_deployed()

    def _thread_of(self, asked: Asked, resolved: str, previous: Run | None) -> str:
        if previous is None or previous.thread_id is None:
            return resolved
        if asked.names_thread and resolved != previous.thread_id:
            raise InvalidInputError("previous_response_id belongs to another conversation than the request names")
        return previous.thread_id

    async def _asked_before(self, runs: AsyncRuns, thread_id: str, previous: Run | None) -> Run | None:
        """The run that a request answers: the one that it names, or the one of its thread that waits."""
        if previous is not None and (previous.status == "waiting" or previous.asked_by):
            return previous
        return next(iter(await runs.list(1, status="waiting", thread_id=thread_id)), None)

    async def _check_queue(self) -> None:
        if time.monotonic() - self._counted_at > QUEUE_IS_KNOWN_FOR:
            self._queued, self._counted_at = await self._runner.backlog(), time.monotonic()
        if self._queued >= self.limits.max_queued:
            raise QueueFullError("too many runs are queued: try again in a few seconds")

    def _remember(self, run_id: str, headers: Mapping[str, str]) -> None:
        self._headers[run_id] = headers
        while len(self._headers) > HEADERS_KEPT:
            self._headers.popitem(last=False)


@contextmanager
def _told_of_signals(tell: Callable[[], None]) -> Iterator[None]:
    """Call `tell` at SIGTERM and SIGINT, before whoever handles them.

    A server waits for its connections before it tells an application to stop, and streams have no end before that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def told(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(tell)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    # Where nobody handles them, they end the process: that is for the system to do.
    mine = [number for number, handler in before.items() if callable(handler)]
    for number in mine:
        signal.signal(number, told)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, before[number])
