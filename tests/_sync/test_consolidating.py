# Generated from tests/_async/test_consolidating.py by tools/unasync.py: edit that file, then run `make generate`.
"""A consolidation loses nothing that was said: twins are merged, importance falls with age, and caps are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakemem import (
    Consolidated,
    Consolidation,
    DuplicatePolicy,
    InvalidInputError,
    Lakebase,
    Memory,
    MemoryNotFoundError,
    MemoryRecord,
    ScopedMemory,
)
from lakemem.operations import consolidating
from lakemem.testing.concurrency import gather
from tests._sync.examples import examples
from tests.support.embedders import TopicEmbedder
from tests.support.rows import Rows

DAY = 86400.0
NOTHING = Consolidation(duplicates=None)


@pytest.fixture
def memory(target: Lakebase) -> Iterator[Memory]:
    with Memory(target, embedder=TopicEmbedder()) as memory:
        yield memory


def texts(user: ScopedMemory) -> list[str]:
    return sorted(record.text for record in user.items(limit=None))


def note(user: ScopedMemory, text: str, **details: Any) -> MemoryRecord:
    """A fact under a key that is made of its content, whatever else there is."""
    return user.save(None, text, duplicates=None, **details)


def events(target: Lakebase, owner: str) -> list[tuple[str, str]]:
    return Rows(target, owner)("SELECT key, action FROM lakemem.memory_events ORDER BY event_id")  # type: ignore[return-value]


def age(target: Lakebase, user: ScopedMemory, seconds: float, key: str | None = None) -> None:
    """Make memories older."""
    Rows(target, user.owner)(
        "UPDATE lakemem.memories SET valid_from = valid_from - make_interval(secs => %s) WHERE key = coalesce(%s, key)",
        seconds,
        key,
    )


def test_twins_are_merged_into_the_oldest(alice: ScopedMemory, target: Lakebase) -> None:
    first = note(alice, "Ada likes tea", importance=0.2, sources=["turn 1"])
    second = note(alice, "ada likes the tea.", importance=0.9, sources=["turn 2"], expires_in=60)
    other = note(alice, "Ada likes a dog and a cat")
    late = note(alice, "Ada likes dogs and cats")
    assert alice.consolidate(dry_run=True) == Consolidated(owners=1, merged=1)
    assert len(texts(alice)) == 4
    told: list[Consolidated] = []
    assert alice.consolidate(progress=told.append) == Consolidated(owners=1, merged=1)
    assert told[-1] == Consolidated(owners=1, merged=1)
    kept = alice.get(first.key)
    assert kept is not None
    assert (kept.version, kept.expires_at) == (1, None)
    assert kept.importance == pytest.approx(0.9)
    assert kept.sources == ("turn 1", *sorted(["turn 2", second.key]))
    assert texts(alice) == sorted([first.text, other.text, late.text])
    assert events(target, alice.owner)[4:] == [(second.key, "consolidate"), (first.key, "merge")]
    assert alice.consolidate() == Consolidated(owners=1)
    # What was merged is in the history, and comes back.
    assert (alice.revert(second.key, 1)).text == "ada likes the tea."
    assert len(texts(alice)) == 4


def test_other_forms_of_words_are_merged_where_the_vectors_agree(alice: ScopedMemory) -> None:
    note(alice, "Ada walks a dog")
    note(alice, "Ada is walking a dog")
    assert (alice.consolidate(Consolidation(duplicates=DuplicatePolicy(merge=1.0)), dry_run=True)).merged <= 1
    assert (alice.consolidate()).merged == 1
    assert texts(alice) == ["Ada walks a dog"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada has 2 dogs", "Ada has 3 dogs"),
        ("Ada likes dogs", "Ada does not like dogs"),
        ("Ada beat Bob", "Bob beat Ada"),
        ("Ada walked a dog", "Ada walks a dog"),
    ],
)
def test_what_says_something_else_stays(alice: ScopedMemory, one: str, other: str) -> None:
    note(alice, one)
    note(alice, other)
    assert alice.consolidate() == Consolidated(owners=1)


def test_what_is_only_like_a_twin_stays(memory: Memory, target: Lakebase) -> None:
    alice = memory.for_user("alice")
    note(alice, "Ada walks a dog")
    note(alice, "Ada is walking a dog")
    with Memory(target) as without:
        # Without a vector, other forms of words are not known to say the same.
        note(without.for_user("alice"), "Ada is walking a dog.")
    assert (alice.consolidate()).merged == 1
    assert texts(alice) == ["Ada is walking a dog.", "Ada walks a dog"]


@pytest.mark.parametrize("gone", [0, 1])
def test_twins_of_which_one_has_gone_meanwhile_are_left_alone(alice: ScopedMemory, gone: int) -> None:
    records = [note(alice, text) for text in ("Ada likes tea", "Ada likes tea.")]
    pairs = alice._storage.run(consolidating.twins(alice.owner, 0.95))
    alice.delete(records[gone].key)
    assert alice._storage.run(consolidating.merge(alice.owner, pairs)) == 0
    assert texts(alice) == [records[1 - gone].text]


def test_what_a_twin_says_beside_its_text_is_not_lost(alice: ScopedMemory) -> None:
    note(alice, "Ada likes tea")
    note(alice, "Ada likes tea.", metadata={"from": "Bob"})
    note(alice, "Ada likes tea!", occurred_at=datetime(2026, 1, 1, tzinfo=UTC))
    alice.save(None, {"drink": "tea"}, text="Ada likes tea;", duplicates=None)
    note(alice, "Ada likes tea,", namespace=("elsewhere",))
    assert alice.consolidate() == Consolidated(owners=1)


def test_a_key_that_somebody_chose_stands_for_itself(alice: ScopedMemory) -> None:
    alice.save("drink", "tea", text="Ada likes tea")
    alice.save("favourite", "tea", text="Ada likes tea")
    alice.save("9f0e7a10-0000-4000-8000-000000000000", "Ada likes tea", text="Ada likes tea")
    note(alice, "Ada likes tea")
    assert alice.consolidate() == Consolidated(owners=1)


def test_importance_is_halved_by_every_half_life(alice: ScopedMemory, target: Lakebase) -> None:
    policy = Consolidation(half_life=10 * DAY)
    alice.save("old", 1, importance=0.8)
    alice.save("new", 1, importance=0.8)
    alice.save("happened", 1, importance=0.8, occurred_at=datetime.now(UTC) - timedelta(days=30))
    age(target, alice, 20 * DAY, "old")

    def importances() -> dict[str, float]:
        return {record.key: round(record.importance, 3) for record in alice.items()}

    assert alice.consolidate(policy, dry_run=True) == Consolidated(owners=1, decayed=2)
    assert set((importances()).values()) == {0.8}
    order = [record.key for record in alice.items()]
    assert alice.consolidate(policy) == Consolidated(owners=1, decayed=2)
    assert importances() == {"old": 0.2, "new": 0.8, "happened": 0.1}
    # No new version pushes what is old to the front.
    assert [record.key for record in alice.items()] == order
    assert [record.version for record in alice.history("old")] == [1]
    assert sorted(events(target, alice.owner)[3:]) == [("happened", "decay"), ("old", "decay")]
    assert alice.consolidate(policy) == Consolidated(owners=1)
    # What was said of it is not lost: with another half-life it is told anew.
    assert alice.consolidate(Consolidation(half_life=20 * DAY)) == Consolidated(owners=1, decayed=2)
    assert importances() == {"old": 0.4, "new": 0.8, "happened": 0.283}
    alice.save("old", 2, importance=0.6)
    assert (alice.consolidate(policy)).decayed == 1
    assert (importances())["old"] == 0.6


def test_importance_erases_nothing_however_old(alice: ScopedMemory, target: Lakebase) -> None:
    alice.save("key", 1)
    age(target, alice, 90 * 365 * DAY)
    alice.consolidate(Consolidation(half_life=1e-6))
    record = alice.get("key")
    assert record is not None
    assert record.importance == 0


@pytest.mark.parametrize("erase", [False, True])
def test_beyond_a_cap_goes_what_is_least_important_and_then_what_is_oldest(
    alice: ScopedMemory, target: Lakebase, monkeypatch: pytest.MonkeyPatch, erase: bool
) -> None:
    monkeypatch.setattr(consolidating, "BATCH", 2)
    for number in range(6):
        alice.save(f"plain {number}", number)
    alice.save("dear", 1, importance=0.9)
    alice.save("dull", 1, importance=0.1)
    age(target, alice, DAY, "dear")
    policy = Consolidation(max_facts=3, erase=erase)
    assert alice.consolidate(policy, dry_run=True) == Consolidated(owners=1, closed=5)
    assert alice.consolidate(policy) == Consolidated(owners=1, closed=5)
    assert {record.key for record in alice.items()} == {"dear", "plain 5", "plain 4"}
    assert alice.consolidate(policy) == Consolidated(owners=1)
    history = alice.history("dull")
    assert len(history) == (0 if erase else 1)
    assert [action for key, action in events(target, alice.owner) if key == "dull"][1:] == [
        "erase" if erase else "consolidate"
    ]
    if not erase:
        alice.revert("dull", 1)
        assert alice.get("dull") is not None


def test_a_cap_counts_what_is_left_when_twins_are_merged(alice: ScopedMemory) -> None:
    for text in ("Ada likes tea", "Ada likes tea.", "Bob likes tea", "Eve likes tea"):
        note(alice, text)
    policy = Consolidation(max_facts=2)
    assert alice.consolidate(policy, dry_run=True) == Consolidated(owners=1, merged=1, closed=1)
    assert alice.consolidate(policy) == Consolidated(owners=1, merged=1, closed=1)
    assert texts(alice) == ["Bob likes tea", "Eve likes tea"]


def test_the_caps_of_facts_and_turns_are_two(alice: ScopedMemory, target: Lakebase) -> None:
    for number in range(3):
        alice.save(f"fact {number}", number)
        alice.save(f"turn {number}", number)
    Rows(target, alice.owner)("UPDATE lakemem.memories SET kind = 'turn' WHERE key LIKE 'turn%%'")
    assert (alice.consolidate(Consolidation(max_turns=1))).closed == 2
    assert {record.key for record in alice.items()} == {"fact 0", "fact 1", "fact 2", "turn 2"}


def test_by_default_nothing_is_closed_but_twins(alice: ScopedMemory, target: Lakebase) -> None:
    note(alice, "Ada likes tea")
    note(alice, "Ada likes tea.")
    age(target, alice, 1000 * DAY)
    assert alice.consolidate(NOTHING) == Consolidated(owners=1)
    assert alice.consolidate() == Consolidated(owners=1, merged=1)


def test_everybody_is_gone_through_once(memory: Memory) -> None:
    for user in (memory.for_user("alice"), memory.for_user("bob"), memory.for_scope("team")):
        note(user, "Ada likes tea")
        note(user, "Ada likes tea.")
    assert memory.consolidate(dry_run=True) == Consolidated(owners=3, merged=3)
    assert memory.consolidate() == Consolidated(owners=3, merged=3)
    assert memory.consolidate() == Consolidated(owners=3)


@pytest.mark.parametrize(
    "policy",
    [Consolidation(half_life=0), Consolidation(max_facts=-1), Consolidation(duplicates=DuplicatePolicy(merge=2)), 3],
)
def test_a_policy_that_cannot_be_is_refused(alice: ScopedMemory, policy: Any) -> None:
    with pytest.raises(InvalidInputError):
        alice.consolidate(policy)


def test_beside_writers_no_fact_is_lost(memory: Memory) -> None:
    user = memory.for_user("alice")

    def write(number: int) -> None:
        for turn in range(12):
            record = note(user, f"Ada has seen film {turn}{'.' * number}")
            if turn % 4 == number:
                with suppress(MemoryNotFoundError):
                    user.update(record.key, metadata={"n": turn})

    def consolidate() -> None:
        for _ in range(4):
            user.consolidate(Consolidation(half_life=1.0))

    writers: list[Any] = [partial(write, number) for number in range(4)]
    gather([*writers, consolidate, consolidate])
    user.consolidate()
    said = {text.rstrip(".") for text in texts(user)}
    assert said == {f"Ada has seen film {turn}" for turn in range(12)}


def test_what_is_forgotten_meanwhile_does_not_come_back(memory: Memory) -> None:
    user = memory.for_user("alice")
    for turn in range(4):
        for number in range(20):
            note(user, f"Ada has seen film {number}{'.' * turn}", thread_id="t")
        calls: list[Any] = [user.consolidate, partial(user.forget, thread_id="t")]
        gather(calls)
        assert texts(user) == []


WORDS = st.sampled_from(["Ada likes tea", "ada likes the tea.", "Ada likes tea!", "Ada likes 2 teas", "Ada hates tea"])
FACTS = st.lists(
    st.tuples(WORDS, st.sampled_from([None, {"a": 1}]), st.sampled_from([None, 1, 2]), st.sampled_from([0, 0.25, 1])),
    max_size=8,
)


def stands_for(record: MemoryRecord) -> tuple[Any, ...]:
    """What must be found again after any consolidation."""
    words = tuple(word.strip(".!") for word in record.text.lower().split() if word != "the")
    return words, str(record.metadata), record.occurred_at


@settings(max_examples=examples(40), derandomize=True)
@given(facts=FACTS)
def test_a_consolidation_keeps_all_that_was_said(memory: Memory, facts: list[Any]) -> None:
    user = memory.for_user("alice")
    with suppress(InvalidInputError):
        user.forget(before=datetime.now(UTC) + timedelta(days=1), erase=True)
    for text, metadata, day, importance in facts:
        occurred_at = None if day is None else datetime(2026, 1, day, tzinfo=UTC)
        note(user, text, metadata=metadata, occurred_at=occurred_at, importance=importance)
    before = user.items(limit=None)
    expected = user.consolidate(dry_run=True)
    assert user.consolidate() == expected
    after = user.items(limit=None)
    assert len(after) == len(before) - expected.merged
    assert {record.key for record in after} <= {record.key for record in before}
    # Each of them is there, or one that says the same and at least as much beside it.
    for record in before:
        words, _, occurred_at = stands_for(record)
        assert any(
            stands_for(other)[0] == words
            and other.metadata.items() >= record.metadata.items()
            and occurred_at in (None, other.occurred_at)
            and other.importance >= record.importance
            for other in after
        )
    assert user.consolidate() == Consolidated(owners=1)
