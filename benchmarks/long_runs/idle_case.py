"""What clients cost that wait for runs which say nothing."""

from __future__ import annotations

import asyncio
import contextlib
import re
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg

from long_runs.bench import RunsBench
from long_runs.clients import begun, first_id, tailing
from long_runs.servers import Contender

RUNS = 20
SETTLES_FOR = 1.5


async def idle_queries(bench: RunsBench, case: str) -> None:
    """Count the statements by the log of Postgres, with two processes, runs under way and a client each second one."""
    seconds = max(5 * bench.seconds, 2.0)
    found = {}
    for contender in bench.contenders:
        found[contender.name] = await _statements(bench, contender, seconds)
        bench.say(f"{case}: {contender.name} {found[contender.name]:.1f}/s")
    bench.note(case, "statements/s", ours=found["ours"], peer=found.get("peer"), floor=0)


async def _statements(bench: RunsBench, contender: Contender, seconds: float) -> float:
    async with AsyncExitStack() as stack:
        ids = []
        for number in range(RUNS):
            process = contender.processes[number % len(contender.processes)]
            # It says one thing, and then nothing for an hour.
            pieces = await stack.enter_async_context(begun(process.port, seconds=3600, pause=3600))
            ids.append(await first_id(pieces))
            stack.callback(_ignore(pieces).cancel)
        for number in range(bench.clients - RUNS):
            process = contender.processes[number % len(contender.processes)]
            pieces = await stack.enter_async_context(tailing(process.port, ids[number % RUNS]))
            stack.callback(_ignore(pieces).cancel)
        await asyncio.sleep(SETTLES_FOR)
        with _logged(bench, contender) as log:
            size = log.stat().st_size
            await asyncio.sleep(seconds)
            text = log.read_bytes()[size:]
    return len(re.findall(_line_of(contender), text)) / seconds


def _ignore(pieces: object) -> asyncio.Future[None]:
    async def read() -> None:
        with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
            async for _ in pieces:  # type: ignore[attr-defined]
                pass

    return asyncio.ensure_future(read())


def _line_of(contender: Contender) -> bytes:
    database = re.escape(str(contender.target.database))
    return rf"(?m)^{database} LOG:  (?:statement|execute [^:]*):".encode()


@contextlib.contextmanager
def _logged(bench: RunsBench, contender: Contender):  # type: ignore[no-untyped-def]
    """Let Postgres write down every statement, with its database."""
    with psycopg.connect(bench.server.admin_dsn) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None
    bench.set("log_line_prefix", "%d ")
    bench.set("log_statement", "all")
    try:
        yield Path(row[0]) / "log"
    finally:
        bench.set("log_statement", None)
        bench.set("log_line_prefix", None)
