"""What erases expired items of a LangGraph store in the background, and the TTLConfig that says how often."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable
from contextlib import suppress

from langgraph.store.base import TTLConfig

from lakemem._async.store import AsyncItemSweep
from lakemem._sync.store import ItemSweep
from lakemem.errors import ConfigurationError, LakememError
from lakemem.validation import MAX_SECONDS

DEFAULT_SWEEP_MINUTES = 5.0

logger = logging.getLogger("lakemem")


def checked_ttl(ttl: TTLConfig | None) -> TTLConfig:
    """A TTLConfig with all that is not said filled in: without one, reads put nothing off.

    Raises:
        ConfigurationError: it asks for what lakemem does not do, or a time is not one.
    """
    given = dict(ttl or {})
    if left := sorted(given.keys() - {"refresh_on_read", "omit_expired", "default_ttl", "sweep_interval_minutes"}):
        raise ConfigurationError(f"ttl has no setting {', '.join(left)}")
    if given.get("omit_expired") is False:
        raise ConfigurationError("ttl['omit_expired'] cannot be False: what has expired is not found any more")
    for name in ("default_ttl", "sweep_interval_minutes"):
        if given.get(name) is not None:
            _check_minutes(f"ttl[{name!r}]", given[name])
    refresh = given.get("refresh_on_read")
    return {
        "refresh_on_read": ttl is not None if refresh is None else bool(refresh),
        "omit_expired": True,
        "default_ttl": given.get("default_ttl"),  # type: ignore[typeddict-item]
        "sweep_interval_minutes": given.get("sweep_interval_minutes"),  # type: ignore[typeddict-item]
    }


class AsyncSweeper:
    """Sweeps again and again, as a task, until it is stopped or the memory is closed."""

    def __init__(self, sweep: AsyncItemSweep) -> None:
        self._sweep = sweep
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, minutes: float) -> asyncio.Task[None]:
        """Start, unless it runs already. Cancelling the task stops it, too."""
        _check_open(self._sweep)
        if self._task is None or self._task.done():
            self._stopping = asyncio.Event()
            self._task = asyncio.get_running_loop().create_task(self._run(minutes * 60), name="lakemem-sweeper")
        return self._task

    async def stop(self, timeout: float | None) -> bool:
        """Let it finish what it is at, one small transaction. Returns whether it has, within `timeout` seconds."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=timeout)
        return self._task is None or self._task.done()

    async def _run(self, interval: float) -> None:
        stopping = self._stopping
        while not stopping.is_set() and self._sweep.can_run:
            try:
                await self._sweep.run(stopping.is_set)
            except Exception as error:
                _report(error)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), interval)


class Sweeper:
    """The twin of :class:`AsyncSweeper`, on a daemon thread."""

    def __init__(self, sweep: ItemSweep) -> None:
        self._sweep = sweep
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()

    def start(self, minutes: float) -> concurrent.futures.Future[None]:
        """Start, unless it runs already. Cancelling the future stops it, too."""
        _check_open(self._sweep)
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._stopping, self._ended = threading.Event(), concurrent.futures.Future()
                self._ended.add_done_callback(_setter(self._stopping))
                self._thread = threading.Thread(
                    target=self._run, args=(minutes * 60, self._stopping, self._ended), daemon=True,
                    name="lakemem-sweeper",
                )  # fmt: skip
                self._thread.start()
            return self._ended

    def stop(self, timeout: float | None) -> bool:
        """Let it finish what it is at, one small transaction. Returns whether it has, within `timeout` seconds."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def _run(self, interval: float, stopping: threading.Event, ended: concurrent.futures.Future[None]) -> None:
        while not stopping.is_set() and self._sweep.can_run:
            try:
                self._sweep.run(stopping.is_set)
            except Exception as error:
                _report(error)
            stopping.wait(interval)
        with suppress(concurrent.futures.InvalidStateError):
            ended.set_result(None)


def sweep_minutes(given: float | None, ttl: TTLConfig | None) -> float:
    """How many minutes to wait between two sweeps."""
    if given is not None:
        return _check_minutes("sweep_interval_minutes", given)
    configured = (ttl or {}).get("sweep_interval_minutes")
    return DEFAULT_SWEEP_MINUTES if configured is None else float(configured)


def _setter(event: threading.Event) -> Callable[[object], None]:
    return lambda ended: event.set()


def _check_open(sweep: AsyncItemSweep | ItemSweep) -> None:
    if not sweep.can_run:
        raise ConfigurationError("the memory is not open: open it, then start the sweeper")


def _check_minutes(name: str, minutes: object) -> float:
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 < minutes * 60 <= MAX_SECONDS:
        raise ConfigurationError(f"{name} is a number of minutes above zero, and below a hundred years")
    return float(minutes)


def _report(error: Exception) -> None:
    # The words of a foreign error may quote what is stored.
    reason = str(error) if isinstance(error, LakememError) else type(error).__name__
    logger.warning("a sweep of expired items failed, and is tried again: %s", reason)
