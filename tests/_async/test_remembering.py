"""`remember`: what was said is kept at once, and once."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakemem import (
    AsyncMemory,
    AsyncScopedMemory,
    Extraction,
    ExtractionError,
    InvalidInputError,
    Lakebase,
    Proposal,
    degrading,
)
from lakemem.operations import remembering
from lakemem.testing.concurrency import agather
from tests._async.examples import examples
from tests.faults import AsyncPoll, Proxy
from tests.support.embedders import TopicEmbedder
from tests.support.extractors import SentenceExtractor
from tests.support.rows import Rows


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **more}


def queued(target: Lakebase, owner: str = "user:alice") -> list[tuple[str, int]]:
    """The kind of each job, and how many turns it names."""
    return [
        (kind, len(json.loads(payload).get("keys", ())))
        for kind, payload in Rows(target, owner)("SELECT kind, payload::text FROM lakemem.jobs ORDER BY created_at")
    ]


async def test_what_was_said_is_found_at_once(alice: AsyncScopedMemory, target: Lakebase) -> None:
    moment = datetime(2025, 5, 1, 12, tzinfo=UTC)
    stored = await alice.remember(
        [said("My dog is called Turing.", occurred_at=moment), {"role": "assistant", "content": "Nice!"}],
        thread_id="t",
        namespace=("chat",),
    )
    assert [(each.text, each.value, each.metadata, each.kind) for each in stored] == [
        ("user: My dog is called Turing.", "My dog is called Turing.", {"speaker": "user"}, "turn"),
        ("assistant: Nice!", "Nice!", {"speaker": "assistant"}, "turn"),
    ]
    assert [(each.thread_id, each.position, each.version) for each in stored] == [("t", 1, 1), ("t", 2, 1)]
    assert (stored[0].occurred_at, stored[0].valid_from, stored[1].occurred_at) == (moment, moment, None)
    [hit] = await alice.search("Turing", namespace=("chat",), kind="turn")
    assert hit.record == stored[0]
    assert await alice.get(stored[1].key, namespace=("chat",)) == stored[1]
    assert queued(target) == [("extract", 2)]
    events = Rows(target, alice.owner)("SELECT action, key FROM lakemem.memory_events ORDER BY event_id")
    assert sorted(events) == sorted(("save", each.key) for each in stored)


async def test_the_same_turns_are_stored_once(alice: AsyncScopedMemory, target: Lakebase) -> None:
    turns = [said("Yes."), said("Really?"), said("Yes.")]
    assert len(await alice.remember(turns, thread_id="t")) == 3
    assert await alice.remember(turns, thread_id="t") == []
    [more] = await alice.remember([*turns, said("No.")], thread_id="t")
    assert (more.value, more.position) == ("No.", 4)
    assert len(await alice.remember(turns, thread_id="another")) == 3
    assert queued(target) == [("extract", 3), ("extract", 1), ("extract", 3)]


async def test_the_same_turns_at_once_are_stored_once(alice: AsyncScopedMemory, target: Lakebase) -> None:
    turns = [said(f"Turn {number}.") for number in range(20)]
    for thread_id in ("t", None):
        calls: list[Callable[[], Any]] = [lambda thread_id=thread_id: alice.remember(turns, thread_id=thread_id)] * 4
        stored = await agather(calls)
        assert sorted(map(len, stored)) == [0, 0, 0, 20]
    assert queued(target) == [("extract", 20), ("extract", 20)]


async def test_turns_follow_those_of_their_thread(alice: AsyncScopedMemory) -> None:
    await alice.thread("t").append([{"role": "user", "content": "One."}, {"type": "reasoning", "id": "r"}])
    await alice.thread("t").append([{"role": "assistant", "content": "Two."}])
    messages = await alice.thread("t").messages()
    stored = await alice.remember(messages, thread_id="t")
    assert [(each.value, each.position, each.occurred_at) for each in stored] == [
        ("One.", 1, messages[0].created_at),
        ("Two.", 3, messages[2].created_at),
    ]
    assert await alice.remember(messages, thread_id="t") == []
    [last] = await alice.remember([said("Three.")], thread_id="t")
    assert last.position == 4
    [given] = await alice.remember([said("Nine.", position=9)], thread_id="t")
    assert given.position == 9
    await alice.delete(given.key)
    [after] = await alice.remember([said("Ten.")], thread_id="t")
    assert after.position == 10, "a position is not given twice"


async def test_a_turn_that_was_deleted_stays_so(alice: AsyncScopedMemory, memory: AsyncMemory) -> None:
    secret, other = await alice.remember([said("I have a secret."), said("I like tea.")], thread_id="t")
    assert await alice.delete(secret.key)
    assert await alice.remember([said("I have a secret."), said("I like tea.")], thread_id="t") == []
    extractor = SentenceExtractor()
    await memory.worker(extractor).run_once()
    [(turns, _)] = extractor.shown
    assert [turn.text for turn in turns] == ["I like tea."]
    [fact] = await alice.items(kind="fact")
    assert fact.sources == (other.key,)


async def test_a_job_whose_turns_are_gone_asks_nobody(alice: AsyncScopedMemory, memory: AsyncMemory) -> None:
    [turn] = await alice.remember([said("I have a secret.")])
    await alice.delete(turn.key, erase=True)
    extractor = SentenceExtractor()
    assert (await memory.worker(extractor).run_once()).jobs == 1
    assert extractor.shown == []


async def test_many_turns_go_in_batches(
    alice: AsyncScopedMemory, target: Lakebase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembering, "BATCH", 3)
    stored = await alice.remember([said(f"Turn {number}.") for number in range(8)], thread_id="t")
    assert [(each.value, each.position) for each in stored] == [(f"Turn {n}.", n + 1) for n in range(8)]
    assert queued(target) == [("extract", 3), ("extract", 3), ("extract", 2)]


async def test_turns_without_a_thread_keep_their_order(alice: AsyncScopedMemory, memory: AsyncMemory) -> None:
    await alice.remember([said(f"Turn {number}.") for number in range(9)])
    extractor = SentenceExtractor()
    await memory.worker(extractor).run_once()
    [(turns, _)] = extractor.shown
    assert [turn.text for turn in turns] == [f"Turn {number}." for number in range(9)]


async def test_turns_may_expire_and_need_no_extraction(alice: AsyncScopedMemory, target: Lakebase) -> None:
    [turn] = await alice.remember([said("Soon forgotten.")], expires_in=0.000_001, extract=False)
    assert turn.expires_at is not None
    assert await alice.search("forgotten") == []
    assert queued(target) == []


async def test_nothing_said_is_nothing_stored(alice: AsyncScopedMemory, target: Lakebase) -> None:
    items = [{"role": "system", "content": "Be kind."}, {"role": "assistant", "content": ""}, {"type": "reasoning"}]
    assert await alice.remember(items) == []
    assert await alice.remember([]) == []
    assert queued(target) == []


WRONG: list[Any] = [
    ["a text"],
    "a text",
    [{"content": "nobody"}],
    [said("x", occurred_at="yesterday")],
    [said("x", occurred_at=datetime(2025, 1, 1))],
    [said("x", position=-1)],
    [said("x" * 2_000_000)],
    [said("x", name="\n")],
]


@pytest.mark.parametrize("items", WRONG, ids=range(len(WRONG)))
async def test_what_cannot_be_stored_is_refused_and_nothing_is_written(
    alice: AsyncScopedMemory, target: Lakebase, items: Any
) -> None:
    with pytest.raises(InvalidInputError):
        await alice.remember([said("good"), *items] if isinstance(items, list) else items)
    assert await alice.items() == []


async def test_a_turn_of_any_characters_comes_back(alice: AsyncScopedMemory) -> None:
    text = "a\x00b \ud800 \u2028 {} ' \" \\ 漢字 🐘"
    [turn] = await alice.remember([said(text)], thread_id="t\u2028")
    [found] = await alice.items()
    assert found.value == text
    assert await alice.remember([said(text)], thread_id="t\u2028") == []
    assert found.key == turn.key


async def test_what_is_remembered_during_an_outage_is_stored_once(target: Lakebase) -> None:
    with Proxy(target) as proxy:
        memory = degrading(AsyncMemory(proxy.target), deadline=0.4, cooldown=0.05)
        async with memory:
            alice = memory.for_user("alice")
            proxy.refuse()
            turns = [said("I like tea."), said("Yes.")]
            assert [(each.value, each.version) for each in await alice.remember(turns, thread_id="t")] == [
                ("I like tea.", 0),
                ("Yes.", 0),
            ]
            await alice.remember(turns, thread_id="t")
            assert (await memory.health()).pending_writes == 2
            proxy.restore()

            async def well() -> bool:
                return (await memory.health()).status == "ok"

            await AsyncPoll.until(well)
            assert sorted(each.value for each in await alice.items(kind="turn")) == ["I like tea.", "Yes."]
    assert queued(target) == [("extract", 2)]


async def test_vectors_come_with_the_turns(target: Lakebase) -> None:
    async with AsyncMemory(target, embedder=TopicEmbedder()) as memory:
        alice = memory.for_user("alice")
        await alice.remember([said("a dog"), said("a train")], extract=False)
        [best, _] = await alice.search("kitten")
        assert best.value == "a dog"
        assert best.similarity == pytest.approx(1, abs=0.01)


async def test_a_dry_run_shows_what_would_be_saved(alice: AsyncScopedMemory, target: Lakebase) -> None:
    def lie(proposals: list[Proposal]) -> list[Proposal]:
        return [*proposals, Proposal("a lie", [99])]

    found = await alice.extract([said("I like tea.")], SentenceExtractor(lie), thread_id="t", dry_run=True)
    assert [proposal.text for proposal in found.proposals] == ["The user says: I like tea"]
    assert found.dropped == {"unknown source": 1, "no source": 1}
    assert found.facts == ()
    assert await alice.items() == []
    assert queued(target) == []


async def test_facts_can_be_extracted_at_once(alice: AsyncScopedMemory, target: Lakebase) -> None:
    turns = [said("I like tea."), said("I live in Rome.")]
    for _ in range(2):
        found = await alice.extract(turns, SentenceExtractor(), thread_id="t")
        assert [(fact.key if "." in fact.key else "", fact.value) for fact in found.facts] == [
            ("", "The user says: I like tea"),
            ("user.home", "The user says: I live in Rome"),
        ]
    records = await alice.items()
    assert sorted(record.kind for record in records) == ["fact", "fact", "turn", "turn"]
    assert {record.version for record in records} == {1}
    assert queued(target) == []
    assert await alice.extract([], SentenceExtractor()) == Extraction()


async def test_an_extractor_that_fails_at_once_writes_nothing(alice: AsyncScopedMemory) -> None:
    def fail(_: list[Proposal]) -> None:
        raise ValueError("I like tea")

    with pytest.raises(ExtractionError) as raised:
        await alice.extract([said("I like tea.")], SentenceExtractor(fail))
    assert raised.value.error == "ValueError"
    assert "tea" not in str(raised.value)
    assert await alice.items() == []


WORDS = st.sampled_from(["yes", "no", "Yes", "perhaps \x00", "ä"])
TURNS = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), WORDS), max_size=6)
CALLS = st.lists(st.tuples(TURNS, st.sampled_from(["t", "u", None]), st.sampled_from([(), ("n",)])), max_size=5)


@settings(max_examples=examples(40))
@given(calls=CALLS)
async def test_any_calls_store_each_turn_once(memory: AsyncMemory, calls: Any) -> None:
    """Against a model: what was said, where, and how often it stands before in its list."""
    user = memory.for_user(str(uuid.uuid4()))
    model: set[Any] = set()
    for turns, thread_id, namespace in calls:
        identities = [(thread_id, namespace, turn, turns[:place].count(turn)) for place, turn in enumerate(turns)]
        items = [{"role": role, "content": words} for role, words in turns]
        stored = await user.remember(items, thread_id=thread_id, namespace=namespace, extract=False)
        assert len(stored) == len(set(identities) - model)
        model.update(identities)
    records = await user.items(limit=None)
    there = sorted((each.thread_id or "", each.namespace, each.metadata["speaker"], each.value) for each in records)
    assert there == sorted((thread_id or "", *rest, *turn) for thread_id, *rest, turn, _ in model)
    places = [(each.thread_id, each.position) for each in records if each.thread_id is not None]
    assert len(set(places)) == len(places)
