"""The one connection of a process that is not of the pool: it hears notifications, keeps the leases of runs, and looks
for runs that nobody tells of. What it says does not depend on how many runs there are, nor on whose they are.

It has a thread of its own, so that a handler which blocks the event loop does not lose its runs by that.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import secrets
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg

from lakemem._sql import bind_statements
from lakemem.connecting import Connector
from lakemem.errors import ConfigurationError, LakememError
from lakemem.operations.runs import channel_of
from lakemem.sqlstate import refused_login
from lakemem.waiting import monotonic

logger = logging.getLogger("lakemem")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_LONGEST_WAIT = 5.0
ANSWER_WITHIN = 8.0
"""Seconds after which a connection on which nothing is answered is given up, and another one made."""
_ENDS_WITHIN = 1.0


@dataclass(frozen=True, slots=True)
class Beat:
    """What a renewal of leases found.

    Attributes:
        cancelled: the runs that somebody wants to end, by owner and id.
        lost: the runs that are not this worker's any more, with the attempt that it had.
    """

    cancelled: list[tuple[str, str]]
    lost: list[tuple[str, str, int]]


@dataclass(frozen=True, slots=True)
class Search:
    """What a worker that has room looks for.

    Attributes:
        takes_over: whether runs count that their worker has left.
        besides: owners whose queued runs do not count.
    """

    takes_over: bool
    besides: list[str]


@dataclass(slots=True)
class Leases:
    """The leases that a worker wants renewed, and what else it wants to know.

    Attributes:
        duration: seconds of a lease.
        interval: seconds between two renewals.
        poll: seconds between two looks for runs that are due.
        search: says what to look for, on the thread; nothing where the worker has no room.
        due: is told that something is there, on the thread.
        beaten: is told what a renewal found, on the thread.
        attempts: of each run, by owner and id, the attempt; its worker changes it as it likes.
        is_alive: whether the worker itself is well; while it is not, nothing is renewed.
        worker: the lock that says that the worker is there, as long as the connection is.
    """

    duration: float
    interval: float
    poll: float
    search: Callable[[], Search | None]
    due: Callable[[], None]
    beaten: Callable[[Beat], None]
    is_alive: Callable[[], bool]
    attempts: dict[tuple[str, str], int] = field(default_factory=dict)
    worker: int = field(default_factory=lambda: secrets.randbits(62))


class Pulse:
    """A thread with a connection that stays.

    Args:
        connector: says how to log in.
        schema: where lakemem's tables are.
        heard: is told the payload of each notification, and whether it came while the connection did nothing else, on
            the thread.
        changed: is told when the connection is there (True) and when it is gone, on the thread.
    """

    def __init__(
        self, connector: Connector, schema: str, *, heard: Callable[[str, bool], None], changed: Callable[[bool], None]
    ) -> None:
        self._connector = connector
        self._channel = channel_of(schema)
        statements = bind_statements(schema)
        self._beat_statement = statements["running.beat"]
        self._has_due = statements["running.has_due"]
        self._heard = heard
        self._changed = changed
        self._stopping = threading.Event()
        self._waker: socket.socket | None = None
        self._beat_wanted = threading.Event()
        self._leases: Leases | None = None
        self._connected_at: float | None = None
        self._connection: psycopg.Connection[Any] | None = None
        self._lock_held = False
        self._keeps_session = False
        self._thread = threading.Thread(target=self._run, name="lakemem-pulse", daemon=True)

    @property
    def connected_for(self) -> float:
        """Seconds since it is connected; 0 while it is not."""
        connected_at = self._connected_at
        return 0.0 if connected_at is None else monotonic() - connected_at

    @property
    def worker(self) -> int | None:
        """The lock that stands for the worker, while it is held."""
        leases = self._leases
        return leases.worker if leases is not None and self._lock_held else None

    def start(self) -> None:
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self._thread.start()

    def stop(self) -> None:
        """End the connection, and with it the lock."""
        self._stopping.set()
        self._wake()
        if self._waker is not None:
            self._thread.join(_ENDS_WITHIN)
            self._give_up()
            self._thread.join()
            self._waker.close()
            self._woken.close()

    def keep(self, leases: Leases) -> None:
        """Renew leases from now on.

        Raises:
            ConfigurationError: it renews those of another worker.
        """
        if self._leases is not None:
            raise ConfigurationError("this memory has a runner already: one is enough, with a higher concurrency")
        self._leases = leases
        self._wake()

    def release(self) -> None:
        """Renew no more; the lock goes with the connection."""
        self._leases = None
        self._lock_held = False

    def proved_session(self) -> None:
        """Hear that a notification came through: the session is this connection's own, and can hold a lock.

        A pooler that lends servers by the transaction would keep the lock when the worker is gone.
        """
        self._keeps_session = True
        self.beat()

    def beat(self) -> None:
        """Renew the leases now, and look for what is to be cancelled."""
        self._beat_wanted.set()
        self._wake()

    def _wake(self) -> None:
        """Let the thread look at once at what there is to do."""
        if self._waker is not None:
            # It is closed, or the thread has been told often enough.
            with contextlib.suppress(OSError):
                self._waker.send(b"\0")

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            pause = min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
            try:
                with self._connected() as connection:
                    pause = 0.0
                    self._serve(connection)
            except (psycopg.Error, LakememError, OSError) as error:
                logger.debug("the connection for notifications and leases ended (%s)", type(error).__name__)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[Any]]:
        connection = self._logged_in()
        try:
            with connection:
                self._connection = connection
                with self._in_time():
                    connection.execute(psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(self._channel)))
                self._connected_at = monotonic()
                self._changed(True)
                yield connection
        finally:
            self._connection = self._connected_at = None
            self._lock_held = self._keeps_session = False
            self._changed(False)

    def _logged_in(self, *, again: bool = True) -> psycopg.Connection[Any]:
        login = self._connector.parameters()
        try:
            return psycopg.connect(
                **{"autocommit": True, "prepare_threshold": None, "application_name": "lakemem runs", **login}
            )
        except psycopg.OperationalError as error:
            if not (again and refused_login(error) and self._connector.refused(login)):
                raise
        return self._logged_in(again=False)

    @contextlib.contextmanager
    def _in_time(self) -> Iterator[None]:
        """Give the connection up where what is asked of it is not answered in time: its other end may be gone."""
        timer = threading.Timer(ANSWER_WITHIN, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        """End the connection from another thread, so that whoever waits for an answer hears that there is none."""
        if (connection := self._connection) is not None:
            # It may end by itself meanwhile.
            with (
                contextlib.suppress(OSError, psycopg.Error),
                socket.socket(fileno=os.dup(connection.fileno())) as same,
            ):
                same.shutdown(socket.SHUT_RDWR)

    def _serve(self, connection: psycopg.Connection[Any]) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            self._serve_by(selector, connection)

    def _serve_by(self, selector: selectors.BaseSelector, connection: psycopg.Connection[Any]) -> None:
        beat_at = look_at = 0.0
        while not self._stopping.is_set():
            if leases := self._leases:
                if self._beat_wanted.is_set() or monotonic() >= beat_at:
                    self._beat_wanted.clear()
                    with self._in_time():
                        self._hold_lock(connection, leases)
                        self._beat(connection, leases)
                    beat_at = monotonic() + leases.interval
                if monotonic() >= look_at:
                    with self._in_time():
                        self._look(connection, leases)
                    # Not all workers at the same moment.
                    look_at = monotonic() + leases.poll * random.uniform(0.9, 1.1)  # noqa: S311
            for notification in connection.notifies(timeout=0):
                self._heard(notification.payload, False)
            due_at = monotonic() + _LONGEST_WAIT if leases is None else min(beat_at, look_at)
            selector.select(max(0.0, due_at - monotonic()))
            with contextlib.suppress(BlockingIOError):
                self._woken.recv(4096)
            for notification in connection.notifies(timeout=0):
                self._heard(notification.payload, True)

    def _hold_lock(self, connection: psycopg.Connection[Any], leases: Leases) -> None:
        if self._keeps_session and not self._lock_held:
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", [leases.worker]).fetchone()
            self._lock_held = row is not None and bool(row[0])

    def _look(self, connection: psycopg.Connection[Any], leases: Leases) -> None:
        if search := leases.search():
            wanted = {"takes_over": search.takes_over, "besides": search.besides}
            row = connection.execute(self._has_due, wanted).fetchone()
            if row is not None and row[0]:
                leases.due()

    def _beat(self, connection: psycopg.Connection[Any], leases: Leases) -> None:
        if not leases.is_alive():
            return
        # A copy in one step: the event loop's thread changes it meanwhile.
        attempts = dict(list(leases.attempts.items()))
        found: dict[tuple[str, str], bool] = {}
        if attempts:
            cursor = connection.execute(
                self._beat_statement,
                {
                    "worker": self.worker,
                    "lease_for": leases.duration,
                    "owners": [owner for owner, _ in attempts],
                    "run_ids": [run_id for _, run_id in attempts],
                    "attempts": list(attempts.values()),
                },
            )
            found = {(owner, run_id): cancel_requested for owner, run_id, cancel_requested in cursor}
        leases.beaten(
            Beat(
                cancelled=[key for key, cancel_requested in found.items() if cancel_requested],
                lost=[(*key, attempt) for key, attempt in attempts.items() if key not in found],
            )
        )
