# Generated from tests/_async/test_matching.py by tools/unasync.py: edit that file, then run `make generate`.
"""A matcher says which facts say the same. One that errs, lies, fails or is late loses nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakemem import (
    Consolidated,
    Consolidation,
    InvalidInputError,
    Lakebase,
    MatchingError,
    MatchPolicy,
    Memory,
    MemoryRecord,
    ScopedMemory,
)
from lakemem.consolidation import checked
from lakemem.operations import consolidating
from tests._sync.examples import examples
from tests.support.embedders import TopicEmbedder
from tests.support.matchers import WordMatcher
from tests.support.rows import Rows

DAY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def memory(target: Lakebase) -> Iterator[Memory]:
    with Memory(target, embedder=TopicEmbedder()) as memory:
        yield memory


def policy(matcher: Any, **details: Any) -> Consolidation:
    return Consolidation(matches=MatchPolicy(matcher=matcher, **details))


def all_pairs(facts: int = 20) -> list[tuple[int, int]]:
    """What a matcher says to which everything is the same: also of itself, in circles, and of what it never saw."""
    return [(one, other) for one in range(facts) for other in range(facts)]


def liar() -> WordMatcher:
    return WordMatcher(lambda _: all_pairs())


def note(user: ScopedMemory, text: str, **details: Any) -> MemoryRecord:
    """A fact under a key that is made of its content, whatever else there is."""
    return user.save(None, text, duplicates=None, **details)


def texts(user: ScopedMemory) -> list[str]:
    return sorted(record.text for record in user.items(limit=None))


def test_what_a_matcher_confirms_is_merged_into_the_older(alice: ScopedMemory, target: Lakebase) -> None:
    first = note(alice, "Ada has a dog", importance=0.2, sources=["turn 1"])
    cat = note(alice, "Ada has a cat")
    second = note(alice, "Ada owns a puppy", importance=0.9, sources=["turn 2"])
    other = note(alice, "Ada likes pizza")
    matcher = WordMatcher()
    assert alice.consolidate(policy(matcher), dry_run=True) == Consolidated(owners=1, candidates=3)
    assert matcher.asked == []
    told: list[Consolidated] = []
    done = alice.consolidate(policy(matcher), progress=told.append)
    assert done == told[-1] == Consolidated(owners=1, merged=1, candidates=3)
    # Each is shown once, under a small number.
    [facts] = matcher.asked
    assert {fact.text for fact in facts} == {first.text, second.text, cat.text}
    assert sorted(fact.id for fact in facts) == [0, 1, 2]
    assert texts(alice) == sorted([first.text, cat.text, other.text])
    kept = alice.get(first.key)
    assert kept is not None
    assert kept.importance == pytest.approx(0.9)
    assert kept.sources == ("turn 1", *sorted(["turn 2", second.key]))
    events = Rows(target, alice.owner)("SELECT key, action FROM lakemem.memory_events ORDER BY event_id")
    assert events[4:] == [(second.key, "consolidate"), (first.key, "merge")]
    assert (alice.revert(second.key, 1)).text == second.text
    assert len(texts(alice)) == 4


def test_what_it_denies_stays_and_is_asked_again_unless_it_is_old(alice: ScopedMemory) -> None:
    note(alice, "Ada has a dog")
    note(alice, "Ada has a cat")
    for _ in range(2):
        assert alice.consolidate(policy(WordMatcher())) == Consolidated(owners=1, candidates=1)
    last_run = datetime.now(UTC)
    assert alice.consolidate(policy(liar(), since=last_run)) == Consolidated(owners=1)
    note(alice, "Ada keeps a kitten")
    # The new one with each of the old ones.
    done = alice.consolidate(policy(WordMatcher(), since=last_run))
    assert done == Consolidated(owners=1, merged=1, candidates=2)
    assert texts(alice) == ["Ada has a cat", "Ada has a dog"]


PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "metadata": ({}, {"metadata": {"from": "Bob"}}),
    "other metadata": ({"metadata": {"from": "Eve"}}, {"metadata": {"from": "Bob"}}),
    "a date": ({}, {"occurred_at": DAY}),
    "another date": ({"occurred_at": DAY + timedelta(days=1)}, {"occurred_at": DAY}),
    "trust": ({"trust": "user"}, {"trust": "tool"}),
    "namespaces": ({"namespace": ("a",)}, {"namespace": ("b",)}),
    "a subject": ({}, {"subject": "ada.pet"}),
    "an older subject": ({"subject": "ada.pet"}, {}),
}


@pytest.mark.parametrize("name", PAIRS)
def test_nobody_is_asked_about_what_could_not_stand_for_the_other(alice: ScopedMemory, name: str) -> None:
    one, other = PAIRS[name]
    note(alice, "Ada has a dog", **one)
    note(alice, "Ada owns a puppy", **other)
    matcher = liar()
    assert alice.consolidate(policy(matcher, similarity=0)) == Consolidated(owners=1)
    assert matcher.asked == []
    assert len(texts(alice)) == 2


def test_nor_about_chosen_keys_values_turns_long_texts_and_what_has_no_vector(memory: Memory, target: Lakebase) -> None:
    alice = memory.for_user("alice")
    note(alice, "Ada has a dog")
    alice.save("pet", "Ada owns a puppy")
    alice.save(None, {"pet": "puppy"}, text="Ada owns a puppy", duplicates=None)
    alice.remember([{"role": "user", "content": "I own a puppy"}], extract=False)
    note(alice, "Ada owns a puppy " * 100)
    note(memory.for_user("bob"), "Ada owns a puppy")
    with Memory(target) as without:
        note(without.for_user("alice"), "Ada keeps a puppy")
    assert alice.consolidate(policy(liar(), similarity=0)) == Consolidated(owners=1)


def test_only_what_is_similar_enough_is_shown(alice: ScopedMemory) -> None:
    note(alice, "Ada has a dog")
    note(alice, "Ada likes pizza")
    assert (alice.consolidate(policy(WordMatcher()), dry_run=True)).candidates == 0
    assert (alice.consolidate(policy(WordMatcher(), similarity=0.1), dry_run=True)).candidates == 1


def test_vectors_of_a_new_embedder_are_compared_too(alice: ScopedMemory, target: Lakebase) -> None:
    note(alice, "Ada has a dog")
    second = note(alice, "Ada owns a puppy")
    rows = Rows(target, alice.owner)
    rows("UPDATE lakemem.memories SET embedding_model = 'old' WHERE key = %s", second.key)
    assert (alice.consolidate(policy(liar()), dry_run=True)).candidates == 0
    rows("UPDATE lakemem.memories SET next_embedding = embedding, next_embedding_model = 'new'")
    assert (alice.consolidate(policy(liar()), dry_run=True)).candidates == 1


# What holds of an answer.

CANDIDATES = [(0, 1), (1, 2)]


def test_only_candidates_hold_whichever_way_they_are_named() -> None:
    answer = checked([(1, 0), [1, 2], (0, 1), (0, 2), (1, 1), (7, 0), (True, 2), (0, 1.0), "01", None, 3], CANDIDATES)
    assert answer.matches == {(0, 1), (1, 2)}
    assert answer.dropped == 8


@pytest.mark.parametrize("answer", [None, "pairs", b"", 3, {"matches": []}, iter([])])
def test_what_is_no_list_is_an_error(answer: object) -> None:
    with pytest.raises(MatchingError, match=type(answer).__name__):
        checked(answer, CANDIDATES)


def test_a_lie_about_what_was_not_shown_counts_for_nothing(alice: ScopedMemory) -> None:
    note(alice, "Ada has a dog", metadata={"a": 1})
    note(alice, "Ada owns a dog", metadata={"a": 1})
    note(alice, "Ada owns a cat", metadata={"a": 2})
    note(alice, "Ada keeps a cat", metadata={"a": 2})
    matcher = WordMatcher(lambda _: [(0, 0), (0, 4), (-1, 0), (0, 2), (1, 3), (0,), "all"])
    done = alice.consolidate(policy(matcher))
    assert done == Consolidated(owners=1, candidates=2, dropped=7)
    assert len(matcher.asked[0]) == 4
    assert len(texts(alice)) == 4


def test_one_of_all_stays_where_everything_is_said_to_be_the_same(alice: ScopedMemory) -> None:
    records = [note(alice, f"Ada has dog {name}") for name in ("Rex", "Max", "Bo", "Kit")]
    done = alice.consolidate(policy(liar()))
    assert (done.merged, done.candidates, done.failed) == (3, 6, 0)
    assert texts(alice) == ["Ada has dog Rex"]
    # Nothing of it is lost.
    for record in records[1:]:
        assert (alice.revert(record.key, 1)).text == record.text


def test_what_is_like_a_fact_that_goes_stays(alice: ScopedMemory) -> None:
    for name in ("Rex", "Max", "Bo"):
        note(alice, f"Ada has dog {name}")

    class Chain:
        def match(self, facts: Any) -> Any:
            ids = {fact.text.split()[-1]: fact.id for fact in facts}
            return [(ids["Max"], ids["Bo"]), (ids["Max"], ids["Rex"])]

    assert (alice.consolidate(policy(Chain()))).merged == 1
    assert texts(alice) == ["Ada has dog Bo", "Ada has dog Rex"]


def test_what_has_gone_is_not_asked_about(alice: ScopedMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consolidating, "ASKED", 1)
    monkeypatch.setattr(consolidating, "COMPARED", 1)
    for name in ("Rex", "Max", "Bo", "Kit"):
        note(alice, f"Ada has dog {name}")
    matcher = liar()
    done = alice.consolidate(policy(matcher))
    assert (done.merged, done.candidates) == (3, 3)
    assert [{fact.text[-3:].strip() for fact in facts} for facts in matcher.asked] == [
        {"Rex", "Max"},
        {"Rex", "Bo"},
        {"Rex", "Kit"},
    ]


def test_an_owner_has_so_many_pairs_and_no_more(alice: ScopedMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consolidating, "COMPARED", 2)
    monkeypatch.setattr(consolidating, "ASKED", 3)
    for number in range(6):
        note(alice, f"Ada has dog {number}")
    for dry_run in (True, False):
        matcher = WordMatcher()
        done = alice.consolidate(policy(matcher, max_pairs=7), dry_run=dry_run)
        assert done == Consolidated(owners=1, candidates=7)
    # The newest with all others, and the one before with the two that are nearest to it in time.
    shown = ["".join(sorted(fact.text[-1] for fact in facts)) for facts in matcher.asked]
    assert shown == ["02345", "1235", "45"]
    assert (alice.consolidate(policy(WordMatcher(), max_pairs=0))).candidates == 0


def test_each_owner_is_shown_alone(memory: Memory) -> None:
    for name in ("alice", "bob"):
        note(memory.for_user(name), f"{name} has a dog")
        note(memory.for_user(name), f"{name} owns a puppy")
    matcher = WordMatcher()
    assert memory.consolidate(policy(matcher)) == Consolidated(owners=2, merged=2, candidates=2)
    assert [{fact.text.split()[0] for fact in facts} for facts in matcher.asked] == [{"alice"}, {"bob"}]


# A matcher that fails.


class Clumsy(MatchingError):
    def __init__(self, facts: object) -> None:
        super().__init__(f"cannot match {facts}")


def fail(pairs: object) -> None:
    raise ValueError("Ada has a dog")


def fail_in_its_own_words(pairs: object) -> None:
    raise Clumsy("Ada has a dog")


def stall(pairs: object) -> object:
    time.sleep(2)
    return pairs


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (fail, "ValueError"),
        (fail_in_its_own_words, "MatchingError"),
        (stall, "TimeoutError"),
        (lambda _: "all", "MatchingError"),
        (lambda _: None, "MatchingError"),
    ],
)
def test_a_consolidation_goes_on_without_a_matcher_that_fails(
    alice: ScopedMemory, caplog: pytest.LogCaptureFixture, spoil: Any, error: str
) -> None:
    caplog.set_level(logging.DEBUG)
    for text in ("Ada has a dog", "Ada owns a puppy", "ada has the a dog.", "Ada likes tea", "Ada likes tea!"):
        note(alice, text)
    deadline = 0.1 if spoil is stall else 60.0
    rules = Consolidation(matches=MatchPolicy(matcher=WordMatcher(spoil), deadline=deadline), max_facts=2)
    done = alice.consolidate(rules)
    assert (done.failed, done.candidates) == (1, 1)
    assert (done.merged, done.closed) == (2, 1)
    assert f"the matcher failed with {error}" in caplog.text
    assert "dog" not in caplog.text


def test_after_three_failures_in_a_row_it_is_not_asked_again(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consolidating, "ASKED", 1)
    for name in ("alice", "bob"):
        for number in range(4):
            note(memory.for_user(name), f"Ada has dog {number}")
        note(memory.for_user(name), "Ada likes tea")
        note(memory.for_user(name), "Ada likes tea.")
    matcher = WordMatcher(fail)
    done = memory.consolidate(policy(matcher))
    assert done == Consolidated(owners=2, merged=2, candidates=3, failed=3)
    assert len(matcher.asked) == 3


def test_one_that_recovers_is_asked_on(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consolidating, "ASKED", 1)
    alice = memory.for_user("alice")
    for number in range(4):
        note(alice, f"Ada has dog {number}")
    answers = iter([fail, fail, list, fail, fail, list])
    done = alice.consolidate(policy(WordMatcher(lambda pairs: next(answers)(pairs))))
    assert done == Consolidated(owners=1, candidates=6, failed=4)


@pytest.mark.parametrize("gone", [0, 1])
def test_what_changed_while_the_matcher_thought_is_left_alone(alice: ScopedMemory, target: Lakebase, gone: int) -> None:
    records = [note(alice, text) for text in ("Ada has a dog", "Ada owns a puppy")]

    def close(pairs: object) -> object:
        Rows(target, alice.owner)("UPDATE lakemem.memories SET valid_to = now() WHERE key = %s", records[gone].key)
        return pairs

    assert alice.consolidate(policy(WordMatcher(close))) == Consolidated(owners=1, candidates=1)
    assert texts(alice) == [records[1 - gone].text]


@pytest.mark.parametrize(
    "matches",
    [
        WordMatcher(),
        MatchPolicy(matcher=3),  # type: ignore[arg-type]
        MatchPolicy(matcher=WordMatcher(), similarity=2),
        MatchPolicy(matcher=WordMatcher(), max_pairs=-1),
        MatchPolicy(matcher=WordMatcher(), deadline=0),
        MatchPolicy(matcher=WordMatcher(), deadline=None),  # type: ignore[arg-type]
        MatchPolicy(matcher=WordMatcher(), since=datetime(2026, 1, 1)),
    ],
)
def test_a_policy_that_cannot_be_is_refused(alice: ScopedMemory, matches: Any) -> None:
    with pytest.raises(InvalidInputError):
        alice.consolidate(Consolidation(matches=matches))


FACTS = st.lists(
    st.tuples(
        st.sampled_from(["Ada has a dog", "Ada owns a puppy", "Ada has a cat", "Ada likes pizza"]),
        st.sampled_from([None, {"a": 1}]),
        st.sampled_from([None, DAY]),
        st.sampled_from(["user", "tool"]),
    ),
    max_size=7,
    unique_by=lambda fact: str(fact),
)
IDS = st.integers(-1, 8)
ANSWERS = st.lists(st.tuples(IDS, IDS) | st.none() | st.text(max_size=2) | st.lists(IDS, max_size=3), max_size=30)


@settings(max_examples=examples(40), derandomize=True)
@given(facts=FACTS, answer=ANSWERS)
def test_whatever_a_matcher_says_only_what_could_be_the_same_is_merged(
    memory: Memory, facts: list[Any], answer: list[Any]
) -> None:
    user = memory.for_user("alice")
    with suppress(InvalidInputError):
        user.forget(before=datetime.now(UTC) + timedelta(days=1), erase=True)
    for number, (text, metadata, occurred_at, trust) in enumerate(facts):
        note(user, f"{text} {number}", metadata=metadata, occurred_at=occurred_at, trust=trust)
    before = user.items(limit=None)
    done = user.consolidate(policy(WordMatcher(lambda _: answer)))
    after = user.items(limit=None)
    assert done.failed == 0
    assert len(after) == len(before) - done.merged
    assert {record.key for record in after} <= {record.key for record in before}
    topics = TopicEmbedder._vector
    for record in before:
        [stands] = [other for other in after if record.key in (other.key, *other.sources)]
        assert stands.metadata.items() >= record.metadata.items()
        assert record.occurred_at in (None, stands.occurred_at)
        assert (stands.trust, topics(stands.text)) == (record.trust, topics(record.text))
        assert stands.valid_from <= record.valid_from
