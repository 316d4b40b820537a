# Generated from tests/_async/test_saving.py by tools/unasync.py: edit that file, then run `make generate`.
"""Subjects, facts that are learnt late, writes that are made once, and what is brought back or forgotten."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lakemem import (
    InvalidInputError,
    Lakebase,
    Memory,
    MemoryNotFoundError,
    ScopedMemory,
    StorageUnavailableError,
    degrading,
)
from lakemem.operations import drafting, memories
from lakemem.testing import DatabaseFactory
from lakemem.testing.concurrency import gather
from tests.faults import Poll, Proxy
from tests.support.rows import Rows

YEARS = {year: datetime(year, 1, 1, tzinfo=UTC) for year in range(2018, 2027)}


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all tests here: each works on users of its own."""
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture
def alice(memory: Memory) -> ScopedMemory:
    return memory.for_user(f"alice {uuid.uuid4()}")


@pytest.fixture
def rows(target: Lakebase, alice: ScopedMemory) -> Rows:
    return Rows(target, alice.owner)


def timeline(user: ScopedMemory, key: str) -> list[tuple[Any, int, int | None]]:
    """Values with the years in which they are in effect, in the order of time."""
    versions = [version for version in user.history(key) if version.valid_to != version.valid_from]
    versions.sort(key=lambda version: version.valid_from)
    return [(each.value, each.valid_from.year, each.valid_to and each.valid_to.year) for each in versions]


def test_a_subject_has_one_current_value_and_its_past_stays_answerable(alice: ScopedMemory, rows: Rows) -> None:
    first = alice.save(None, "Acme", subject="user.employer")
    assert (first.key, first.text, first.outcome) == ("user.employer", "user employer: Acme", "saved")
    second = alice.save("user.employer", "Globex", subject="user.employer")
    assert second.version == 2
    assert alice.items() == [second] == [alice.get("user.employer")]
    before = alice.get("user.employer", as_of=first.valid_from)
    assert before is not None
    assert (before.value, before.valid_to, before.superseded_by) == ("Acme", second.valid_from, 2)
    assert alice.items(as_of=first.valid_from) == [before]
    assert alice.get("user.employer", as_of=second.valid_from) == second
    assert alice.get("user.employer", as_of=first.valid_from - timedelta(microseconds=1)) is None
    assert (alice.save(None, "Globex", subject="user.employer")).outcome == "unchanged"
    log = rows("SELECT action, version FROM lakemem.memory_events ORDER BY event_id")
    assert log == [("save", 1), ("supersede", 2)]
    with pytest.raises(InvalidInputError, match="give no other key"):
        alice.save("employer", "Initech", subject="user.employer")


def test_new_values_of_one_subject_at_once_follow_each_other(alice: ScopedMemory) -> None:
    gather([lambda n=n: alice.save(None, n, subject="user.mood") for n in range(10)])
    history = alice.history("user.mood")
    assert [version.version for version in history] == list(range(10, 0, -1))
    assert [version.superseded_by for version in history] == [None, *range(10, 1, -1)]
    assert [version.valid_to for version in history[1:]] == [version.valid_from for version in history[:-1]]


def test_what_is_learnt_late_takes_its_place_in_time(alice: ScopedMemory) -> None:
    employers = [("Acme", 2020), ("Globex", 2023), ("Initech", 2018), ("Hooli", 2021), ("Umbrella", 2019)]
    for employer, year in employers:
        record = alice.save(None, employer, subject="user.employer", valid_from=YEARS[year])
        assert record.valid_from == YEARS[year]
    assert timeline(alice, "user.employer") == [
        ("Initech", 2018, 2019), ("Umbrella", 2019, 2020), ("Acme", 2020, 2021), ("Hooli", 2021, 2023),
        ("Globex", 2023, None),
    ]  # fmt: skip
    numbers = {version.value: version for version in alice.history("user.employer")}
    assert {name: version.superseded_by for name, version in numbers.items()} == {
        "Acme": 4, "Globex": None, "Initech": 5, "Hooli": 2, "Umbrella": 1,
    }  # fmt: skip
    assert (alice.items())[0].value == "Globex"
    for year, employer in [(2018, "Initech"), (2019, "Umbrella"), (2020, "Acme"), (2022, "Hooli"), (2024, "Globex")]:
        [record] = alice.items(as_of=YEARS[year])
        assert record.value == employer


def test_a_late_fact_fills_what_nobody_knew_and_corrects_what_was_wrong(alice: ScopedMemory) -> None:
    alice.save("city", "Oslo", valid_from=YEARS[2022])
    alice.delete("city")
    alice.save("city", "Bergen", valid_from=YEARS[2022])
    alice.save("city", "Tromso", valid_from=YEARS[2022])
    corrected = alice.save("city", "Molde", valid_from=YEARS[2020])
    this_year = datetime.now(UTC).year
    assert timeline(alice, "city") == [("Molde", 2020, 2022), ("Tromso", 2022, this_year)]
    # Of those that begin at the same moment, it is followed by the one in effect.
    assert corrected.superseded_by == 3
    assert alice.get("city") is None
    wrong = [version for version in alice.history("city") if version.value in ("Oslo", "Bergen")]
    assert [version.valid_to for version in wrong] == [YEARS[2022], YEARS[2022]]


def test_what_was_said_before_is_not_said_again_late(alice: ScopedMemory) -> None:
    alice.save("city", "Oslo", valid_from=YEARS[2020])
    again = alice.save("city", "Oslo", valid_from=YEARS[2022])
    assert (again.outcome, again.valid_from) == ("unchanged", YEARS[2020])
    earlier = alice.save("city", "Oslo", valid_from=YEARS[2019])
    assert (earlier.outcome, earlier.valid_to, earlier.superseded_by) == ("saved", YEARS[2020], 1)


def test_nothing_is_true_from_the_future_on(alice: ScopedMemory) -> None:
    with pytest.raises(InvalidInputError, match="future"):
        alice.save("k", 1, valid_from=datetime.now(UTC) + timedelta(seconds=30))
    with pytest.raises(InvalidInputError, match="time zone"):
        alice.save("k", 1, valid_from=datetime(2024, 1, 1))
    assert alice.items() == []


def test_a_caller_whose_clock_is_ahead_means_now(alice: ScopedMemory, rows: Rows) -> None:
    given: dict[str, Any] = dict.fromkeys(("text", "metadata", "thread_id", "position", "occurred_at", "expires_in"))
    draft = drafting.draft("k", 1, namespace=(), importance=0.5, **given)
    ahead = replace(draft, valid_from=datetime.now(UTC) + timedelta(hours=1))
    record = alice._storage.run(memories.save(alice.owner, ahead, drafting.Embedded()))
    assert rows("SELECT valid_from <= clock_timestamp() FROM lakemem.memories") == [(True,)]
    assert alice.get("k") == record


def test_a_late_save_waits_for_what_is_being_forgotten(alice: ScopedMemory, rows: Rows) -> None:
    """Closing many at once does not hold the lock on each key: what it does to a version is found all the same."""
    saves: list[dict[str, Any]] = [{"value": "later"}, {"value": "late", "valid_from": YEARS[2024]}]
    for number, given in enumerate(saves):
        alice.save(key := f"k{number}", "first", valid_from=YEARS[2020])
        with rows.connect() as forgetting:
            forgetting.execute("BEGIN")
            forgetting.execute("UPDATE lakemem.memories SET valid_to = clock_timestamp() WHERE key = %s", [key])
            timer = threading.Timer(0.3, forgetting.execute, ["COMMIT"])
            timer.start()
            saved = alice.save(key, **given)
            timer.join()
        [second, first] = alice.history(key)
        assert second == saved
        if "valid_from" in given:
            # It was true until it was forgotten.
            assert (first.valid_to, second.valid_from) == (YEARS[2024], YEARS[2024])
            assert second.valid_to is not None
        else:
            assert first.valid_to is not None
            assert first.valid_to <= second.valid_from
            assert second.valid_to is None


def test_a_write_with_an_idempotency_key_is_made_once(alice: ScopedMemory, rows: Rows) -> None:
    first = alice.save("visits", 1, idempotency_key="call 1")
    second = alice.save("visits", 2, idempotency_key="call 2")
    for _ in range(2):
        repeated = alice.save("visits", 1, idempotency_key="call 1")
        assert (repeated, repeated.outcome) == (second, "unchanged")
    assert (first.version, len(alice.history("visits"))) == (1, 2)
    alice.delete("visits")
    deleted = alice.save("visits", 1, idempotency_key="call 1")
    assert deleted == (alice.history("visits"))[0]
    assert deleted.valid_to is not None
    alice.delete("visits", erase=True)
    gone = alice.save("visits", 1, idempotency_key="call 1")
    assert (gone.version, gone.outcome) == (0, "unchanged")
    assert rows("SELECT count(*) FROM lakemem.memories") == [(0,)]


def test_a_repetition_finds_what_the_write_was_merged_into(alice: ScopedMemory, rows: Rows) -> None:
    kept = alice.save(None, "The user likes tea.", idempotency_key="1")
    for _ in range(3):
        record = alice.save(None, "User likes tea", idempotency_key="2")
        assert record == kept
    assert record.outcome == "unchanged"
    assert rows("SELECT action FROM lakemem.memory_events ORDER BY event_id") == [("save",), ("merge",)]


def test_a_write_is_made_once_however_many_repeat_it_at_once(alice: ScopedMemory) -> None:
    saved = gather([lambda n=n: alice.save("k", n, idempotency_key="once") for n in range(8)])
    assert sorted(record.outcome or "" for record in saved) == ["saved"] + ["unchanged"] * 7
    assert len({(record.version, record.value) for record in saved}) == 1


def test_users_may_choose_the_same_idempotency_key(alice: ScopedMemory, memory: Memory) -> None:
    alice.save("k", 1, idempotency_key="once")
    other = memory.for_user(str(uuid.uuid4()))
    assert (other.save("k", 1, idempotency_key="once")).outcome == "saved"
    with pytest.raises(InvalidInputError, match="idempotency_key"):
        other.save("k", 1, idempotency_key=" ")


def test_history_has_every_version_and_an_old_one_can_be_brought_back(alice: ScopedMemory, rows: Rows) -> None:
    first = alice.save(
        "colour", {"likes": "blue"}, metadata={"sure": True}, importance=0.9, thread_id="t", position=3,
        occurred_at=YEARS[2024], expires_in=3600, sources=["turn 1"],
    )  # fmt: skip
    alice.save("colour", "red")
    alice.delete("colour")
    assert [version.value for version in alice.history("colour")] == ["red", {"likes": "blue"}]
    third = alice.revert("colour", 1)
    kept = {name: getattr(third, name) for name in (
        "value", "text", "metadata", "importance", "thread_id", "position", "occurred_at", "expires_at", "sources",
        "kind", "similar_to", "owner", "namespace", "key",
    )}  # fmt: skip
    assert kept == {name: getattr(first, name) for name in kept}
    assert (third.version, third.valid_to, third.created_at) == (3, None, third.valid_from)
    assert alice.get("colour") == third
    fourth = alice.revert("colour", 2)
    assert (fourth.value, fourth.expires_at, fourth.created_at) == ("red", None, third.created_at)
    log = rows("SELECT action, version FROM lakemem.memory_events ORDER BY event_id")
    assert log == [("save", 1), ("save", 2), ("delete", 2), ("revert", 3), ("revert", 4)]
    for key, version, namespace in (("colour", 9, ()), ("colour", 0, ()), ("other", 1, ()), ("colour", 1, ("a",))):
        with pytest.raises(MemoryNotFoundError):
            alice.revert(key, version, namespace=namespace)
    assert alice.history("other") == alice.history("colour", namespace=("a",)) == []


def test_what_has_expired_is_in_no_history_and_at_no_moment(alice: ScopedMemory, rows: Rows) -> None:
    saved = alice.save("code", 1234, expires_in=3600)
    later = saved.valid_from + timedelta(hours=2)
    assert alice.get("code", as_of=later) is None
    assert alice.get("code", as_of=saved.valid_from) == saved
    rows("UPDATE lakemem.memories SET expires_at = clock_timestamp()")
    assert alice.history("code") == alice.items(as_of=saved.valid_from) == []
    assert alice.get("code", as_of=saved.valid_from) is None
    with pytest.raises(MemoryNotFoundError):
        alice.revert("code", 1)


def test_a_change_takes_over_the_vectors_and_where_it_came_from(alice: ScopedMemory, rows: Rows) -> None:
    alice.save(None, "The user likes tea.")
    linked = alice.save(None, "The user likes green tea.", sources=["turn"])
    assert len(linked.similar_to) == 1
    vectors = "SELECT embedding_model, embedding::text, next_embedding_model, next_embedding::text"
    rows(
        "UPDATE lakemem.memories SET kind = 'turn', embedding_model = 'a', embedding = '[1,2]',"
        " next_embedding_model = 'b', next_embedding = '[3]'"
    )
    updated = alice.update(linked.key, metadata={"a": 1})
    assert (updated.sources, updated.similar_to, updated.kind) == (("turn",), linked.similar_to, "turn")
    stored = f"{vectors} FROM lakemem.memories WHERE valid_to IS NULL AND key = %s"
    assert rows(stored, linked.key) == [("a", "[1,2]", "b", "[3]")]  # type: ignore[arg-type]
    changed = alice.update(linked.key, "The user hates tea.")
    assert (changed.sources, changed.similar_to, changed.kind) == (("turn",), (), "turn")
    assert rows(stored, linked.key) == [(None, None, None, None)]  # type: ignore[arg-type]
    alice.revert(linked.key, 1)
    assert rows(stored, linked.key) == [("a", "[1,2]", "b", "[3]")]  # type: ignore[arg-type]


def fill(alice: ScopedMemory) -> None:
    for namespace in ((), ("trips",), ("trips", "oslo")):
        alice.save("k", namespace, namespace=namespace, metadata={"tags": ["a", "b"]}, thread_id="t")
        alice.save("old", 1, namespace=namespace, valid_from=YEARS[2020])
        alice.save("happened", 1, namespace=namespace, occurred_at=YEARS[2021], thread_id="u")


FORGOTTEN: list[tuple[dict[str, Any], int]] = [
    ({"key": "k"}, 3),
    ({"key": "k", "namespace": ()}, 1),
    ({"key": "k", "namespace": ("trips",)}, 1),
    ({"namespace": ("trips",)}, 6),
    ({"namespace": ("trips", "oslo"), "thread_id": "t"}, 1),
    ({"filter": {"tags": ["b"]}}, 3),
    ({"filter": {"tags": ["c"]}}, 0),
    ({"thread_id": "u"}, 3),
    ({"before": YEARS[2022]}, 6),
    ({"before": YEARS[2021]}, 3),
    ({"before": YEARS[2022], "thread_id": "u", "namespace": ()}, 3),
]


@pytest.mark.parametrize(("conditions", "count"), FORGOTTEN)
def test_what_meets_every_condition_is_forgotten(
    alice: ScopedMemory, memory: Memory, rows: Rows, conditions: dict[str, Any], count: int
) -> None:
    other = memory.for_user(str(uuid.uuid4()))
    fill(alice)
    fill(other)
    alice.delete("k", namespace=("trips", "oslo"))
    alice.save("k", "again", namespace=("trips", "oslo"), metadata={"tags": ["a", "b"]}, thread_id="t")
    assert alice.forget(**conditions) == count
    assert alice.forget(**conditions) == 0
    assert len(alice.items()) == 9 - count
    assert rows("SELECT count(*) FROM lakemem.memories") == [(10,)]
    assert rows("SELECT count(*) FROM lakemem.memory_events WHERE action = 'forget'") == [(count,)]
    assert alice.forget(**conditions, erase=True) == count
    assert alice.forget(**conditions, erase=True) == 0
    remaining = rows("SELECT DISTINCT namespace, key FROM lakemem.memories")
    assert len(remaining) == 9 - count
    assert rows("SELECT count(*) FROM lakemem.memory_events WHERE action = 'erase'") == [(count,)]
    assert len(other.items()) == 9


def test_what_is_erased_leaves_no_version_and_what_is_current_decides(alice: ScopedMemory, rows: Rows) -> None:
    alice.save("k", "heard in t", thread_id="t")
    alice.save("k", "heard in u", thread_id="u")
    alice.save("other", 1, thread_id="t")
    assert alice.forget(thread_id="t", erase=True) == 1
    assert [record.value for record in alice.history("k")] == ["heard in u", "heard in t"]
    assert alice.forget(thread_id="u", erase=True) == 1
    assert rows("SELECT * FROM lakemem.memories") == []


@pytest.mark.parametrize(
    "empty", [{}, {"namespace": ()}, {"filter": {}}, {"namespace": (), "filter": {}, "erase": True}]
)
def test_nothing_is_forgotten_without_a_condition(alice: ScopedMemory, empty: dict[str, Any]) -> None:
    alice.save("k", 1)
    with pytest.raises(InvalidInputError, match="nothing says what to forget"):
        alice.forget(**empty)
    assert len(alice.items()) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"sources": "k"},
        {"sources": [""]},
        {"sources": [1]},
        {"subject": ""},
        {"valid_from": "2024"},
        {"idempotency_key": 1},
    ],
)
def test_what_cannot_be_saved_is_refused(alice: ScopedMemory, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        alice.save(None, 1, **wrong)
    assert alice.items() == []


def test_a_kind_that_is_none_is_refused(alice: ScopedMemory) -> None:
    with pytest.raises(InvalidInputError, match="kind"):
        alice.items(kind="rumour")  # type: ignore[arg-type]


def test_while_memory_is_down_a_save_waits_and_what_needs_an_answer_says_so(target: Lakebase) -> None:
    with Proxy(target) as proxy:
        with degrading(Memory(proxy.target, timeout=1), cooldown=0.05) as memory:
            alice = memory.for_user(str(uuid.uuid4()))
            alice.save("k", 1, idempotency_key="before")
            proxy.refuse()
            waiting = alice.save(None, 2, subject="user.n", sources=["k"], valid_from=YEARS[2020])
            assert (waiting.version, waiting.outcome, waiting.valid_from) == (0, None, YEARS[2020])
            assert (waiting.key, waiting.sources, waiting.owner) == ("user.n", ("k",), alice.owner)
            assert (alice.save("k", 9, idempotency_key="before")).version == 0
            assert (alice.history("k"), alice.get("k", as_of=YEARS[2020])) == ([], None)
            with pytest.raises(StorageUnavailableError):
                alice.revert("k", 1)
            with pytest.raises(StorageUnavailableError):
                alice.forget(key="k")
            proxy.restore()

            def well() -> bool:
                return (memory.health()).status == "ok"

            Poll.until(well)
            stored = [(record.key, record.value, record.version) for record in alice.items()]
            assert stored == [("k", 1, 1), ("user.n", 2, 1)]
