"""Runs whose worker, network or database fails in the middle. Nothing is lost, nothing doubled, and somebody goes on.

The workers are real processes, and are really killed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from psycopg.conninfo import make_conninfo

from lakemem import AsyncMemory, AsyncRunner, AsyncScopedMemory, Attempt, Lakebase, Run, RunEvent
from lakemem.embedded import EmbeddedPostgres, _stop_server
from lakemem.testing import DatabaseFactory
from tests.conftest import embedded_server
from tests.faults.polling import AsyncPoll
from tests.faults.proxy import Fault, Proxy
from tests.support import processes
from tests.support.run_history import History, read

WORKER = """
import asyncio, json, os, signal
from lakemem import AsyncMemory, AsyncRunner, Lakebase, LeaseLostError
from lakemem.running import runner

runner.CAUTION = float(os.environ.get("CAUTION", runner.CAUTION))
log = open(os.environ["LOG"], "a", buffering=1)

async def handle(attempt):
    def note(n, what):
        log.write(json.dumps([attempt.run.run_id, attempt.number, n, what]) + "\\n")
    try:
        for n in range(attempt.request["count"]):
            note(n, "emits")
            await attempt.emit({"attempt": attempt.number, "n": n})
            if n % 5 == 4:
                await attempt.flush()
                note(n, "stored")
            if attempt.request.get("kills") == n:
                os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.sleep(attempt.request["pause"])
    except (asyncio.CancelledError, LeaseLostError):
        note(0, "stopped")
        raise

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with AsyncMemory(Lakebase.dsn(os.environ["DSN"])) as memory:
        runner = AsyncRunner(memory, handle, concurrency=32, lease=float(os.environ.get("LEASE", 10)), max_attempts=9)
        await runner.start()
        print("ready", flush=True)
        await stop.wait()
        await runner.stop(float(os.environ.get("DRAIN", 1)))

asyncio.run(main())
"""


class Workers:
    """Processes that work on runs."""

    def __init__(self, target: Lakebase, folder: Path) -> None:
        self._dsn = make_conninfo(**target.parameters)
        self._folder = folder
        self.processes: list[subprocess.Popen[str]] = []
        self.logs: list[Path] = []

    def start(self, count: int, **environ: str) -> None:
        for _ in range(count):
            log = self._folder / f"{len(self.logs)}.log"
            log.touch()
            self.logs.append(log)
            self.processes.append(processes.begin(WORKER, DSN=self._dsn, LOG=str(log), **environ))
        for process in self.processes[-count:]:
            processes.wait_for(process)

    async def emitted(self, count: int) -> None:
        """Return once the workers have emitted at least so many events."""

        async def holds() -> bool:
            return sum(log.read_text().count('"emits"') for log in self.logs) >= count

        await AsyncPoll.until(holds)

    def kill_busiest(self) -> Path:
        """Kill whoever has emitted most of those who live, and return its log."""
        alive = [number for number, process in enumerate(self.processes) if process.poll() is None]
        busiest = max(alive, key=lambda number: self.logs[number].stat().st_size)
        self.processes[busiest].kill()
        self.processes[busiest].wait()
        return self.logs[busiest]

    def history(self, run: Run) -> History:
        return read(*self.logs)[run.run_id]

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def workers(target: Lakebase, tmp_path: Path) -> Iterator[Workers]:
    workers = Workers(target, tmp_path)
    yield workers
    workers.stop()


@pytest.fixture
async def alice(target: Lakebase) -> AsyncIterator[AsyncScopedMemory]:
    async with AsyncMemory(target) as memory:
        yield memory.for_user("alice")


async def received(user: AsyncScopedMemory, run: Run) -> list[RunEvent]:
    """All events of a run as they come."""
    async with asyncio.timeout(60):
        return [event async for event in user.runs.tail(run.run_id)]


async def check(user: AsyncScopedMemory, run: Run, history: History, got: list[RunEvent]) -> Run:
    stored = []
    while page := await user.runs.events(run.run_id, after=len(stored) - 1):
        stored += page
    history.check(stored, got)
    ended = await user.runs.get(run.run_id)
    assert ended is not None
    assert ended.status == "completed"
    last = [event.event["n"] for event in stored if event.attempt == ended.attempt]
    assert last == list(range(run.request["count"]))
    return ended


async def test_workers_are_killed_at_any_moment_and_others_go_on(alice: AsyncScopedMemory, workers: Workers) -> None:
    moments = random.Random()
    # They go on long before the leases end: nobody would receive so late what is emitted after that.
    workers.start(3, CAUTION="0.1", LEASE="300")
    runs = [await alice.runs.create({"count": 30, "pause": 0.05}, max_attempts=9) for _ in range(12)]
    tails = [asyncio.create_task(received(alice, run)) for run in runs]
    for least in (20, 160):
        await workers.emitted(least + moments.randrange(60))
        workers.kill_busiest()
    got = await asyncio.gather(*tails)
    ended = [await check(alice, run, workers.history(run), events) for run, events in zip(runs, got, strict=True)]
    assert any(run.attempt > 1 for run in ended), "no run was taken over"


async def test_a_run_that_kills_its_process_takes_no_third_with_it(alice: AsyncScopedMemory, workers: Workers) -> None:
    workers.start(3, CAUTION="0.1")
    run = await alice.runs.create({"count": 9, "pause": 0.0, "kills": 4})
    got = await received(alice, run)
    ended = await alice.runs.get(run.run_id)
    assert ended is not None
    assert ended.error is not None
    assert (ended.status, ended.error.code, ended.attempt) == ("failed", "attempts_exhausted", 2)
    assert [(event.attempt, event.event["n"]) for event in got] == [(a, n) for a in (1, 2) for n in range(5)]
    await asyncio.sleep(0.2)
    assert sorted(process.poll() is None for process in workers.processes) == [False, False, True]


async def test_a_worker_that_is_told_to_end_hands_its_runs_over(alice: AsyncScopedMemory, workers: Workers) -> None:
    # In its last two seconds it hands over.
    workers.start(2, DRAIN="6")
    # It sleeps until it is told to go on, so that the first one gets the run.
    workers.processes[1].send_signal(signal.SIGSTOP)
    run = await alice.runs.create({"count": 40, "pause": 0.15})
    tail = asyncio.create_task(received(alice, run))
    while (found := await alice.runs.get(run.run_id)) is not None and found.last_sequence < 5:
        await asyncio.sleep(0.02)
    workers.processes[1].send_signal(signal.SIGCONT)
    workers.processes[0].send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(workers.processes[0].wait, 30) == 0
    got = await tail
    ended = await check(alice, run, workers.history(run), got)
    assert (ended.attempt, ended.attempts_used) == (2, 1)


async def test_a_worker_that_was_stopped_for_a_while_writes_nothing_when_it_is_back(
    alice: AsyncScopedMemory, workers: Workers
) -> None:
    workers.start(1, LEASE="4", CAUTION="0.1")
    run = await alice.runs.create({"count": 40, "pause": 0.05})
    tail = asyncio.create_task(received(alice, run))
    await workers.emitted(5)
    os.kill(workers.processes[0].pid, signal.SIGSTOP)
    workers.start(1, LEASE="4", CAUTION="0.1")
    while (found := await alice.runs.get(run.run_id)) is not None and found.attempt == 1:
        await asyncio.sleep(0.05)
    os.kill(workers.processes[0].pid, signal.SIGCONT)
    got = await tail
    ended = await check(alice, run, workers.history(run), got)
    assert ended.attempt == 2

    async def is_stopped() -> bool:
        return '"stopped"' in workers.logs[0].read_text()

    await AsyncPoll.until(is_stopped)
    assert '"stopped"' not in workers.logs[1].read_text()


def writing(histories: dict[str, History]) -> Callable[[Attempt], object]:
    """A handler that says in `histories` what it emits."""

    async def handle(attempt: Attempt) -> None:
        history = histories.setdefault(attempt.run.run_id, History())
        for n in range(attempt.request["count"]):
            history.emitted[attempt.number].append(n)
            await attempt.emit({"attempt": attempt.number, "n": n})
            await asyncio.sleep(attempt.request["pause"])
        await attempt.flush()
        history.acknowledged[attempt.number] = attempt.request["count"]

    return handle


async def test_an_append_whose_answer_is_lost_is_made_once(target: Lakebase, alice: AsyncScopedMemory) -> None:
    seed = random.Random(7)

    def lose(request: bytes) -> Fault:
        if b"running.append" not in request and b"running.conclude" not in request:
            return "none"
        return seed.choice(["none", "none", "after", "before"])

    histories: dict[str, History] = {}
    with Proxy(target) as proxy:
        async with AsyncMemory(proxy.target) as memory:
            runner = AsyncRunner(memory, writing(histories), concurrency=8)  # type: ignore[arg-type]
            await runner.start()
            runs = [await alice.runs.create({"count": 40, "pause": 0.01}) for _ in range(8)]
            proxy.fault = lose
            got = await asyncio.gather(*(received(alice, run) for run in runs))
            proxy.fault = lambda request: "none"
            for run, events in zip(runs, got, strict=True):
                assert (await check(alice, run, histories[run.run_id], events)).attempt == 1
            await runner.stop(1)


async def test_what_is_flushed_is_stored_also_behind_an_append_that_is_under_way(
    target: Lakebase, alice: AsyncScopedMemory
) -> None:
    stored: list[int] = []

    def delay(request: bytes) -> Fault:
        if b"running.append" in request:
            time.sleep(0.03)
        return "none"

    async def handle(attempt: Attempt) -> None:
        for number in range(1, 11):
            await attempt.emit({"n": 2 * number})
            await asyncio.sleep(0.015)
            await attempt.emit({"n": 2 * number + 1})
            await attempt.flush()
            stored.append(len(await alice.runs.events(attempt.run.run_id)))

    with Proxy(target) as proxy:
        proxy.fault = delay
        async with AsyncMemory(proxy.target) as memory:
            runner = AsyncRunner(memory, handle)
            await runner.start()
            await received(alice, await alice.runs.create({}))
            await runner.stop(1)
    assert stored == [2 * number for number in range(1, 11)]


async def test_a_restart_of_postgres_in_the_middle_of_32_runs_loses_nothing() -> None:
    histories: dict[str, History] = {}
    with TemporaryDirectory(prefix="lakemem-restart-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with contextmanager(embedded_server)(folder, 18) as dsn, DatabaseFactory(dsn) as databases:
            async with AsyncMemory(databases.create()) as memory:
                runner = AsyncRunner(memory, writing(histories), concurrency=32)  # type: ignore[arg-type]
                await runner.start()
                users = [memory.for_user(f"user {n}") for n in range(32)]
                runs = [await user.runs.create({"count": 30, "pause": 0.05}) for user in users]
                tails = [asyncio.create_task(received(user, run)) for user, run in zip(users, runs, strict=True)]
                await asyncio.sleep(0.5)
                await asyncio.to_thread(_stop_server, next(folder.glob("*/postmaster.pid")).parent)
                await asyncio.sleep(0.3)
                await asyncio.to_thread(EmbeddedPostgres(folder, version=18).start)
                for user, run, events in zip(users, runs, await asyncio.gather(*tails), strict=True):
                    assert (await check(user, run, histories[run.run_id], events)).attempt == 1
                await runner.stop(1)
