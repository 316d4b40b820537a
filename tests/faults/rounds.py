"""Rounds: clients work, something goes wrong, and what is there afterwards is compared with what they were told."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from lakemem import AsyncMemory
from lakemem.running import runner
from tests.faults.breaking import FAULTS, Fault
from tests.faults.history import Findings, History, check
from tests.faults.processes import Crowd, Order, at_work, degraded, report_of, user_of, workers
from tests.faults.stages import Place, Stage, cloud_stage, stage
from tests.faults.workloads import WORKLOADS, Client

WARM_UP = 0.4
PATIENCE = 30.0
"""Seconds without any of what was put off being done, once nothing goes wrong any more."""


@dataclass(frozen=True)
class Episode:
    """One fault, while all workloads go on."""

    fault: Fault
    degrades: bool
    seed: str


@dataclass
class Result:
    """What an episode found out."""

    fault: str
    degrades: bool
    seed: str
    seconds: float = 0.0
    findings: dict[str, Findings] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)
    longest: float = 0.0
    answers: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    surprises: Counter[str] = field(default_factory=Counter)

    @property
    def is_good(self) -> bool:
        return not (self.late or self.surprises or any(each.wrong for each in self.findings.values()))

    def note(self, report: dict[str, Any]) -> None:
        self.late += report["late"]
        self.longest = max(self.longest, report["longest"])
        self.answers += report["answers"]
        self.errors.update(report["errors"])
        self.surprises.update(report["surprises"])

    def to_json(self) -> str:
        findings = {name: asdict(each) for name, each in self.findings.items()}
        return json.dumps({**self.__dict__, "findings": findings})

    @classmethod
    def from_json(cls, text: str) -> Result:
        given = json.loads(text)
        findings = {
            name: Findings(**{**each, "examples": tuple(each["examples"])}) for name, each in given["findings"].items()
        }
        counters = {name: Counter(given[name]) for name in ("errors", "surprises")}
        return cls(**{**given, **counters, "findings": findings})


@contextmanager
def stage_of(group: str) -> Iterator[Place]:
    with ExitStack() as stack:
        if group == "cloud":
            yield stack.enter_context(cloud_stage())
            return
        folder = stack.enter_context(TemporaryDirectory(prefix="lakemem-faults-", ignore_cleanup_errors=True))
        yield stack.enter_context(stage(Path(folder), on_small_disk=group == "disk"))


async def play(place: Place, episode: Episode) -> Result:
    """Play an episode."""
    result = Result(episode.fault.name, episode.degrades, episode.seed)
    began = time.monotonic()
    chance = random.Random(episode.seed)
    history = History()
    if isinstance(place, Stage) and episode.fault.name == "failover":
        place.standby = await asyncio.to_thread(place.make_standby)
    if episode.fault.in_processes:
        await _play_in_processes(place, episode, chance, history, result)
    else:
        await _play_here(place, episode, chance, history, result)
    await _compare(place, episode, history, result)
    result.seconds = time.monotonic() - began
    return result


async def _play_here(place: Place, episode: Episode, chance: random.Random, history: History, result: Result) -> None:
    plain = place.memory()
    memory = degraded(plain) if episode.degrades else plain
    client = Client(memory, history, chance, name="client", degrades=episode.degrades)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(memory)
        if not episode.degrades:
            await stack.enter_async_context(workers(memory, history))
        async with at_work(client, episode.seed):
            await asyncio.sleep(WARM_UP)
            await episode.fault.break_down(place, chance)
            await asyncio.sleep(WARM_UP)
        if episode.degrades:
            await _recover(memory, result)
        else:
            await _settle(place, episode, result)
    result.note(report_of(client))


async def _play_in_processes(
    place: Place, episode: Episode, chance: random.Random, history: History, result: Result
) -> None:
    crowd = Crowd()
    with TemporaryDirectory(prefix="lakemem-clients-") as folder:
        orders: list[Order] = []

        def order(dsn: str, name: str, **more: Any) -> Order:
            seed = f"{episode.seed} {name}"
            orders.append(Order(dsn, folder, name, episode.seed, seed, episode.degrades, **more))
            return orders[-1]

        try:
            await episode.fault.break_down(place, chance, crowd, order)
        finally:
            await asyncio.to_thread(crowd.stop)
        for each in orders:
            if each.notes.exists():
                history.add(each.notes)
            if each.report.exists():
                result.note(json.loads(each.report.read_text()))
    if not any(each.acknowledged for each in [check(history, {})]):
        result.surprises["no client has done anything"] += 1
    if not episode.degrades:
        async with place.sound_memory() as memory, workers(memory, history):
            await _settle(place, episode, result)


async def _recover(memory: AsyncMemory, result: Result) -> None:
    """Wait until a degrading memory has stored what it buffered."""
    health = await memory.health()
    fewest, end = health.pending_writes, time.monotonic() + PATIENCE
    while health.status != "ok" and time.monotonic() < end:
        await asyncio.sleep(0.05)
        health = await memory.health()
        if health.pending_writes < fewest:
            fewest, end = health.pending_writes, time.monotonic() + PATIENCE
    if health.pending_writes:
        result.surprises["writes wait although memory is back"] += health.pending_writes
    if health.refused_writes or health.failed_writes:
        result.surprises["accepted writes were refused"] += health.refused_writes + health.failed_writes


_UNFINISHED = """
    SELECT 1 FROM lakemem.jobs WHERE owner LIKE %(users)s
    UNION ALL
    SELECT 1 FROM lakemem.runs WHERE owner LIKE %(users)s AND status IN ('queued', 'in_progress')
    UNION ALL
    SELECT 1 FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
        AND state <> 'idle'
"""


async def _settle(place: Place, episode: Episode, result: Result) -> None:
    """Wait until nothing is under way any more: what nobody heard the end of may still be written."""
    fewest, end = None, time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            unfinished = await asyncio.to_thread(_count_unfinished, place, episode.seed)
        except psycopg.OperationalError:
            pass
        else:
            if not unfinished:
                return
            if fewest is None or unfinished < fewest:
                fewest, end = unfinished, time.monotonic() + PATIENCE
        await asyncio.sleep(0.1)
    result.surprises["something does not end"] += 1


def _count_unfinished(place: Place, seed: str) -> int:
    with place.look() as connection:
        return len(connection.execute(_UNFINISHED, {"users": f"user:{seed} %"}).fetchall())


async def _compare(place: Place, episode: Episode, history: History, result: Result) -> None:
    async with AsyncExitStack() as stack:
        memory = await stack.enter_async_context(place.sound_memory())
        if episode.degrades:
            # It has stored the turns; their facts are somebody else's work.
            await stack.enter_async_context(workers(memory, history))
            await _settle(place, episode, result)
        for workload in WORKLOADS[episode.degrades]:
            user = memory.for_user(user_of(episode.seed, workload.name))
            part = History()
            part.writes = {key: write for key, write in history.writes.items() if _is_of(write.log, user.owner)}
            part.reads = [read for read in history.reads if _is_of(read.log, user.owner)]
            result.findings[workload.name] = check(part, await workload.found(user))
        if episode.fault.name == "clock jumps":
            await asyncio.to_thread(_check_leases, place, episode, result)


def _is_of(log: str, owner: str) -> bool:
    return log.startswith(f"{owner} ")


def _check_leases(place: Place, episode: Episode, result: Result) -> None:
    """Nobody has died, so nobody may have taken a run over."""
    with place.look() as connection:
        row = connection.execute(
            "SELECT count(*) FROM lakemem.runs WHERE owner LIKE %s AND attempt - uncounted > 1",
            [f"user:{episode.seed} %"],
        ).fetchone()
    if row is not None and row[0]:
        result.surprises["runs were taken over from who was alive"] += row[0]


def play_all(group: str, episodes: list[Episode]) -> Iterator[Result]:
    """Play the episodes of a group, one after the other."""
    logging.getLogger("lakemem").setLevel(logging.CRITICAL)
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    # Workers that begin need not wait for others who might come back.
    runner.CAUTION = 0.3
    with stage_of(group) as place:
        for episode in episodes:
            yield asyncio.run(play(place, episode))


def episodes_of(seed: int, sweep: int) -> list[Episode]:
    """Every fault once with a plain memory, and once with a degrading one."""
    made = [
        Episode(fault, degrades, f"{seed}-{sweep}-{number}{'d' if degrades else ''}")
        for number, fault in enumerate(FAULTS)
        for degrades in ((False, True) if fault.also_degrading else (False,))
    ]
    random.Random(f"{seed}-{sweep}").shuffle(made)
    return made
