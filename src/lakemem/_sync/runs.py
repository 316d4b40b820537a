# Generated from src/lakemem/_async/runs.py by tools/unasync.py: edit that file, then run `make generate`.
"""The runs of one owner."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

from lakemem._sync.database import Storage
from lakemem.errors import RunNotFoundError
from lakemem.operations import runs
from lakemem.run_types import BusyPolicy, Run, RunEvent, RunKind, RunStatus


class Runs:
    """Requests of one owner that are worked on in the background, whatever becomes of the connection they came by.

    They are in Postgres. Any process that has a runner works on them.
    """

    def __init__(self, storage: Storage, owner: str) -> None:
        self._storage = storage
        self._owner = owner

    def create(
        self,
        request: Mapping[str, Any],
        *,
        run_id: str | None = None,
        thread_id: str | None = None,
        previous_run_id: str | None = None,
        kind: RunKind = "stream",
        background: bool = True,
        idempotency_key: str | None = None,
        timeout: float = 3600.0,
        delay: float = 0.0,
        max_attempts: int = 2,
        on_busy: BusyPolicy = "queue",
        max_queued: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Run:
        """Queue a run.

        Args:
            request: what is to be done, as JSON.
            run_id: its id; by default a new one.
            thread_id: its conversation; of a thread, one run at a time is in progress.
            previous_run_id: the run that this one continues.
            kind: ``invoke`` for a handler that returns, ``stream`` for one that emits events.
            background: whether its creator does not wait for it.
            idempotency_key: the same key again gives the same run.
            timeout: seconds from now until it has failed; the time that it waits for a person does not count.
            delay: seconds before a worker may begin it.
            max_attempts: how often it is tried at the most.
            on_busy: what to do where its thread has a run under way: ``reject`` this one, ``queue`` it behind, or
                ``interrupt`` the others.
            max_queued: how many runs of this owner may be queued before this one is refused.
            metadata: what the creator wants to find again.

        Raises:
            ThreadBusyError: the thread has a run under way.
            QueueFullError: too many runs are queued.
            ConflictError: the key was used for another request, or there is a run of this id.
            InvalidInputError: an argument is not what it should be.
        """
        return self._storage.run(
            runs.create(
                self._owner,
                request,
                run_id=run_id,
                thread_id=thread_id,
                previous_run_id=previous_run_id,
                kind=kind,
                background=background,
                idempotency_key=idempotency_key,
                timeout=timeout,
                delay=delay,
                max_attempts=max_attempts,
                on_busy=on_busy,
                max_queued=max_queued,
                metadata=metadata,
            )
        )

    def get(self, run_id: str) -> Run | None:
        """Return a run; None where this owner has none of this id."""
        return self._storage.run(runs.get(self._owner, run_id))

    def list(
        self,
        limit: int = 100,
        *,
        status: RunStatus | None = None,
        thread_id: str | None = None,
        after: str | None = None,
    ) -> list[Run]:
        """Return runs, the newest first.

        Args:
            limit: how many at the most.
            status: only these.
            thread_id: only those of this thread.
            after: the id of the last run of a page, for the page after it.
        """
        return self._storage.run(runs.listing(self._owner, limit, status=status, thread_id=thread_id, after=after))

    def events(self, run_id: str, *, after: int = -1, limit: int = 500) -> builtins.list[RunEvent]:
        """Return events of a run that are stored.

        Args:
            after: the number of the last event that was seen; -1 for all.
            limit: how many at the most.

        Raises:
            RunNotFoundError: this owner has no such run.
            CursorExpiredError: these events have been swept.
        """
        page = self._storage.run(runs.page(self._owner, run_id, after=after, limit=limit))
        if page is None:
            raise RunNotFoundError("there is no such run")
        return page.events

    def cancel(self, run_id: str) -> Run | None:
        """Let a run end: at once if nobody works on it, else as soon as its worker has heard of it.

        Done again, or to a run that has ended, it changes nothing. None where this owner has no such run.
        """
        return self._storage.run(runs.cancel(self._owner, run_id))

    def resume(self, run_id: str, answer: Any, *, delay: float = 0.0) -> Run:
        """Answer a run that waits for a person: it is queued, and its next attempt has the answer.

        Args:
            answer: what the person says, as JSON.
            delay: seconds before a worker may go on with it.

        Raises:
            RunNotFoundError: this owner has no such run.
            RunError: it does not wait.
        """
        return self._storage.run(runs.resume(self._owner, run_id, answer, delay=delay))

    def retry(self, run_id: str) -> Run:
        """Queue a run that failed once more, with all its attempts.

        Raises:
            RunNotFoundError: this owner has no such run.
            RunError: it did not fail.
        """
        return self._storage.run(runs.retry(self._owner, run_id))

    def delete(self, run_id: str) -> bool:
        """Delete a run and its events; whoever works on it is stopped. Returns whether there was one."""
        return self._storage.run(runs.delete(self._owner, [run_id])) > 0
