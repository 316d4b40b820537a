"""How much of a session a run reads: limits, and windows that keep calls and results together."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from agents import Agent, RunConfig, Runner, function_tool
from agents.items import TResponseInputItem
from agents.memory import SessionSettings

from lakemem import AsyncScopedMemory, ConfigurationError, InvalidInputError, Window, estimate_tokens
from lakemem.integrations.openai_agents import LakebaseSession
from tests.openai_agents.models import PlannedModel, answered_tools


def call(number: int) -> list[TResponseInputItem]:
    return [
        {"type": "function_call", "call_id": f"c{number}", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": f"c{number}", "output": "ok"},
    ]


def question(text: str) -> TResponseInputItem:
    return {"role": "user", "content": text}


def one_each(item: Any) -> int:
    return 1


@pytest.fixture
async def stored(session: LakebaseSession) -> list[TResponseInputItem]:
    items = [question("a"), *call(1), question("b"), *call(2)]
    await session.add_items(items)
    return items


async def test_the_nearest_bound_counts(
    alice: AsyncScopedMemory, session: LakebaseSession, stored: list[TResponseInputItem]
) -> None:
    """The call's limit, then the settings', then the window, then none."""
    windowed = LakebaseSession(alice.thread("conversation"), window=Window(items=4))
    assert await windowed.get_items() == stored[3:]
    assert await windowed.get_items(limit=4) == stored[2:]
    assert await windowed.get_items(0) == []
    windowed.session_settings = SessionSettings(limit=1)
    assert await windowed.get_items() == stored[5:]
    assert await windowed.get_items(limit=2) == stored[4:]
    windowed.session_settings = SessionSettings()
    assert await windowed.get_items() == stored[3:]
    assert await session.get_items() == stored


async def test_a_budget_of_tokens_is_counted_by_whoever_is_asked_to(
    alice: AsyncScopedMemory, stored: list[TResponseInputItem]
) -> None:
    def by_words(item: Any) -> int:
        return len(json.dumps(item).split())

    thread = alice.thread("conversation")
    for tokens, expected in [(0, 0), (10, 0), (14, 2), (18, 3), (100, 6)]:
        session = LakebaseSession(thread, window=Window(tokens=tokens, count=by_words))
        assert len(await session.get_items()) == expected, tokens
    pair = sum(estimate_tokens(cast("Any", item)) for item in stored[4:])
    for tokens, expected in [(pair - 1, 0), (pair, 2), (pair + 1, 2), (1_000, 6)]:
        assert len(await LakebaseSession(thread, window=Window(tokens=tokens)).get_items()) == expected, tokens


@pytest.mark.parametrize("bad", [-1, 1.5, True, "2"])
async def test_a_limit_that_is_none_is_refused(session: LakebaseSession, bad: Any) -> None:
    with pytest.raises(InvalidInputError, match="limit"):
        await session.get_items(limit=bad)
    with pytest.raises(InvalidInputError, match="limit"):
        await session.turns(limit=bad)


def test_a_window_and_a_limit_are_one_too_many(alice: AsyncScopedMemory) -> None:
    with pytest.raises(ConfigurationError, match="either a window or a limit"):
        LakebaseSession(alice.thread("t"), window=Window(items=2), session_settings={"limit": 2})


async def test_a_number_is_no_window(alice: AsyncScopedMemory) -> None:
    with pytest.raises(InvalidInputError, match=r"lakemem\.Window"):
        await alice.thread("t").window(9)  # type: ignore[arg-type]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_run_reads_the_window_and_rewrites_nothing(alice: AsyncScopedMemory, streamed: bool) -> None:
    @function_tool
    def look_up() -> str:
        return "found"

    def plan(model: PlannedModel, items: list[Any]) -> list[Any]:
        if answered_tools(items):
            return [model.says("done")]
        return [model.thinks("hm"), model.calls("look_up"), model.calls("look_up")]

    model = PlannedModel(plan)
    agent: Agent[Any] = Agent(name="Assistant", model=model, tools=[look_up])
    thread = alice.thread("t")
    # 7 items a turn; what begins with reasoning is 5 of them.
    seen = []
    for limit in (0, 1, 2, 5, 6, 7, 8):
        session = LakebaseSession(thread, window=Window(tokens=limit, count=one_each))
        if streamed:
            result = Runner.run_streamed(agent, f"question {limit}", session=session)
            async for _ in result.stream_events():
                pass
        else:
            await Runner.run(agent, f"question {limit}", session=session)
        first_of_run = model.inputs[-2]
        seen.append(len(first_of_run) - 1)
    assert seen == [0, 1, 1, 1, 6, 7, 8]
    assert len(await thread.items()) == 7 * 7

    config = RunConfig(session_settings=SessionSettings(limit=3))
    await Runner.run(agent, "exactly 3", session=LakebaseSession(thread, window=Window(items=1)), run_config=config)
    assert len(await thread.items()) == 8 * 7
