"""A session on the memory itself belongs to the user that the run's context names."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import pytest
from agents import Agent, RunContextWrapper, Runner
from agents.memory.session import _session_accepts_wrapper

from lakemem import AsyncMemory, AsyncScopedMemory, ConfigurationError, InvalidInputError, RequestContext, Window
from lakemem.integrations.openai_agents import LakebaseSession
from tests.openai_agents.models import echoing
from tests.openai_agents.test_runs import contents, run

ANSWERED = ["hello", "You said: hello"]


@dataclass
class Own:
    user_id: str


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("context", [Own("ada"), {"user_id": "ada"}, RequestContext(thread_id="x", user_id="ada")])
async def test_a_run_reads_and_writes_its_own_users_thread(memory: AsyncMemory, context: Any, streamed: bool) -> None:
    session = LakebaseSession(memory, "monday", window=Window(items=9))
    agent: Agent[Any] = Agent(name="Assistant", model=echoing())
    await run(agent, "hello", streamed=streamed, session=session, context=context)
    await run(agent, "from Bob", streamed=streamed, session=session, context=Own("bob"))
    await run(agent, "hello", streamed=streamed, session=session, context=context)
    assert contents(await memory.for_user("ada").thread("monday").items()) == ANSWERED * 2
    assert len(await memory.for_user("bob").thread("monday").items()) == 2


@pytest.mark.parametrize("context", [None, {}, Own(None), object()])  # type: ignore[arg-type]
async def test_a_run_without_a_user_stores_nothing(memory: AsyncMemory, context: Any) -> None:
    session = LakebaseSession(memory, "monday")
    with pytest.raises(ConfigurationError, match="user_id"):
        await Runner.run(Agent(name="Assistant", model=echoing()), "hello", session=session, context=context)


async def test_without_a_run_there_is_no_user(memory: AsyncMemory) -> None:
    """As with an SDK, or a wrapper of a session, that does not pass the run on."""
    session = LakebaseSession(memory, "monday")
    for call in (
        session.get_items,
        lambda: session.add_items([{"role": "user", "content": "hello"}]),
        session.pop_item,
        session.clear_session,
        session.turns,
        session.usage,
        lambda: session.new_items("hello"),
        lambda: session.fork(at=1),
        lambda: session.rewind(to=0),
    ):
        with pytest.raises(ConfigurationError, match="user_id"):
            await call()


@pytest.mark.parametrize("bad", ["", 7, "x" * 999])
async def test_a_user_id_that_names_nobody_is_refused(memory: AsyncMemory, bad: Any) -> None:
    with pytest.raises(InvalidInputError, match="user_id"):
        await LakebaseSession(memory, "monday").get_items(wrapper=RunContextWrapper(Own(bad)))


async def test_a_session_on_a_thread_does_not_ask_whose_run_it_is(alice: AsyncScopedMemory) -> None:
    session, wrapper = LakebaseSession(alice.thread("t")), RunContextWrapper(Own("mallory"))
    await session.add_items([{"role": "user", "content": "hers"}], wrapper=wrapper)
    assert contents(await session.get_items(wrapper=wrapper)) == ["hers"]
    assert contents(await alice.thread("t").items()) == ["hers"]
    assert await session.pop_item(wrapper=wrapper)
    await session.clear_session(wrapper=wrapper)


async def test_the_other_calls_find_the_user_as_well(memory: AsyncMemory) -> None:
    session, ada = LakebaseSession(memory, "monday"), RunContextWrapper(Own("ada"))
    agent: Agent[Any] = Agent(name="Assistant", model=echoing())
    result = await Runner.run(agent, "hello", session=session, context=Own("ada"))
    assert await session.store_usage(result)
    assert (await session.usage(wrapper=ada)).runs == 1
    assert (await session.usage(wrapper=RunContextWrapper(Own("bob")))).runs == 0
    [turn] = await session.turns(wrapper=ada)
    fork = await session.fork(at=turn.position, session_id="tuesday", wrapper=ada)
    assert contents(await fork.get_items()) == ["hello"]
    assert await session.new_items("more", wrapper=ada) == [{"role": "user", "content": "more"}]
    left = await session.rewind(to=0, wrapper=ada)
    assert await left.get_items() == []


def test_all_that_the_sdk_asks_of_it_takes_the_run(memory: AsyncMemory, alice: AsyncScopedMemory) -> None:
    assert _session_accepts_wrapper(LakebaseSession(memory, "t"))
    for name in ("get_items", "add_items", "pop_item", "clear_session"):
        parameter = inspect.signature(getattr(LakebaseSession, name)).parameters["wrapper"]
        assert (parameter.kind, parameter.default) == (parameter.KEYWORD_ONLY, None)


def test_arguments_that_contradict_each_other_are_refused(memory: AsyncMemory, alice: AsyncScopedMemory) -> None:
    with pytest.raises(ConfigurationError, match="thread_id"):
        LakebaseSession(memory)
    with pytest.raises(ConfigurationError, match="thread_id"):
        LakebaseSession(alice.thread("t"), "t")
    with pytest.raises(InvalidInputError, match="thread_id"):
        LakebaseSession(memory, "")
