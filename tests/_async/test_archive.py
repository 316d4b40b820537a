"""What is taken out of one database and brought into another is the same."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakemem import AsyncMemory, AsyncScopedMemory, ConflictError, Imported, InvalidInputError, Lakebase
from lakemem.operations import archive_lines as archive
from lakemem.testing import DatabaseFactory
from tests._async.examples import examples
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
async def other_memory(other_target: Lakebase) -> AsyncIterator[AsyncMemory]:
    async with AsyncMemory(other_target) as memory:
        yield memory


@pytest.fixture
async def alice(memory: AsyncMemory) -> AsyncScopedMemory:
    return memory.for_user(f"alice {uuid.uuid4()}")


@pytest.fixture
async def other(other_memory: AsyncMemory) -> AsyncScopedMemory:
    return other_memory.for_user(f"other {uuid.uuid4()}")


async def exported(user: AsyncScopedMemory, **options: Any) -> list[dict[str, Any]]:
    return [record async for record in user.export(**options)]


def lines_of(records: list[dict[str, Any]]) -> list[str]:
    return [json.dumps(record) for record in records]


async def fill(user: AsyncScopedMemory) -> None:
    """Something of each kind, with all that is hard to carry."""
    thread = user.thread("t")
    await thread.append([{"b": "Gr\u00fc\u00dfe \u2028\x00\ud83e", "a": 1e-7}, {"n": 10**30}, {"n": 3}])
    await thread.pop()
    await thread.update(title="A title", metadata={"x": [1]}, expires_in=3600)
    await thread.fork(at=1, thread_id="fork")
    await user.thread("empty").update(title="Nothing yet")
    for value in ("blue", "red", {"z": 1, "a": "\x00\ud83e \u2028"}):
        await user.save("colour", value, namespace=("a", 'quo"te\\'), metadata={"tag": ["\u00fc"]}, importance=0.9)
    await user.save("colour", "green", thread_id="t", position=1, occurred_at=datetime(2020, 1, 2, tzinfo=UTC))
    await user.save("short-lived", 1, expires_in=3600)
    await user.save("deleted", None)
    await user.delete("deleted")
    await user.save("deleted", [])


async def test_an_archive_comes_back_the_same_in_another_database(
    alice: AsyncScopedMemory, other: AsyncScopedMemory, target: Lakebase
) -> None:
    await fill(alice)
    Rows(target, alice.owner)(
        "UPDATE lakemem.memories SET said_importance = 0.9, importance = 0.3 WHERE key = 'deleted'"
    )
    records = await exported(alice)
    counts = {kind: sum(record["kind"] == kind for record in records) for kind in ("thread", "item", "memory")}
    assert counts == {"thread": 3, "item": 3, "memory": 7}
    assert await other.import_archive(lines_of(records)) == Imported(threads=3, items=3, memories=7)
    assert await exported(other) == records
    assert await other.import_archive(records) == Imported()
    assert await exported(other) == records
    assert await alice.import_archive(lines_of(records)) == Imported()
    assert await exported(alice) == records
    thread = other.thread("t")
    assert await thread.append([{"n": 4}]) == range(4, 5)
    assert (await other.save("colour", "black")).version == 2
    assert [hit.key for hit in await other.search("green")] == []
    [hit] = await other.search("black")
    assert hit.key == "colour"


async def test_the_columns_of_memories_are_all_in_an_archive(alice: AsyncScopedMemory, target: Lakebase) -> None:
    """What is not is worked out anew, or says how a change of the embedder stands."""
    await alice.save("k", 1)
    columns = Rows(target, alice.owner)(
        "SELECT column_name::text FROM information_schema.columns"
        " WHERE table_schema = 'lakemem' AND table_name = 'memories'"
    )
    [record] = await exported(alice, vectors=True)
    derived = {"tsv", "length", "labels", "content_hash", "next_embedding", "next_embedding_model", "stored_at"}
    assert {column for (column,) in columns} - derived - {"owner", "kind"} == record.keys() - {"kind", "memory_kind"}


async def test_vectors_come_along_where_they_are_asked_for(target: Lakebase, other_target: Lakebase) -> None:
    embedder = TopicEmbedder()
    name = str(uuid.uuid4())
    async with AsyncMemory(target, embedder=embedder) as memory:
        user = memory.for_user(name)
        await user.save("pet", "a dog")
        plain, whole = await exported(user), await exported(user, vectors=True)
        [before] = await user.search("puppy")
    assert "embedding" not in plain[0]
    assert len(whole[0]["embedding"]) == embedder.dimensions
    assert whole[0]["embedding_model"] == "topics/4"
    embedder.texts.clear()
    async with AsyncMemory(other_target, embedder=embedder) as memory:
        taken_over, made_anew = memory.for_user(f"{name} 1"), memory.for_user(f"{name} 2")
        await taken_over.import_archive(whole)
        assert embedder.texts == []
        await made_anew.import_archive(plain)
        await made_anew.import_archive(plain)
        assert embedder.texts == ["pet: a dog"]
        for user in (taken_over, made_anew):
            assert await exported(user, vectors=True) == whole
            [after] = await user.search("puppy")
            assert (after.key, after.similarity, after.arms) == ("pet", before.similarity, ("dense", "lexical"))
    async with AsyncMemory(other_target) as memory:
        user = memory.for_user(f"{name} 3")
        await user.import_archive(plain)
        assert await exported(user, vectors=True) == [{**whole[0], "embedding": None, "embedding_model": None}]


async def test_an_embedder_that_is_down_gives_its_vectors_later(other_target: Lakebase) -> None:
    def fail(_: Any) -> Any:
        raise OSError

    async with AsyncMemory(other_target, embedder=TopicEmbedder(spoil=fail)) as memory:
        user = memory.for_user(str(uuid.uuid4()))
        assert await user.import_archive([line_of_a_memory()]) == Imported(memories=1)
        assert Rows(other_target, user.owner)("SELECT kind FROM lakemem.jobs") == [("embed",)]


async def test_nothing_is_in_it_of_anybody_else(memory: AsyncMemory, alice: AsyncScopedMemory) -> None:
    await fill(alice)
    bob = memory.for_user(f"bob {uuid.uuid4()}")
    assert await exported(bob) == []
    records = await exported(alice)
    assert "alice" not in json.dumps(records)
    await bob.import_archive(records)
    await bob.save("colour", "of bob")
    assert await exported(alice) == records
    assert len(await exported(bob)) == len(records) + 1


async def test_a_line_that_names_an_owner_is_refused(alice: AsyncScopedMemory, other: AsyncScopedMemory) -> None:
    with pytest.raises(InvalidInputError, match="line 1: a memory has no field 'owner'"):
        await other.import_archive([{**line_of_a_memory(), "owner": alice.owner}])
    assert await exported(alice) == await exported(other) == []


async def test_what_came_since_the_last_import_comes_over(alice: AsyncScopedMemory, other: AsyncScopedMemory) -> None:
    await fill(alice)
    await other.import_archive(await exported(alice))
    await alice.save("colour", "yellow")
    await alice.delete("short-lived")
    await alice.thread("t").append([{"n": 5}])
    assert await other.import_archive(await exported(alice)) == Imported(items=1, memories=3)
    assert [record for record in await exported(other) if record["kind"] == "memory"] == [
        record for record in await exported(alice) if record["kind"] == "memory"
    ]
    assert await other.thread("t").items() == await alice.thread("t").items()


async def test_what_went_on_here_stays(alice: AsyncScopedMemory, other: AsyncScopedMemory) -> None:
    await fill(alice)
    records = await exported(alice)
    await other.import_archive(records)
    await other.update("colour", "mine")
    await other.delete("deleted")
    await other.thread("t").update(title="Mine")
    await other.thread("t").append([{"n": "mine"}])
    before = await exported(other)
    assert await other.import_archive(records) == Imported()
    assert await exported(other) == before


async def test_something_else_in_the_place_of_a_line_is_a_conflict(
    alice: AsyncScopedMemory, other: AsyncScopedMemory
) -> None:
    await alice.thread("new").append([{"n": 1}])
    await alice.thread("t").append([{"n": 1}])
    await alice.save("k", "theirs")
    records = await exported(alice)
    await other.thread("t").append([{"n": 2}])
    before = await exported(other)
    with pytest.raises(ConflictError, match="lines 1 to 5"):
        await other.import_archive(records)
    assert await exported(other) == before, "also of what stands before it nothing was stored"
    await other.thread("t").delete()
    await other.save("k", "mine")
    before = await exported(other)
    with pytest.raises(ConflictError, match="lines 1 to 5"):
        await other.import_archive(records)
    assert await exported(other) == before


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
async def test_a_bad_line_is_refused_before_anything_of_its_batch_is_stored(other: AsyncScopedMemory, bad: Any) -> None:
    good = [line_of_a_thread(thread_id="seen"), line_of_an_item(thread_id="seen"), line_of_a_memory(key="good")]
    lines = [json.dumps(good[0]), "", *good[1:], bad, line_of_a_memory(key="behind")]
    with pytest.raises(InvalidInputError, match=r"^line 5: ") as refused:
        await other.import_archive(lines)
    assert len(str(refused.value)) < 300
    assert await exported(other) == []


async def test_batches_before_a_bad_line_stay(other: AsyncScopedMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "IMPORTED_AT_ONCE", 3)
    records: list[Any] = [line_of_a_memory(key=f"k{number}") for number in range(7)]
    with pytest.raises(InvalidInputError, match="line 6"):
        await other.import_archive([*records[:5], {}, *records[5:]])
    assert len(await exported(other)) == 3
    assert await other.import_archive(records) == Imported(memories=4)


async def test_what_has_expired_since_is_passed_over(other: AsyncScopedMemory, other_target: Lakebase) -> None:
    past, soon = ((datetime.now(UTC) + timedelta(seconds=seconds)).isoformat() for seconds in (-1, 60))
    lines = [
        line_of_a_thread(thread_id="gone", expires_at=past), line_of_an_item(thread_id="gone"),
        line_of_a_thread(thread_id="there", expires_at=soon), line_of_an_item(thread_id="there"),
        line_of_a_memory(key="gone", expires_at=past), line_of_a_memory(key="there", expires_at=soon),
    ]  # fmt: skip
    assert await other.import_archive(lines) == Imported(threads=1, items=1, memories=1)
    rows = Rows(other_target, other.owner)
    rows("UPDATE lakemem.threads SET expires_at = now() - interval '1 second'")
    again = [line_of_a_thread(thread_id="there", title="Anew"), line_of_an_item(thread_id="there", item={"n": 2})]
    assert await other.import_archive(again) == Imported(threads=1, items=1), "what has expired here makes room"
    assert await other.thread("there").items() == [{"n": 2}]


async def test_items_with_other_spaces_are_the_same(other: AsyncScopedMemory, other_target: Lakebase) -> None:
    await other.import_archive([line_of_a_thread(), line_of_an_item(item={"a": [1, 2]})])
    Rows(other_target, other.owner)("""UPDATE lakemem.thread_items SET item = '{ "a" : [1,2 ] }'""")
    assert await other.import_archive([line_of_a_thread(), line_of_an_item(item={"a": [1, 2]})]) == Imported()


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
async def test_any_history_comes_back(
    target: Lakebase, other_target: Lakebase, changes: list[tuple[str, str, Any]]
) -> None:
    name = str(uuid.uuid4())
    async with AsyncMemory(target) as memory, AsyncMemory(other_target) as other_memory:
        user, other = memory.for_user(name), other_memory.for_scope(name)
        for change, key, value in changes:
            if change == "save":
                await user.save(key, value, namespace=(key,) if isinstance(value, str) else ())
            elif change == "delete":
                await user.delete(key)
            else:
                await user.thread(key).append([{"value": value}])
        records = await exported(user)
        await other.import_archive(lines_of(records))
        assert await exported(other) == records
        assert [item.value for item in await other.items()] == [item.value for item in await user.items()]
