"""How often each call waits for the network, counted by a proxy."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from side_by_side import savers, sessions
from side_by_side.bench import Bench
from side_by_side.checkpoint_work import MESSAGES, PAIRS, Conversation, messages
from side_by_side.session_work import ITEMS, READ, fill

# The tests have the proxy that counts.
sys.path.append(str(Path(__file__).resolve().parents[2]))
from tests.support.proxy import Proxy

CALLS = 10

Call = Callable[[], Awaitable[Any]]


async def round_trips(bench: Bench, case: str) -> None:
    """The mean of ten calls, on one connection that has made each of them before."""
    kind = case.removeprefix("round-trips-")
    contenders = sessions.CONTENDERS if kind in ("add", "get") else savers.CONTENDERS
    found = {}
    for name in contenders:
        with bench.server.database() as target, Proxy(target) as proxy:
            async with contenders[name](proxy.target, 1) as made:
                calls = session_calls(made) if kind in ("add", "get") else saver_calls(made)
                found[name] = await counted(await calls, kind, proxy)
    bench.note(case, "round trips", **found)


async def counted(calls: dict[str, Callable[[], Call]], kind: str, proxy: Proxy) -> float:
    """All kinds of calls by turns, as they come in use; only those of one kind count."""
    total = 0
    for number in range(CALLS + 1):
        for name, prepare in calls.items():
            call = prepare()
            before = proxy.round_trips
            await call()
            if name == kind and number:
                total += proxy.round_trips - before
    return total / CALLS


async def session_calls(made: sessions.Sessions) -> dict[str, Callable[[], Call]]:
    await fill(made, 1)
    session = made(0)
    return {
        "get": lambda: partial(session.get_items, limit=READ),
        "add": lambda: partial(session.add_items, ITEMS[0]),
    }


async def saver_calls(made: savers.Savers) -> dict[str, Callable[[], Call]]:
    saver, conversation = made(0), Conversation("counted")
    values = messages(MESSAGES)

    def put() -> Call:
        values[:] = [*values[2:], *next(PAIRS)]
        return partial(conversation.put, saver, list(values))

    def put_writes() -> Call:
        return partial(saver.aput_writes, conversation.newest, [("messages", values[-1:])], f"task-{conversation.step}")

    return {"put": put, "put-writes": put_writes, "get-tuple": lambda: partial(saver.aget_tuple, conversation.newest)}
