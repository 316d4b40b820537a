"""One run: the server, how long a round is, and what was found."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from side_by_side.rounds import Figures, medians
from side_by_side.server import Load, Server

Number: TypeAlias = float | int | None
Work: TypeAlias = Callable[[float], Awaitable[Figures]]
"""Works for so many seconds."""


@dataclass(frozen=True, slots=True)
class Result:
    """One figure of one case; None is what was not measured."""

    case: str
    metric: str
    ours: Number
    peer: Number
    floor: Number


@dataclass
class Bench:
    """What a case is given.

    Attributes:
        rounds: how often each contender works in a case.
        seconds: of a round.
        warm_up: seconds before the first, in which connections are made and statements prepared.
        scale: the share of the full size to which a case that loads much data is cut.
        foreign: what share of the processors others used, a number for each round.
    """

    server: Server
    rounds: int
    seconds: float
    warm_up: float
    scale: float = 1.0
    results: list[Result] = field(default_factory=list)
    foreign: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.began:5.0f} s] {text}", file=sys.stderr, flush=True)

    def scaled(self, count: int, least: int) -> int:
        return max(int(count * self.scale), least)

    def note(self, case: str, metric: str, *, ours: Number, peer: Number, floor: Number) -> None:
        self.results.append(Result(case, metric, ours, peer, floor))

    async def alternate(self, case: str, contenders: Mapping[str, Work]) -> dict[str, Figures]:
        """Let the contenders work in turn, and return the medians of each."""
        for work in contenders.values():
            await work(self.warm_up)
        # The modules of all contenders are in this one process: a collection that goes through them takes 200 ms.
        gc.collect()
        gc.freeze()
        taken: dict[str, list[Figures]] = {name: [] for name in contenders}
        for number in range(self.rounds):
            for name, work in contenders.items():
                load, cpu = Load(self.server), self.server.cpu()
                figures = await work(self.seconds)
                server_cpu = (self.server.cpu() - cpu) / figures.count * 1e6
                taken[name].append(replace(figures, server_cpu=server_cpu))
                self.foreign.append(load.foreign())
            rates = ", ".join(f"{name} {rounds[-1].rate:.0f}/s" for name, rounds in taken.items())
            self.say(f"{case} round {number + 1} of {self.rounds}: {rates}")
        return {name: medians(rounds) for name, rounds in taken.items()}

    async def compare(self, case: str, rate: str, contenders: Mapping[str, Work]) -> None:
        """Alternate, and note rates, times and processor time."""
        self.note_figures(case, await self.alternate(case, contenders), {rate: "rate", **TIMES})

    def note_figures(self, case: str, found: Mapping[str, Figures], metrics: Mapping[str, str]) -> None:
        """Note what the contenders have in common: `metrics` are attributes of :class:`Figures` by their names."""
        for metric, attribute in metrics.items():
            values = {name: getattr(figures, attribute) for name, figures in found.items()}
            self.note(case, metric, ours=values["ours"], peer=values.get("peer"), floor=values.get("floor"))


TIMES = {
    "p50 ms": "p50",
    "p99 ms": "p99",
    "client CPU us": "client_cpu",
    "server CPU us": "server_cpu",
}
