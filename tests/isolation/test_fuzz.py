"""Nobody reads, changes, counts or guesses what another one has, by any public method of any way into memory."""

from __future__ import annotations

import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import lakemem
from lakemem import AsyncFileMemory, AsyncMemory, AsyncScopedMemory, AsyncThread, Lakebase, Memory
from lakemem._async.checkpoints import AsyncCheckpoints
from lakemem._async.quarantine import AsyncQuarantine
from lakemem._async.runs import AsyncRuns
from lakemem._sync.checkpoints import Checkpoints
from lakemem.integrations.langgraph import AsyncLakebaseSaver, AsyncLakebaseStore, LakebaseSaver, LakebaseStore
from lakemem.integrations.openai_agents import LakebaseSession
from tests.isolation import surfaces
from tests.isolation.hostile import ARGUMENTS, LOOK_ALIKES
from tests.isolation.ledger import Ledger
from tests.isolation.pgbouncer import PgBouncer
from tests.isolation.surfaces import covered, public
from tests.isolation.world import Noise, World, admin_of

LONG = bool(os.environ.get("LAKEMEM_TEST_LONG"))
SEED = int(os.environ.get("LAKEMEM_TEST_SEED", "7"))


@pytest.mark.parametrize(
    ("cls", "calls"),
    [
        (AsyncMemory, {}),
        (AsyncScopedMemory, {**surfaces.SCOPED, **surfaces.LAST}),
        (AsyncQuarantine, surfaces.QUARANTINE),
        (AsyncThread, surfaces.THREAD),
        (AsyncCheckpoints, surfaces.CHECKPOINTS),
        (AsyncRuns, {**surfaces.RUNS, **surfaces.TAIL}),
        (AsyncFileMemory, surfaces.FILES),
        (LakebaseSession, surfaces.SESSION),
        (AsyncLakebaseSaver, surfaces.SAVER),
        (LakebaseSaver, surfaces.synced(surfaces.SAVER)),
        (AsyncLakebaseStore, surfaces.STORE),
        (LakebaseStore, surfaces.synced(surfaces.STORE)),
    ],
)
def test_every_public_method_is_tried(cls: type, calls: surfaces.Calls) -> None:
    assert public(cls) - surfaces.NO_ROWS.get(cls.__name__, set()) - covered(calls) == set()


def test_the_sync_classes_have_no_more_methods() -> None:
    for cls, twin in ((AsyncScopedMemory, lakemem.ScopedMemory), (AsyncThread, lakemem.Thread),
                      (AsyncRuns, lakemem.Runs), (AsyncCheckpoints, Checkpoints),
                      (AsyncFileMemory, lakemem.FileMemory), (AsyncMemory, Memory)):  # fmt: skip
        assert public(twin) <= public(cls)


@asynccontextmanager
async def a_world(target: Lakebase, admin_dsn: str, through: Lakebase | None = None) -> AsyncIterator[World]:
    # Few connections, so that each is borrowed by one user after another.
    async with AsyncMemory(through or target, max_size=4, timeout=60) as memory:
        with Memory(through or target, max_size=4, timeout=60) as sync:
            yield World(memory, sync, admin_of(admin_dsn, target), Ledger())


async def fuzz(world: World, *, users: int, probed: int, given: int, seed: int = SEED) -> None:
    """Let users work at the same time under the same names, probe for others', and give hostile arguments."""
    chosen = random.Random(seed)
    names = list(LOOK_ALIKES) if users >= len(LOOK_ALIKES) else chosen.sample(LOOK_ALIKES, users)
    await world.seed(names)
    calls = world.surfaces()
    async with Noise(world.memory, seed) as noise:
        for begin in range(0, len(names), 4):
            await world.same_names(world.users[begin : begin + 4], calls)
        # What was removed is there again, to be probed for.
        left, world.users = world.users, []
        await world.seed(f"{user.name[:250]}2" for user in left[:probed])
        for user in list(world.users):
            await world.probes(user, calls)
        await world.arguments(world.users[0], chosen.sample(ARGUMENTS, given), calls)
    assert noise.cancelled > 3
    assert noise.failed > 3


async def test_users_who_have_the_same_names_for_everything(
    target: Lakebase, admin_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.perf_counter()
    async with a_world(target, admin_dsn) as world:
        size = {"users": 66, "probed": 20, "given": len(ARGUMENTS)} if LONG else {"users": 2, "probed": 1, "given": 1}
        await fuzz(world, **size)
    report(world.ledger, "on one pool", started, capsys)
    assert world.ledger.total.leaks == 0, "\n".join(world.ledger.findings[:20])
    assert world.ledger.total.attempts > (10_000 if LONG else 500)


async def test_the_same_through_a_transaction_pooler(
    target: Lakebase, admin_dsn: str, bouncer: PgBouncer, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.perf_counter()
    async with a_world(target, admin_dsn, bouncer.target) as world:
        size = {"users": 12, "probed": 4, "given": 4} if LONG else {"users": 2, "probed": 1, "given": 1}
        await fuzz(world, **size)
    report(world.ledger, "through pgbouncer", started, capsys)
    assert world.ledger.total.leaks == 0, "\n".join(world.ledger.findings[:20])


def report(ledger: Ledger, what: str, started: float, capsys: pytest.CaptureFixture[str]) -> None:
    if LONG:
        with capsys.disabled():
            print(f"\n\nIsolation {what}, seed {SEED}, {time.perf_counter() - started:.0f} s:\n{ledger}\n")
