"""One process of the soak: ``soak_worker.py SECONDS plain|degrading async|sync|peer``; its last line is JSON."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import logging
import math
import random
import statistics
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from lakemem import Health

TASKS = 32
STALL = 0.05
PATIENCE = 20.0
"""Seconds without anything that waits in a buffer being stored, after which it is missed."""
MEASURED = 20_000
"""Operations of which the times are kept; of more, a sample."""


class Tally:
    """What happened to the operations."""

    def __init__(self, who: str) -> None:
        self.who = who
        self.operations = 0
        self.times: list[float] = []
        self.errors: collections.Counter[str] = collections.Counter()
        self.lost = 0
        self.tokens: set[str] = set()
        self.stalls: list[tuple[float, bool]] = []

    @contextlib.contextmanager
    def operation(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        except Exception as error:
            self.errors[type(error).__name__] += 1
        else:
            self._keep(time.perf_counter() - started)

    def _keep(self, seconds: float) -> None:
        self.operations += 1
        if len(self.times) < MEASURED:
            self.times.append(seconds)
        elif (place := random.randrange(self.operations)) < MEASURED:
            self.times[place] = seconds

    def note(self, health: Health) -> None:
        """Say of the writes that a degrading memory has accepted which are not stored."""
        self.errors["waiting"] += health.pending_writes
        self.errors["refused"] += health.refused_writes
        self.errors["given up"] += health.failed_writes

    def print(self, usage: Usage) -> None:
        times = sorted(self.times) or [0.0]
        print(
            json.dumps(
                {
                    "who": self.who,
                    "operations": self.operations + self.errors.total(),
                    "failed": self.errors.total(),
                    "lost": self.lost,
                    "rotations": len(self.tokens),
                    "stalls": sum(ours for _, ours in self.stalls) if self.who != "sync" else 0,
                    "longest": round(max((seconds for seconds, _ in self.stalls), default=0.0) * 1000),
                    "median": round(statistics.median(times) * 1000, 2),
                    "p99": round(times[int(len(times) * 0.99)] * 1000, 1),
                    "errors": ", ".join(f"{count} {name}" for name, count in self.errors.most_common(3) if count),
                    **usage.growth(),
                }
            )
        )


class Usage:
    """Sees, once a second, what the process holds: memory, open files, and connections."""

    COLUMNS = ("memory", "files", "connections")

    def __init__(self) -> None:
        self._samples: list[tuple[float, ...]] = []
        threading.Thread(target=self._watch, daemon=True).start()

    def growth(self) -> dict[str, float | list[float]]:
        """Of each, the median in the second quarter of the time, and in the last: the first is for warming up."""
        quarter = len(self._samples) // 4
        found: dict[str, float | list[float]] = {"samples": len(self._samples)}
        for column, values in zip(self.COLUMNS, zip(*self._samples, strict=True), strict=False):
            found[column] = [
                round(statistics.median(some), 1) for some in (values[quarter : 2 * quarter + 1], values[3 * quarter :])
            ]
        return found

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            connections = sum(each.status == psutil.CONN_ESTABLISHED for each in process.net_connections("tcp"))
            self._samples.append((process.memory_info().rss / 2**20, process.num_fds(), connections))
            time.sleep(1.0)


class Recovery:
    """Waits for what a degrading memory has buffered, for as long as some of it gets stored."""

    def __init__(self) -> None:
        self._fewest = math.inf
        self._end = 0.0

    def is_over(self, health: Health) -> bool:
        if health.pending_writes < self._fewest:
            self._fewest, self._end = health.pending_writes, time.monotonic() + PATIENCE
        return health.status == "ok" or time.monotonic() > self._end


class Watch:
    """A thread that sees when the event loop stands still, and what it is doing meanwhile."""

    def __init__(self, tally: Tally, library: str) -> None:
        self._tally = tally
        self._library = library
        self._beat = time.perf_counter()
        self._over = threading.Event()
        self._worked = 0.0
        self._loop_thread = threading.get_ident()
        self._clock = time.pthread_getcpuclockid(self._loop_thread)

    async def run(self) -> None:
        watching = threading.Thread(target=self._watch, daemon=True)
        watching.start()
        try:
            while True:
                self._worked = time.clock_gettime(self._clock)
                self._beat = time.perf_counter()
                await asyncio.sleep(0.005)
        finally:
            self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            beat = self._beat
            if time.perf_counter() - beat < STALL:
                continue
            frame = sys._current_frames().get(self._loop_thread)
            files = [entry.filename for entry in traceback.extract_stack(frame)]
            while self._beat == beat and not self._over.wait(0.005):
                pass
            seconds = time.perf_counter() - beat
            worked = time.clock_gettime(self._clock) - self._worked
            ours = any(self._library in file for file in files) and worked > seconds / 2
            self._tally.stalls.append((seconds, ours))


def count_tokens(tally: Tally) -> None:
    """See every token that a login uses."""
    from lakemem.lakebase import LakebaseCredentials

    original: Callable = LakebaseCredentials.credential

    def credential(self: LakebaseCredentials):  # type: ignore[no-untyped-def]
        given = original(self)
        tally.tokens.add(given.token)
        return given

    LakebaseCredentials.credential = credential  # type: ignore[method-assign]


def embed(texts: list[str]) -> list[list[float]]:
    return [[1.0 + sum(map(ord, text)) % 7, 1.0 + len(text) % 5, 1.0] for text in texts]


async def run_async(seconds: float, tally: Tally, *, degrade: bool) -> None:
    from langgraph.checkpoint.base import empty_checkpoint

    from lakemem import AsyncMemory, CallableEmbedder, degrading
    from lakemem.integrations.langgraph import AsyncLakebaseSaver
    from lakemem.integrations.openai_agents import LakebaseSession

    embedder = CallableEmbedder(embed, model="soak", dimensions=3)
    plain = AsyncMemory(embedder=embedder)
    kept: list[tuple[str, str, int]] = []
    async with degrading(plain) if degrade else plain as memory:
        watch = asyncio.create_task(Watch(tally, "/lakemem/").run())
        until = time.monotonic() + seconds

        async def work(number: int) -> None:
            user = memory.for_user(f"async-{number % 8}")
            thread = user.thread(f"t{number}-{uuid.uuid4()}")
            session, saver = LakebaseSession(thread), AsyncLakebaseSaver(user)
            config = {"configurable": {"thread_id": f"c{number}", "checkpoint_ns": ""}}
            appended = turn = 0
            while time.monotonic() < until:
                turn += 1
                failed = tally.errors.total()
                with tally.operation():
                    await session.add_items([{"role": "user", "content": f"turn {turn}"}])
                appended += tally.errors.total() == failed
                with tally.operation():
                    await session.get_items(limit=20)
                with tally.operation():
                    await saver.aput(config, empty_checkpoint(), {"step": turn}, {})
                with tally.operation():
                    await saver.aget_tuple(config)
                with tally.operation():
                    await user.save(f"fact {turn % 20}", f"in turn {turn} the user said something")
                with tally.operation():
                    await user.search("what did the user say?")
                await asyncio.sleep(0.02)
            kept.append((f"async-{number % 8}", thread.thread_id, appended))

        await asyncio.gather(*[work(number) for number in range(TASKS)])
        watch.cancel()
        health = await memory.health()
        recovery = Recovery()
        while not recovery.is_over(health):
            await asyncio.sleep(1.0)
            health = await memory.health()
        tally.note(health)
    async with AsyncMemory(embedder=embedder) as memory:
        for user_id, thread_id, appended in kept:
            tally.lost += max(appended - len(await memory.for_user(user_id).thread(thread_id).items()), 0)


def run_sync(seconds: float, tally: Tally, *, degrade: bool) -> None:
    from langgraph.checkpoint.base import empty_checkpoint

    from lakemem import CallableEmbedder, Memory, degrading
    from lakemem.integrations.langgraph import LakebaseSaver

    plain = Memory(embedder=CallableEmbedder(embed, model="soak", dimensions=3))
    kept: list[tuple[str, str, int]] = []
    with degrading(plain) if degrade else plain as memory:
        until = time.monotonic() + seconds

        def work(number: int) -> None:
            user = memory.for_user(f"sync-{number % 8}")
            thread, saver = user.thread(f"t{number}-{uuid.uuid4()}"), LakebaseSaver(user)
            config = {"configurable": {"thread_id": f"c{number}", "checkpoint_ns": ""}}
            appended = turn = 0
            while time.monotonic() < until:
                turn += 1
                with tally.operation():
                    thread.append([{"role": "user", "content": f"turn {turn}"}])
                    appended += 1
                with tally.operation():
                    saver.put(config, empty_checkpoint(), {"step": turn}, {})
                with tally.operation():
                    saver.get_tuple(config)
                with tally.operation():
                    user.search("what did the user say?")
                time.sleep(0.05)
            kept.append((f"sync-{number % 8}", thread.thread_id, appended))

        threads = [threading.Thread(target=work, args=[number]) for number in range(TASKS)]
        for running in threads:
            running.start()
        for running in threads:
            running.join()
        health = memory.health()
        recovery = Recovery()
        while not recovery.is_over(health):
            time.sleep(1.0)
            health = memory.health()
        tally.note(health)
    with Memory() as memory:
        for user_id, thread_id, appended in kept:
            tally.lost += max(appended - len(memory.for_user(user_id).thread(thread_id).items()), 0)


async def run_peer(seconds: float, tally: Tally) -> None:
    import os

    from databricks_ai_bridge.lakebase import AsyncLakebasePool

    pool = AsyncLakebasePool(
        autoscaling_endpoint=os.environ["LAKEBASE_AUTOSCALING_ENDPOINT"], token_cache_duration_seconds=1
    )
    async with pool:
        watch = asyncio.create_task(Watch(tally, "/databricks_ai_bridge/").run())
        until = time.monotonic() + seconds

        async def work() -> None:
            while time.monotonic() < until:
                with tally.operation():
                    async with pool.connection() as connection:
                        await connection.execute("SELECT 1")
                await asyncio.sleep(0.02)

        await asyncio.gather(*[work() for _ in range(TASKS)])
        watch.cancel()


def main() -> None:
    seconds, degrade, who = float(sys.argv[1]), sys.argv[2] == "degrading", sys.argv[3]
    logging.disable()
    tally, usage = Tally(who), Usage()
    if who == "peer":
        asyncio.run(run_peer(seconds, tally))
    else:
        count_tokens(tally)
        if who == "async":
            asyncio.run(run_async(seconds, tally, degrade=degrade))
        else:
            run_sync(seconds, tally, degrade=degrade)
    tally.print(usage)


if __name__ == "__main__":
    main()
