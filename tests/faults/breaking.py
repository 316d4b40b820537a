"""What goes wrong in a round, each about a second long, and mended at its end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import psycopg
from psycopg import sql

from lakemem import StorageUnavailableError
from tests.faults.processes import Crowd, Order, dsn_of
from tests.faults.proxy import Fault as RequestFault
from tests.faults.stages import CloudStage, Stage

TABLES = ("threads", "thread_items", "checkpoints", "memories", "jobs", "runs")


async def some_time(chance: random.Random, most: float = 0.4) -> None:
    await asyncio.sleep(chance.uniform(0.02, most))


# The network.


async def drop(stage: Stage, chance: random.Random) -> None:
    """Connections end, and for a while there are no new ones."""
    for _ in range(chance.randint(2, 5)):
        await some_time(chance, 0.2)
        if chance.random() < 0.5:
            stage.proxy.cut()
        else:
            stage.proxy.refuse()
            await some_time(chance)
            stage.proxy.restore()


async def stall(stage: Stage, chance: random.Random) -> None:
    """Nothing arrives for longer than callers wait; then all of it does, or all connections end."""
    if chance.random() < 0.5:
        stage.proxy.hold()
    else:
        stage.proxy.black_hole()
    await asyncio.sleep(chance.uniform(0.3, 2.5))
    stage.proxy.restore()


async def half_open(stage: Stage, chance: random.Random) -> None:
    """Requests arrive, answers do not, and the server does not hear that its clients have gone."""
    stage.proxy.half_open()
    await asyncio.sleep(chance.uniform(0.3, 2.5))
    stage.proxy.restore()


async def slow(stage: Stage, chance: random.Random) -> None:
    """Answers come late, and in pieces."""
    stage.proxy.delay, stage.proxy.piece = chance.uniform(0.01, 0.3), chance.choice([0, 0, 100, 1000])
    await asyncio.sleep(1.2)
    stage.proxy.restore()


def cut(*where: Literal["before", "during", "after", "within"]) -> Breaking:
    """The connection ends around the COMMIT of every third write."""

    async def break_down(stage: Stage, chance: random.Random) -> None:
        def fault(request: bytes) -> RequestFault:
            # A pipeline is a transaction, and its last message is its COMMIT.
            if not request.endswith(b"S\x00\x00\x00\x04") or chance.random() > 0.3:
                return "none"
            chosen = chance.choice(where)
            return chance.randrange(len(request)) if chosen == "within" else chosen

        stage.proxy.fault = fault
        await asyncio.sleep(1.2)
        stage.proxy.fault = lambda request: "none"

    return break_down


# The server.


async def kill_server(stage: Stage, chance: random.Random) -> None:
    """SIGKILL for all of Postgres, or for one session, after which it recovers by itself."""
    for _ in range(chance.randint(1, 2)):
        if chance.random() < 0.7:
            await asyncio.to_thread(stage.server.kill)
            await some_time(chance)
        else:
            await asyncio.to_thread(stage.server.kill_backend, chance.randrange(100))
        await asyncio.to_thread(stage.server.start)
        await some_time(chance)


async def fail_over(stage: Stage, chance: random.Random) -> None:
    """The primary is killed, and its synchronous standby takes over."""
    await some_time(chance)
    await asyncio.to_thread(stage.server.kill)
    await some_time(chance)
    await asyncio.to_thread(stage.fail_over, stage.standby)
    await some_time(chance)


async def fill_disk(stage: Stage, chance: random.Random) -> None:
    """There is no room for data, and in half of the rounds none for WAL, which ends the server."""
    assert stage.disk is not None
    await asyncio.to_thread(stage.disk.fill)
    if chance.random() < 0.5:
        with suppress(psycopg.Error), await asyncio.to_thread(stage.look) as connection:
            for _ in range(6):
                await asyncio.to_thread(connection.execute, "SELECT pg_switch_wal()")
                await asyncio.sleep(0.1)
    else:
        await asyncio.sleep(1.0)
    stage.disk.free()
    await asyncio.sleep(0.2)
    with suppress(StorageUnavailableError):
        await asyncio.to_thread(stage.server.start)
    await asyncio.to_thread(stage.server.start)


async def exhaust_pool(stage: Stage, chance: random.Random) -> None:
    """Every connection waits for a lock, longer than callers wait for a connection."""
    await asyncio.to_thread(_lock_tables, stage, chance.uniform(0.8, 2.2))


async def time_out_statements(stage: Stage, chance: random.Random) -> None:
    """Statements are cancelled by the server, wherever they are."""
    setting = sql.SQL("ALTER DATABASE {} SET statement_timeout = {}")
    database = sql.Identifier(stage.database)
    with await asyncio.to_thread(stage.look) as connection:
        connection.autocommit = True
        connection.execute(setting.format(database, sql.Literal(chance.choice(["2ms", "5ms", "50ms"]))))
        await asyncio.to_thread(_end_sessions, connection)
        for _ in range(3):
            await asyncio.to_thread(_lock_tables, stage, chance.uniform(0.02, 0.3))
            await some_time(chance, 0.2)
        connection.execute(sql.SQL("ALTER DATABASE {} RESET statement_timeout").format(database))
        await asyncio.to_thread(_end_sessions, connection)


def _lock_tables(stage: Stage, seconds: float) -> None:
    with stage.look() as connection, suppress(psycopg.errors.DeadlockDetected):
        connection.autocommit = False
        connection.execute("SET LOCAL statement_timeout = 0")
        connection.execute(
            sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(
                sql.SQL(", ").join(sql.Identifier("lakemem", table) for table in TABLES)
            )
        )
        connection.execute("SELECT pg_sleep(%s)", [seconds])


def _end_sessions(connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )


# The client.


async def kill_clients(stage: Stage, chance: random.Random, crowd: Crowd, order: Callable[..., Order]) -> None:
    """Of three clients, two are killed and replaced."""
    target = dsn_of(stage.target)
    victims = [crowd.start(order(target, f"{number}")) for number in range(3)]
    await asyncio.sleep(0.5)
    for number in range(2):
        await asyncio.sleep(chance.uniform(0.1, 0.8))
        victims[number].kill()
        crowd.start(order(target, f"{number}, again"))
    await asyncio.sleep(1.0)
    await asyncio.to_thread(crowd.stop)


async def jump_clocks(stage: Stage, chance: random.Random, crowd: Crowd, order: Callable[..., Order]) -> None:
    """The wall clocks of three clients jump, by seconds and by years."""
    for number in range(3):
        crowd.start(order(dsn_of(stage.target), f"{number}", has_jumping_clock=number > 0))
    await asyncio.sleep(2.5)
    await asyncio.to_thread(crowd.stop)


# The cloud.


async def expire_tokens(stage: CloudStage, chance: random.Random) -> None:
    """Tokens live two seconds, and connections end all the time, so that there are logins."""
    for _ in range(6):
        await some_time(chance, 0.7)
        await asyncio.to_thread(stage.emulator.close_connections)


async def revoke_tokens(stage: CloudStage, chance: random.Random) -> None:
    """Tokens are taken back, connections end, and now and then there are no new tokens for a while."""
    for _ in range(4):
        await asyncio.to_thread(stage.emulator.revoke)
        route = "POST /api/2.0/postgres/credentials"
        if chance.random() < 0.5:
            stage.emulator.faults.error(route, chance.choice([500, 503, 403]), times=2)
        await asyncio.to_thread(stage.emulator.close_connections)
        await some_time(chance, 0.5)
    stage.emulator.faults.clear()


async def hide_names(stage: CloudStage, chance: random.Random) -> None:
    """The server's name cannot be resolved, while connections end."""
    stage.emulator.faults.unresolvable()
    for _ in range(3):
        await asyncio.to_thread(stage.emulator.close_connections)
        await some_time(chance, 0.5)
    stage.emulator.faults.clear()


Breaking: TypeAlias = Callable[..., Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        name: what the table calls it.
        group: the faults of a group take turns on one stage.
        kind: whether clients are tasks of this process, or processes of their own.
        also_degrading: whether there are rounds with a degrading memory.
    """

    name: str
    group: str
    break_down: Breaking
    in_processes: bool = False
    also_degrading: bool = True


FAULTS = [
    Fault("drop", "network", drop),
    Fault("stall", "network", stall),
    Fault("half-open", "network", half_open),
    Fault("slow", "network", slow),
    Fault("cut before the COMMIT", "network", cut("before", "within")),
    Fault("cut during the COMMIT", "network", cut("during")),
    Fault("cut after the COMMIT", "network", cut("after")),
    Fault("pool exhausted", "server", exhaust_pool),
    Fault("statement timeout", "server", time_out_statements),
    Fault("kill -9 of Postgres", "server", kill_server),
    Fault("failover", "server", fail_over),
    # What a degrading memory buffers is lost with its process.
    Fault("kill -9 of the client", "client", kill_clients, in_processes=True, also_degrading=False),
    Fault("clock jumps", "client", jump_clocks, in_processes=True),
    Fault("disk full", "disk", fill_disk),
    Fault("expired tokens", "cloud", expire_tokens),
    Fault("revoked tokens", "cloud", revoke_tokens),
    Fault("DNS failure", "cloud", hide_names),
]
GROUPS = list(dict.fromkeys(fault.group for fault in FAULTS))
