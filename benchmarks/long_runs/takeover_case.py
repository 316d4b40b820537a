"""A process is killed in the middle of its work: how long until its client has the next event from another one."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys

import psycopg
from psycopg.conninfo import make_conninfo

from long_runs.bench import RunsBench
from long_runs.clients import begun, first_id, now, numbers, said, tailing
from long_runs.servers import PROCESSES, Contender

SPEAKS_FOR = 2.0
"""Seconds until it is killed."""
SETTLES_FOR = 4.0
"""Seconds that a process has served for when the other one is killed: one that has just connected is careful."""

_HOLDER = """
import psycopg, sys, time
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    connection.execute("SELECT pg_advisory_lock(1)")
    print("held", flush=True)
    time.sleep(600)
"""


async def takeover(bench: RunsBench, case: str) -> None:
    """Time from the kill to the next event, and to what the agent says next."""
    taken: dict[str, list[tuple[float, float]]] = {}
    floors = []
    for number in range(bench.rounds):
        for contender in bench.contenders:
            while len(contender.processes) < PROCESSES:
                await contender.start()
            taken.setdefault(contender.name, []).append(await _taken_over(contender))
        floors.append(await asyncio.to_thread(_noticed, make_conninfo(**bench.floor.parameters)))
        seconds = ", ".join(f"{name} {rounds[-1][0]:.2f} s" for name, rounds in taken.items())
        bench.say(f"{case} round {number + 1} of {bench.rounds}: {seconds}")
    for place, metric in enumerate(("s", "s to what the agent says")):
        found = {name: statistics.median(each[place] for each in rounds) for name, rounds in taken.items()}
        floor = None if place else statistics.median(floors)
        bench.note(case, metric, ours=found["ours"], peer=found.get("peer"), floor=floor)
    worst = {name: max(first for first, _ in rounds) for name, rounds in taken.items()}
    bench.note(case, "s, the longest", ours=worst["ours"], peer=worst.get("peer"), floor=max(floors))


async def _taken_over(contender: Contender) -> tuple[float, float]:
    youngest = max(process.began for process in contender.processes)
    await asyncio.sleep(max(0.0, youngest + SETTLES_FOR - now()))
    async with begun(contender.processes[0].port, seconds=3600, pause=0.05) as pieces:
        run_id = await first_id(pieces)
        worker = None
        async for piece in pieces:
            if by := [pid for _, pid in said(piece)]:
                worker = by[-1]
                break
        owner = next(process for process in contender.processes if process.pid == worker)
        (survivor,) = (process for process in contender.processes if process.pid != worker)
        found = await _next_elsewhere(contender, owner.pid, survivor.port, run_id)
    # What is under way there goes on for ever.
    contender.kill(survivor)
    return found


async def _next_elsewhere(contender: Contender, pid: int, port: int, run_id: str) -> tuple[float, float]:
    """Seconds from the kill to the first event after it, and to the first that another process has emitted."""
    kill_at = now() + SPEAKS_FOR
    killed_at: float | None = None
    after, last = None, -1
    async with tailing(port, run_id) as pieces:
        async for piece in pieces:
            at = now()
            if killed_at is None and at >= kill_at:
                owner = next(process for process in contender.processes if process.pid == pid)
                contender.kill(owner)
                killed_at = now()
                # What the killed one has stored may still come.
                quiet_until = killed_at + 0.5
            by = [who for _, who in said(piece)]
            is_new = bool(numbers(piece)) and max(numbers(piece)) > last
            last = max([last, *numbers(piece)])
            if killed_at is None or not is_new:
                continue
            if pid not in by and (at > quiet_until or any(who != pid for who in by)):
                after = after or at - killed_at
                if any(who != pid for who in by):
                    return after, at - killed_at
    raise RuntimeError("a stream ended before another process went on")


def _noticed(dsn: str) -> float:
    """The floor: seconds until Postgres gives somebody else the lock of a process that was killed."""
    with subprocess.Popen([sys.executable, "-c", _HOLDER, dsn], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with psycopg.connect(dsn, autocommit=True) as connection:
            holder.kill()
            killed_at = now()
            connection.execute("SELECT pg_advisory_lock(1)")
            return now() - killed_at
