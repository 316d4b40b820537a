"""How long an event takes to a client that is connected to the process which emits it, and to one at another."""

from __future__ import annotations

import asyncio
from typing import Any, Literal, TypeAlias

from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from side_by_side.rounds import Figures, medians

from long_runs.bench import RunsBench, delays
from long_runs.clients import begun, first_id, now, said, tailing
from long_runs.servers import Contender

RUNS = 8
LEAST = 3.0
"""Seconds of a round: in the first two, a client that polls may see nothing."""
PAUSE = 0.05
"""Seconds between two events of a run, as of a model that writes."""

Where: TypeAlias = Literal["same", "other"]


async def delivery(bench: RunsBench, case: str, *, where: Where, figure: Literal["p50", "p99"]) -> None:
    """Let some runs speak at the pace of a model, with a client at each process."""
    if not bench.delivered:
        await _measure(bench, case)
    found = {name: found for (name, place), found in bench.delivered.items() if place == where}
    bench.note_figures(case, found, {"ms": figure})


async def _measure(bench: RunsBench, case: str) -> None:
    seconds = max(bench.seconds, LEAST)
    taken: dict[tuple[str, str], list[Figures]] = {}
    for number in range(bench.rounds):
        for contender in bench.contenders:
            for where, times in (await _delivered(contender, seconds)).items():
                taken.setdefault((contender.name, where), []).append(delays(times))
        for where, times in (await _floor(bench, seconds)).items():
            taken.setdefault(("floor", where), []).append(delays(times))
        bench.say(f"{case} round {number + 1} of {bench.rounds}: {_shown(taken)}")
    bench.delivered.update({key: medians(rounds) for key, rounds in taken.items()})


def _shown(taken: dict[tuple[str, str], list[Figures]]) -> str:
    return ", ".join(f"{name} {where} {rounds[-1].p50:.1f} ms" for (name, where), rounds in taken.items())


async def _delivered(contender: Contender, seconds: float) -> dict[Where, list[float]]:
    times: dict[Where, list[float]] = {"same": [], "other": []}
    await asyncio.gather(*(_one_run(contender, seconds, times) for _ in range(RUNS)))
    return times


async def _one_run(contender: Contender, seconds: float, times: dict[Where, list[float]]) -> None:
    """A run, begun at the first process, and tailed at both."""
    async with begun(contender.processes[0].port, seconds=seconds, pause=PAUSE) as pieces:
        run_id = await first_id(pieces)
        await asyncio.gather(*(_tail(process.port, process.pid, run_id, times) for process in contender.processes))


async def _tail(port: int, pid: int, run_id: str, times: dict[Where, list[float]]) -> None:
    async with tailing(port, run_id) as pieces:
        since = now()
        async for piece in pieces:
            at = now()
            # What was emitted before this client was there has waited for it.
            for emitted, by in said(piece):
                if emitted > since:
                    times["same" if by == pid else "other"].append(at - emitted)


async def _floor(bench: RunsBench, seconds: float) -> dict[Where, list[float]]:
    """One INSERT an event; to elsewhere, a NOTIFY in it, which another connection hears, and then reads the event."""
    dsn = make_conninfo(**bench.floor.parameters)
    times: dict[Where, list[float]] = {"same": [], "other": []}
    async with (
        await AsyncConnection.connect(dsn, autocommit=True) as reader,
        await AsyncConnection.connect(dsn, autocommit=True) as listener,
    ):
        await listener.execute("LISTEN floor")
        hearing = asyncio.ensure_future(_hear(listener, reader, times["other"]))
        await asyncio.gather(*(_write(dsn, f"delivery {now()} {run}", seconds, times["same"]) for run in range(RUNS)))
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
    return times


async def _write(dsn: str, run: str, seconds: float, times: list[float]) -> None:
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        until, number = now() + seconds, 0
        while (emitted := now()) < until:
            statement = "WITH stored AS (INSERT INTO floor_events VALUES (%s, %s, %s)) SELECT pg_notify('floor', %s)"
            await connection.execute(statement, [run, number, str(emitted), f"{number} {run}"])
            times.append(now() - emitted)
            number += 1
            await asyncio.sleep(PAUSE)


async def _hear(listener: AsyncConnection[Any], reader: AsyncConnection[Any], times: list[float]) -> None:
    async for told in listener.notifies():
        number, _, run = told.payload.partition(" ")
        found = await reader.execute("SELECT event FROM floor_events WHERE run = %s AND number = %s", [run, number])
        if row := await found.fetchone():
            times.append(now() - float(row[0]))
