"""Rounds: each contender works for a while, in turn, and the medians of its rounds are its figures.

Taking turns spreads what else happens on the machine over all of them.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import TypeAlias

Operation: TypeAlias = Callable[[int], Awaitable[object]]
"""One operation of the worker with this number."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One round of one contender, or the medians of several.

    Attributes:
        count: how many operations.
        rate: operations a second.
        p50, p99: milliseconds of an operation.
        client_cpu: microseconds of this process's CPU for an operation.
        server_cpu: the same of Postgres.
    """

    count: float
    rate: float
    p50: float
    p99: float
    client_cpu: float
    server_cpu: float = 0.0

    @classmethod
    def of(cls, times: Sequence[float], seconds: float, client_cpu: float) -> Figures:
        ordered = sorted(times)
        return cls(
            count=len(ordered),
            rate=len(ordered) / seconds,
            p50=ordered[len(ordered) // 2] * 1e3,
            p99=ordered[int(len(ordered) * 0.99)] * 1e3,
            client_cpu=client_cpu / len(ordered) * 1e6,
        )


def medians(rounds: Sequence[Figures]) -> Figures:
    columns = [field.name for field in fields(Figures)]
    return Figures(**{name: statistics.median(getattr(figures, name) for figures in rounds) for name in columns})


async def work_for(seconds: float, workers: int, operation: Operation) -> Figures:
    """Let `workers` tasks repeat the operation at once, until the time is over."""
    times: list[float] = []
    gc.collect()

    async def work(number: int) -> None:
        while (started := time.perf_counter()) < until:
            await operation(number)
            times.append(time.perf_counter() - started)

    began, cpu = time.perf_counter(), time.process_time()
    until = began + seconds
    await asyncio.gather(*[work(number) for number in range(workers)])
    return Figures.of(times, time.perf_counter() - began, time.process_time() - cpu)


async def work_in_threads(seconds: float, workers: int, operation: Callable[[int], object]) -> Figures:
    """The same of an operation that waits itself, each worker in a thread of its own."""
    times: list[float] = []
    gc.collect()

    def work(number: int) -> None:
        while (started := time.perf_counter()) < until:
            operation(number)
            times.append(time.perf_counter() - started)

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(workers) as threads:
        began, cpu = time.perf_counter(), time.process_time()
        until = began + seconds
        await asyncio.gather(*[loop.run_in_executor(threads, work, number) for number in range(workers)])
        return Figures.of(times, time.perf_counter() - began, time.process_time() - cpu)


async def repeat(count: int, prepare: Callable[[], Awaitable[Callable[[], Awaitable[object]]]]) -> Figures:
    """Time one call after the other; `prepare` makes each of them, and takes its own time."""
    times, cpu = [], 0.0
    gc.collect()
    for _ in range(count):
        call = await prepare()
        cpu_before, started = time.process_time(), time.perf_counter()
        await call()
        times.append(time.perf_counter() - started)
        cpu += time.process_time() - cpu_before
    return Figures.of(times, sum(times), cpu)
