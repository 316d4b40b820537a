"""The SDK's own wrappers, around a LakebaseSession: encryption, and compaction."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest
from agents import Agent, Runner, function_tool
from agents.extensions.memory import EncryptedSession
from agents.items import TResponseInputItem
from agents.memory import OpenAIResponsesCompactionSession, Session
from agents.memory.session import SessionABC, is_openai_responses_compaction_aware_session
from cryptography.fernet import Fernet
from openai import AsyncOpenAI

from lakemem import AsyncScopedMemory
from lakemem.integrations.openai_agents import LakebaseSession
from tests.openai_agents.models import PlannedModel, answered_tools, echoing
from tests.support_http import JsonServer

KEY = Fernet.generate_key().decode()


def encrypted(alice: AsyncScopedMemory, *, key: str = KEY, ttl: int = 600, **settings: Any) -> EncryptedSession:
    inner = LakebaseSession(alice.thread("secret"), **settings)
    return EncryptedSession("secret", cast(SessionABC, inner), key, ttl=ttl)


def message(text: str) -> TResponseInputItem:
    return {"role": "user", "content": text}


async def test_an_encrypted_session_runs_and_stores_no_word_in_the_clear(alice: AsyncScopedMemory) -> None:
    @function_tool
    def look_up() -> str:
        return "the vault is empty"

    def plan(model: PlannedModel, items: list[Any]) -> list[Any]:
        answers = answered_tools(items)
        return [model.says(f"{len(items)}: {answers[-1]}")] if answers else [model.calls("look_up")]

    agent: Agent[Any] = Agent(name="Assistant", tools=[look_up], model=PlannedModel(plan))
    for expected in ("3: the vault is empty", "7: the vault is empty"):
        result = await Runner.run(agent, "What is in the vault?", session=encrypted(alice))
        assert result.final_output == expected

    stored = await alice.thread("secret").items()
    assert len(stored) == 8
    assert all(item.keys() == {"__enc__", "v", "kid", "payload"} for item in stored)
    assert "vault" not in str(stored)


async def test_an_encrypted_session_reads_limits_pops_and_clears(alice: AsyncScopedMemory) -> None:
    session = encrypted(alice)
    assert isinstance(session, Session)
    texts = [message(text) for text in ("one", "two\x00", "three 🦆", "four")]
    await session.add_items(texts)
    assert await session.get_items() == texts
    assert await session.get_items(limit=2) == texts[2:]
    assert await session.get_items(limit=0) == []
    assert await session.pop_item() == texts[3]
    assert await encrypted(alice, session_settings={"limit": 1}).get_items() == texts[2:3]
    await session.clear_session()
    assert await session.get_items() == []
    assert await session.pop_item() is None


async def test_with_another_key_nothing_can_be_read(alice: AsyncScopedMemory) -> None:
    await encrypted(alice).add_items([message("one"), message("two")])
    other = encrypted(alice, key=Fernet.generate_key().decode())
    assert await other.get_items() == []
    await other.add_items([message("three")])
    assert await other.get_items(limit=2) == [message("three")]
    assert await encrypted(alice).get_items(limit=2) == [message("one"), message("two")]


async def test_what_has_expired_is_skipped(alice: AsyncScopedMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: real() - 60)
        await encrypted(alice).add_items([message("old")])
    await encrypted(alice).add_items([message("new")])
    assert await encrypted(alice, ttl=30).get_items(limit=5) == [message("new")]
    assert await encrypted(alice, ttl=90).get_items() == [message("old"), message("new")]


async def test_an_encrypted_session_is_not_taken_for_one_that_compacts(alice: AsyncScopedMemory) -> None:
    assert not is_openai_responses_compaction_aware_session(encrypted(alice))


async def test_a_session_can_be_compacted_by_the_sdks_wrapper(alice: AsyncScopedMemory) -> None:
    summary = {"id": "cmp_1", "type": "compaction", "encrypted_content": "a summary"}
    compacted = {
        "id": "resp_1",
        "object": "response.compaction",
        "created_at": 0,
        "output": [summary],
        "usage": {
            "input_tokens": 1,
            "output_tokens": 1,
            "total_tokens": 2,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }
    inner = LakebaseSession(alice.thread("long"))
    with JsonServer({"/v1/responses/compact": lambda body: compacted}) as server:
        session = OpenAIResponsesCompactionSession(
            "long",
            inner,
            client=AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0),
            compaction_mode="input",
            should_trigger_compaction=lambda _: False,
        )
        assert is_openai_responses_compaction_aware_session(session)
        for text in ("one", "two"):
            await Runner.run(Agent(name="Assistant", model=echoing()), text, session=session)
        assert len(await inner.get_items()) == 4
        await session.run_compaction({"force": True, "compaction_mode": "input"})
        assert [body["input"][0]["content"] for _, body in server.requests] == ["one"]
    stored = [dict(item) for item in await inner.get_items()]
    assert [item["type"] for item in stored] == ["compaction"]
    assert stored[0]["encrypted_content"] == "a summary"
