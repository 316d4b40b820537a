"""The worker: does what was put off, for all owners."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from lakemem._async.database import AsyncStorage
from lakemem._async.embeddings import AsyncEmbeddings
from lakemem._async.extracting import AsyncExtracting
from lakemem._async.guarding import UNGUARDED, AsyncGuarding
from lakemem.errors import (
    ConfigurationError,
    EmbedderUnavailableError,
    ExtractionError,
    InvalidInputError,
    LeaseLostError,
)
from lakemem.operations import Operation, indexing, jobs, remembering
from lakemem.operations.indexing import LARGE
from lakemem.operations.jobs import Lease
from lakemem.protocols import Extractor
from lakemem.resilience import OUTAGES
from lakemem.validation import check_count, check_seconds
from lakemem.waiting import apause, monotonic
from lakemem.work_types import DeadJob, Worked

logger = logging.getLogger("lakemem")


class AsyncWorker:
    """Extracts facts from what was remembered, gives memories the vectors that came late, and indexes large scopes.

    Any number of workers may run beside each other, in an app or apart from it. Jobs are in Postgres: what a worker
    that was killed had begun, another takes over when its lease has ended. The facts of a job are saved in the
    transaction that ends it, so that none is saved twice and none is lost. The jobs of one owner run one after the
    other, in their order. Made by :meth:`AsyncMemory.worker`.
    """

    def __init__(
        self,
        storage: AsyncStorage,
        embeddings: AsyncEmbeddings,
        extractor: Extractor | None,
        *,
        deadline: float,
        lease: float,
        interval: float,
        max_attempts: int,
        pause: float,
        max_pause: float,
        guard: AsyncGuarding = UNGUARDED,
    ) -> None:
        for name, seconds in {"interval": interval, "pause": pause, "max_pause": max_pause}.items():
            if check_seconds(name, seconds) is None:
                raise InvalidInputError(f"{name} must be a number of seconds, not None")
        if not 0 < deadline < lease:
            raise InvalidInputError("a lease must be longer than the deadline of the extractor, and both above zero")
        self._storage = storage
        self._embeddings = embeddings
        self._deadline = deadline
        self._lease = lease
        self._interval = interval
        self._max_attempts = max(1, check_count("max_attempts", max_attempts))
        self._pause = pause
        self._max_pause = max_pause
        self._guard = guard
        model = embeddings.model
        self._works: Mapping[str, Callable[[Lease], Awaitable[Worked]]] = {
            **({} if extractor is None else {"extract": partial(self._extract, extractor)}),
            **({} if model is None else {"embed": self._embed, "index": partial(self._index, model)}),
        }

    async def run_once(self, *, progress: Callable[[Worked], None] | None = None) -> Worked:
        """Do all jobs that are due now, and say what was done.

        Args:
            progress: is told what was done so far, after each job.

        Raises:
            ConfigurationError: there is neither an extractor nor an embedder.
            StorageUnavailableError: memory is down. What was begun is done again.
        """
        tally = _Tally(progress)
        await self._work(asyncio.Event(), tally)
        return tally.total

    async def run(self, stop: asyncio.Event, *, progress: Callable[[Worked], None] | None = None) -> Worked:
        """Do jobs as they come, until `stop` is set; the job at hand is still finished. Say what was done.

        An outage of memory is waited for. Cancelled, it gives the job at hand back.

        Args:
            stop: ends it.
            progress: is told what was done so far, after each job.

        Raises:
            ConfigurationError: there is neither an extractor nor an embedder.
        """
        tally = _Tally(progress)
        while not stop.is_set():
            try:
                await self._work(stop, tally)
            except OUTAGES as error:
                logger.warning("the worker waits for memory: %s", error)
            await apause(stop, self._interval)
        return tally.total

    async def dead(self) -> list[DeadJob]:
        """Return the jobs that were given up, the oldest first: a thousand at the most."""
        return await self._storage.run(jobs.dead())

    async def retry_dead(self) -> int:
        """Queue again what was given up, and say how many jobs that were."""
        owners = dict.fromkeys(job.owner for job in await self.dead())
        return sum([await self._storage.run(jobs.revive(owner)) for owner in owners])

    async def _work(self, stop: asyncio.Event, tally: _Tally) -> None:
        """Do jobs until none is due."""
        if not self._works:
            raise ConfigurationError("a worker needs an extractor, or a memory with an embedder")
        idle = False
        while not idle and not stop.is_set():
            idle = True
            for owner in await self._storage.run(jobs.owners(list(self._works))):
                if stop.is_set():
                    return
                job = await self._storage.run(jobs.claim(owner, list(self._works), lease_for=self._lease))
                if job is not None:
                    idle = False
                    tally.add(await self._do(job))

    async def _do(self, job: Lease) -> Worked:
        if job.attempts > self._max_attempts:
            # Whoever took it the last time did not live to say what was wrong with it.
            return await self._fail(job, "LeaseLostError")
        try:
            return await self._works[job.kind](job)
        except LeaseLostError:
            logger.warning("another worker has taken over a job of kind %s: the lease is too short", job.kind)
            return Worked(lost=1)
        except OUTAGES:
            with suppress(*OUTAGES):
                await self._storage.run(jobs.release(job))
            raise
        except Exception as error:
            return await self._fail(job, error.error if isinstance(error, ExtractionError) else type(error).__name__)
        except BaseException:
            await self._storage.run(jobs.release(job))
            raise

    async def _extract(self, extractor: Extractor, job: Lease) -> Worked:
        namespace, keys = list(job.payload["namespace"]), list(job.payload["keys"])
        turns = await self._storage.run(remembering.turns(job.owner, namespace, keys))
        extracting = AsyncExtracting(self._storage, self._embeddings, job.owner, extractor, self._deadline, self._guard)
        found = await extracting.find(namespace, turns)
        writes: list[Operation[Any]] = [*await extracting.writes(found)]
        await self._storage.run(jobs.complete(job, writes))
        dropped = sum(found.extraction.dropped.values())
        return Worked(jobs=1, facts=len(found.drafts), dropped=dropped)

    async def _embed(self, job: Lease) -> Worked:
        """Fill in vectors page by page. What takes too long for one lease goes on as the next job."""
        began, filled, after = monotonic(), 0, None
        while memories := await self._storage.run(jobs.unembedded(job.owner, after)):
            embedded = await self._embeddings.embed_all([memory.text for memory in memories])
            if any(each.is_late for each in embedded):
                raise EmbedderUnavailableError("the embedder is still down")
            filled += await self._storage.run(jobs.embed(job.owner, memories, embedded))
            after = memories[-1]
            if monotonic() - began > self._lease / 2:
                await self._storage.run(jobs.release(job))
                return Worked(vectors=filled)
        await self._storage.run(jobs.finish(job))
        return Worked(jobs=1, vectors=filled)

    async def _index(self, model: str, job: Lease) -> Worked:
        """Make the index of a large scope, unless somebody else has in the meantime."""
        unindexed = await self._storage.run(indexing.unindexed(job.owner, model))
        made = unindexed.memories >= LARGE
        if made:
            await self._storage.run(indexing.make(job.owner, model, unindexed.since))
        # Always: one who made it may have been killed before this.
        await self._storage.run(indexing.purge(job.owner))
        await self._storage.run(jobs.finish(job))
        return Worked(jobs=1, indexed=int(made))

    async def _fail(self, job: Lease, error: str) -> Worked:
        status = await self._storage.run(
            jobs.fail(job, error, max_attempts=self._max_attempts, pause=self._pause, max_pause=self._max_pause)
        )
        if status == "dead":
            logger.error("a job of kind %s was given up after %d attempts: %s", job.kind, job.attempts, error)
        return Worked(dead=int(status == "dead"), failed=int(status == "queued"), lost=int(status is None))


class _Tally:
    """Adds up what was done, and tells it."""

    def __init__(self, progress: Callable[[Worked], None] | None) -> None:
        self.total = Worked()
        self._progress = progress

    def add(self, done: Worked) -> None:
        self.total += done
        if self._progress is not None:
            self._progress(self.total)
