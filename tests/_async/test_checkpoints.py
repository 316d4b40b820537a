"""Checkpoints as they are stored: bytes under names. What they mean to LangGraph is tested with LangGraph."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping

import pytest

from lakemem import AsyncMemory, AsyncScopedMemory, InvalidInputError, Lakebase
from lakemem._async.checkpoints import AsyncCheckpoints
from lakemem.operations.checkpoints import Address, Blob, StoredCheckpoint
from lakemem.testing import DatabaseFactory
from lakemem.testing.concurrency import agather
from tests.support.rows import Rows


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all tests here: each works on users of its own."""
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture
async def alice(memory: AsyncMemory) -> AsyncScopedMemory:
    return memory.for_user(f"alice {uuid.uuid4()}")


def blob(text: str) -> Blob:
    return Blob("text", text.encode())


async def put(
    checkpoints: AsyncCheckpoints,
    checkpoint_id: str,
    *,
    thread_id: str = "t",
    checkpoint_ns: str = "",
    parent: str | None = None,
    versions: str = "{}",
    blobs: Mapping[str, tuple[str, Blob]] | None = None,
    metadata: str = "{}",
    checkpoint: str = "checkpoint",
) -> Address:
    address = Address(thread_id, checkpoint_ns, checkpoint_id)
    await checkpoints.put(
        address,
        parent_checkpoint_id=parent,
        checkpoint=blob(checkpoint),
        metadata=metadata,
        channel_versions=versions,
        blobs=blobs or {},
    )
    return address


def ids(stored: list[StoredCheckpoint]) -> list[str]:
    return [checkpoint.checkpoint_id for checkpoint in stored]


async def test_a_checkpoint_comes_back_as_it_was(alice: AsyncScopedMemory) -> None:
    everything = Blob("msgpack", bytes(range(256)) * 4000)
    await alice.checkpoints.put(
        Address("t", "outer:1|inner:2", "1ef"),
        parent_checkpoint_id="1ee",
        checkpoint=everything,
        metadata='{"step": 1, "source": "loop"}',
        channel_versions='{"a": "1.5", "empty": "2", "unset": "3"}',
        blobs={"a": ("1.5", everything), "empty": ("2", Blob("", b""))},
    )
    stored = await alice.checkpoints.get("t", "outer:1|inner:2")
    assert stored == StoredCheckpoint(
        thread_id="t",
        checkpoint_ns="outer:1|inner:2",
        checkpoint_id="1ef",
        parent_checkpoint_id="1ee",
        checkpoint=everything,
        metadata='{"step": 1, "source": "loop"}',
        channels={"a": everything, "empty": Blob("", b"")},
        composed={},
        writes=[],
    )
    assert await alice.checkpoints.get("t", "outer:1|inner:2", "1ef") == stored
    assert await alice.checkpoints.list() == [stored]


async def test_there_is_nothing_where_nothing_was_put(alice: AsyncScopedMemory) -> None:
    await put(alice.checkpoints, "1")
    assert await alice.checkpoints.get("other", "") is None
    assert await alice.checkpoints.get("t", "other") is None
    assert await alice.checkpoints.get("t", "", "2") is None


async def test_a_channel_is_stored_once_for_each_of_its_versions(alice: AsyncScopedMemory, target: Lakebase) -> None:
    await put(
        alice.checkpoints, "1", versions='{"a": "1", "b": "1"}', blobs={"a": ("1", blob("a1")), "b": ("1", blob("b1"))}
    )
    await put(alice.checkpoints, "2", parent="1", versions='{"a": "2", "b": "1"}', blobs={"a": ("2", blob("a2"))})
    first, second = await alice.checkpoints.get("t", "", "1"), await alice.checkpoints.get("t", "")
    assert first is not None
    assert second is not None
    assert dict(first.channels) == {"a": blob("a1"), "b": blob("b1")}
    assert dict(second.channels) == {"a": blob("a2"), "b": blob("b1")}
    stored = Rows(target, alice.owner)("SELECT channel, version FROM lakemem.checkpoint_blobs ORDER BY 1, 2")
    assert stored == [("a", "1"), ("a", "2"), ("b", "1")]


async def test_the_newest_is_the_one_with_the_greatest_id_byte_by_byte(alice: AsyncScopedMemory) -> None:
    # In most languages' order "a" stands before "B"; ids are compared as bytes.
    for checkpoint_id in ("1-a", "1-B", "10", "1é", "1"):
        await put(alice.checkpoints, checkpoint_id)
    newest = await alice.checkpoints.get("t", "")
    assert newest is not None
    assert newest.checkpoint_id == "1é"
    assert ids(await alice.checkpoints.list(thread_id="t")) == ["1é", "10", "1-a", "1-B", "1"]
    assert ids(await alice.checkpoints.list(before="10")) == ["1-a", "1-B", "1"]


async def test_a_checkpoint_that_is_put_again_is_replaced(alice: AsyncScopedMemory) -> None:
    await put(alice.checkpoints, "1", versions='{"a": "1"}', blobs={"a": ("1", blob("first"))})
    await put(
        alice.checkpoints, "1", versions='{"a": "2"}', blobs={"a": ("2", blob("second"))},
        metadata='{"again": true}', checkpoint="again",
    )  # fmt: skip
    [stored] = await alice.checkpoints.list()
    assert (stored.checkpoint, stored.metadata) == (blob("again"), '{"again": true}')
    assert dict(stored.channels) == {"a": blob("second")}


async def test_writes_come_back_in_the_order_in_which_they_are_applied(alice: AsyncScopedMemory) -> None:
    address = await put(alice.checkpoints, "1")
    await alice.checkpoints.put_writes(
        address, task_id="b", task_path="1", writes=[(1, "y", blob("b1")), (0, "x", blob("b0"))]
    )
    await alice.checkpoints.put_writes(address, task_id="a", task_path="2", writes=[(0, "x", blob("a0"))])
    await alice.checkpoints.put_writes(address, task_id="c", task_path="1", writes=[(10, "x", blob("c10"))])
    await alice.checkpoints.put_writes(address, task_id="c", task_path="1", writes=[(9, "x", blob("c9"))])
    stored = await alice.checkpoints.get("t", "")
    assert stored is not None
    assert list(stored.writes) == [
        ("b", "x", blob("b0")), ("b", "y", blob("b1")), ("c", "x", blob("c9")), ("c", "x", blob("c10")),
        ("a", "x", blob("a0")),
    ]  # fmt: skip


async def test_a_write_that_is_repeated_is_kept_and_a_special_one_replaced(alice: AsyncScopedMemory) -> None:
    address = await put(alice.checkpoints, "1")
    for text in ("first", "second"):
        await alice.checkpoints.put_writes(
            address, task_id="a", task_path="", writes=[(0, "x", blob(text)), (-1, "__error__", blob(text))]
        )
    stored = await alice.checkpoints.get("t", "")
    assert stored is not None
    assert list(stored.writes) == [("a", "__error__", blob("second")), ("a", "x", blob("first"))]


async def test_writes_belong_to_their_checkpoint_and_may_come_before_it(alice: AsyncScopedMemory) -> None:
    early = Address("t", "", "2")
    await alice.checkpoints.put_writes(early, task_id="a", task_path="", writes=[(0, "x", blob("early"))])
    await put(alice.checkpoints, "1")
    await put(alice.checkpoints, "2")
    await put(alice.checkpoints, "2", checkpoint_ns="inner")
    found = {(c.checkpoint_ns, c.checkpoint_id): len(c.writes) for c in await alice.checkpoints.list()}
    assert found == {("", "1"): 0, ("", "2"): 1, ("inner", "2"): 0}


async def test_a_listing_filters_by_all_that_it_is_given(alice: AsyncScopedMemory) -> None:
    await put(alice.checkpoints, "1", metadata='{"step": 1, "nested": {"a": 1, "b": 2}}')
    await put(alice.checkpoints, "2", metadata='{"step": 2}')
    await put(alice.checkpoints, "3", checkpoint_ns="inner", metadata='{"step": 1}')
    await put(alice.checkpoints, "4", thread_id="other", metadata='{"step": 1}')
    listing = alice.checkpoints.list
    assert ids(await listing()) == ["4", "3", "2", "1"]
    assert ids(await listing(thread_id="t")) == ["3", "2", "1"]
    assert ids(await listing(thread_id="t", checkpoint_ns="")) == ["2", "1"]
    assert ids(await listing(checkpoint_ns="inner")) == ["3"]
    assert ids(await listing(checkpoint_id="2")) == ["2"]
    assert ids(await listing(before="3")) == ["2", "1"]
    assert ids(await listing(filter='{"step": 1}')) == ["4", "3", "1"]
    assert ids(await listing(filter='{"nested": {"a": 1}}')) == ["1"]
    assert ids(await listing(filter='{"step": "1"}')) == []
    assert ids(await listing(limit=2)) == ["4", "3"]
    assert ids(await listing(thread_id="t", filter='{"step": 1}', before="3", limit=1)) == ["1"]
    assert ids(await listing(limit=0)) == []


async def test_of_many_who_take_a_checkpoint_one_gets_it(alice: AsyncScopedMemory) -> None:
    address = await put(alice.checkpoints, "1", checkpoint="whole")
    await put(alice.checkpoints, "2")
    taken = await agather([lambda: alice.checkpoints.take(address)] * 8)
    assert blob("whole") in taken
    assert taken.count(None) == 7
    assert ids(await alice.checkpoints.list(thread_id="t")) == ["2"]


async def test_deleting_the_checkpoints_of_a_thread_leaves_its_items_and_other_threads(
    alice: AsyncScopedMemory, target: Lakebase
) -> None:
    for thread_id in ("t", "other"):
        address = await put(
            alice.checkpoints, "1", thread_id=thread_id, versions='{"a": "1"}', blobs={"a": ("1", blob("a"))}
        )
        await alice.checkpoints.put_writes(address, task_id="a", task_path="", writes=[(0, "x", blob("w"))])
        await alice.thread(thread_id).append([{"n": 1}])
    await alice.checkpoints.delete_thread("t")
    rows = Rows(target, alice.owner)
    for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
        assert rows(f"SELECT thread_id FROM lakemem.{table}") == [("other",)]  # type: ignore[arg-type]
    assert await alice.thread("t").items() == [{"n": 1}]
    await alice.checkpoints.delete_thread("never was")


async def test_deleting_a_thread_takes_its_checkpoints(alice: AsyncScopedMemory, target: Lakebase) -> None:
    address = await put(alice.checkpoints, "1", versions='{"a": "1"}', blobs={"a": ("1", blob("a"))})
    await alice.checkpoints.put_writes(address, task_id="a", task_path="", writes=[(0, "x", blob("w"))])
    assert [info.thread_id for info in await alice.threads()] == ["t"], "a checkpoint begins a thread, too"
    assert await alice.thread("t").delete() is True
    rows = Rows(target, alice.owner)
    for table in ("threads", "checkpoints", "checkpoint_blobs", "checkpoint_writes"):
        assert rows(f"SELECT * FROM lakemem.{table}") == []  # type: ignore[arg-type]


async def test_checkpoints_that_are_put_at_once_are_all_there(alice: AsyncScopedMemory) -> None:
    async def run(n: int) -> None:
        address = await put(
            alice.checkpoints, f"{n:03}", versions=f'{{"a": "1", "b": "{n}"}}',
            blobs={"a": ("1", blob("same")), "b": (str(n), blob(str(n)))},
        )  # fmt: skip
        await alice.checkpoints.put_writes(address, task_id="a", task_path="", writes=[(0, "x", blob(str(n)))])

    await agather([lambda n=n: run(n) for n in range(20)])
    for stored in await alice.checkpoints.list():
        n = str(int(stored.checkpoint_id))
        assert dict(stored.channels) == {"a": blob("same"), "b": blob(n)}
        assert list(stored.writes) == [("a", "x", blob(n))]
    assert len(await alice.checkpoints.list()) == 20


@pytest.mark.parametrize("bad", ["", "a\x00", "x" * 256, None, 5])
async def test_what_names_no_thread_is_refused(alice: AsyncScopedMemory, bad: str) -> None:
    with pytest.raises(InvalidInputError):
        await put(alice.checkpoints, "1", thread_id=bad)
    with pytest.raises(InvalidInputError):
        await alice.checkpoints.put_writes(Address(bad, "", "1"), task_id="a", task_path="", writes=[])
    with pytest.raises(InvalidInputError):
        await alice.checkpoints.get(bad, "")
    with pytest.raises(InvalidInputError):
        await alice.checkpoints.delete_thread(bad)
    assert await alice.threads() == []
