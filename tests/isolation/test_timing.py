"""How long an answer takes does not tell whether somebody else has what was asked for."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from lakemem import AsyncMemory, AsyncScopedMemory, Lakebase, Memory
from lakemem.testing import DatabaseFactory
from tests.isolation.test_fuzz import LONG

ROUNDS = 600 if LONG else 100
"""Pairs; each asks for what is there and for what is not, one right after the other."""
APART = 0.12 if LONG else 0.3
"""From 0.5: six standard deviations of so many pairs, if it were by chance."""

Ask = Callable[[AsyncScopedMemory, str], Awaitable[Any]]
ASKING: dict[str, Ask] = {
    "get": lambda user, name: user.get(name),
    "history": lambda user, name: user.history(name),
    "thread": lambda user, name: user.thread(name).items(),
    "run": lambda user, name: user.runs.get(name),
    "checkpoint": lambda user, name: user.checkpoints.get(name, ""),
    "search": lambda user, name: user.search(name),
}


async def separation(ask: Ask, user: AsyncScopedMemory, there: Callable[[int], str]) -> float:
    """How often what is there takes longer than what is not: 0.5 where time tells nothing."""
    longer = 0.0
    absent = [f"n {uuid.uuid4().hex}" for _ in range(50)]
    for number in range(-20, ROUNDS):
        times = {}
        # Either comes first as often.
        for is_there in (True, False) if number % 2 else (False, True):
            name = there(number % 50) if is_there else absent[number % 50]
            started = time.perf_counter()
            await ask(user, name)
            times[is_there] = time.perf_counter() - started
        if number >= 0:
            longer += times[True] > times[False]
    return longer / ROUNDS


NAMES = [f"n {uuid.uuid4().hex}" for _ in range(50)]
"""What one user has, with much in it."""
LARGE = f"n {uuid.uuid4().hex}"
"""A thread with so much in it that a busy machine does not hide it."""


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    created = databases.create()
    with Memory(created) as memory:
        owner = memory.for_user("owner")
        for name in NAMES:
            owner.save(name, "blue " * 2_000)
            owner.thread(name).append([{"role": "user", "content": "blue " * 100}] * 200)
            owner.runs.create({"input": "blue " * 2_000}, run_id=name)
        owner.thread(LARGE).append([{"role": "user", "content": "blue " * 100}] * 4_000)
    yield created
    databases.drop(created)


@pytest.mark.parametrize("call", ASKING)
async def test_what_another_one_has_takes_as_long_as_what_nobody_has(target: Lakebase, call: str) -> None:
    async with AsyncMemory(target, max_size=1) as memory:
        other = memory.for_user("other")
        await other.save("mine", "blue")
        found = await separation(ASKING[call], other, lambda number: NAMES[number])
        assert abs(found - 0.5) < APART, f"{call}: {found:.3f}"


@pytest.mark.parametrize("call", ["thread", "run"] if LONG else ["thread"])
async def test_what_one_has_oneself_does_take_longer(target: Lakebase, call: str) -> None:
    """The measure is able to tell two classes apart."""
    async with AsyncMemory(target, max_size=1) as memory:
        names = [LARGE] if call == "thread" else NAMES
        found = await separation(ASKING[call], memory.for_user("owner"), lambda number: names[number % len(names)])
        assert found > 0.5 + APART
