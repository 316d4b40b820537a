"""Agents of the OpenAI Agents SDK and graphs of LangGraph: another process goes on exactly where one was stopped."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from agents import Agent, function_tool, set_tracing_disabled
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from lakemem.integrations.openai_served import NOT_KNOWN
from tests.openai_agents.models import PlannedModel, answered_tools
from tests.server.conftest import Serve, Served, event_of, text_of

set_tracing_disabled(True)


_FIRST_IDS = itertools.count(1_000, 1_000)


def planned(plan: Callable[[PlannedModel, list[Any]], list[Any]]) -> PlannedModel:
    """A model whose ids no other one gives, as is so with real ones."""
    model = PlannedModel(plan)
    model._numbers = itertools.count(next(_FIRST_IDS))
    return model


class Steps:
    """Tools that note what they do, and stop where they are told to."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.stops_at: str | None = None
        self.stopped = asyncio.Event()

    async def do(self, name: str) -> str:
        if name == self.stops_at:
            self.stops_at = None
            self.stopped.set()
            await asyncio.Event().wait()
        self.done.append(name)
        return f"{name} is done"


MakeAgent = Callable[[Steps], Any]


def sdk_agent(steps: Steps) -> Agent[Any]:
    """Works on a, b and c, a turn each, and then says so."""

    @function_tool
    async def work(name: str) -> str:
        return await steps.do(name)

    def plan(model: PlannedModel, items: list[Any]) -> list[Any]:
        count = len(answered_tools(items))
        if count < 3:
            return [model.calls("work", f'{{"name": "{"abc"[count]}"}}')]
        return [model.says(", ".join(answered_tools(items)))]

    return Agent(name="worker", model=planned(plan), tools=[work])


def graph(steps: Steps) -> Any:
    """The same, a node each."""

    def node(name: str) -> Callable[[MessagesState], Awaitable[Any]]:
        async def run(state: MessagesState) -> Any:
            call = {"name": "work", "args": {"name": name}, "id": f"call_{name}"}
            told = await steps.do(name)
            return {"messages": [AIMessage("", tool_calls=[call]), ToolMessage(told, tool_call_id=f"call_{name}")]}

        return run

    async def say(state: MessagesState) -> Any:
        told = [str(message.content) for message in state["messages"] if isinstance(message, ToolMessage)]
        return {"messages": [AIMessage(", ".join(told))]}

    builder = StateGraph(MessagesState)
    for name in "abc":
        builder.add_node(name, node(name))
    builder.add_node("say", say)
    for before, after in zip([START, "a", "b", "c"], ["a", "b", "c", "say"], strict=True):
        builder.add_edge(before, after)
    return builder.compile()


KINDS = pytest.mark.parametrize("make", [sdk_agent, graph], ids=["agents sdk", "langgraph"])
DONE = "a is done, b is done, c is done"


def kinds_of(answer: dict[str, Any]) -> list[str]:
    return [item["type"] for item in answer["output"]]


def check_numbers(events: list[dict[str, Any]]) -> None:
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    places = [event["output_index"] for event in events if event["type"] == "response.output_item.done"]
    assert places == list(range(len(places)))


@KINDS
async def test_an_agent_answers_all_ways(serve: Serve, make: MakeAgent) -> None:
    steps = Steps()
    async with serve(make(steps)) as served:
        answer = (await served.ask("Work")).json()
        assert (answer["status"], text_of(answer)) == ("completed", DONE)
        assert kinds_of(answer) == [*["function_call", "function_call_output"] * 3, "message"]
        events = await served.events("POST", "/responses", json={"input": "Work", "stream": True})
        assert kinds_of(events[-1]["response"]) == kinds_of(answer)
        check_numbers(events)
        again = await served.ask("Work", previous_response_id=answer["id"])
        assert again.json()["conversation"] == answer["conversation"]
        assert steps.done == ["a", "b", "c"] * 3


@KINDS
@pytest.mark.parametrize("stops_at", ["a", "b", "c"])
async def test_another_process_goes_on_and_does_nothing_twice(serve: Serve, make: MakeAgent, stops_at: str) -> None:
    """The first process is told to stop while a tool works; the run goes on elsewhere, and so does the stream."""
    steps = Steps()
    steps.stops_at = stops_at
    async with AsyncExitStack() as stack:
        first: Served = await stack.enter_async_context(serve(make(steps), drain=0.2))
        body = {"input": "Work", "stream": True}
        stream = asyncio.ensure_future(first.frames("POST", "/responses", json=body))
        await asyncio.wait_for(steps.stopped.wait(), 15)
        await first.app.state.service.stop()
        blocks = await stream
        second: Served = await stack.enter_async_context(serve(make(steps)))

        before = [event_of(block) for block in blocks]
        path = f"/responses/{before[0]['response']['id']}?stream=true"
        cursor = before[-1]["sequence_number"]
        events = before + await second.events("GET", f"{path}&starting_after={cursor}")
        assert events == await second.events("GET", path)
        assert steps.done == ["a", "b", "c"]
        assert [event["type"] for event in events].count("response.resumed") == 1
        assert (events[-1]["type"], text_of(events[-1]["response"])) == ("response.completed", DONE)
        assert kinds_of(events[-1]["response"]) == [*["function_call", "function_call_output"] * 3, "message"]


async def test_of_calls_at_the_same_time_those_that_were_finished_are_not_made_again(serve: Serve) -> None:
    steps = Steps()
    steps.stops_at = "b"

    @function_tool
    async def work(name: str) -> str:
        return await steps.do(name)

    def plan(model: PlannedModel, items: list[Any]) -> list[Any]:
        outputs = answered_tools(items)
        if not outputs:
            return [model.calls("work", '{"name": "a"}'), model.calls("work", '{"name": "b"}')]
        if outputs[-1] == NOT_KNOWN:
            return [model.calls("work", '{"name": "b"}')]
        return [model.says(" / ".join(outputs))]

    agent = Agent(name="worker", model=planned(plan), tools=[work])
    async with serve(agent, drain=0.3) as first:
        response_id = (await first.ask("Work", background=True)).json()["id"]
        await asyncio.wait_for(steps.stopped.wait(), 15)
        async with asyncio.timeout(15):
            while steps.done != ["a"]:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        await first.app.state.service.stop()
        async with serve(agent) as second:
            ended = await second.ended(response_id)
            assert steps.done == ["a", "b"]
            assert text_of(ended) == f"a is done / {NOT_KNOWN} / b is done"
            check_numbers(await second.events("GET", f"/responses/{response_id}?stream=true"))


async def test_the_agent_that_was_handed_over_to_goes_on(serve: Serve) -> None:
    steps = Steps()
    steps.stops_at = "a"

    @function_tool
    async def work(name: str) -> str:
        return await steps.do(name)

    def works(model: PlannedModel, items: list[Any]) -> list[Any]:
        if "a is done" in answered_tools(items):
            return [model.says("The specialist is done")]
        return [model.calls("work", '{"name": "a"}')]

    specialist = Agent(name="specialist", model=planned(works), tools=[work])
    triage = Agent(
        name="triage",
        model=planned(lambda model, items: [model.calls("transfer_to_specialist")]),
        handoffs=[specialist],
    )
    async with serve(triage, drain=0.2) as first:
        response_id = (await first.ask("Work", background=True)).json()["id"]
        await asyncio.wait_for(steps.stopped.wait(), 15)
        await first.app.state.service.stop()
        async with serve(triage) as second:
            assert text_of(await second.ended(response_id)) == "The specialist is done"
            assert steps.done == ["a"]


# What waits for a person.


def careful_agent(steps: Steps) -> Agent[Any]:
    @function_tool(needs_approval=True)
    async def refund(name: str) -> str:
        return await steps.do(name)

    def plan(model: PlannedModel, items: list[Any]) -> list[Any]:
        if outputs := answered_tools(items):
            return [model.says(outputs[-1])]
        return [model.calls("refund", '{"name": "a"}')]

    return Agent(name="careful", model=planned(plan), tools=[refund])


def careful_graph(steps: Steps) -> Any:
    async def refund(state: MessagesState) -> Any:
        told = await steps.do("a") if interrupt({"question": "Refund?"}) else "not approved"
        return {"messages": [AIMessage(told)]}

    return StateGraph(MessagesState).add_node("refund", refund).add_edge(START, "refund").compile()


CAREFUL = pytest.mark.parametrize("make", [careful_agent, careful_graph], ids=["agents sdk", "langgraph"])


@CAREFUL
@pytest.mark.parametrize("approved", [True, False])
async def test_a_run_waits_for_a_person_and_goes_on(serve: Serve, make: MakeAgent, approved: bool) -> None:
    steps = Steps()
    async with serve(make(steps)) as first:
        events = await first.events("POST", "/responses", json={"input": "Refund me", "stream": True})
        asked = events[-1]["response"]
        assert (events[-1]["type"], asked["status"]) == ("response.incomplete", "incomplete")
        assert asked["incomplete_details"] == {"reason": "waiting_for_input"}
        assert len(asked["custom_outputs"]["interrupts"]) == 1
        assert await first.ended(asked["id"]) == asked
    # On another day, in another process.
    async with serve(make(steps)) as second:
        answer = {"previous_response_id": asked["id"], "custom_inputs": {"resume": approved}}
        done = (await second.http.post("/responses", json=answer)).json()
        assert (done["id"], done["status"]) == (asked["id"], "completed")
        assert steps.done == (["a"] if approved else [])
        assert ("a is done" in text_of(done)) == approved
        # The same answer once more changes nothing.
        assert (await second.http.post("/responses", json=answer)).json() == done
        other = {**answer, "custom_inputs": {"resume": not approved}}
        assert (await second.http.post("/responses", json=other)).status_code == 409
        whole = await second.events("GET", f"/responses/{asked['id']}?stream=true")
        check_numbers(whole)
        assert whole[: len(events)] == events


@CAREFUL
async def test_an_answer_is_found_by_its_thread_and_streamed(serve: Serve, make: MakeAgent) -> None:
    steps = Steps()
    async with serve(make(steps)) as served:
        asked = (await served.ask("Refund me", conversation="t")).json()
        body = {"custom_inputs": {"thread_id": "t", "resume": True}, "stream": True}
        events = await served.events("POST", "/responses", json=body)
        assert {event["response_id"] for event in events} == {asked["id"]}
        assert events[0]["type"] == "response.resumed"
        assert events[-1]["type"] == "response.completed"


@CAREFUL
async def test_a_process_that_ends_after_the_answer(serve: Serve, make: MakeAgent) -> None:
    steps = Steps()
    async with serve(make(steps), drain=0.2) as first:
        asked = (await first.ask("Refund me")).json()
        steps.stops_at = "a"
        answer = {"previous_response_id": asked["id"], "custom_inputs": {"resume": True}, "background": True}
        await first.http.post("/responses", json=answer)
        await asyncio.wait_for(steps.stopped.wait(), 15)
        await first.app.state.service.stop()
        assert steps.done == []
        async with serve(make(steps)) as second:
            ended = await second.ended(asked["id"])
            assert ended["status"] == "completed"
            check_numbers(await second.events("GET", f"/responses/{asked['id']}?stream=true"))


@CAREFUL
async def test_an_answer_to_nothing(serve: Serve, make: MakeAgent) -> None:
    async with serve(make(Steps())) as served:
        body = {"custom_inputs": {"thread_id": "t", "resume": True}}
        answer = await served.http.post("/responses", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
        assert "does not wait" in answer.json()["error"]["message"]
