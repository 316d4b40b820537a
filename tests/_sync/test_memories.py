# Generated from tests/_async/test_memories.py by tools/unasync.py: edit that file, then run `make generate`.
"""Long-term memory on a real Postgres: what is saved, changed and forgotten."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from lakemem import (
    ConflictError,
    Lakebase,
    Memory,
    MemoryNotFoundError,
    MemoryRecord,
    ScopedMemory,
    StorageError,
)
from lakemem.testing import DatabaseFactory
from lakemem.testing.concurrency import gather
from tests.support.rows import Rows

VALUES: list[Any] = [
    None, False, 0, -1.5, 10**30, "", "short answers", [], {},
    {"z": 1, "a": [None, {"b": "Grüße 🦆"}], "": 0},
    {"text": "\x00 and a lone \ud83e", "\x00": 1},
    ["nested", [["deep"], {"a": {"b": {}}}]],
]  # fmt: skip


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


def keys(records: list[MemoryRecord]) -> list[str]:
    return [record.key for record in records]


def let_expire(rows: Rows, key: str) -> None:
    rows("UPDATE lakemem.memories SET expires_at = now() - interval '1 second' WHERE key = %s", key)


@pytest.mark.parametrize("value", VALUES)
def test_a_value_comes_back_as_it_was(alice: ScopedMemory, value: Any) -> None:
    saved = alice.save("key", value)
    got = alice.get("key")
    assert got is not None
    assert json.dumps(got.value) == json.dumps(saved.value) == json.dumps(value)
    [listed] = alice.items()
    assert listed == got == saved


def test_all_that_is_known_of_a_memory_is_kept(alice: ScopedMemory, rows: Rows) -> None:
    happened = datetime(2024, 5, 17, 23, 30, tzinfo=timezone(timedelta(hours=-8)))
    saved = alice.save(
        "trip",
        {"to": "Oslo"},
        namespace=("travel", "past"),
        text="Alice went to Oslo",
        metadata={"year": 2024, "tags": ["north"]},
        importance=0.25,
        thread_id="t",
        position=7,
        occurred_at=happened,
        expires_in=3600,
    )
    record = alice.get("trip", namespace=("travel", "past"))
    assert record == saved
    assert (record.namespace, record.version, record.valid_to) == (("travel", "past"), 1, None)
    assert (record.text, record.metadata) == ("Alice went to Oslo", {"year": 2024, "tags": ["north"]})
    assert record.occurred_at == happened
    assert record.expires_at == record.valid_from + timedelta(hours=1)
    assert abs(datetime.now(UTC) - record.valid_from) < timedelta(minutes=5)
    assert rows("SELECT importance, thread_id, position FROM lakemem.memories") == [(0.25, "t", 7)]


def test_what_search_reads_is_the_key_and_the_value_in_words(alice: ScopedMemory) -> None:
    record = alice.save("preferred_workspace", {"workspace_id": "12345", "pages": [1, True, None]})
    assert record.text == "preferred workspace: workspace id 12345, pages 1, true"


def test_without_a_key_one_is_made_up_and_is_not_searched(alice: ScopedMemory) -> None:
    first, second = alice.save(None, "one"), alice.save(None, "two")
    assert first.key != second.key
    assert first.text == "one"
    assert (alice.get(first.key)) == first


def test_there_is_nothing_under_a_key_that_was_not_saved(alice: ScopedMemory) -> None:
    assert alice.get("nothing") is None
    assert alice.items() == []
    assert alice.delete("nothing") is False
    assert alice.delete("nothing", erase=True) is False


def test_saving_again_appends_a_version_and_rewrites_none(alice: ScopedMemory, rows: Rows) -> None:
    content = (
        "SELECT version, value::text, text, metadata, content_hash, valid_from"
        " FROM lakemem.memories WHERE version = 1"
    )  # fmt: skip
    first = alice.save("colour", "blue", metadata={"n": 1})
    before = rows(content)
    second = alice.save("colour", "red")
    assert (first.version, second.version) == (1, 2)
    assert rows(content) == before
    versions = rows("SELECT version, valid_from, valid_to, superseded_by FROM lakemem.memories ORDER BY version")
    assert versions == [
        (1, first.valid_from, second.valid_from, 2),
        (2, second.valid_from, None, None),
    ]
    assert first.valid_from < second.valid_from
    assert alice.get("colour") == second
    assert alice.items() == [second]


def test_saves_of_one_key_at_once_make_one_version_each(alice: ScopedMemory, rows: Rows) -> None:
    saved = gather([lambda n=n: alice.save("busy", n) for n in range(12)])
    assert sorted(record.version for record in saved) == list(range(1, 13))
    last = max(saved, key=lambda record: record.version)
    assert alice.items() == [last]
    spans = rows("SELECT valid_from, valid_to FROM lakemem.memories ORDER BY version")
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]
    assert spans[-1][1] is None


def test_an_update_takes_over_what_it_is_not_given(alice: ScopedMemory, rows: Rows) -> None:
    happened = datetime(2024, 1, 1, tzinfo=UTC)
    first = alice.save(
        "colour", {"likes": "blue"}, metadata={"sure": True}, importance=0.9, thread_id="t", position=3,
        occurred_at=happened, expires_in=3600,
    )  # fmt: skip
    second = alice.update("colour", {"likes": "red"})
    assert (second.version, second.value, second.text) == (2, {"likes": "red"}, "colour: likes red")
    assert (second.metadata, second.occurred_at, second.expires_at) == ({"sure": True}, happened, first.expires_at)
    third = alice.update("colour", metadata={"sure": False})
    assert (third.version, third.value, third.text) == (3, {"likes": "red"}, "colour: likes red")
    assert third.metadata == {"sure": False}
    fourth = alice.update("colour", text="red it is")
    assert (fourth.value, fourth.text) == ({"likes": "red"}, "red it is")
    fifth = alice.update("colour", None)
    assert (fifth.value, fifth.text) == (None, "colour")
    assert alice.get("colour") == fifth
    kept = rows("SELECT DISTINCT importance, thread_id, position, occurred_at FROM lakemem.memories")
    assert [(round(importance, 6), *rest) for importance, *rest in kept] == [(0.9, "t", 3, happened)]


def test_an_update_can_put_off_the_end(alice: ScopedMemory) -> None:
    alice.save("code", "1234", expires_in=1)
    record = alice.update("code", expires_in=3600)
    assert record.expires_at == record.valid_from + timedelta(hours=1)


def test_an_update_of_nothing_is_refused(alice: ScopedMemory, rows: Rows) -> None:
    with pytest.raises(MemoryNotFoundError):
        alice.update("colour", "red")
    alice.save("colour", "blue")
    alice.delete("colour")
    with pytest.raises(MemoryNotFoundError):
        alice.update("colour", "red")
    with pytest.raises(MemoryNotFoundError):
        alice.update("colour", "red", namespace=("elsewhere",))
    assert rows("SELECT version FROM lakemem.memories") == [(1,)]


def test_of_updates_that_expect_one_version_one_succeeds(alice: ScopedMemory) -> None:
    alice.save("colour", "blue")

    def attempt(n: int) -> int | None:
        try:
            alice.update("colour", n, expected_version=1)
        except ConflictError:
            return None
        return n

    winners = [n for n in gather([lambda n=n: attempt(n) for n in range(8)]) if n is not None]
    record = alice.get("colour")
    assert record is not None
    assert (record.version, [record.value]) == (2, winners)


def test_updates_at_once_are_all_applied(alice: ScopedMemory) -> None:
    alice.save("colour", "blue")
    updated = gather([lambda n=n: alice.update("colour", n) for n in range(8)])
    assert sorted(record.version for record in updated) == list(range(2, 10))


def test_a_deleted_memory_is_found_no_more_and_stays_on_record(alice: ScopedMemory, rows: Rows) -> None:
    alice.save("colour", "blue")
    assert alice.delete("colour") is True
    assert alice.delete("colour") is False
    assert (alice.get("colour"), alice.items(), alice.search("blue")) == (None, [], [])
    assert rows("SELECT version, valid_to IS NOT NULL, superseded_by FROM lakemem.memories") == [(1, True, None)]
    assert (alice.save("colour", "red")).version == 2


def test_erasing_leaves_no_version(alice: ScopedMemory, rows: Rows) -> None:
    alice.save("colour", "blue")
    alice.save("colour", "red")
    alice.save("shape", "round")
    assert alice.delete("colour", erase=True) is True
    assert alice.delete("colour", erase=True) is False
    assert rows("SELECT key FROM lakemem.memories") == [("shape",)]
    assert (alice.save("colour", "green")).version == 1


def test_erasing_takes_what_was_deleted_before(alice: ScopedMemory, rows: Rows) -> None:
    alice.save("colour", "blue")
    alice.delete("colour")
    assert alice.delete("colour", erase=True) is True
    assert rows("SELECT * FROM lakemem.memories") == []


def test_an_expired_memory_is_as_if_it_were_not_there(alice: ScopedMemory, rows: Rows) -> None:
    alice.save("code", "1234", expires_in=3600)
    assert alice.get("code") is not None
    let_expire(rows, "code")
    assert (alice.get("code"), alice.items(), alice.search("code")) == (None, [], [])
    with pytest.raises(MemoryNotFoundError):
        alice.update("code", "5678")
    assert alice.delete("code") is False
    record = alice.save("code", "5678")
    assert (record.version, record.expires_at) == (2, None)
    assert alice.items() == [record]


def test_the_audit_log_has_every_change_and_no_text(alice: ScopedMemory, rows: Rows) -> None:
    alice.save("colour", "a secret blue", namespace=("a",))
    alice.save("colour", "a secret red", namespace=("a",))
    alice.update("colour", "a secret green", namespace=("a",))
    alice.delete("colour", namespace=("a",))
    alice.delete("colour", namespace=("a",))
    alice.delete("colour", namespace=("a",), erase=True)
    alice.get("colour", namespace=("a",))
    events = rows("SELECT action, namespace, key, version FROM lakemem.memory_events ORDER BY event_id")
    assert events == [
        ("save", ["a"], "colour", 1),
        ("save", ["a"], "colour", 2),
        ("update", ["a"], "colour", 3),
        ("delete", ["a"], "colour", 3),
        ("erase", ["a"], "colour", 3),
    ]
    assert "secret" not in str(rows("SELECT to_jsonb(e)::text FROM lakemem.memory_events AS e"))


@pytest.mark.parametrize("action", ["save", "update", "delete", "erase"])
def test_what_the_audit_log_cannot_note_does_not_happen(alice: ScopedMemory, rows: Rows, action: str) -> None:
    changes = {
        "save": lambda: alice.save("colour", "red"),
        "update": lambda: alice.update("colour", "red"),
        "delete": lambda: alice.delete("colour"),
        "erase": lambda: alice.delete("colour", erase=True),
    }
    saved = alice.save("colour", "blue")
    # The literal, for a constraint takes no parameters; it is made of hexadecimal digits.
    limit = f"ALTER TABLE lakemem.memory_events ADD CONSTRAINT full_log CHECK (owner <> '{alice.owner}') NOT VALID"
    rows(limit)  # type: ignore[arg-type]
    try:
        with pytest.raises(StorageError) as refused:
            changes[action]()
    finally:
        rows("ALTER TABLE lakemem.memory_events DROP CONSTRAINT full_log")
    assert "full_log" in str(refused.value)
    assert "colour" not in str(refused.value)
    assert alice.items() == [saved]


def test_a_key_names_one_memory_in_each_namespace(alice: ScopedMemory) -> None:
    for namespace in ((), ("a",), ("a", "b")):
        alice.save("key", list(namespace), namespace=namespace)
    assert alice.delete("key", namespace=("a",)) is True
    found = {namespace: alice.get("key", namespace=namespace) for namespace in ((), ("a",), ("a", "b"))}
    assert {namespace: record and record.value for namespace, record in found.items()} == {
        (): [],
        ("a",): None,
        ("a", "b"): ["a", "b"],
    }


def test_a_namespace_lists_those_below_it_label_by_label(alice: ScopedMemory) -> None:
    for namespace in ((), ("a",), ("a", "b"), ("a", "bc"), ("ab",), ("b", "a")):
        alice.save("/".join(("k", *namespace)), 1, namespace=namespace)
    assert keys(alice.items()) == ["k/b/a", "k/ab", "k/a/bc", "k/a/b", "k/a", "k"]
    assert keys(alice.items(namespace=("a",))) == ["k/a/bc", "k/a/b", "k/a"]
    assert keys(alice.items(namespace=("a", "b"))) == ["k/a/b"]
    assert keys(alice.items(namespace=("a", "b", "c"))) == []
    assert {hit.key for hit in alice.search("k", namespace=("a",))} == {"k/a/bc", "k/a/b", "k/a"}


def test_a_label_is_only_a_label(alice: ScopedMemory) -> None:
    odd = ("a,b", '{"', "\\", "NULL", "ä %s {schema}", "' OR true --")
    saved = alice.save('"; DROP TABLE', 1, namespace=odd)
    assert alice.get('"; DROP TABLE', namespace=odd) == saved
    assert alice.items(namespace=odd[:3]) == [saved]


def test_metadata_filters_by_what_it_contains(alice: ScopedMemory) -> None:
    alice.save("one", 1, metadata={"kind": "trip", "year": 2024, "tags": ["north", "cold"], "at": {"x": 1}})
    alice.save("two", 2, metadata={"kind": "trip", "year": 2025, "tags": ["south"], "at": {"x": 1, "y": 2}})
    alice.save("three", 3)
    filters: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["three", "two", "one"]),
        ({"kind": "trip"}, ["two", "one"]),
        ({"kind": "trip", "year": 2024}, ["one"]),
        ({"year": "2024"}, []),
        ({"tags": ["north"]}, ["one"]),
        ({"at": {"x": 1}}, ["two", "one"]),
        ({"at": {"x": 1, "y": 2}}, ["two"]),
        ({"missing": None}, []),
    ]
    for wanted, found in filters:
        assert keys(alice.items(filter=wanted)) == found, wanted
        hits = alice.search("one two three", filter=wanted)
        assert {hit.key for hit in hits} == set(found), wanted


def test_pages_come_newest_first_and_do_not_overlap(alice: ScopedMemory) -> None:
    for n in range(7):
        alice.save(f"k{n}", n)
    alice.save("k0", "again")
    pages = [keys(alice.items(limit=3, offset=offset)) for offset in (0, 3, 6, 9)]
    assert pages == [["k0", "k6", "k5"], ["k4", "k3", "k2"], ["k1"], []]
    assert len(alice.items(limit=None)) == 7
    assert alice.items(limit=0) == []


def test_a_user_and_a_scope_share_nothing(memory: Memory) -> None:
    name = str(uuid.uuid4())
    memory.for_user(name).save("key", "the user's")
    shared = memory.for_scope(name)
    assert (shared.get("key"), shared.items(), shared.search("user")) == (None, [], [])
    shared.save("key", "everybody's")
    assert [record.value for record in memory.for_user(name).items()] == ["the user's"]
