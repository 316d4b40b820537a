"""Writes that wait at the same moment go to Postgres together: in one round trip, with one commit."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from lakemem.errors import LakememError, StorageUnavailableError
from lakemem.operations import Merge, Operation, Rows

T = TypeVar("T")

LANES = 2
"""How many go at a time: one is prepared here while Postgres is at work on the other."""
PATIENCE = 0.05
"""Seconds. What takes longer waits for somebody else's write, or on a slow network: others go past it."""
MOST = 64
SMALL = 32_768
"""Bytes. What is larger goes by itself: others would wait for it."""


@dataclass(slots=True)
class _Waiting:
    """An operation that waits for its result, or for a lane to be run in by its caller.

    Attributes:
        give_back: where it is to be run by its caller, what gives the lane back.
    """

    operation: Operation[Any]
    result: asyncio.Future[Any] = field(repr=False)
    give_back: Callable[[], None] | None = None

    def succeed(self, result: Any) -> None:
        if not self.result.done():
            self.result.set_result(result)

    def fail(self, error: BaseException) -> None:
        if not self.result.done():
            self.result.set_exception(error)


class Gathering:
    """Runs small writes of any owners; those that come at the same moment, or while the lanes are taken, go together.

    Nobody waits for others to come: where a lane is free, what is there goes at once, and leaves to the other lanes
    their share. One that fails among others takes nobody with it: all are undone, and each is run by itself.

    Args:
        run: runs an operation, and all its parts in one transaction.
    """

    def __init__(self, run: Callable[[Operation[Any]], Awaitable[Any]]) -> None:
        self._run = run
        self._free = LANES
        self._under_way = 0
        self._is_filling = False
        self._waiting: deque[_Waiting] = deque()
        self._held_up: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation that has a `turn`; one that is cancelled while it waits is not run."""
        if self._held_up[operation.owner] or operation.size > SMALL:
            return cast(T, await self._run(operation))
        waiting = _Waiting(operation, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._fill_lanes_soon()
        try:
            result = await waiting.result
            if waiting.give_back is not None:
                result = await self._run(operation)
            return cast(T, result)
        finally:
            if waiting.give_back is not None:
                waiting.give_back()

    def _fill_lanes_soon(self) -> None:
        """Whoever comes in this turn of the event loop, as all do whose writes have just gone together, is there."""
        if self._free > 0 and not self._is_filling:
            self._is_filling = True
            asyncio.get_running_loop().call_soon(self._fill_lanes)

    def _fill_lanes(self) -> None:
        self._is_filling = False
        while self._free > 0 and self._waiting:
            batch = self._next_batch()
            if len(batch) == 1:
                batch[0].give_back = self._take_lane(batch)
                batch[0].succeed(None)
            elif batch:
                self._start(self._run_batch(batch, self._take_lane(batch)))

    def _next_batch(self) -> list[_Waiting]:
        """What one lane takes: its share of all, so that none stands idle while another one has everything."""
        most = min(MOST, -(-(len(self._waiting) + self._under_way) // LANES))
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < most:
            waiting = self._waiting.popleft()
            if waiting.result.done():
                continue
            if self._held_up[waiting.operation.owner]:
                self._start(self._run_alone(waiting))
            else:
                batch.append(waiting)
        # What one takes hold of, another one waits for: all take hold of it in the same order.
        return sorted(batch, key=lambda waiting: waiting.operation.turn or "")

    def _take_lane(self, batch: Sequence[_Waiting]) -> Callable[[], None]:
        """Take a lane, and return what gives it back. Past the patience others use it, without these owners."""
        owners = {waiting.operation.owner for waiting in batch}
        self._free -= 1
        self._under_way += len(batch)
        is_past = False

        def give_lane() -> None:
            self._free += 1
            self._under_way -= len(batch)
            self._fill_lanes_soon()

        def pass_by() -> None:
            nonlocal is_past
            is_past = True
            self._held_up.update(owners)
            give_lane()

        def done() -> None:
            if is_past:
                self._held_up.subtract(owners)
                self._held_up += Counter()  # Keeps those above zero.
            else:
                passing.cancel()
                give_lane()

        passing = asyncio.get_running_loop().call_later(PATIENCE, pass_by)
        return done

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_batch(self, batch: list[_Waiting], done: Callable[[], None]) -> None:
        try:
            merged = _merged(batch)
            results = await self._run(_gathered([operation for operation, _ in merged]))
        except StorageUnavailableError as error:
            # It may have been done. To do it again is for each caller to decide.
            for waiting in batch:
                waiting.fail(error)
        except LakememError:
            await asyncio.gather(*[self._run_alone(waiting) for waiting in batch])
        except BaseException as error:
            for waiting in batch:
                waiting.fail(error)
            raise
        else:
            for (_, those), result in zip(merged, results, strict=True):
                _tell(those, result)
        finally:
            done()

    async def _run_alone(self, waiting: _Waiting) -> None:
        try:
            waiting.succeed(await self._run(waiting.operation))
        except Exception as error:
            waiting.fail(error)


def _merged(batch: Sequence[_Waiting]) -> list[tuple[Operation[Any], list[_Waiting]]]:
    """What is to be run, and who waits for it: those that can be one operation are, and come first."""
    by_kind: dict[Merge[Any], dict[str | None, _Waiting]] = {}
    others = []
    for waiting in batch:
        operation = waiting.operation
        # What is sealed is checked by itself, beside its owner's keys.
        kind = None if operation.sealed_with is not None else operation.merge
        if kind is None or by_kind.setdefault(kind, {}).setdefault(operation.turn, waiting) is not waiting:
            others.append(waiting)
    merged: list[tuple[Operation[Any], list[_Waiting]]] = []
    for merge, by_turn in by_kind.items():
        those = list(by_turn.values())
        if len(those) > 1:
            merged.append((merge([waiting.operation for waiting in those]), those))
        else:
            others.extend(those)
    return merged + [(waiting.operation, [waiting]) for waiting in others]


def _tell(those: Sequence[_Waiting], result: Any) -> None:
    if isinstance(result, LakememError):
        for waiting in those:
            waiting.fail(result)
    elif len(those) > 1:
        for waiting, own in zip(those, result, strict=True):
            waiting.succeed(own)
    else:
        those[0].succeed(result)


class _Gathered(Operation[list[Any]]):
    """Has errors among its results: what the rows mean is known once all is done, and stays done."""

    __slots__ = ()

    def result(self, answers: Sequence[Rows]) -> list[Any]:
        return [_result_or_error(part, rows) for part, rows in zip(self.parts, answers, strict=True)]


def _gathered(parts: Sequence[Operation[Any]]) -> Operation[list[Any]]:
    return _Gathered(
        statement="gathered",
        owner=parts[0].owner,
        parameters={},
        parse=list,
        fallback=[],
        writes=True,
        parts=tuple(parts),
    )


def _result_or_error(operation: Operation[T], rows: Rows) -> T | LakememError:
    try:
        return operation.parse(rows)
    except LakememError as error:
        return error
