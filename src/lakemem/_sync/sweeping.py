# Generated from src/lakemem/_async/sweeping.py by tools/unasync.py: edit that file, then run `make generate`.
"""Giving back the room of what has expired, and of history that nobody keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lakemem._sync.checkpoints import Checkpoints
from lakemem._sync.database import Storage
from lakemem.operations import quarantine, runs, store, sweeping, threads
from lakemem.operations.sweeping import Place
from lakemem.validation import check_seconds
from lakemem.work_types import Retention, Swept


class Sweep:
    """One walk through the threads, memories, marks and runs of all owners.

    It goes in batches, each of them one transaction, and may be stopped and begun again at any time.
    """

    def __init__(
        self,
        storage: Storage,
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

    def run(self) -> Swept:
        self._sweep_threads()
        self._sweep_memories()
        self._sweep_marks()
        self._sweep_runs()
        self._sweep_quarantine()
        return self._swept

    def _sweep_threads(self) -> None:
        place = Place()
        while page := self._storage.run(sweeping.threads(place, expired_only=self._retention is None)):
            for owner in dict.fromkeys(each.owner for each, expired in page if expired):
                self._remove_expired(owner)
            alive = [each for each, expired in page if not expired]
            self._count(checkpoints=0 if self._retention is None else self._prune(alive, self._retention))
            place, _ = page[-1]

    def _remove_expired(self, owner: str) -> None:
        while removed := self._storage.run(threads.remove_expired(owner, sweeping.BATCH)):
            self._count(threads=removed)

    def _prune(self, places: Sequence[Place], retention: Retention) -> int:
        removed = 0
        for place in places:
            removed += Checkpoints(self._storage, place.owner).prune(place.thread_id, retention)
        return removed

    def _sweep_memories(self) -> None:
        while owners := self._storage.run(store.owners_of_expired()):
            erased = 0
            for owner in owners:
                erased += self._storage.run(store.sweep(owner))
            self._count(memories=erased)
            if not erased:
                return  # Somebody is writing to what is left.

    def _sweep_marks(self) -> None:
        while owners := self._storage.run(sweeping.owners_of_old_writes()):
            for owner in owners:
                while forgotten := self._storage.run(sweeping.forget_writes(owner)):
                    self._count(marks=forgotten)

    def _sweep_runs(self) -> None:
        if (kept := self._keep_runs) is not None:
            while found := self._storage.run(sweeping.ended_runs(kept, with_events=False)):
                for owner, run_ids in found.items():
                    self._count(runs=self._storage.run(runs.delete(owner, run_ids)))
        if (kept := self._keep_run_events) is not None:
            while found := self._storage.run(sweeping.ended_runs(kept, with_events=True)):
                for owner, run_ids in found.items():
                    self._count(run_events=self._storage.run(sweeping.forget_run_events(owner, run_ids)))

    def _sweep_quarantine(self) -> None:
        while owners := self._storage.run(quarantine.owners_of_expired()):
            for owner in owners:
                while removed := self._storage.run(quarantine.sweep(owner)):
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
