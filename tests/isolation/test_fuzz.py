"""Nobody reads, changes, counts or guesses what another one has, by any public method of any way into memory."""

from __future__ import annotations

import dataclasses
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, LiteralString, TypeAlias

import psycopg
import pytest
from psycopg import sql

import lakemem
from lakemem import AsyncFileMemory, AsyncMemory, AsyncScopedMemory, AsyncThread, Lakebase, Memory
from lakemem._async.checkpoints import AsyncCheckpoints
from lakemem._async.quarantine import AsyncQuarantine
from lakemem._async.runs import AsyncRuns
from lakemem._async.wrapping import AsyncWrappedStorage
from lakemem._sync.checkpoints import Checkpoints
from lakemem.grants import PRIVATE_TABLES
from lakemem.integrations.langgraph import AsyncLakebaseSaver, AsyncLakebaseStore, LakebaseSaver, LakebaseStore
from lakemem.integrations.openai_agents import LakebaseSession
from lakemem.operations import Operation
from tests.isolation import surfaces
from tests.isolation.hostile import ARGUMENTS, LOOK_ALIKES
from tests.isolation.ledger import Ledger
from tests.isolation.pgbouncer import PgBouncer
from tests.isolation.surfaces import LAST, covered, public
from tests.isolation.world import Noise, Surface, World, admin_of

Record: TypeAlias = Callable[[str, object], None]

LONG = bool(os.environ.get("LAKEMEM_TEST_LONG"))
SEED = int(os.environ.get("LAKEMEM_TEST_SEED", "7"))
SMALL = {"users": 4, "parts": 2, "probed": 1, "given": 1}


@pytest.mark.parametrize(
    ("cls", "calls"),
    [
        (AsyncMemory, surfaces.ROOT),
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


async def fuzz(world: World, *, users: int, parts: int, probed: int, given: int) -> None:
    """Let users work at the same time under the same names, probe for others', and give hostile arguments.

    Args:
        users: how many; each of them tries one of so many `parts` of the surfaces.
        probed: whose things two others look for.
        given: how many hostile arguments each call gets.
    """
    chosen = random.Random(SEED)
    names = chosen.sample(LOOK_ALIKES, users)
    await world.seed(names)
    calls = world.surfaces()
    async with Noise(world.memory, SEED) as noise:
        for begin in range(0, len(names), 4):
            await world.same_names(world.users[begin : begin + 4], calls[begin // 4 % parts :: parts])
        # What they removed is to be there again.
        await world.seed(f"{name[:240]} again" for name in names[:probed])
        for user in world.users[-probed:]:
            await world.probes(user, calls)
        await world.arguments(world.users[0], chosen.sample(ARGUMENTS, given), calls)
        # Erasure leaves the others as they are.
        await world.same_names(world.users[-2:], [Surface("erasure", LAST, world.memory.for_user)])
    assert noise.cancelled > 3
    assert noise.failed > 3


async def test_users_who_have_the_same_names_for_everything(
    target: Lakebase, admin_dsn: str, record_property: Record
) -> None:
    started = time.perf_counter()
    async with a_world(target, admin_dsn) as world:
        await fuzz(world, **({"users": 64, "parts": 3, "probed": 12, "given": 12} if LONG else SMALL))
    report(world.ledger, "on one pool", started, record_property)
    assert world.ledger.total.leaks == 0, "\n".join(world.ledger.findings[:20])
    assert world.ledger.total.attempts > (10_000 if LONG else 500)


async def test_the_same_through_a_transaction_pooler(
    target: Lakebase, admin_dsn: str, bouncer: PgBouncer, record_property: Record
) -> None:
    started = time.perf_counter()
    async with a_world(target, admin_dsn, bouncer.target) as world:
        await fuzz(world, **({"users": 16, "parts": 2, "probed": 4, "given": 2} if LONG else SMALL))
    report(world.ledger, "through pgbouncer", started, record_property)
    assert world.ledger.total.leaks == 0, "\n".join(world.ledger.findings[:20])


def report(ledger: Ledger, what: str, started: float, record: Record) -> None:
    if LONG:
        record("figures", f"Isolation {what}, seed {SEED}, {time.perf_counter() - started:.0f} s:\n{ledger}")


class Confused(AsyncWrappedStorage):
    """Statements that name another owner than whose rows they may see, as they would where a condition is forgotten."""

    def __init__(self, storage: Any, victim: str) -> None:
        super().__init__(storage)
        self._victim = victim

    async def run(self, operation: Operation[Any], **options: Any) -> Any:
        return await super().run(self._confused(operation), **options)

    def _confused(self, operation: Operation[Any]) -> Operation[Any]:
        named = {"owner": self._victim} if "owner" in operation.parameters else {}
        return dataclasses.replace(
            operation,
            parameters={**operation.parameters, **named},
            parts=tuple(map(self._confused, operation.parts)),
        )


def run_as_admin(world: World, statement: LiteralString) -> None:
    with psycopg.connect(world.admin, autocommit=True) as connection:
        for table in PRIVATE_TABLES:
            connection.execute(sql.SQL(statement).format(sql.Identifier("lakemem", table)))


async def confused(target: Lakebase, admin_dsn: str, prepare: Callable[[World], None]) -> Ledger:
    """Let one user's statements name another one, and see what comes of it."""
    async with a_world(target, admin_dsn) as world:
        await world.seed(["victim"])
        victim = world.users[0]
        prepare(world)
        world.memory = world.memory.through(lambda storage: Confused(storage, victim.owner))
        calls = [each for each in world.surfaces() if not each.blocks]
        attacker = dataclasses.replace(victim, name="attacker", mark="mark-000000000000")
        for names in (None, victim.names):
            for surface in calls:
                before = world.snapshot(besides=())
                await world.turn(surface, attacker, names)
                world.check_unchanged(surface, before, world.snapshot(besides=()))
        return world.ledger


async def test_row_level_security_alone_holds_where_every_condition_is_wrong(target: Lakebase, admin_dsn: str) -> None:
    ledger = await confused(target, admin_dsn, lambda world: None)
    assert ledger.total.leaks == 0, "\n".join(ledger.findings[:20])


async def test_without_either_wall_the_leaks_are_found(target: Lakebase, admin_dsn: str) -> None:
    """This suite can fail: with row-level security off, and wrong conditions, it finds reads and changes."""
    ledger = await confused(
        target, admin_dsn, lambda world: run_as_admin(world, "ALTER TABLE {} DISABLE ROW LEVEL SECURITY")
    )
    found = {name for name, row in ledger.rows.items() if row.read and row.changed}
    # Those before had left little for the session.
    assert found >= {"memories", "threads", "checkpoints", "runs", "files", "LangGraph saver"}


@pytest.mark.skipif(not LONG, reason="make test-isolation")
async def test_the_conditions_alone_hold_where_row_level_security_is_off(target: Lakebase, admin_dsn: str) -> None:
    async with a_world(target, admin_dsn) as world:
        run_as_admin(world, "ALTER TABLE {} DISABLE ROW LEVEL SECURITY")
        await fuzz(world, **SMALL)
    assert world.ledger.total.leaks == 0, "\n".join(world.ledger.findings[:20])


async def test_a_view_that_tells_of_others_is_found(target: Lakebase, admin_dsn: str) -> None:
    """Counts and errors are compared: what answers otherwise for what another one has is found."""
    async with a_world(target, admin_dsn) as world:
        await world.seed(["victim"])
        user = world.memory.for_user("victim")

        async def told(key: str) -> int:
            return len([record for record in await user.items(limit=None) if record.key == key])

        async def raised(key: str) -> None:
            if await told(key):
                raise KeyError("taken")

        leaky = {"count": lambda _, x: told(x.key), "error": lambda _, x: raised(x.key)}
        await world.probes(world.users[0], [Surface("leaky", leaky, lambda name: name)])
        row = world.ledger.rows["leaky"]
        assert (row.counted, row.differing) == (1, 1)
