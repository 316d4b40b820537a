"""A few of the rounds that `make test-faults` plays; and that memories which lie are found out by them."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from typing import Any, TypeVar

import pytest

from lakemem import AsyncMemory, Lakebase
from lakemem._async.wrapping import AsyncWrappedStorage
from lakemem.operations import Operation
from lakemem.running import runner
from tests.faults.breaking import FAULTS, Fault
from tests.faults.proxy import Proxy
from tests.faults.rounds import Episode, Result, play
from tests.faults.stages import SharedStage

T = TypeVar("T")


@pytest.fixture
def place(target: Lakebase, admin_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SharedStage]:
    monkeypatch.setattr(runner, "CAUTION", 0.3)
    with Proxy(target) as proxy:
        yield SharedStage(target, admin_dsn, proxy)


def fault(name: str) -> Fault:
    return next(each for each in FAULTS if each.name == name)


@pytest.mark.parametrize(
    ("name", "degrades"), [("cut during the COMMIT", False), ("drop", False), ("cut after the COMMIT", True)]
)
async def test_nothing_is_lost_or_doubled(place: SharedStage, name: str, degrades: bool) -> None:
    result = await play(place, Episode(fault(name), degrades, f"{random.randrange(10**6)}"))
    assert result.is_good, result
    for workload, findings in result.findings.items():
        assert findings.acknowledged or workload == "agents' answers"


class Losing(AsyncWrappedStorage):
    """Acknowledges some writes that it has not made."""

    async def run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T:
        if operation.writes and operation.waits and random.random() < 0.5:
            return operation.fallback
        return await super().run(operation, write_id=write_id)


class Doubling(AsyncWrappedStorage):
    """Makes some writes twice."""

    async def run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T:
        if operation.statement == "threads.append" and random.random() < 0.5:
            await super().run(operation)
        return await super().run(operation, write_id=write_id)


class Late(AsyncWrappedStorage):
    """Makes every other write after the one that comes after it."""

    put_off: Operation[Any] | None = None

    async def run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T:
        if operation.statement != "threads.append":
            return await super().run(operation, write_id=write_id)
        late, self.put_off = self.put_off, None if self.put_off else operation
        if late is None:
            return operation.fallback
        result = await super().run(operation, write_id=write_id)
        await super().run(late)
        return result


async def nothing(place: SharedStage, chance: random.Random) -> None:
    """Nobody else is to blame."""


@pytest.mark.parametrize(("lie", "kind"), [(Losing, "lost"), (Doubling, "doubled"), (Late, "disordered")])
async def test_a_memory_that_lies_is_found_out(
    place: SharedStage, monkeypatch: pytest.MonkeyPatch, lie: type[AsyncWrappedStorage], kind: str
) -> None:
    honest = place.memory

    def lying() -> AsyncMemory:
        return honest().through(lie)

    monkeypatch.setattr(place, "memory", lying)
    result: Result = await play(place, Episode(Fault("none", "network", nothing), False, "lies"))
    assert not result.is_good
    assert getattr(result.findings["session items"], kind)
