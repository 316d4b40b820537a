# Generated from tests/_async/test_archive.py by tools/unasync.py: edit that file, then run `make generate`.
"""What is taken out of one database and brought into another is the same."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakemem import ConflictError, Imported, InvalidInputError, Lakebase, Memory, ScopedMemory
from lakemem.operations import archive_lines as archive
from lakemem.testing import DatabaseFactory
from tests._sync.examples import examples
from tests.support.embedders import TopicEmbedder
from tests.support.rows import Rows


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture(scope="module")
def other_target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """Another database."""
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture
def other_memory(other_target: Lakebase) -> Iterator[Memory]:
    with Memory(other_target) as memory:
        yield memory


@pytest.fixture
def alice(memory: Memory) -> ScopedMemory:
    return memory.for_user(f"alice {uuid.uuid4()}")


@pytest.fixture
def other(other_memory: Memory) -> ScopedMemory:
    return other_memory.for_user(f"other {uuid.uuid4()}")


def exported(user: ScopedMemory, **options: Any) -> list[dict[str, Any]]:
    return [record for record in user.export(**options)]


def lines_of(records: list[dict[str, Any]]) -> list[str]:
    return [json.dumps(record) for record in records]


def fill(user: ScopedMemory) -> None:
    """Something of each kind, with all that is hard to carry."""
    thread = user.thread("t")
    thread.append([{"b": "Gr\u00fc\u00dfe \u2028\x00\ud83e", "a": 1e-7}, {"n": 10**30}, {"n": 3}])
    thread.pop()
    thread.update(title="A title", metadata={"x": [1]}, expires_in=3600)
    thread.fork(at=1, thread_id="fork")
    user.thread("empty").update(title="Nothing yet")
    for value in ("blue", "red", {"z": 1, "a": "\x00\ud83e \u2028"}):
        user.save("colour", value, namespace=("a", 'quo"te\\'), metadata={"tag": ["\u00fc"]}, importance=0.9)
    user.save("colour", "green", thread_id="t", position=1, occurred_at=datetime(2020, 1, 2, tzinfo=UTC))
    user.save("short-lived", 1, expires_in=3600)
    user.save("deleted", None)
    user.delete("deleted")
    user.save("deleted", [])


def test_an_archive_comes_back_the_same_in_another_database(
    alice: ScopedMemory, other: ScopedMemory, target: Lakebase
) -> None:
    fill(alice)
    Rows(target, alice.owner)(
        "UPDATE lakemem.memories SET said_importance = 0.9, importance = 0.3 WHERE key = 'deleted'"
    )
    records = exported(alice)
    counts = {kind: sum(record["kind"] == kind for record in records) for kind in ("thread", "item", "memory")}
    assert counts == {"thread": 3, "item": 3, "memory": 7}
    assert other.import_archive(lines_of(records)) == Imported(threads=3, items=3, memories=7)
    assert exported(other) == records
    assert other.import_archive(records) == Imported()
    assert exported(other) == records
    assert alice.import_archive(lines_of(records)) == Imported()
    assert exported(alice) == records
    thread = other.thread("t")
    assert thread.append([{"n": 4}]) == range(4, 5)
    assert (other.save("colour", "black")).version == 2
    assert [hit.key for hit in other.search("green")] == []
    [hit] = other.search("black")
    assert hit.key == "colour"


def test_the_columns_of_memories_are_all_in_an_archive(alice: ScopedMemory, target: Lakebase) -> None:
    """What is not is worked out anew, or says how a change of the embedder stands."""
    alice.save("k", 1)
    columns = Rows(target, alice.owner)(
        "SELECT column_name::text FROM information_schema.columns"
        " WHERE table_schema = 'lakemem' AND table_name = 'memories'"
    )
    [record] = exported(alice, vectors=True)
    derived = {"tsv", "length", "labels", "content_hash", "next_embedding", "next_embedding_model", "stored_at"}
    assert {column for (column,) in columns} - derived - {"owner", "kind"} == record.keys() - {"kind", "memory_kind"}


def test_vectors_come_along_where_they_are_asked_for(target: Lakebase, other_target: Lakebase) -> None:
    embedder = TopicEmbedder()
    name = str(uuid.uuid4())
    with Memory(target, embedder=embedder) as memory:
        user = memory.for_user(name)
        user.save("pet", "a dog")
        plain, whole = exported(user), exported(user, vectors=True)
        [before] = user.search("puppy")
    assert "embedding" not in plain[0]
    assert len(whole[0]["embedding"]) == embedder.dimensions
    assert whole[0]["embedding_model"] == "topics/4"
    embedder.texts.clear()
    with Memory(other_target, embedder=embedder) as memory:
        taken_over, made_anew = memory.for_user(f"{name} 1"), memory.for_user(f"{name} 2")
        taken_over.import_archive(whole)
        assert embedder.texts == []
        made_anew.import_archive(plain)
        made_anew.import_archive(plain)
        assert embedder.texts == ["pet: a dog"]
        for user in (taken_over, made_anew):
            assert exported(user, vectors=True) == whole
            [after] = user.search("puppy")
            assert (after.key, after.similarity, after.arms) == ("pet", before.similarity, ("dense", "lexical"))
    with Memory(other_target) as memory:
        user = memory.for_user(f"{name} 3")
        user.import_archive(plain)
        assert exported(user, vectors=True) == [{**whole[0], "embedding": None, "embedding_model": None}]


def test_an_embedder_that_is_down_gives_its_vectors_later(other_target: Lakebase) -> None:
    def fail(_: Any) -> Any:
        raise OSError

    with Memory(other_target, embedder=TopicEmbedder(spoil=fail)) as memory:
        user = memory.for_user(str(uuid.uuid4()))
        assert user.import_archive([line_of_a_memory()]) == Imported(memories=1)
        assert Rows(other_target, user.owner)("SELECT kind FROM lakemem.jobs") == [("embed",)]


def test_nothing_is_in_it_of_anybody_else(memory: Memory, alice: ScopedMemory) -> None:
    fill(alice)
    bob = memory.for_user(f"bob {uuid.uuid4()}")
    assert exported(bob) == []
    records = exported(alice)
    assert "alice" not in json.dumps(records)
    bob.import_archive(records)
    bob.save("colour", "of bob")
    assert exported(alice) == records
    assert len(exported(bob)) == len(records) + 1


def test_a_line_that_names_an_owner_is_refused(alice: ScopedMemory, other: ScopedMemory) -> None:
    with pytest.raises(InvalidInputError, match="line 1: a memory has no field 'owner'"):
        other.import_archive([{**line_of_a_memory(), "owner": alice.owner}])
    assert exported(alice) == exported(other) == []


def test_what_came_since_the_last_import_comes_over(alice: ScopedMemory, other: ScopedMemory) -> None:
    fill(alice)
    other.import_archive(exported(alice))
    alice.save("colour", "yellow")
    alice.delete("short-lived")
    alice.thread("t").append([{"n": 5}])
    assert other.import_archive(exported(alice)) == Imported(items=1, memories=3)
    assert [record for record in exported(other) if record["kind"] == "memory"] == [
        record for record in exported(alice) if record["kind"] == "memory"
    ]
    assert other.thread("t").items() == alice.thread("t").items()


def test_what_went_on_here_stays(alice: ScopedMemory, other: ScopedMemory) -> None:
    fill(alice)
    records = exported(alice)
    other.import_archive(records)
    other.update("colour", "mine")
    other.delete("deleted")
    other.thread("t").update(title="Mine")
    other.thread("t").append([{"n": "mine"}])
    before = exported(other)
    assert other.import_archive(records) == Imported()
    assert exported(other) == before


def test_something_else_in_the_place_of_a_line_is_a_conflict(alice: ScopedMemory, other: ScopedMemory) -> None:
    alice.thread("new").append([{"n": 1}])
    alice.thread("t").append([{"n": 1}])
    alice.save("k", "theirs")
    records = exported(alice)
    other.thread("t").append([{"n": 2}])
    before = exported(other)
    with pytest.raises(ConflictError, match="lines 1 to 5"):
        other.import_archive(records)
    assert exported(other) == before, "also of what stands before it nothing was stored"
    other.thread("t").delete()
    other.save("k", "mine")
    before = exported(other)
    with pytest.raises(ConflictError, match="lines 1 to 5"):
        other.import_archive(records)
    assert exported(other) == before


def line_of_a_memory(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "memory", "namespace": [], "key": "k", "version": 1, "memory_kind": "fact", "value": 1, "text": "k: 1",
        "metadata": {}, "importance": 0.5, "thread_id": None, "position": None, "occurred_at": None, "sources": [],
        "similar_to": [], "expires_at": None, "lifetime": None, "created_at": "2026-01-01T00:00:00+00:00",
        "valid_from": "2026-01-01T00:00:00+00:00", "valid_to": None, "superseded_by": None, **changes,
    }  # fmt: skip


def line_of_a_thread(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "thread", "thread_id": "t", "title": None, "metadata": {}, "created_at": "2026-01-01T00:00:00+00:00",
        "updated_at": "2026-01-01T00:00:00+00:00", "expires_at": None, "lifetime": None, "forked_from": None,
        "forked_position": None, **changes,
    }  # fmt: skip


def line_of_an_item(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "item", "thread_id": "t", "position": 1, "created_at": "2026-01-01T00:00:00+00:00", "item": {},
        **changes,
    }  # fmt: skip


BAD_LINES: list[Any] = [
    "{", "[]", "7", "null", "nonsense", '{"kind": "memory"}', '{"kind": ["memory"]}', '{"kind": "checkpoint"}',
    '{"kind": NaN}', "[" * 100_000, {},
    line_of_a_memory(key=""), line_of_a_memory(key="a\x00"), line_of_a_memory(namespace="a"),
    line_of_a_memory(namespace=["a.b"]), line_of_a_memory(version=0), line_of_a_memory(version=True),
    line_of_a_memory(version="1"), line_of_a_memory(version=2**63), line_of_a_memory(memory_kind="secret"),
    line_of_a_memory(text=None), line_of_a_memory(value="x" * 1_100_000), line_of_a_memory(metadata=[]),
    line_of_a_memory(metadata={"a": "\x00"}), line_of_a_memory(importance=2), line_of_a_memory(importance="1"),
    line_of_a_memory(created_at=None), line_of_a_memory(valid_from="yesterday"),
    line_of_a_memory(valid_from="2026-01-01T00:00:00"), line_of_a_memory(valid_from="0001-01-01T00:00:00+00:00"),
    line_of_a_memory(valid_to="2025-01-01T00:00:00+00:00"), line_of_a_memory(sources="k"),
    line_of_a_memory(sources=[1]), line_of_a_memory(lifetime=-1), line_of_a_memory(surprise=1),
    line_of_a_memory(embedding=[1.0]), line_of_a_memory(embedding_model="m"),
    line_of_a_memory(embedding=[], embedding_model="m"), line_of_a_memory(embedding=["1"], embedding_model="m"),
    line_of_a_memory(embedding=[70000], embedding_model="m"), line_of_a_memory(embedding="[1]", embedding_model="m"),
    line_of_a_memory(embedding=[1.0] * 3801, embedding_model="m"),
    line_of_a_thread(title=7), line_of_a_thread(thread_id=None), line_of_a_thread(metadata=None),
    line_of_a_thread(last_position=-1),
    line_of_an_item(), line_of_an_item(thread_id="seen", item=[]), line_of_an_item(thread_id="seen", position=0),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_LINES, ids=lambda line: str(line)[:30])
def test_a_bad_line_is_refused_before_anything_of_its_batch_is_stored(other: ScopedMemory, bad: Any) -> None:
    good = [line_of_a_thread(thread_id="seen"), line_of_an_item(thread_id="seen"), line_of_a_memory(key="good")]
    lines = [json.dumps(good[0]), "", *good[1:], bad, line_of_a_memory(key="behind")]
    with pytest.raises(InvalidInputError, match=r"^line 5: ") as refused:
        other.import_archive(lines)
    assert len(str(refused.value)) < 300
    assert exported(other) == []


def test_batches_before_a_bad_line_stay(other: ScopedMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "IMPORTED_AT_ONCE", 3)
    records: list[Any] = [line_of_a_memory(key=f"k{number}") for number in range(7)]
    with pytest.raises(InvalidInputError, match="line 6"):
        other.import_archive([*records[:5], {}, *records[5:]])
    assert len(exported(other)) == 3
    assert other.import_archive(records) == Imported(memories=4)


def test_what_has_expired_since_is_passed_over(other: ScopedMemory, other_target: Lakebase) -> None:
    past, soon = ((datetime.now(UTC) + timedelta(seconds=seconds)).isoformat() for seconds in (-1, 60))
    lines = [
        line_of_a_thread(thread_id="gone", expires_at=past), line_of_an_item(thread_id="gone"),
        line_of_a_thread(thread_id="there", expires_at=soon), line_of_an_item(thread_id="there"),
        line_of_a_memory(key="gone", expires_at=past), line_of_a_memory(key="there", expires_at=soon),
    ]  # fmt: skip
    assert other.import_archive(lines) == Imported(threads=1, items=1, memories=1)
    rows = Rows(other_target, other.owner)
    rows("UPDATE lakemem.threads SET expires_at = now() - interval '1 second'")
    again = [line_of_a_thread(thread_id="there", title="Anew"), line_of_an_item(thread_id="there", item={"n": 2})]
    assert other.import_archive(again) == Imported(threads=1, items=1), "what has expired here makes room"
    assert other.thread("there").items() == [{"n": 2}]


def test_items_with_other_spaces_are_the_same(other: ScopedMemory, other_target: Lakebase) -> None:
    other.import_archive([line_of_a_thread(), line_of_an_item(item={"a": [1, 2]})])
    Rows(other_target, other.owner)("""UPDATE lakemem.thread_items SET item = '{ "a" : [1,2 ] }'""")
    assert other.import_archive([line_of_a_thread(), line_of_an_item(item={"a": [1, 2]})]) == Imported()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
changes = st.lists(
    st.tuples(st.sampled_from(["save", "save", "delete", "append"]), st.sampled_from("ab"), json_values),
    min_size=1,
    max_size=12,
)


@settings(max_examples=examples(30))
@given(changes=changes)
def test_any_history_comes_back(target: Lakebase, other_target: Lakebase, changes: list[tuple[str, str, Any]]) -> None:
    name = str(uuid.uuid4())
    with Memory(target) as memory, Memory(other_target) as other_memory:
        user, other = memory.for_user(name), other_memory.for_scope(name)
        for change, key, value in changes:
            if change == "save":
                user.save(key, value, namespace=(key,) if isinstance(value, str) else ())
            elif change == "delete":
                user.delete(key)
            else:
                user.thread(key).append([{"value": value}])
        records = exported(user)
        other.import_archive(lines_of(records))
        assert exported(other) == records
        assert [item.value for item in other.items()] == [item.value for item in user.items()]
