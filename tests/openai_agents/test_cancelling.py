"""A caller that is cancelled, and a database that fails in the middle: the session is as if it was, or was not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from agents import Agent, Runner, SQLiteSession, function_tool
from agents.items import TResponseInputItem
from agents.memory import session as sdk_session

from lakemem import AsyncMemory, AsyncScopedMemory, Lakebase, StorageUnavailableError
from lakemem.integrations.openai_agents import LakebaseSession
from tests.faults import Fault, Proxy
from tests.openai_agents.models import PlannedModel, answered_tools

DELAY = 0.01


@pytest.fixture
def proxy(target: Lakebase) -> Iterator[Proxy]:
    with Proxy(target) as proxy:
        yield proxy


def batch(number: int) -> list[TResponseInputItem]:
    return [{"role": "user", "content": f"{number} {place}"} for place in range(3)]


async def cancelled_after(call: Callable[[], Awaitable[Any]], seconds: float, *, again: bool = False) -> bool:
    """Begin a call, cancel it after some time, and return whether it was told so."""
    task = asyncio.ensure_future(call())
    await asyncio.sleep(seconds)
    task.cancel()
    if again:
        await asyncio.sleep(0)
        task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


@pytest.mark.parametrize("again", [False, True])
async def test_a_cancelled_change_has_ended_when_its_caller_goes_on(
    proxy: Proxy, alice: AsyncScopedMemory, again: bool
) -> None:
    """Read past the proxy, at once: whatever was begun is there, whole, and nothing comes later."""
    async with AsyncMemory(proxy.target) as memory:
        thread, session = alice.thread("t"), LakebaseSession(memory.for_user("alice").thread("t"))
        await session.add_items(batch(0))
        proxy.delay = DELAY
        stored, told = batch(0), []
        for number in range(1, 20):
            seconds = number * DELAY / 10
            told.append(
                await cancelled_after(lambda number=number: session.add_items(batch(number)), seconds, again=again)
            )
            stored += batch(number)
            assert await thread.items() == stored
        assert any(told)
        await cancelled_after(session.pop_item, DELAY / 2, again=again)
        assert await thread.items() == stored[:-1]
        await cancelled_after(session.clear_session, DELAY / 2, again=again)
        assert await thread.items() == []
        leftover = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [task for task in leftover if "_settled" in repr(task) or "append" in repr(task)]


async def test_a_change_that_was_cancelled_before_it_began_does_not_happen(session: LakebaseSession) -> None:
    task = asyncio.ensure_future(session.add_items(batch(0)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await session.get_items() == []


async def test_cancelling_wins_over_an_error(proxy: Proxy) -> None:
    async with AsyncMemory(proxy.target) as memory:
        session = LakebaseSession(memory.for_user("alice").thread("t"))
        await session.get_items()
        proxy.delay = DELAY
        proxy.fault = lambda request: "before"
        assert await cancelled_after(lambda: session.add_items(batch(0)), 0)


async def test_a_timeout_is_still_a_timeout(proxy: Proxy, alice: AsyncScopedMemory) -> None:
    async with AsyncMemory(proxy.target) as memory:
        session = LakebaseSession(memory.for_user("alice").thread("t"))
        await session.get_items()
        proxy.delay = 10 * DELAY
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(DELAY):
                await session.add_items(batch(0))
        assert await alice.thread("t").items() == batch(0)


def cashier() -> tuple[Agent[Any], list[int]]:
    paid = []

    @function_tool(needs_approval=True)
    def pay(amount: int) -> str:
        paid.append(amount)
        return f"paid {amount}"

    def plan(model: PlannedModel, items: list[Any]) -> list[Any]:
        answers = answered_tools(items)
        return [model.says(answers[-1])] if answers else [model.calls("pay", '{"amount": 3}')]

    return Agent(name="Cashier", tools=[pay], model=PlannedModel(plan)), paid


@pytest.mark.skipif(not hasattr(sdk_session, "_await_mutation"), reason="this SDK does not resume an append")
@pytest.mark.parametrize("fault", ["before", "after"])
async def test_a_run_that_resumes_after_a_crashed_append_loses_nothing_and_doubles_nothing(
    proxy: Proxy, alice: AsyncScopedMemory, fault: Fault
) -> None:
    async with AsyncMemory(proxy.target) as memory:
        session = LakebaseSession(memory.for_user("alice").thread("t"))
        agent, paid = cashier()
        result = await Runner.run(agent, "Pay 3", session=session)
        state = result.to_state()
        state.approve(result.interruptions[0])
        met: list[bytes] = []

        def once(request: bytes) -> Fault:
            if b"function_call_output" not in request or met:
                return "none"
            met.append(request)
            return fault

        proxy.fault = once
        with pytest.raises(StorageUnavailableError):
            await Runner.run(agent, state, session=session)
        assert met
        resumed = await Runner.run(agent, state, session=session)
        assert (resumed.final_output, paid) == ("paid 3", [3])

    theirs, (agent, _) = SQLiteSession("t"), cashier()
    result = await Runner.run(agent, "Pay 3", session=theirs)
    state = result.to_state()
    state.approve(result.interruptions[0])
    await Runner.run(agent, state, session=theirs)
    assert await alice.thread("t").items() == await theirs.get_items()
    theirs.close()
