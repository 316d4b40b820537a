"""What runs used, turn by turn; sessions that branch off, and turns that are taken back; what is new in an input."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from agents import Agent, Runner, Usage, function_tool
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

from lakemem import (
    AsyncMemory,
    AsyncScopedMemory,
    AsyncThread,
    ConfigurationError,
    ConflictError,
    InvalidInputError,
    Lakebase,
    StorageUnavailableError,
    ThreadNotFoundError,
    TokenUsage,
    Window,
)
from lakemem.integrations.openai_agents import LakebaseSession
from tests.openai_agents.models import PlannedModel, answered_tools, echoing, said_by_user
from tests.openai_agents.test_runs import contents, run
from tests.support.proxy import Proxy


def usage() -> Usage:
    return Usage(
        requests=1,
        input_tokens=10,
        input_tokens_details=InputTokensDetails.model_validate({"cached_tokens": 4, "cache_write_tokens": 0}),
        output_tokens=5,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=2),
        total_tokens=15,
    )


def used(requests: int, runs: int = 1, models: tuple[str, ...] = ()) -> TokenUsage:
    return TokenUsage(
        10 * requests, 5 * requests, 15 * requests, cached_tokens=4 * requests, reasoning_tokens=2 * requests,
        requests=requests, runs=runs, models=models,
    )  # fmt: skip


def clerk(*, needs_approval: bool = False, with_response_ids: bool = False) -> Agent[Any]:
    @function_tool(needs_approval=needs_approval)
    def look_up() -> str:
        return "found"

    def plan(model: PlannedModel, items: list[Any]) -> list[Any]:
        if "look" in said_by_user(items)[-1] and not answered_tools(items):
            return [model.calls("look_up")]
        return [model.says("done")]

    model = PlannedModel(plan, usage=usage(), with_response_ids=with_response_ids)
    return Agent(name="Clerk", tools=[look_up], model=model)


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_a_run_used_stands_with_its_turn(alice: AsyncScopedMemory, streamed: bool) -> None:
    session, agent = LakebaseSession(alice.thread("t")), clerk()
    for text in ("look it up", "thanks"):
        result = await run(agent, text, streamed=streamed, session=session)
        assert await session.store_usage(result)
        # Once more is not more.
        assert await session.store_usage(result)
    assert [(turn.item["content"], turn.items) for turn in await session.turns()] == [("look it up", 4), ("thanks", 2)]
    # A stream of this test's models carries no usage.
    expected = [TokenUsage(requests=2, runs=1), TokenUsage(requests=1, runs=1)] if streamed else [used(2), used(1)]
    found = [turn.usage for turn in await session.turns()]
    assert [turn.requests for turn in found] == [turn.requests for turn in expected] or streamed
    if not streamed:
        assert found == expected
        assert await session.usage() == used(3, runs=2)


@pytest.mark.parametrize("with_response_ids", [False, True])
async def test_a_run_that_waited_for_an_approval_is_one_run(alice: AsyncScopedMemory, with_response_ids: bool) -> None:
    session, agent = LakebaseSession(alice.thread("t")), clerk(needs_approval=True, with_response_ids=with_response_ids)
    result = await Runner.run(agent, "look it up", session=session)
    await session.store_usage(result)
    assert await session.usage() == used(1)
    state = result.to_state()
    state.approve(result.interruptions[0])
    resumed = await Runner.run(agent, state, session=session)
    await session.store_usage(resumed)
    assert await session.usage() == used(2)
    assert [turn.usage for turn in await session.turns()] == [used(2)]


async def test_the_model_is_told_where_the_agent_names_it(alice: AsyncScopedMemory) -> None:
    class Named(PlannedModel):
        model = "gpt-x"

    session = LakebaseSession(alice.thread("t"))
    agent: Agent[Any] = Agent(name="A", model=Named(lambda model, _: [model.says("hi")], usage=usage()))
    await session.store_usage(await Runner.run(agent, "hello", session=session))
    assert await session.usage() == used(1, models=("gpt-x",))


async def test_a_session_branches_off_at_a_turn_and_takes_turns_back(alice: AsyncScopedMemory) -> None:
    session = LakebaseSession(alice.thread("t"), window=Window(items=3))
    agent: Agent[Any] = Agent(name="Assistant", model=echoing())
    for text in ("one", "two", "three"):
        await Runner.run(agent, text, session=session)
    _, second, _ = await session.turns()

    fork = await session.fork(at=second.position + 1, session_id="t2")
    assert (fork.session_id, fork.window) == ("t2", session.window)
    await Runner.run(agent, "other", session=fork)
    unnamed = await session.fork(at=second.position)
    assert unnamed.session_id not in ("t", "t2")
    assert contents(await alice.thread("t2").items()) == [
        "one",
        "You said: one",
        "two",
        "You said: two",
        "other",
        "You said: other",
    ]
    assert contents(await unnamed.get_items(limit=99)) == ["one", "You said: one", "two"]

    back = await session.rewind(to=second.position - 1)
    assert back.session_id == "t"
    assert contents(await session.get_items(limit=99)) == ["one", "You said: one"]
    await Runner.run(agent, "again", session=back)
    assert contents(await back.get_items(limit=99))[2:] == ["again", "You said: again"]
    assert len(await fork.get_items(limit=99)) == 6

    with pytest.raises(ConflictError):
        await session.fork(at=1, session_id="t2")
    with pytest.raises(InvalidInputError):
        await session.fork(at=99)
    with pytest.raises(ThreadNotFoundError):
        await LakebaseSession(alice.thread("nothing")).fork(at=1)


async def test_a_client_that_sends_all_of_it_each_time(alice: AsyncScopedMemory) -> None:
    agent = clerk()
    client: list[Any] = []
    for text in ("look it up", "ok", "ok", "ok"):
        client.append({"role": "user", "content": text})
        session = LakebaseSession(alice.thread("t"))
        new = await session.new_items(client)
        assert new == client[-1:]
        result = await Runner.run(agent, new, session=session)
        client.append({"role": "assistant", "content": [{"type": "output_text", "text": result.final_output}]})
        client = client[-5:]
    assert [item["content"] for item in await alice.thread("t").items() if item.get("role") == "user"] == [
        "look it up", "ok", "ok", "ok",
    ]  # fmt: skip
    # What the SDK itself makes of a result is recognised, too.
    assert await LakebaseSession(alice.thread("t")).new_items(result.to_input_list()) == []


@pytest.fixture
async def counted(target: Lakebase) -> AsyncIterator[tuple[LakebaseSession, Proxy]]:
    with Proxy(target) as proxy:
        async with AsyncMemory(proxy.target, max_size=1) as memory:
            thread = memory.for_user("alice").thread("t")
            await thread.info()
            proxy.reset()
            yield LakebaseSession(thread, window=Window(tokens=100)), proxy


async def test_every_call_is_one_round_trip(counted: tuple[LakebaseSession, Proxy]) -> None:
    session, proxy = counted
    result = await Runner.run(clerk(), "look it up", session=session)
    # The SDK calls a session for the history, the input, the call with its result, and the answer.
    assert proxy.round_trips == 4
    calls = (
        lambda: session.get_items(),
        lambda: session.get_items(limit=2),
        lambda: session.add_items([{"role": "user", "content": "more"}]),
        lambda: session.pop_item(),
        lambda: session.new_items("again"),
        lambda: session.store_usage(result),
        lambda: session.usage(),
        lambda: session.turns(),
        lambda: session.fork(at=1),
        lambda: session.rewind(to=1),
        lambda: session.clear_session(),
    )
    for call in calls:
        proxy.reset()
        await call()
        assert proxy.round_trips == 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_while_memory_is_down_nothing_but_a_fork_fails(unreachable: AsyncMemory, streamed: bool) -> None:
    thread = unreachable.for_user("alice").thread("t")
    session = LakebaseSession(thread, window=Window(tokens=100))
    result = await run(clerk(), "look it up", streamed=streamed, session=session)
    assert result.final_output == "done"
    assert await session.new_items("again") == [{"role": "user", "content": "again"}]
    assert await session.store_usage(result)
    assert await session.turns() == []
    assert await session.usage() == TokenUsage()
    assert await thread.oldest(3) == []
    assert not await thread.replace_tail(None, [])
    assert (await session.rewind(to=0)).session_id == "t"
    with pytest.raises(StorageUnavailableError):
        await session.fork(at=1)


class OnlyWhatTheProtocolAsks:
    """A thread of somebody's own making."""

    thread_id = "t"

    def __init__(self, thread: AsyncThread) -> None:
        self.append, self.items, self.pop, self.clear = thread.append, thread.items, thread.pop, thread.clear


async def test_what_takes_more_than_a_thread_of_four_methods_says_so(alice: AsyncScopedMemory) -> None:
    session = LakebaseSession(OnlyWhatTheProtocolAsks(alice.thread("t")), window=Window(items=2))
    await session.add_items([{"role": "user", "content": "hello"}])
    assert len(await session.get_items(limit=5)) == 1
    assert await session._get_compaction_snapshot(3) is None
    for call in (session.get_items, session.turns, session.usage, lambda: session.fork(at=1)):
        with pytest.raises(ConfigurationError, match=r"AsyncThread"):
            await call()
