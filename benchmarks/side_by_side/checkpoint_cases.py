"""Steps, large states and long threads of LangGraph's checkpointers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, nullcontext
from functools import partial
from typing import Any

from side_by_side import savers
from side_by_side.bench import Bench, Work
from side_by_side.checkpoint_work import MESSAGES, PAIRS, Conversation, messages, step
from side_by_side.link import link
from side_by_side.rounds import Figures, repeat
from side_by_side.savers import Savers
from side_by_side.session_cases import working
from side_by_side.session_work import kept

LONG_THREAD = 5000
LARGE_STATE = 400


async def checkpoint_step(bench: Bench, case: str, workers: int, *, over_link: bool = False) -> None:
    """A checkpoint of 20 messages, what a task wrote, and the state read again."""
    async with AsyncExitStack() as stack:
        direct = stack.enter_context(bench.server.database())
        target = stack.enter_context(link(direct, bench.server.helpers) if over_link else nullcontext(direct))
        contenders: dict[str, Work] = {
            name: working(workers, step(kept(await stack.enter_async_context(open_savers(target)))))
            for name, open_savers in savers.CONTENDERS.items()
        }
        await bench.compare(case, "steps/s", contenders)


async def checkpoint_put(bench: Bench, case: str) -> None:
    """A checkpoint with 400 messages, of which two are new."""
    async with AsyncExitStack() as stack:
        target = stack.enter_context(bench.server.database())
        made = {
            name: await stack.enter_async_context(open_savers(target))
            for name, open_savers in savers.CONTENDERS.items()
        }
        count = bench.scaled(12, least=2)
        for metric, loaded in {"ms": False, "ms after load": True}.items():
            contenders = {name: counted(count, growing(made[name], f"{metric}-{name}", loaded=loaded)) for name in made}
            found = await bench.alternate(case, contenders)
            bench.note(case, metric, **{name: figures.p50 for name, figures in found.items()})
            if not loaded:
                cpu = {name: figures.client_cpu for name, figures in found.items()}
                bench.note(case, "client CPU us", **cpu)


def growing(made: Savers, thread: str, *, loaded: bool) -> Callable[[], Awaitable[Callable[[], Awaitable[Any]]]]:
    """Prepare a thread with 398 messages by the saver that puts the rest, or by another that has gone since."""
    numbers = iter(range(10**9))

    async def prepare() -> Callable[[], Awaitable[Any]]:
        saver, conversation = made(0), Conversation(f"{thread}-{next(numbers)}")
        values = messages(LARGE_STATE - 2)
        await conversation.put(saver, values)
        if loaded:
            saver = made(0)
            found = await saver.aget_tuple(conversation.named_by_thread)
            values = found.checkpoint["channel_values"]["messages"]
        new = next(PAIRS)
        arguments = conversation.following(saver, [*values, *new])
        if isinstance(saver, savers.FloorSaver):
            # Who writes for one graph by hand knows what was appended.
            return partial(saver.aput_appended, *arguments[:3], {"messages": new})
        return partial(saver.aput, *arguments)

    return prepare


async def thread_read(bench: Bench, case: str) -> None:
    """The latest state of a thread with 5,000 checkpoints of 20 messages."""
    length = bench.scaled(LONG_THREAD, least=100)
    async with AsyncExitStack() as stack:
        target = stack.enter_context(bench.server.database())
        contenders: dict[str, Work] = {}
        for name, open_savers in savers.CONTENDERS.items():
            saver = (await stack.enter_async_context(open_savers(target)))(0)
            bench.say(f"{case}: {name} puts {length} checkpoints")
            conversation, values = Conversation("long"), messages(MESSAGES)
            for _ in range(length):
                await conversation.put(saver, values)
                values = [*values[2:], *next(PAIRS)]
            contenders[name] = counted(bench.scaled(40, least=5), reading(saver, conversation))
        bench.server.settle(target)
        found = await bench.alternate(case, contenders)
        bench.note(case, "ms", **{name: figures.p50 for name, figures in found.items()})
        bench.note(case, "client CPU us", **{name: figures.client_cpu for name, figures in found.items()})
        bench.note(case, "server CPU us", **{name: figures.server_cpu for name, figures in found.items()})


def reading(saver: Any, conversation: Conversation) -> Callable[[], Awaitable[Callable[[], Awaitable[Any]]]]:
    async def prepare() -> Callable[[], Awaitable[Any]]:
        return partial(saver.aget_tuple, conversation.named_by_thread)

    return prepare


def counted(count: int, prepare: Callable[[], Awaitable[Callable[[], Awaitable[Any]]]]) -> Work:
    """A round of so many calls, however long they take."""

    async def work(seconds: float) -> Figures:
        return await repeat(count, prepare)

    return work
