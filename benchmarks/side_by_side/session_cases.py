"""Turns of sessions: read 100 items, add two."""

from __future__ import annotations

from contextlib import AsyncExitStack, nullcontext
from functools import partial

from side_by_side import sessions
from side_by_side.bench import Bench, Work
from side_by_side.link import link
from side_by_side.rounds import Operation, work_for
from side_by_side.session_work import fill, kept, turn
from side_by_side.vendor import IS_THERE, vendor


async def session_turn(bench: Bench, case: str, workers: int, *, over_link: bool = False) -> None:
    """Each worker has a session that it keeps."""
    async with AsyncExitStack() as stack:
        direct = stack.enter_context(bench.server.database())
        for open_sessions in sessions.CONTENDERS.values():
            async with open_sessions(direct) as made:
                await fill(made, workers)
        bench.server.settle(direct)
        target = stack.enter_context(link(direct, bench.server.helpers) if over_link else nullcontext(direct))
        contenders: dict[str, Work] = {
            name: working(workers, turn(kept(await stack.enter_async_context(open_sessions(target)))))
            for name, open_sessions in sessions.CONTENDERS.items()
        }
        await bench.compare(case, "turns/s", contenders)


async def session_turn_vendor(bench: Bench, case: str, workers: int) -> None:
    """As apps build it: a new session object for each turn."""
    async with AsyncExitStack() as stack:
        target = stack.enter_context(bench.server.database())
        contenders: dict[str, Work] = {}
        for name in ("ours", "peer", "floor"):
            if name != "peer":
                made = await stack.enter_async_context(sessions.CONTENDERS[name](target))
                await fill(made, workers)
                contenders[name] = working(workers, turn(made))
            elif IS_THERE:
                worker = await stack.enter_async_context(vendor(target, workers, bench.server.helpers))
                contenders[name] = partial(worker.work_for, workers=workers)
            else:
                bench.say(f"{case}: the peer is not measured: `make test-peers` makes its environment")
        bench.server.settle(target)
        await bench.compare(case, "turns/s", contenders)


def working(workers: int, operation: Operation) -> Work:
    return partial(work_for, workers=workers, operation=operation)
