"""The SDK's compaction around a LakebaseSession: one statement, which refuses where somebody else was faster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from agents import Agent, Runner, function_tool
from agents.extensions.memory import EncryptedSession
from agents.items import TResponseInputItem
from agents.memory import OpenAIResponsesCompactionSession
from agents.memory import session as sdk_session
from agents.memory.session import SessionABC
from cryptography.fernet import Fernet
from openai import AsyncOpenAI

from lakemem import AsyncMemory, AsyncScopedMemory, Lakebase
from lakemem.integrations.openai_agents import LakebaseSession
from tests.conftest import connect
from tests.openai_agents.models import PlannedModel, answered_tools, said_by_user
from tests.support.locks import wait_until_blocked
from tests.support.proxy import Proxy
from tests.support.rows import Rows
from tests.support_http import JsonServer, Refusal

needs_snapshots = pytest.mark.skipif(
    not hasattr(sdk_session, "_CompactionSnapshot"), reason="this SDK compacts by clearing and adding"
)


class Compactor:
    """The API's /responses/compact; `meanwhile` happens while it thinks."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], None] = lambda: None
        self.asked: list[Any] = []
        self._server = JsonServer({"/v1/responses/compact": self._compact})

    def _compact(self, body: Any) -> Any:
        self.asked.append(body.get("input"))
        self.meanwhile()
        count = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        summary = {"id": f"cmp_{len(self.asked)}", "type": "compaction", "encrypted_content": "a summary"}
        return {
            "id": "resp_c",
            "object": "response.compaction",
            "created_at": 0,
            "output": [summary],
            "usage": {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4, **count},
        }

    def around(self, inner: Any, **options: Any) -> OpenAIResponsesCompactionSession:
        client = AsyncOpenAI(base_url=f"{self._server.url}/v1", api_key="none", max_retries=0)
        options = {"compaction_mode": "input", "should_trigger_compaction": lambda _: True, **options}
        return OpenAIResponsesCompactionSession(inner.session_id, inner, client=client, **options)

    def __enter__(self) -> Compactor:
        self._server.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._server.__exit__(*error)


@pytest.fixture
def compactor() -> Iterator[Compactor]:
    with Compactor() as compactor:
        yield compactor


def answering() -> Agent[Any]:
    @function_tool
    def look_up() -> str:
        return "found"

    def plan(model: PlannedModel, items: list[Any]) -> list[Any]:
        if "look" in said_by_user(items)[-1] and not answered_tools(items):
            return [model.thinks("hm"), model.calls("look_up")]
        return [model.says(f"{len(items)} items")]

    return Agent(name="Assistant", tools=[look_up], model=PlannedModel(plan, with_response_ids=True))


def kinds(items: list[Any]) -> list[str]:
    return [str(item.get("type") or item["role"]) for item in items]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_run_compacts_what_it_read_and_the_next_one_goes_on(
    alice: AsyncScopedMemory, compactor: Compactor, streamed: bool
) -> None:
    inner = LakebaseSession(alice.thread("long"))
    agent = answering()
    for text in ("one", "look", "two", "three"):
        session = compactor.around(inner)
        if streamed:
            result = Runner.run_streamed(agent, text, session=session)
            async for _ in result.stream_events():
                pass
        else:
            await Runner.run(agent, text, session=session)
        assert kinds(await inner.get_items()) == ["compaction"]
    assert [len(asked) for asked in compactor.asked] == [2, 6, 3, 3]
    assert kinds(compactor.asked[-1]) == ["compaction", "user", "message"]


@needs_snapshots
async def test_compaction_of_a_run_is_two_round_trips_and_keeps_what_the_run_did_not_read(
    alice: AsyncScopedMemory, compactor: Compactor, target: Lakebase
) -> None:
    old: list[TResponseInputItem] = [{"role": "user", "content": f"old {number}"} for number in range(3_000)]
    await alice.thread("long").append(cast("Any", old))
    with Proxy(target) as proxy:
        async with AsyncMemory(proxy.target, max_size=1) as memory:
            thread = memory.for_user("alice").thread("long")
            await thread.info()
            inner = LakebaseSession(thread, session_settings={"limit": 4})
            session = compactor.around(inner, should_trigger_compaction=lambda _: False)
            await Runner.run(answering(), "one", session=session)
            proxy.reset()
            await Runner.run(answering(), "two", session=compactor.around(inner))
            # History, the input, the answer; for compaction: what may be compacted, the snapshot, the replacement.
            assert proxy.round_trips == 6
    stored = await alice.thread("long").items()
    assert stored[:2_998] == [dict(item) for item in old[:2_998]]
    assert kinds(stored[2_998:]) == ["compaction"]


@needs_snapshots
@pytest.mark.parametrize("change", ["append", "pop", "clear", "rewind"])
async def test_compaction_refuses_where_the_session_has_changed(
    alice: AsyncScopedMemory, compactor: Compactor, change: str
) -> None:
    thread = alice.thread("long")
    inner, loop = LakebaseSession(thread), asyncio.get_running_loop()
    await Runner.run(answering(), "look", session=inner)
    changes: dict[str, Callable[[], Any]] = {
        "append": lambda: thread.append([{"role": "user", "content": "from elsewhere"}]),
        "pop": thread.pop,
        "clear": thread.clear,
        "rewind": lambda: thread.rewind(to=2),
    }
    compactor.meanwhile = lambda: asyncio.run_coroutine_threadsafe(changes[change](), loop).result(10)
    await Runner.run(answering(), "two", session=compactor.around(inner))
    assert len(compactor.asked) == 1
    left = kinds(await inner.get_items())
    whole = ["user", "reasoning", "function_call", "function_call_output", "message", "user", "message"]
    assert left == {"append": [*whole, "user"], "pop": whole[:-1], "clear": [], "rewind": whole[:2]}[change]


async def test_a_compaction_that_fails_changes_nothing(alice: AsyncScopedMemory, compactor: Compactor) -> None:
    def fail() -> None:
        raise Refusal(400)

    compactor.meanwhile = fail
    inner = LakebaseSession(alice.thread("long"))
    with pytest.raises(Exception, match="400"):
        await Runner.run(answering(), "one", session=compactor.around(inner))
    assert kinds(await inner.get_items()) == ["user", "message"]


@needs_snapshots
async def test_compaction_by_hand_is_one_statement(alice: AsyncScopedMemory, compactor: Compactor) -> None:
    inner = LakebaseSession(alice.thread("long"))
    await Runner.run(answering(), "one", session=inner)
    assert await alice.thread("long").store_usage((await alice.thread("long").turns())[0].usage)
    await compactor.around(inner).run_compaction({"force": True})
    assert kinds(await inner.get_items()) == ["compaction"]
    # Had the session been cleared, this would be 0.
    assert (await alice.thread("long").usage()).runs == 1


@needs_snapshots
async def test_an_encrypted_session_is_compacted_and_loses_what_has_expired(
    alice: AsyncScopedMemory, compactor: Compactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, real = Fernet.generate_key().decode(), time.time
    thread = alice.thread("secret")

    def encrypted(ttl: int) -> EncryptedSession:
        session = compactor.around(LakebaseSession(thread))
        return EncryptedSession("secret", cast(SessionABC, session), key, ttl=ttl)

    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: real() - 1_000)
        await encrypted(600).add_items([{"role": "user", "content": f"expired {number}"} for number in range(3)])
    await Runner.run(answering(), "one", session=encrypted(600))
    stored = await thread.items()
    assert [set(item) for item in stored] == [{"__enc__", "v", "kid", "payload"}]
    assert kinds(await encrypted(600).get_items()) == ["compaction"]
    assert said_by_user(compactor.asked[0]) == ["one"]


@needs_snapshots
async def test_a_snapshot_is_bounded_and_prunes_what_it_is_told_to(alice: AsyncScopedMemory) -> None:
    session = LakebaseSession(alice.thread("t"))
    items: list[TResponseInputItem] = [{"role": "user", "content": str(number)} for number in range(10)]
    await session.add_items(items)

    whole = await session._get_compaction_snapshot(10)
    assert whole is not None
    assert (whole.items, whole.complete) == (items, True)
    assert not await whole.replace_suffix(10, [])
    snapshot = await session._get_compaction_snapshot(3, prune_prefix=lambda item: dict(item)["content"] < "2")
    assert snapshot is not None
    assert (snapshot.items, snapshot.complete) == (items[7:], False)
    assert await snapshot.replace_suffix(1, items[:1])
    assert await session.get_items() == [*items[2:8], items[0]]
    assert not await snapshot.replace_suffix(1, items[:1])
    assert not await whole.replace_suffix(0, [])
    assert await session.get_items() == [*items[2:8], items[0]]


@needs_snapshots
async def test_compaction_waits_for_an_append_that_is_under_way(alice: AsyncScopedMemory, target: Lakebase) -> None:
    session = LakebaseSession(alice.thread("t"))
    await session.add_items([{"role": "user", "content": "one"}])
    snapshot = await session._get_compaction_snapshot(10)
    assert snapshot is not None
    with Rows(target, alice.owner).connect() as other, connect(target) as watch:
        with other.transaction():
            other.execute("UPDATE lakemem.threads SET last_position = 2")
            other.execute("INSERT INTO lakemem.thread_items VALUES (%s, 't', 2, '{}')", [alice.owner])
            replacing = asyncio.create_task(snapshot.replace_suffix(0, []))
            await asyncio.to_thread(wait_until_blocked, watch)
        assert not await replacing
    assert await session.get_items() == [{"role": "user", "content": "one"}, {}]


async def test_what_a_subclass_makes_of_items_is_not_passed_by(memory: AsyncMemory, alice: AsyncScopedMemory) -> None:
    class Shouting(LakebaseSession):
        async def get_items(self, limit: int | None = None, **options: Any) -> list[TResponseInputItem]:
            return [{**item, "loud": True} for item in await super().get_items(limit, **options)]  # type: ignore[misc, list-item]

    class Named(LakebaseSession):
        pass

    for session, expected in [
        (Shouting(alice.thread("t")), None),
        (LakebaseSession(memory, "t"), None),
        (Named(alice.thread("t")), []),
        (LakebaseSession(lambda: alice.thread("t"), "t"), []),
    ]:
        snapshot = await session._get_compaction_snapshot(3)
        assert (None if snapshot is None else snapshot.items) == expected
    assert not await Shouting(alice.thread("t"))._atomic_replace_items([])
