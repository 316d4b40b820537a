"""Fewer memories that say as much, beside all that goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import get_args

from lakemem._async.database import AsyncStorage
from lakemem._async.matching import AsyncMatching
from lakemem.consolidation import Consolidation, checked_policy
from lakemem.errors import MatchingError
from lakemem.memory_types import MemoryKind
from lakemem.operations import Operation, consolidating, maintenance
from lakemem.operations.consolidating import Address, Candidate
from lakemem.work_types import Consolidated

logger = logging.getLogger("lakemem")

MAX_FAILURES = 3
"""Of a matcher in a row: after these it is not asked again."""


class AsyncConsolidating:
    """Follows a policy through the memories of one owner after another.

    It goes in batches, each of them one transaction, and may be stopped and begun again at any time.

    Args:
        dry_run: whether only to count what there is to do.
        progress: is told what was done so far, after each batch.
    """

    def __init__(
        self,
        storage: AsyncStorage,
        policy: Consolidation | None,
        *,
        dry_run: bool,
        progress: Callable[[Consolidated], None] | None,
    ) -> None:
        self._storage = storage
        self._policy = checked_policy(Consolidation() if policy is None else policy)
        self._dry_run = dry_run
        self._progress = progress
        self._done = Consolidated()
        self._failures = 0

    async def everybody(self) -> Consolidated:
        """Follow the policy through the memories of all owners."""
        await self._storage.run(maintenance.check_allowed())
        last = ""
        while owner := await self._storage.run(consolidating.next_owner(last)):
            await self.owner(owner)
            last = owner
        return self._done

    async def owner(self, owner: str) -> Consolidated:
        """Follow it through the memories of one owner: first what is merged is gone, then the caps count."""
        merged = await self._merge(owner)
        if self._policy.matches is not None and self._failures < MAX_FAILURES:
            await self._match(owner, AsyncMatching(self._storage, self._policy.matches))
        await self._decay(owner)
        for kind in get_args(MemoryKind):
            await self._cut(owner, kind, gone=merged if self._dry_run and kind == "fact" else 0)
        self._count(owners=1)
        return self._done

    async def _merge(self, owner: str) -> int:
        if self._policy.duplicates is None:
            return 0
        merge = self._policy.duplicates.merge
        if self._dry_run:
            found = await self._storage.run(consolidating.twins(owner, merge, limit=None))
            self._count(merged=len(found))
            return len(found)
        total = 0
        while pairs := await self._storage.run(consolidating.twins(owner, merge)):
            merged = await self._storage.run(consolidating.merge(owner, pairs))
            self._count(merged=merged)
            total += merged
            if not merged:
                break  # Somebody is writing to what is left.
        return total

    async def _match(self, owner: str, matching: AsyncMatching) -> None:
        candidates = await matching.candidates(owner)
        if self._dry_run:
            self._count(candidates=len(candidates))
            return
        while candidates and self._failures < MAX_FAILURES:
            asked, rest = candidates[: consolidating.ASKED], candidates[consolidating.ASKED :]
            gone = await self._ask(owner, matching, asked)
            candidates = [each for each in rest if gone.isdisjoint(each.twin.addresses)]

    async def _ask(self, owner: str, matching: AsyncMatching, asked: Sequence[Candidate]) -> set[Address]:
        """Merge what the matcher confirms, and return what has gone by that. One that fails changes nothing."""
        question = consolidating.question(asked)
        try:
            answer = await matching.ask(question)
        except MatchingError as error:
            self._failures += 1
            logger.warning("the matcher failed with %s: what it was asked about stays as it is", error.error)
            self._count(candidates=len(asked), failed=1)
            return set()
        self._failures = 0
        said = [twin for pair, twin in question.twins.items() if pair in answer.matches]
        pairs = consolidating.into_what_stays(said)
        merged = await self._storage.run(consolidating.merge(owner, pairs)) if pairs else 0
        self._count(merged=merged, candidates=len(asked), dropped=answer.dropped)
        return {pair.addresses[1] for pair in pairs}

    async def _decay(self, owner: str) -> None:
        if self._policy.half_life is not None:
            await self._repeat(
                consolidating.decay(owner, self._policy.half_life, dry_run=self._dry_run),
                lambda decayed: self._count(decayed=decayed),
            )

    async def _cut(self, owner: str, kind: MemoryKind, *, gone: int) -> None:
        cap = self._policy.max_facts if kind == "fact" else self._policy.max_turns
        if cap is None:
            return
        if self._dry_run:
            beyond = await self._storage.run(consolidating.beyond_cap(owner, kind, cap + gone))
            self._count(closed=beyond)
            return
        await self._repeat(
            consolidating.cut(owner, kind, cap, erase=self._policy.erase), lambda closed: self._count(closed=closed)
        )

    async def _repeat(self, batch: Operation[int], count: Callable[[int], None]) -> None:
        while changed := await self._storage.run(batch):
            count(changed)
            if self._dry_run:
                return

    def _count(self, **more: int) -> None:
        self._done = replace(self._done, **{name: getattr(self._done, name) + count for name, count in more.items()})
        if self._progress is not None:
            self._progress(self._done)
