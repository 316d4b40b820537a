"""Writes that wait at the same moment go to Postgres together: in one round trip, with one commit."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from lakemem.errors import LakememError, StorageUnavailableError
from lakemem.operations import Operation, Rows

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
    operation: Operation[Any]
    result: asyncio.Future[Any] = field(repr=False)

    def succeed(self, result: Any) -> None:
        if not self.result.done():
            self.result.set_result(result)

    def fail(self, error: BaseException) -> None:
        if not self.result.done():
            self.result.set_exception(error)


class Gathering:
    """Runs small writes of any owners; those that come while the lanes are taken wait, and then go together.

    Nobody waits for others to come: where a lane is free, a write goes by itself. One that fails among others takes
    nobody with it: all are undone, and each is run by itself.

    Args:
        run: runs an operation, and all its parts in one transaction.
    """

    def __init__(self, run: Callable[[Operation[Any]], Awaitable[Any]]) -> None:
        self._run = run
        self._free = LANES
        self._waiting: deque[_Waiting] = deque()
        self._held_up: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation that has a `turn`; one that is cancelled while it waits is not run."""
        if self._held_up[operation.owner] or operation.size > SMALL:
            return cast(T, await self._run(operation))
        if self._free > 0:
            done = self._take_lane({operation.owner})
            try:
                return cast(T, await self._run(operation))
            finally:
                done()
        waiting = _Waiting(operation, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        return cast(T, await waiting.result)

    def _take_lane(self, owners: Set[str]) -> Callable[[], None]:
        """Take a lane, and return what gives it back. Past the patience others use it, without these owners."""
        self._free -= 1
        is_past = False

        def pass_by() -> None:
            nonlocal is_past
            is_past = True
            self._held_up.update(owners)
            self._give_lane()

        def done() -> None:
            if is_past:
                self._held_up.subtract(owners)
                self._held_up += Counter()  # Keeps those above zero.
            else:
                passing.cancel()
                self._give_lane()

        passing = asyncio.get_running_loop().call_later(PATIENCE, pass_by)
        return done

    def _give_lane(self) -> None:
        self._free += 1
        alone, batch = self._next_ones()
        for waiting in alone:
            self._start(self._run_alone(waiting))
        if batch:
            done = self._take_lane({waiting.operation.owner for waiting in batch})
            self._start(self._run_batch(batch, done))

    def _next_ones(self) -> tuple[list[_Waiting], list[_Waiting]]:
        """What is to be run each by itself, and what together."""
        alone: list[_Waiting] = []
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < MOST:
            waiting = self._waiting.popleft()
            if waiting.result.done():
                continue
            if self._held_up[waiting.operation.owner]:
                alone.append(waiting)
            else:
                batch.append(waiting)
        # What one takes hold of, another one waits for: all take hold of it in the same order.
        return alone, sorted(batch, key=lambda waiting: waiting.operation.turn or "")

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_batch(self, batch: list[_Waiting], done: Callable[[], None]) -> None:
        try:
            results = await self._run(_gathered([waiting.operation for waiting in batch]))
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
            for waiting, result in zip(batch, results, strict=True):
                if isinstance(result, LakememError):
                    waiting.fail(result)
                else:
                    waiting.succeed(result)
        finally:
            done()

    async def _run_alone(self, waiting: _Waiting) -> None:
        try:
            waiting.succeed(await self._run(waiting.operation))
        except Exception as error:
            waiting.fail(error)


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
