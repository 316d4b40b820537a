"""Giving back the room of what has expired, and of history that nobody keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lakemem._async.checkpoints import AsyncCheckpoints
from lakemem._async.database import AsyncStorage
from lakemem.operations import quarantine, runs, store, sweeping, threads
from lakemem.operations.sweeping import Place
from lakemem.validation import check_seconds
from lakemem.work_types import Retention, Swept


class AsyncSweep:
    """One walk through the threads, memories, marks and runs of all owners.

    It goes in batches, each of them one transaction, and may be stopped and begun again at any time.
    """

    def __init__(
        self,
        storage: AsyncStorage,
        retention: Retention | None,
        *,
        keep_runs: float | None,
        keep_run_events: float | None,
        progress: Callable[[Swept], None] | None,
    ) -> None:
        self._storage = storage
        self._retention = retention
        self._keep_runs = check_seconds("keep_runs", keep_runs)
        self._keep_run_events = check_seconds("keep_run_events", keep_run_events)
        self._progress = progress
        self._swept = Swept()

    async def run(self) -> Swept:
        await self._sweep_threads()
        await self._sweep_memories()
        await self._sweep_marks()
        await self._sweep_runs()
        await self._sweep_quarantine()
        return self._swept

    async def _sweep_threads(self) -> None:
        place = Place()
        while page := await self._storage.run(sweeping.threads(place, expired_only=self._retention is None)):
            for owner in dict.fromkeys(each.owner for each, expired in page if expired):
                await self._remove_expired(owner)
            alive = [each for each, expired in page if not expired]
            self._count(checkpoints=0 if self._retention is None else await self._prune(alive, self._retention))
            place, _ = page[-1]

    async def _remove_expired(self, owner: str) -> None:
        while removed := await self._storage.run(threads.remove_expired(owner, sweeping.BATCH)):
            self._count(threads=removed)

    async def _prune(self, places: Sequence[Place], retention: Retention) -> int:
        removed = 0
        for place in places:
            removed += await AsyncCheckpoints(self._storage, place.owner).prune(place.thread_id, retention)
        return removed

    async def _sweep_memories(self) -> None:
        while owners := await self._storage.run(store.owners_of_expired()):
            erased = 0
            for owner in owners:
                erased += await self._storage.run(store.sweep(owner))
            self._count(memories=erased)
            if not erased:
                return  # Somebody is writing to what is left.

    async def _sweep_marks(self) -> None:
        while owners := await self._storage.run(sweeping.owners_of_old_writes()):
            for owner in owners:
                while forgotten := await self._storage.run(sweeping.forget_writes(owner)):
                    self._count(marks=forgotten)

    async def _sweep_runs(self) -> None:
        if (kept := self._keep_runs) is not None:
            while found := await self._storage.run(sweeping.ended_runs(kept, with_events=False)):
                for owner, run_ids in found.items():
                    self._count(runs=await self._storage.run(runs.delete(owner, run_ids)))
        if (kept := self._keep_run_events) is not None:
            while found := await self._storage.run(sweeping.ended_runs(kept, with_events=True)):
                for owner, run_ids in found.items():
                    self._count(run_events=await self._storage.run(sweeping.forget_run_events(owner, run_ids)))

    async def _sweep_quarantine(self) -> None:
        while owners := await self._storage.run(quarantine.owners_of_expired()):
            for owner in owners:
                while removed := await self._storage.run(quarantine.sweep(owner)):
                    self._count(quarantined=removed)

    def _count(
        self,
        *,
        threads: int = 0,
        checkpoints: int = 0,
        memories: int = 0,
        marks: int = 0,
        runs: int = 0,
        run_events: int = 0,
        quarantined: int = 0,
    ) -> None:
        so_far = self._swept
        self._swept = replace(
            so_far,
            threads=so_far.threads + threads,
            checkpoints=so_far.checkpoints + checkpoints,
            memories=so_far.memories + memories,
            marks=so_far.marks + marks,
            runs=so_far.runs + runs,
            run_events=so_far.run_events + run_events,
            quarantined=so_far.quarantined + quarantined,
        )
        if self._progress is not None:
            self._progress(self._swept)
