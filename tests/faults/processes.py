"""Clients in processes of their own, there to be killed, or to have clocks that jump."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from psycopg.conninfo import make_conninfo

from lakemem import AsyncMemory, AsyncRunner, Lakebase, degrading
from tests.faults.history import History
from tests.faults.stages import POOL
from tests.faults.workloads import DEADLINE, WORKLOADS, Client, NoteExtractor, handler

LEASE = 2.0
"""Seconds: what a client that was killed had begun, another goes on with soon."""


@dataclass(frozen=True)
class Order:
    """What a client is to do.

    Attributes:
        dsn: where the database is.
        folder: where it leaves its notes.
        name: of the client.
        users: what the names of its users begin with.
        seed: for its own chances.
        degrades: whether its memory does.
        has_jumping_clock: whether its clock jumps.
    """

    dsn: str
    folder: str
    name: str
    users: str
    seed: str
    degrades: bool = False
    has_jumping_clock: bool = False

    @property
    def notes(self) -> Path:
        return Path(self.folder) / f"{self.name}.history"

    @property
    def report(self) -> Path:
        return Path(self.folder) / f"{self.name}.report"


def degraded(memory: AsyncMemory) -> AsyncMemory:
    """The same memory with little patience for its database."""
    return degrading(memory, deadline=DEADLINE, open_deadline=3.0, cooldown=0.1)


@asynccontextmanager
async def workers(memory: AsyncMemory, history: History) -> Any:
    """Somebody who does the runs and the jobs of all."""
    runner = AsyncRunner(memory, handler(history), lease=LEASE, pause=0.05, max_attempts=20, poll=0.2)
    worker = memory.worker(
        NoteExtractor(), deadline=1.0, lease=LEASE, interval=0.05, max_attempts=1000, pause=0.05, max_pause=0.2
    )
    stop = asyncio.Event()
    await runner.start()
    jobs = asyncio.create_task(worker.run(stop))
    try:
        yield
    finally:
        stop.set()
        await runner.stop(2.0)
        await asyncio.wait([jobs], timeout=5)
        jobs.cancel()
        await asyncio.gather(jobs, return_exceptions=True)


@asynccontextmanager
async def at_work(client: Client, users: str) -> Any:
    """Let a client do all workloads meanwhile, and wait at the end until its tasks have seen that it is over."""
    watch = client.watch()
    tasks = [
        asyncio.create_task(each.work(client, client.memory.for_user(user_of(users, each.name)), number))
        for each in WORKLOADS[client.degrades]
        for number in range(each.tasks)
    ]
    try:
        yield
    finally:
        client.over.set()
        _, hanging = await asyncio.wait(tasks, timeout=20)
        if hanging:
            client.surprises["a call that does not return"] += len(hanging)
        for task in [watch, *hanging]:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                client.surprises[f"{type(outcome).__name__}: {outcome}"[:200]] += 1


def user_of(users: str, workload: str) -> str:
    return f"{users} {workload}"


class Crowd:
    """Clients in processes. They are forked off one that has imported all, so that they begin at once."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.faults.processes", "tests.faults.polling"])
        self.processes: list[Any] = []

    def start(self, order: Order) -> Any:
        process = self._context.Process(target=main, args=(asdict(order),), daemon=True)
        process.start()
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """Let those end that still work."""
        for process in self.processes:
            if process.is_alive():
                process.terminate()
        for process in self.processes:
            process.join(30)
            if process.is_alive():
                process.kill()
        self.processes.clear()


def main(order: dict[str, Any]) -> None:
    """Work until SIGTERM, or SIGKILL."""
    logging.getLogger("lakemem").setLevel(logging.CRITICAL)
    asyncio.run(_work(Order(**order)))


async def _work(order: Order) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    if order.has_jumping_clock:
        jump(random.Random(order.seed))
    history = History(order.notes)
    plain = AsyncMemory(Lakebase.dsn(order.dsn), **POOL)  # type: ignore[arg-type]
    client = Client(
        degraded(plain) if order.degrades else plain,
        history,
        random.Random(order.seed),
        name=order.name,
        degrades=order.degrades,
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(client.memory)
        if not order.degrades:
            await stack.enter_async_context(workers(client.memory, history))
        await stack.enter_async_context(at_work(client, order.users))
        await over.wait()
    order.report.write_text(json.dumps(report_of(client)))


def report_of(client: Client) -> dict[str, Any]:
    return {
        "late": client.late,
        "longest": client.longest,
        "answers": client.answers,
        "errors": dict(client.errors),
        "surprises": dict(client.surprises),
    }


JUMPS: Sequence[float] = (0.0, 2.0, -2.0, 3_600.0, -3_600.0, 86_400.0 * 40, -86_400.0 * 40, 86_400.0 * 3_650)
"""Seconds by which a clock is wrong."""


def jump(chance: random.Random) -> None:
    """Let the wall clock that Python shows jump, every tenth of a second. The monotonic one does not, by definition."""
    offset = [chance.choice(JUMPS)]
    wall, wall_ns = time.time, time.time_ns

    class Metaclass(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, datetime)

    class JumpingDatetime(datetime, metaclass=Metaclass):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=offset[0])

    time.time = lambda: wall() + offset[0]
    time.time_ns = lambda: wall_ns() + int(offset[0] * 1e9)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("lakemem", "langgraph") and getattr(module, "datetime", None) is datetime:
            module.datetime = JumpingDatetime  # type: ignore[attr-defined]

    def go_wrong() -> None:
        while True:
            time.sleep(0.1)
            offset[0] = chance.choice(JUMPS)

    threading.Thread(target=go_wrong, daemon=True).start()


def dsn_of(target: Lakebase) -> str:
    return make_conninfo(**target.parameters)
