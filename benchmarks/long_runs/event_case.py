"""How many events a second are stored, with a client on each run."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from side_by_side.rounds import Figures

from long_runs.bench import RunsBench, figures
from long_runs.clients import drain, now
from long_runs.servers import Contender

LOOK = 0.01
"""Seconds between two looks at whether all is stored."""


async def events(bench: RunsBench, case: str, *, runs: int) -> None:
    """Let runs emit what they can for a while, and wait until Postgres says that all of them have completed."""
    works = {each.name: partial(_emitted, bench, each, runs) for each in bench.contenders}
    found = await bench.alternate(case, {**works, "floor": partial(_inserted, bench, runs)})
    metrics = {"events/s": "rate", "app CPU us": "client_cpu", "Postgres CPU us": "server_cpu"}
    bench.note_figures(case, found, metrics)


async def _emitted(bench: RunsBench, contender: Contender, runs: int, seconds: float) -> Figures:
    process = contender.processes[0]
    async with await bench.admin(contender.target) as admin:
        stored, completed = await _count(admin, contender.stored), await _count(admin, contender.completed)
        cpu = sum(each.cpu() for each in contender.processes)
        began = now()
        clients = [asyncio.ensure_future(drain(process.port, seconds=seconds, pause=0.0)) for _ in range(runs)]
        while await _count(admin, contender.completed) < completed + runs:  # noqa: ASYNC110 - Postgres rings no bell
            await asyncio.sleep(LOOK)
        took = now() - began
        await asyncio.gather(*clients)
        cpu = sum(each.cpu() for each in contender.processes) - cpu
        return figures(count=await _count(admin, contender.stored) - stored, seconds=took, cpu=cpu)


async def _count(connection: AsyncConnection[Any], statement: str) -> int:
    row = await (await connection.execute(statement.encode())).fetchone()
    return int(row[0]) if row else 0


async def _inserted(bench: RunsBench, runs: int, seconds: float) -> Figures:
    """The floor: a connection for each run, and a statement for each event."""
    dsn = make_conninfo(**bench.floor.parameters)
    event = '{"type":"response.output_text.delta"}'.ljust(180, ".")

    async def insert(number: int) -> int:
        count = 0
        async with await AsyncConnection.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
            until = now() + seconds
            while now() < until:
                await connection.execute(
                    "INSERT INTO floor_events VALUES (%s, %s, %s)", [f"{began} {number}", count, event]
                )
                count += 1
        return count

    began = now()
    counts = await asyncio.gather(*(insert(number) for number in range(runs)))
    return figures(count=sum(counts), seconds=now() - began)


def make_floor(bench: RunsBench) -> None:
    with psycopg.connect(make_conninfo(**bench.floor.parameters), autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE floor_events (run text, number bigint, event text NOT NULL, PRIMARY KEY (run, number))"
        )
