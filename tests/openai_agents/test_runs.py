"""LakebaseSession and the memory tools under the SDK's Runner."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrail,
    InputGuardrailTripwireTriggered,
    MaxTurnsExceeded,
    ModelRetryBackoffSettings,
    ModelRetrySettings,
    ModelSettings,
    OutputGuardrail,
    OutputGuardrailTripwireTriggered,
    RunConfig,
    Runner,
    RunResult,
    RunResultStreaming,
    SQLiteSession,
    function_tool,
)
from agents.items import TResponseInputItem
from agents.memory import Session, SessionSettings
from agents.run_internal.session_persistence import rewind_session_items

from lakemem import AsyncMemory, AsyncScopedMemory, RequestContext
from lakemem.demo.openai_agents import ScriptedModel
from lakemem.demo.script import INTRODUCTION, LONG_TERM_QUESTION, SHORT_TERM_QUESTION
from lakemem.integrations.openai_agents import LakebaseSession, memory_tools
from tests.openai_agents.models import PlannedModel, answered_tools, echoing, said_by_user

Scenario = Callable[[Session], Awaitable[None]]


async def run(
    agent: Agent[Any], text: str, *, streamed: bool = False, **options: Any
) -> RunResult | RunResultStreaming:
    if not streamed:
        return await Runner.run(agent, text, **options)
    result = Runner.run_streamed(agent, text, **options)
    async for _ in result.stream_events():
        pass
    return result


def contents(items: list[Any]) -> list[str]:
    """The text of each message."""
    return [
        content if isinstance(content, str) else "".join(part["text"] for part in content)
        for item in items
        if (content := item.get("content")) is not None
    ]


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_second_turn_sees_the_first(alice: AsyncScopedMemory, streamed: bool) -> None:
    agent: Agent[Any] = Agent(name="Assistant", tools=memory_tools(alice), model=ScriptedModel())
    session = LakebaseSession(alice.thread("t"))

    first = await run(agent, INTRODUCTION, streamed=streamed, session=session)
    assert "I have noted: preferred_workspace, answer_style, name" in str(first.final_output)
    kinds = [item.get("type") or item["role"] for item in map(dict, await session.get_items())]
    assert kinds == ["user", *["function_call"] * 3, *["function_call_output"] * 3, "message"]

    second = await run(agent, SHORT_TERM_QUESTION, streamed=streamed, session=LakebaseSession(alice.thread("t")))
    assert second.final_output == f'You began with: "{INTRODUCTION}"'
    assert contents(await session.get_items())[-2:] == [SHORT_TERM_QUESTION, second.final_output]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_run_in_a_new_session_remembers_what_the_tools_saved(memory: AsyncMemory, streamed: bool) -> None:
    agent: Agent[RequestContext] = Agent(name="Assistant", tools=memory_tools(memory), model=ScriptedModel())
    answers = {}
    for user, thread, text in [
        ("ada", "1", INTRODUCTION),
        ("ada", "2", LONG_TERM_QUESTION),
        ("bob", "1", LONG_TERM_QUESTION),
    ]:
        context = RequestContext(thread_id=thread, user_id=user)
        session = LakebaseSession(memory.for_user(user).thread(thread))
        result = await run(agent, text, streamed=streamed, context=context, session=session)
        answers[user, thread] = str(result.final_output)
    assert "analytics-eu" in answers["ada", "2"]
    assert answers["bob", "1"] == "I know nothing about you yet."


async def test_a_limit_of_the_run_goes_before_a_limit_of_the_session(alice: AsyncScopedMemory) -> None:
    model = echoing()
    agent: Agent[Any] = Agent(name="Assistant", model=model)
    session = LakebaseSession(alice.thread("t"), session_settings={"limit": 2})
    for text in ("one", "two", "three"):
        await run(agent, text, session=session)
    assert contents(model.inputs[-1]) == ["two", "You said: two", "three"]

    cases: list[tuple[SessionSettings | dict[str, Any], list[str]]] = [
        (SessionSettings(limit=4), ["two", "You said: two", "three", "You said: three", "four"]),
        (SessionSettings(), ["four", "You said: four", "four"]),
        (SessionSettings(limit=0), ["four"]),
        ({"limit": 1}, ["You said: four", "four"]),
    ]
    for settings, seen in cases:
        await run(agent, "four", session=session, run_config=RunConfig(session_settings=settings))
        assert contents(model.inputs[-1]) == seen
    assert len(await session.get_items(limit=99)) == 14


async def test_a_callback_decides_what_of_the_history_the_model_sees(session: LakebaseSession) -> None:
    model = echoing()
    agent: Agent[Any] = Agent(name="Assistant", model=model)

    def newest_two(history: list[Any], new: list[Any]) -> list[Any]:
        return [*history[-2:], {"role": "user", "content": "(a hint)"}, *new]

    config = RunConfig(session_input_callback=newest_two)
    for text in ("one", "two", "three"):
        await run(agent, text, session=session, run_config=config)
    assert contents(model.inputs[-1]) == ["two", "You said: two", "(a hint)", "three"]
    stored = contents(await session.get_items())
    assert [text for text in stored if text in ("one", "two", "three")] == ["one", "two", "three"]


async def test_concurrent_runs_on_one_session_keep_all_items(alice: AsyncScopedMemory) -> None:
    agent: Agent[Any] = Agent(name="Assistant", model=echoing())
    texts = [f"question {number}" for number in range(24)]
    await asyncio.gather(*(run(agent, text, session=LakebaseSession(alice.thread("busy"))) for text in texts))
    stored = contents(await LakebaseSession(alice.thread("busy")).get_items())
    assert sorted(stored) == sorted([*texts, *(f"You said: {text}" for text in texts)])
    for text in texts:
        assert stored.index(text) < stored.index(f"You said: {text}")


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_model_answers_while_the_database_is_down(unreachable: AsyncMemory, streamed: bool) -> None:
    model = PlannedModel(
        lambda model, items: (
            [model.says(" ".join(answered_tools(items)))]
            if answered_tools(items)
            else [model.calls("search_memories", '{"query": "me"}'), model.calls("get_memory", '{"key": "name"}')]
        )
    )
    agent: Agent[RequestContext] = Agent(name="Assistant", tools=memory_tools(unreachable), model=model)
    context = RequestContext(thread_id="t", user_id="alice")
    session = LakebaseSession(unreachable.for_user("alice").thread("t"))
    started = time.perf_counter()
    result = await run(agent, "Who am I?", streamed=streamed, context=context, session=session)
    assert str(result.final_output).count("memory is not available at the moment") == 2
    assert time.perf_counter() - started < 5
    assert (await unreachable.health()).pending_writes >= 2


async def test_what_was_read_stays_the_beginning_of_what_is_read_later(alice: AsyncScopedMemory) -> None:
    """Whoever commits later stands later. By the time at which a transaction began, items would slip in between."""
    thread, reads, writing = alice.thread("busy"), [[]], True

    async def read() -> None:
        while writing:
            reads.append(await LakebaseSession(thread).get_items())

    async def write(number: int) -> None:
        for place in range(4):
            await LakebaseSession(thread).add_items(
                [{"role": "user", "content": f"{number} {place}"}] * (1 + number % 3)
            )

    reading = asyncio.create_task(read())
    await asyncio.gather(*(write(number) for number in range(12)))
    writing = False
    await reading
    reads.append(await LakebaseSession(thread).get_items())
    assert len({len(found) for found in reads}) > 3
    for earlier, later in pairwise(reads):
        assert later[: len(earlier)] == earlier


# The same run on the SDK's own SQLiteSession and on ours must leave the same items behind.


def weather_agent() -> Agent[Any]:
    @function_tool
    def weather(city: str) -> str:
        return f"sun in {city}\x00"

    def plan(model: PlannedModel, items: list[Any]) -> list[Any]:
        if answered_tools(items):
            return [model.thinks("done"), model.says(f"{len(items)} items: {answered_tools(items)}")]
        return [
            model.thinks("two cities"),
            model.calls("weather", '{"city": "Oslo"}'),
            model.calls("weather", '{"city": "Łódź"}'),
        ]

    return Agent(name="Assistant", model=PlannedModel(plan), tools=[weather])


async def tools_and_reasoning(session: Session) -> None:
    agent = weather_agent()
    for text in ("How is the weather?", "And now?"):
        await run(agent, text, session=session)


async def tools_and_reasoning_streamed(session: Session) -> None:
    agent = weather_agent()
    for text in ("How is the weather?", "And now?"):
        await run(agent, text, streamed=True, session=session)


async def reasoning_ids_left_out(session: Session) -> None:
    agent = weather_agent()
    for text in ("How is the weather?", "And now?"):
        await run(agent, text, session=session, run_config=RunConfig(reasoning_item_id_policy="omit"))


async def a_handoff(session: Session) -> None:
    second: Agent[Any] = Agent(name="Second", model=echoing())
    first: Agent[Any] = Agent(
        name="First", handoffs=[second], model=PlannedModel(lambda model, _: [model.calls("transfer_to_second")])
    )
    await run(first, "Hand me over", session=session)
    await run(second, "Thank you", session=session)


async def an_approval(session: Session) -> None:
    @function_tool(needs_approval=True)
    def pay(amount: int) -> str:
        return f"paid {amount}"

    def plan(model: PlannedModel, items: list[Any]) -> list[Any]:
        answers = answered_tools(items)
        return [model.says(answers[-1])] if answers else [model.calls("pay", '{"amount": 3}')]

    agent: Agent[Any] = Agent(name="Cashier", tools=[pay], model=PlannedModel(plan))
    result = await Runner.run(agent, "Pay 3", session=session)
    assert len(result.interruptions) == 1
    state = result.to_state()
    state.approve(result.interruptions[0])
    resumed = await Runner.run(agent, state, session=session)
    assert resumed.final_output == "paid 3"


async def a_guardrail_that_trips(session: Session) -> None:
    async def refuse(context: Any, agent: Any, input: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=True)

    agent: Agent[Any] = Agent(name="Assistant", model=echoing(), input_guardrails=[InputGuardrail(refuse)])
    with pytest.raises(InputGuardrailTripwireTriggered):
        await run(agent, "Something forbidden", session=session)


async def a_tool_that_fails(session: Session) -> None:
    @function_tool(failure_error_function=None)
    def fails() -> str:
        raise RuntimeError("broken")

    agent: Agent[Any] = Agent(
        name="Assistant", tools=[fails], model=PlannedModel(lambda model, _: [model.calls("fails")])
    )
    with pytest.raises(Exception, match="broken"):
        await run(agent, "Try", session=session)
    await run(Agent(name="Assistant", model=echoing()), "Again", session=session)


async def a_list_and_a_callback(session: Session) -> None:
    async def merge(history: list[Any], new: list[Any]) -> list[Any]:
        return [*history[-1:], {"role": "user", "content": "(a hint)"}, *new]

    agent: Agent[Any] = Agent(name="Assistant", model=echoing())
    for number in range(3):
        new: list[TResponseInputItem] = [
            {"role": "user", "content": f"first {number}"},
            {"role": "user", "content": f"second {number}"},
        ]
        await Runner.run(agent, new, session=session, run_config=RunConfig(session_input_callback=merge))


async def handoffs_there_and_back_streamed(session: Session) -> None:
    second: Agent[Any] = Agent(name="Second", model=PlannedModel(lambda model, _: [model.says("back to you")]))

    def plan(model: PlannedModel, items: list[Any]) -> list[Any]:
        if answered_tools(items):
            return [model.says("welcome back")]
        return [model.says("Let me see."), model.calls("transfer_to_second"), model.calls("transfer_to_second")]

    first: Agent[Any] = Agent(name="First", handoffs=[second], model=PlannedModel(plan))
    for agent in (first, second, first):
        await run(agent, "Hello", streamed=True, session=session)


async def an_answer_that_a_guardrail_refuses(session: Session) -> None:
    async def refuse(context: Any, agent: Any, output: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered="two" in str(output))

    agent: Agent[Any] = Agent(name="Assistant", model=echoing(), output_guardrails=[OutputGuardrail(refuse)])
    for streamed in (False, True):
        await run(agent, "one", streamed=streamed, session=session)
        with pytest.raises(OutputGuardrailTripwireTriggered):
            await run(agent, "two", streamed=streamed, session=session)


async def a_guardrail_that_trips_streamed(session: Session) -> None:
    async def refuse(context: Any, agent: Any, input: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=True)

    agent: Agent[Any] = Agent(name="Assistant", model=echoing(), input_guardrails=[InputGuardrail(refuse)])
    with pytest.raises(InputGuardrailTripwireTriggered):
        await run(agent, "Something forbidden", streamed=True, session=session)


async def a_model_that_fails_and_is_tried_again(session: Session) -> None:
    failures = iter([True, False, True, True, True])

    def plan(model: PlannedModel, items: list[Any]) -> list[Any]:
        if next(failures, False):
            raise ConnectionError("the model is away")
        return [model.says(f"{len(items)} items")]

    retry = ModelRetrySettings(
        max_retries=1, policy=lambda failure: True, backoff=ModelRetryBackoffSettings(initial_delay=0.0)
    )
    agent: Agent[Any] = Agent(name="Assistant", model=PlannedModel(plan), model_settings=ModelSettings(retry=retry))
    await run(agent, "one", session=session)
    with pytest.raises(ConnectionError):
        await run(agent, "two", session=session)
    await run(agent, "three", session=session)


async def too_many_turns(session: Session) -> None:
    @function_tool
    def again() -> str:
        return "again"

    agent: Agent[Any] = Agent(
        name="Assistant", tools=[again], model=PlannedModel(lambda model, _: [model.calls("again")])
    )
    with pytest.raises(MaxTurnsExceeded):
        await run(agent, "Go on", session=session, max_turns=3)


async def a_rewind(session: Session) -> None:
    """What the runner does to a session before it tries a request again: it pops the input, and reads the tail."""
    await run(Agent(name="Assistant", model=echoing()), "before", session=session)
    batch: list[TResponseInputItem] = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
    other: TResponseInputItem = {"role": "user", "content": "by somebody else"}
    await session.add_items(batch)
    await rewind_session_items(session, batch)
    assert len(await session.get_items()) == 2
    await session.add_items([*batch, other])
    await rewind_session_items(session, batch)
    assert len(await session.get_items()) == 5


@pytest.mark.parametrize(
    "scenario",
    [
        handoffs_there_and_back_streamed,
        an_answer_that_a_guardrail_refuses,
        a_guardrail_that_trips_streamed,
        a_model_that_fails_and_is_tried_again,
        too_many_turns,
        a_rewind,
        tools_and_reasoning,
        tools_and_reasoning_streamed,
        reasoning_ids_left_out,
        a_handoff,
        an_approval,
        a_guardrail_that_trips,
        a_tool_that_fails,
        a_list_and_a_callback,
    ],
)
async def test_a_run_leaves_the_same_items_as_on_the_sdks_own_session(
    session: LakebaseSession, scenario: Scenario
) -> None:
    theirs = SQLiteSession("conversation")
    await scenario(theirs)
    await scenario(session)
    expected = await theirs.get_items()
    assert expected
    assert await session.get_items() == expected
    assert [list(item) for item in await session.get_items()] == [list(item) for item in expected]
    assert said_by_user(expected)
    theirs.close()
