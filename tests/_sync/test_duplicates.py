# Generated from tests/_async/test_duplicates.py by tools/unasync.py: edit that file, then run `make generate`.
"""What is the same, what is nearly the same, and what only looks so: with the local embedder, on a real Postgres."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lakemem import DuplicatePolicy, InvalidInputError, Lakebase, Memory, ScopedMemory
from lakemem.integrations.embedders import LocalEmbedder
from lakemem.testing import DatabaseFactory
from lakemem.testing.concurrency import gather
from tests.support.rows import Rows

# Five facts, each said in four ways: as it is, in the same words, in other forms of them, and in other words.
FACTS = [
    ("The user is a vegetarian.", "user is a Vegetarian", "The user is vegetarian.", "The user never eats meat."),
    (
        "The user doesn't drink alcohol.",
        "The user does not drink alcohol",
        "The user is not drinking alcohol.",
        "Alcohol is something that the user does not touch.",
    ),
    (
        "The user lives in Berlin with two cats.",
        "User lives in Berlin, with two cats.",
        "The user is living in Berlin with two cats.",
        "The user and two cats share a flat in Berlin.",
    ),
    (
        "The deployments of the user run on Friday mornings.",
        "the deployments of the user run on friday mornings",
        "The deployment of the user runs on Friday mornings.",
        "Every Friday morning, the user deploys.",
    ),
    (
        "Anna Berg is the manager of the user.",
        "Anna Berg is the manager of the user!",
        "Anna Berg, the manager of the user.",
        "The user reports to Anna Berg.",
    ),
]
PARAPHRASES = [(first, other) for first, *others in FACTS for other in others]

# Each of these pairs is two facts, however near they are.
NEAR_MISSES = [
    ("The user has 2 children.", "The user has 3 children."),
    ("The user has two children.", "The user has three children."),
    ("The flight of the user leaves at 9:30.", "The flight of the user leaves at 19:30."),
    ("Project Atlas runs on Postgres 16.", "Project Atlas runs on Postgres 18."),
    ("The temperature in the cellar is 5 degrees.", "The temperature in the cellar is -5 degrees."),
    ("The dose is .5 grams a day.", "The dose is 5 grams a day."),
    ("The discount is 5%.", "The discount is 5$."),
    ("The user is allergic to peanuts.", "The user is not allergic to peanuts."),
    ("The user can swim.", "The user can't swim."),
    ("The user drinks tea with sugar.", "The user drinks tea without sugar."),
    ("The user likes the new office.", "The user no longer likes the new office."),
    ("Alice Miller is the manager of the user.", "Alice Mueller is the manager of the user."),
    ("The user lives in Berlin.", "The user lives in Munich."),
    ("The meeting is on Monday.", "The meeting is on Tuesday."),
    ("Alice reports to Bob.", "Bob reports to Alice."),
    ("The user flies from Oslo to Rome.", "The user flies to Oslo from Rome."),
    ("The user lives in Berlin.", "The user lived in Berlin."),
    ("For years, the user worked at Acme on data.", "For years, the user works at Acme on data."),
    ("The user is a vegetarian.", "The user was a vegetarian."),
    ("The user has a dog named Rex.", "The user had a dog named Rex."),
    ("The meeting is before lunch.", "The meeting is after lunch."),
    ("The user turned the notifications on.", "The user turned the notifications off."),
    ("The key is under the left pot at the back door.", "The key is under the right pot at the back door."),
    ("The user increased the retention of logs.", "The user decreased the retention of logs."),
    ("The user likes tea.", "The user likes only tea."),
    ("The user writes C++.", "The user writes C#."),
    ("Is the user married?", "The user is married."),
    ("🦆", "🐱"),
]  # fmt: skip


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all tests here: each works on users of its own."""
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture(scope="module")
def embedder() -> LocalEmbedder:
    return LocalEmbedder(threads=1)


@pytest.fixture
def by_meaning(target: Lakebase, embedder: LocalEmbedder) -> Iterator[Memory]:
    with Memory(target, embedder=embedder, embedding_deadline=30) as memory:
        yield memory


def somebody(memory: Memory) -> ScopedMemory:
    return memory.for_user(str(uuid.uuid4()))


def outcome(memory: Memory, first: str, second: str) -> str | None:
    user = somebody(memory)
    before = user.save(None, first)
    after = user.save(None, second)
    match after.outcome:
        case "saved":
            assert (after.version, after.similar_to) == (1, ())
        case "linked":
            assert (after.version, after.similar_to) == (1, (before.key,))
        case "merged":
            assert after == before
        case other:
            raise AssertionError(other)
    assert len(user.items()) == (1 if after.outcome == "merged" else 2)
    return after.outcome


def similarity(embedder: LocalEmbedder, pair: tuple[str, str]) -> float:
    first, second = embedder.embed(pair)
    return sum(a * b for a, b in zip(first, second, strict=True))


def test_a_table_of_what_becomes_of_paraphrases_and_near_misses(
    by_meaning: Memory, memory: Memory, embedder: LocalEmbedder
) -> None:
    """Printed with ``pytest -s``."""
    for name, pairs in (("paraphrases", PARAPHRASES), ("near misses", NEAR_MISSES)):
        print(f"\n{name}: similarity, by meaning, by words")
        found: Counter[tuple[str, str | None]] = Counter()
        for pair in pairs:
            both = outcome(by_meaning, *pair), outcome(memory, *pair)
            print(f"  {similarity(embedder, pair):.3f} {both[0]:8}{both[1]:8}{pair[0]} | {pair[1]}")
            found.update(zip(("by meaning", "by words"), both, strict=True))
        print(f"  {dict(found)}")
        if name == "near misses":
            assert {what for _, what in found} <= {"saved", "linked"}
        else:
            assert found["by meaning", "merged"] >= 8
            assert found["by words", "merged"] >= 5
            assert found["by meaning", "saved"] <= 2


def test_of_five_facts_that_are_said_often_none_is_doubled(by_meaning: Memory) -> None:
    user = somebody(by_meaning)
    said = [text for ways in FACTS for text in ways]
    records = [user.save(None, text) for text in said * 2]
    stored = user.items(limit=None)
    assert {record.outcome for record in records[len(said) :]} <= {"unchanged", "merged"}
    assert len(stored) == len([record for record in records if record.outcome in ("saved", "linked")])
    assert len({record.text.lower().strip(".!") for record in stored}) == len(stored) < len(said)
    print(f"\n{len(said)} texts, twice: {Counter(record.outcome for record in records)}")


def test_the_same_content_is_stored_once_however_many_save_it_at_once(memory: Memory, target: Lakebase) -> None:
    user = somebody(memory)
    texts = [f"fact {n % 3}" for n in range(12)]
    saved = gather([lambda text=text: user.save(None, text) for text in texts])
    assert Counter(record.outcome == "unchanged" for record in saved) == {True: 9, False: 3}
    unprobed = gather([lambda text=text: user.save(None, text + "!", duplicates=None) for text in texts])
    assert Counter(record.outcome == "unchanged" for record in unprobed) == {True: 9, False: 3}
    assert Rows(target, user.owner)("SELECT count(*) FROM lakemem.memories") == [(6,)]


def test_the_key_that_is_made_up_is_one_of_the_namespace_and_the_content(memory: Memory) -> None:
    user, other = somebody(memory), somebody(memory)
    first = user.save(None, {"likes": "tea"}, namespace=("a",))
    assert (other.save(None, {"likes": "tea"}, namespace=("a",))).key == first.key
    others = [
        user.save(None, {"likes": "tea"}, namespace=("b",)),
        user.save(None, {"likes": "tea"}, namespace=("a",), text="likes tea a lot", duplicates=None),
        user.save(None, {"likes": "teas"}, namespace=("a",), duplicates=None),
    ]
    assert len({first.key, *(record.key for record in others)}) == 4


def test_what_is_there_already_makes_no_version(memory: Memory, target: Lakebase) -> None:
    user = somebody(memory)
    rows = Rows(target, user.owner)
    given: dict[str, Any] = {"metadata": {"a": 1}, "namespace": ("n",)}
    first = user.save("colour", "blue", **given)
    again = user.save("colour", "blue", **given)
    assert (again, again.outcome) == (first, "unchanged")
    assert rows("SELECT count(*) FROM lakemem.memory_events") == [(1,)]
    for changed in ({"metadata": {"a": 2}}, {"text": "it is blue"}, {"occurred_at": datetime(2024, 1, 1, tzinfo=UTC)}):
        new = user.save("colour", "blue", **{**given, **changed})
        assert (new.outcome, new.version) == ("saved", (user.history("colour", namespace=("n",)))[0].version)
    assert len(user.history("colour", namespace=("n",))) == 4
    user.delete("colour", namespace=("n",))
    assert (user.save("colour", "blue", **given)).outcome == "saved"


def test_what_is_there_already_lasts_as_long_as_was_last_asked_for(memory: Memory, target: Lakebase) -> None:
    user = somebody(memory)
    short = user.save("code", 1234, expires_in=60, importance=0.2)
    longer = user.save("code", 1234, expires_in=3600, importance=0.7, sources=["said"])
    assert (longer.outcome, longer.version, longer.importance) == ("unchanged", 1, 0.7)
    assert short.expires_at
    assert longer.expires_at
    assert longer.expires_at - short.expires_at > timedelta(minutes=58)
    for_ever = user.save("code", 1234, importance=0.1, sources=["heard"])
    assert (for_ever.expires_at, for_ever.importance, for_ever.sources) == (None, 0.7, ("said", "heard"))
    assert user.get("code") == for_ever
    Rows(target, user.owner)("UPDATE lakemem.memories SET expires_at = now() - interval '1 second'")
    assert (user.save("code", 1234)).version == 2


def test_a_merge_keeps_what_both_say(memory: Memory, target: Lakebase) -> None:
    user = somebody(memory)
    rows = Rows(target, user.owner)
    first = user.save(None, "The user likes tea.", importance=0.3, expires_in=60, metadata={"a": 1, "b": 2})
    merged = user.save(None, "User likes tea", importance=0.8, sources=["turn"], metadata={"a": 1})
    assert (merged.key, merged.outcome, merged.version, merged.value) == (first.key, "merged", 1, first.value)
    assert (merged.importance, merged.expires_at, merged.sources) == (0.8, None, ("turn",))
    assert user.items() == [merged]
    log = rows("SELECT action, key, version FROM lakemem.memory_events ORDER BY event_id")
    assert log == [("save", first.key, 1), ("merge", first.key, 1)]


def test_nothing_is_merged_that_says_more_than_its_text(memory: Memory) -> None:
    happened = datetime(2024, 5, 1, tzinfo=UTC)
    for given in (
        {"metadata": {"project": "b"}},
        {"text": "the user likes tea", "value": {"likes": "tea", "sugar": False}},
        {"occurred_at": happened},
        {"valid_from": happened},
        {"namespace": ("elsewhere",)},
    ):
        user = somebody(memory)
        first = user.save(None, "The user likes tea.", metadata={"project": "a"})
        second = user.save(None, **{"value": "User likes tea", "metadata": {"project": "a"}, **given})  # type: ignore[arg-type]
        linked = () if "namespace" in given else (first.key,)
        assert (second.outcome, second.similar_to) == ("linked" if linked else "saved", linked), given
        assert len(user.items()) == 2
    user = somebody(memory)
    first = user.save(None, "The user likes tea.", occurred_at=happened)
    assert (user.save(None, "User likes tea", occurred_at=happened)).outcome == "merged"


def test_keys_that_are_chosen_and_turns_are_no_duplicates(memory: Memory, target: Lakebase) -> None:
    user = somebody(memory)
    user.save(None, "The user likes tea.")
    for record in (
        user.save("drink", "The user likes tea.", text="The user likes tea."),
        user.save(None, "The user likes tea.", subject="user.drink", text="The user likes tea."),
        user.save(None, "User likes tea.", duplicates=None),
    ):
        assert (record.outcome, record.similar_to) == ("saved", ())
    user.forget(namespace=None, before=datetime.now(UTC) + timedelta(hours=1))
    turn = user.save(None, "I like tea.")
    Rows(target, user.owner)("UPDATE lakemem.memories SET kind = 'turn' WHERE key = %s", turn.key)
    assert (user.save(None, "i like tea")).outcome == "saved"
    assert [record.kind for record in user.items()] == ["fact", "turn"]
    assert user.items(kind="turn") == [user.get(turn.key)]
    assert len(user.items(kind="fact")) == 1


def test_the_nearest_are_named_the_best_first_and_three_at_most(by_meaning: Memory) -> None:
    user = somebody(by_meaning)
    texts = [
        "The user likes tea at five.",
        "The user likes tea at six.",
        "The user likes tea at ten.",
        "The moon is far.",
    ]
    keys = {(user.save(None, text, duplicates=None)).key: text for text in [*texts, "The user likes tea at two."]}
    record = user.save(None, "The user likes tea at five or six.")
    assert len(record.similar_to) == 3
    assert {keys[key] for key in record.similar_to[:2]} == {*texts[:2]}
    assert (user.save(None, "The user likes tea", duplicates=DuplicatePolicy(link=1, overlap=1))).similar_to == ()


@pytest.mark.parametrize("wrong", [{"merge": 2}, {"link": -0.1}, {"overlap": "all"}, {"overlap": None}])
def test_a_threshold_is_a_share(memory: Memory, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        somebody(memory).save(None, "x", duplicates=DuplicatePolicy(**wrong))
