"""The guard before every write: what is redacted, what is held back, and what becomes of that."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lakemem import (
    AsyncFileMemory,
    AsyncMemory,
    AsyncScopedMemory,
    Guard,
    GuardError,
    InvalidInputError,
    Lakebase,
    MemoryNotFoundError,
    NotFoundError,
    PatternRedactor,
    ProposedWrite,
    QuarantinedWrite,
    StorageUnavailableError,
    degrading,
)
from lakemem._async.store import AsyncItems
from lakemem._async.toolbox import AsyncToolbox
from lakemem.operations import store
from lakemem.testing import DatabaseFactory
from lakemem.testing.concurrency import agather
from tests.conftest import connect
from tests.faults import AsyncPoll, Proxy
from tests.support.embedders import TopicEmbedder
from tests.support.extractors import SentenceExtractor
from tests.support.rows import Rows

MAIL = "ada@example.com"
CARD = "4111 1111 1111 1111"


class Suspicious:
    """Holds back what has the word "obey"; fails where it is told to."""

    def __init__(self) -> None:
        self.seen: list[ProposedWrite] = []

    def flag(self, write: ProposedWrite) -> str | None:
        self.seen.append(write)
        if "fail" in write.text:
            raise RuntimeError(write.text)
        return "looks like an instruction" if "obey" in write.text.lower() else None


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all tests here: each works on users of its own."""
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture
def policy() -> Suspicious:
    return Suspicious()


@pytest.fixture
def embedder() -> TopicEmbedder:
    return TopicEmbedder()


@pytest.fixture
async def memory(target: Lakebase, policy: Suspicious, embedder: TopicEmbedder) -> AsyncIterator[AsyncMemory]:
    guard = Guard(redactor=PatternRedactor(), policy=policy)
    async with AsyncMemory(target, embedder=embedder, guard=guard) as memory:
        yield memory


@pytest.fixture
async def ada(memory: AsyncMemory) -> AsyncScopedMemory:
    return memory.for_user(str(uuid.uuid4()))


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def stored_of(target: Lakebase, owner: str) -> str:
    """Every row that there is of somebody, as text."""
    rows = Rows(target, owner)
    tables = [table for (table,) in rows("SELECT lakemem.owned_tables()")]
    return "\n".join(
        str(row)
        for table in tables
        for row in connect(target).execute(f'SELECT t::text FROM lakemem."{table}" AS t WHERE owner = %s', [owner])  # type: ignore[arg-type]
    )


# Redaction: every way in which something comes to be a memory

WAYS: dict[str, Callable[[AsyncScopedMemory, str], Any]] = {
    "save": lambda ada, text: ada.save("a", text),
    "save without a key": lambda ada, text: ada.save(None, text),
    "save a value": lambda ada, text: ada.save("a", {"deep": [{text: text}], "password": "open sesame"}),
    "text and metadata": lambda ada, text: ada.save("a", 1, text=text, metadata={"note": text}),
    "update": lambda ada, text: ada.update("there", text),
    "remember": lambda ada, text: ada.remember([user(text), {**user("Hello."), "name": text}], thread_id="t"),
    "extract": lambda ada, text: ada.extract([user(f"I say {text}.")], SentenceExtractor()),
    "tool": lambda ada, text: AsyncToolbox(ada).call("save_memory", {"key": "a", "value": text}),
    "tool that corrects": lambda ada, text: AsyncToolbox(ada).call("update_memory", {"key": "there", "value": text}),
    "file": lambda ada, text: AsyncFileMemory(ada).create("/memories/a", text),
    "store": lambda ada, text: AsyncItems(ada).batch([], [store.save(("a",), "a", {"x": text}, text=None, ttl=None)]),
    "store with a text": lambda ada, text: AsyncItems(ada).batch(
        [], [store.save(("a",), "a", {"x": 1}, text=text, ttl=None)]
    ),
}


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_of_a_secret_is_stored_or_embedded(
    ada: AsyncScopedMemory, target: Lakebase, embedder: TopicEmbedder, policy: Suspicious, way: str
) -> None:
    await ada.save("there", "something")
    await WAYS[way](ada, f"{MAIL} pays with {CARD}")
    assert "redacted" in "\n".join(str((each.value, each.metadata, each.text)) for each in await ada.items())
    kept = stored_of(target, ada.owner) + "\n".join(embedder.texts) + "\n".join(write.text for write in policy.seen)
    for secret in (MAIL, CARD, CARD.replace(" ", ""), "open sesame"):
        assert secret not in kept


async def test_a_secret_in_a_key_is_refused(ada: AsyncScopedMemory) -> None:
    for key in (MAIL, CARD):
        with pytest.raises(InvalidInputError, match="the key holds a secret"):
            await ada.save(key, 1)
        with pytest.raises(InvalidInputError, match="the key holds a secret") as caught:
            await ada.save(None, 1, subject=key)
        assert key not in str(caught.value)
        with pytest.raises(InvalidInputError, match="the path holds a secret"):
            await AsyncFileMemory(ada).create(f"/memories/{key}", "tea")
    assert await ada.items() == []


async def test_the_same_text_with_its_secret_is_stored_once(ada: AsyncScopedMemory) -> None:
    first = await ada.save(None, f"Write to {MAIL}.")
    assert first.value == "Write to [redacted email]."
    second = await ada.save(None, "Write to [redacted email].")
    assert (second.key, second.outcome) == (first.key, "unchanged")
    turns = [user(f"Write to {MAIL}."), user("Write to bob@example.com.")]
    assert len(await ada.remember(turns, thread_id="t")) == 2
    assert await ada.remember(turns, thread_id="t") == []


async def test_a_model_is_told_that_its_file_was_redacted(ada: AsyncScopedMemory) -> None:
    files = AsyncFileMemory(ada)
    assert "taken out" not in await files.create("/memories/a", "tea\n")
    assert "taken out" in await files.insert("/memories/a", 1, f"mail {MAIL}")
    assert "     2\tmail [redacted email]" in await files.view("/memories/a")


async def test_what_waits_for_the_database_is_redacted(target: Lakebase) -> None:
    guard = Guard(redactor=PatternRedactor(), policy=Suspicious())
    with Proxy(target) as proxy:
        async with degrading(AsyncMemory(proxy.target, guard=guard), deadline=1.0, cooldown=0.1) as memory:
            ada = memory.for_user(str(uuid.uuid4()))
            proxy.refuse()
            record = await ada.save("a", f"Write to {MAIL}.")
            held = await ada.save("b", f"Obey {MAIL}.")
            assert (record.version, record.value) == (0, "Write to [redacted email].")
            assert (held.outcome, held.value) == ("quarantined", "Obey [redacted email].")
            waiting = [write.operation.parameters for write in memory._storage._buffer._writes]  # type: ignore[attr-defined]
            assert len(waiting) == 2
            assert MAIL not in str(waiting)
            with pytest.raises(StorageUnavailableError):
                await ada.quarantine.list()
            proxy.restore()

            async def is_replayed() -> bool:
                return (await memory.health()).pending_writes == 0

            await AsyncPoll.until(is_replayed)
            assert [each.value for each in await ada.items()] == ["Write to [redacted email]."]
            assert [each.text for each in await ada.quarantine.list()] == ["b: Obey [redacted email]."]


# A guard that fails


class Hook:
    """A redactor or a policy that goes wrong in some way."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def redact(self, text: str) -> str:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]

    def flag(self, write: ProposedWrite) -> str | None:
        return self.redact(write.text)


@pytest.mark.parametrize("answer", [ValueError("secret text"), TimeoutError("secret text"), 7, b"", False])
@pytest.mark.parametrize("place", ["redactor", "policy"])
async def test_where_the_guard_fails_nothing_is_stored(target: Lakebase, place: str, answer: Any) -> None:
    guard = Guard(**{place: Hook(answer)})  # type: ignore[arg-type]
    async with AsyncMemory(target, guard=guard) as memory:
        ada = memory.for_user(str(uuid.uuid4()))
        for way in ("save", "remember", "file", "store"):
            with pytest.raises(GuardError) as caught:
                await WAYS[way](ada, "secret text")
            assert "secret text" not in str(caught.value)
            assert caught.value.__cause__ is None
        told = json.loads(await AsyncToolbox(ada).call("save_memory", {"key": "a", "value": "secret text"}))
        assert "nothing was stored" in told["error"] or "over 10 s" in told["error"]
        assert (
            await AsyncFileMemory(ada).answer({"command": "create", "path": "/memories/a", "file_text": "x"})
        ).is_error
        assert await ada.items() == []
        assert await ada.quarantine.list() == []


@pytest.mark.parametrize("bad", [{"keep_quarantined": 0}, {"keep_quarantined": None}, {"deadline": -1}])
def test_numbers_of_a_guard_are_checked(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        Guard(**bad)


# Quarantine


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_held_back_is_nowhere_else(
    ada: AsyncScopedMemory, target: Lakebase, embedder: TopicEmbedder, way: str
) -> None:
    await ada.save("there", "something")
    before = await ada.items()
    await WAYS[way](ada, "OBEY")
    assert "obey" not in "".join(embedder.texts).lower()
    assert [each for each in await ada.items() if "obey" in each.text.lower()] == []
    assert {hit.key for hit in await ada.search("obey OBEY")} <= {each.key for each in [*before, *await ada.items()]}
    assert "OBEY" not in (await ada.context("obey")).text
    [held, *_] = [each for each in await ada.quarantine.list() if "OBEY" in each.text]
    assert held.reason == "looks like an instruction"
    assert held.owner == ada.owner
    assert "OBEY" not in repr(held)
    if way in ("tool", "tool that corrects", "file"):
        assert held.trust == "model"
    first = await ada.quarantine.list()
    await WAYS[way](ada, "OBEY")
    again = await ada.quarantine.list()
    assert [(each.id, each.held_at) for each in again] == [(each.id, each.held_at) for each in first]


async def test_what_is_released_is_as_it_was_to_be(ada: AsyncScopedMemory) -> None:
    moment = datetime(2025, 5, 1, tzinfo=UTC)
    record = await ada.save(
        None, {"say": "obey"}, text="obey", subject="user.dog", namespace=("a", "b"), metadata={"x": 1}, importance=0.9,
        thread_id="t", position=7, occurred_at=moment, valid_from=moment, expires_in=3600, trust="tool",
    )  # fmt: skip
    assert (record.outcome, record.version) == ("quarantined", 0)
    assert await ada.get("user.dog", namespace=("a", "b")) is None
    [held] = await ada.quarantine.list()
    assert (held.action, held.namespace, held.key, held.trust) == ("save", ("a", "b"), "user.dog", "tool")
    released = await ada.quarantine.release(held.id)
    assert released is not None
    assert released == await ada.get("user.dog", namespace=("a", "b"))
    assert (released.value, released.text, released.metadata) == ({"say": "obey"}, "obey", {"x": 1})
    assert (released.importance, released.thread_id, released.position) == (0.9, "t", 7)
    assert (released.occurred_at, released.valid_from, released.trust) == (moment, moment, "tool")
    assert released.embedded
    assert released.expires_at is not None
    assert await ada.quarantine.list() == []
    with pytest.raises(NotFoundError):
        await ada.quarantine.release(held.id)


async def test_a_turn_is_released_with_the_extraction_of_its_facts(ada: AsyncScopedMemory, memory: AsyncMemory) -> None:
    moment = datetime(2025, 5, 1, tzinfo=UTC)
    stored = await ada.remember(
        [user("I live in Rome."), {**user("I obey."), "occurred_at": moment}], thread_id="t", namespace=("chat",)
    )
    assert [each.outcome for each in stored] == ["saved", "quarantined"]
    extractor = SentenceExtractor()
    await memory.worker(extractor).run_once()
    assert "obey" not in str(extractor.shown)
    [held] = await ada.quarantine.list()
    turn = await ada.quarantine.release(held.id)
    assert turn is not None
    assert (turn.value, turn.kind, turn.thread_id, turn.occurred_at, turn.trust) == (
        "I obey.", "turn", "t", moment, "user"
    )  # fmt: skip
    await memory.worker(extractor).run_once()
    assert "I obey." in [shown.text for turns, _ in extractor.shown for shown in turns]


async def test_a_fact_of_the_worker_is_held_back(ada: AsyncScopedMemory, memory: AsyncMemory) -> None:
    class Planting(SentenceExtractor):
        def extract(self, turns: Any, known: Any) -> Any:
            self.spoil = lambda found: [*found, *(replace(each, text="Always obey.") for each in found)]
            return super().extract(turns, known)

    await ada.remember([user("I like tea.")])
    worked = await memory.worker(Planting()).run_once()
    assert (worked.failed, worked.dead) == (0, 0)
    assert [each.value for each in await ada.items(kind="fact")] == ["The user says: I like tea"]
    assert [each.text for each in await ada.quarantine.list()] == ["Always obey."]


async def test_an_update_is_released_as_one(ada: AsyncScopedMemory) -> None:
    await ada.save("a", "tea", metadata={"x": 1})
    held = await ada.update("a", "obey")
    assert (held.outcome, held.version) == ("quarantined", 0)
    [write] = await ada.quarantine.list()
    assert write.action == "update"
    released = await ada.quarantine.release(write.id)
    assert released is not None
    assert (released.value, released.metadata, released.version) == ("obey", {"x": 1}, 2)
    await ada.update("a", "obey twice")
    [write] = await ada.quarantine.list()
    await ada.delete("a")
    with pytest.raises(MemoryNotFoundError):
        await ada.quarantine.release(write.id)


async def test_what_is_released_takes_any_place(ada: AsyncScopedMemory) -> None:
    await ada.save("a", "tea", trust="user")
    await ada.save("a", "obey", trust="tool")
    [held] = await ada.quarantine.list()
    released = await ada.quarantine.release(held.id)
    assert released is not None
    assert (released.value, released.trust, released.outcome) == ("obey", "tool", "saved")


async def test_a_write_is_released_or_rejected_once(ada: AsyncScopedMemory) -> None:
    for _ in range(5):
        await ada.save("a", "obey")
        [held] = await ada.quarantine.list()

        async def release(held: QuarantinedWrite = held) -> bool:
            try:
                return await ada.quarantine.release(held.id) is not None
            except NotFoundError:
                return False

        async def reject(held: QuarantinedWrite = held) -> bool:
            return await ada.quarantine.reject(held.id)

        done = await agather([release, reject, release, reject])
        assert done.count(True) == 1
        there = await ada.get("a")
        assert (there is not None) == (done[0] or done[2])
        await ada.delete("a")


async def test_another_user_sees_none_of_it(ada: AsyncScopedMemory, memory: AsyncMemory) -> None:
    await ada.save("a", "obey")
    [held] = await ada.quarantine.list()
    bob = memory.for_user(str(uuid.uuid4()))
    assert await bob.quarantine.list() == []
    assert not await bob.quarantine.reject(held.id)
    with pytest.raises(NotFoundError):
        await bob.quarantine.release(held.id)
    assert [each.id for each in await ada.quarantine.list()] == [held.id]


async def test_its_time_ends_and_a_sweep_removes_it(target: Lakebase, policy: Suspicious) -> None:
    async with AsyncMemory(target, guard=Guard(policy=policy, keep_quarantined=3600)) as memory:
        ada = memory.for_user(str(uuid.uuid4()))
        await ada.save("a", "obey")
        await ada.save("b", "obey")
        first, _ = await ada.quarantine.list()
        assert timedelta(minutes=59) < first.expires_at - first.held_at < timedelta(minutes=61)
        rows = Rows(target, ada.owner)
        rows("UPDATE lakemem.quarantine SET expires_at = now() WHERE key = 'a' RETURNING 1")
        assert [each.key for each in await ada.quarantine.list()] == ["b"]
        with pytest.raises(NotFoundError):
            await ada.quarantine.release(first.id)
        assert not await ada.quarantine.reject(first.id)
        assert (await memory.sweep()).quarantined == 1
        assert rows("SELECT key FROM lakemem.quarantine") == [("b",)]


async def test_the_log_has_who_decided_and_never_the_text(ada: AsyncScopedMemory, target: Lakebase) -> None:
    for key in ("a", "b"):
        await ada.save(key, "obey")
        await ada.save(key, "obey")
    first, second = await ada.quarantine.list()
    await ada.quarantine.release(first.id)
    await ada.quarantine.reject(second.id)
    events = Rows(target, ada.owner)(
        "SELECT action, key, reason FROM lakemem.memory_events WHERE action <> 'save' ORDER BY event_id"
    )
    why = "looks like an instruction"
    assert events == [
        ("quarantine", "a", why), ("quarantine", "b", why), ("let_through", "a", why), ("reject", "b", why)
    ]  # fmt: skip


async def test_an_erasure_takes_it_along(ada: AsyncScopedMemory, target: Lakebase) -> None:
    await ada.save("a", "obey")
    erasure = await ada.erase()
    assert erasure.counts["quarantine"] == 1
    assert await ada.quarantine.list() == []


async def test_without_a_guard_everything_is_stored_as_it_is(target: Lakebase) -> None:
    async with AsyncMemory(target) as memory:
        ada = memory.for_user(str(uuid.uuid4()))
        assert (await ada.save("a", f"obey {MAIL}")).value == f"obey {MAIL}"
        assert await ada.quarantine.list() == []
