"""Titles, metadata, expiry, forks and rewinds of threads, on a real Postgres."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from lakemem import (
    AsyncMemory,
    AsyncScopedMemory,
    AsyncThread,
    ConflictError,
    InvalidInputError,
    Lakebase,
    ThreadNotFoundError,
)
from lakemem.operations import threads
from lakemem.operations.checkpoints import Address, Blob
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


@pytest.fixture
def rows(alice: AsyncScopedMemory, target: Lakebase) -> Rows:
    return Rows(target, alice.owner)


def expire(rows: Rows, thread_id: str) -> None:
    """Let the time of a thread be over."""
    rows("UPDATE lakemem.threads SET expires_at = now() - interval '1 second' WHERE thread_id = %s", thread_id)


async def numbered(thread: AsyncThread, count: int) -> AsyncThread:
    """Append that many items."""
    await thread.append([{"n": n} for n in range(1, count + 1)])
    return thread


async def places(thread: AsyncThread) -> list[int]:
    return [message.position for message in await thread.messages()]


async def put_checkpoint(user: AsyncScopedMemory, thread_id: str) -> None:
    address = Address(thread_id, "", "1")
    await user.checkpoints.put(
        address,
        parent_checkpoint_id=None,
        checkpoint=Blob("json", b"{}"),
        metadata="{}",
        channel_versions='{"a": "1"}',
        blobs={"a": ("1", Blob("json", b"1"))},
    )
    await user.checkpoints.put_writes(address, task_id="1", task_path="", writes=[(0, "a", Blob("json", b"2"))])


def left_behind(rows: Rows) -> dict[str, int]:
    """How many rows there are in each table that hangs on threads."""
    tables = rows(
        "SELECT table_name::text FROM information_schema.columns"
        " WHERE table_schema = 'lakemem' AND column_name = 'thread_id' AND table_name <> 'memories'"
    )
    counted = {table: rows(f"SELECT count(*) FROM lakemem.{table}")[0][0] for (table,) in tables}  # type: ignore[arg-type]
    assert {"threads", "thread_items", "checkpoints", "checkpoint_blobs", "checkpoint_writes"} <= counted.keys()
    return {table: count for table, count in counted.items() if count}


# Titles and metadata.


async def test_a_title_and_metadata_are_set_changed_and_removed(alice: AsyncScopedMemory) -> None:
    thread = await numbered(alice.thread("t"), 1)
    before = await thread.info()
    assert before is not None
    assert (before.title, before.metadata, before.expires_at) == (None, {}, None)
    changed = await thread.update(title="Grüße 🦆", metadata={"b": 1, "a": [None]})
    assert (changed.title, changed.metadata) == ("Grüße 🦆", {"b": 1, "a": [None]})
    assert await thread.update(title="Other") == await thread.info() == (await alice.threads())[0]
    other = await thread.update(metadata={"c": 2})
    assert (other.title, other.metadata) == ("Other", {"c": 2})
    last = await thread.update(title=None, metadata=None)
    assert (last.title, last.metadata) == (None, {})
    assert last == before
    assert await thread.items() == [{"n": 1}]


async def test_a_thread_can_begin_with_its_title(alice: AsyncScopedMemory) -> None:
    thread = alice.thread("t")
    assert (await thread.update(title="Plans")).title == "Plans"
    assert await thread.append([{"n": 1}]) == range(1, 2)
    info = await thread.info()
    assert info is not None
    assert (info.title, len(await alice.threads())) == ("Plans", 1)


@pytest.mark.parametrize(
    "arguments",
    [
        {}, {"sliding": False}, {"title": ""}, {"title": " "}, {"title": 1}, {"title": "x" * 501}, {"title": "\x00"},
        {"title": "\ud83e"}, {"metadata": []}, {"metadata": {"a": float("nan")}}, {"metadata": {"a": "\x00"}},
        {"metadata": {"a": "x" * 70_000}}, {"expires_in": 0}, {"expires_in": -1}, {"expires_in": float("nan")},
        {"expires_in": 1e12}, {"expires_in": True}, {"expires_in": "60"}, {"title": "x", "sliding": 1},
    ],
)  # fmt: skip
async def test_what_cannot_be_a_title_metadata_or_an_end_is_refused(
    alice: AsyncScopedMemory, arguments: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInputError):
        await alice.thread("t").update(**arguments)
    assert await alice.thread("t").info() is None


async def test_neither_a_title_nor_metadata_is_in_a_repr(alice: AsyncScopedMemory) -> None:
    assert "secret" not in repr(await alice.thread("t").update(title="secret", metadata={"secret": "secret"}))


# Listing.


async def test_pages_of_threads_neither_repeat_nor_skip_one_while_others_are_written_to(
    alice: AsyncScopedMemory, rows: Rows
) -> None:
    for n in range(9):
        await alice.thread(f"thread {n}").append([{}])
    # Several of the same moment, at the ends of pages too.
    rows("UPDATE lakemem.threads SET updated_at = '2026-01-01' WHERE thread_id < 'thread 6'")
    whole = [info.thread_id for info in await alice.threads()]
    assert whole == [f"thread {n}" for n in range(8, -1, -1)]
    seen: list[str] = []
    after = None
    while page := await alice.threads(2, after=after):
        seen += [info.thread_id for info in page]
        after = page[-1].cursor
        await alice.thread(f"new {len(seen)}").append([{}])
        await alice.thread(seen[0]).append([{}])
    assert seen == whole


async def test_threads_are_filtered_by_their_metadata(alice: AsyncScopedMemory) -> None:
    for n in range(6):
        await alice.thread(f"{n}").update(metadata={"odd": bool(n % 2), "n": n})
    odd = await alice.threads(2, filter={"odd": True})
    assert [info.thread_id for info in odd] == ["5", "3"]
    assert [info.thread_id for info in await alice.threads(filter={"odd": True}, after=odd[-1].cursor)] == ["1"]
    assert await alice.threads(filter={"n": "1"}) == []


@pytest.mark.parametrize("cursor", ["", "x", "é", "eA==", "MjAyNi0wMS0wMSB4", 7, b""])
async def test_what_is_not_a_cursor_is_refused(alice: AsyncScopedMemory, cursor: Any) -> None:
    with pytest.raises(InvalidInputError, match="cursor"):
        await alice.threads(after=cursor)


# Expiry.


async def test_an_append_puts_off_the_end_unless_it_is_fixed(alice: AsyncScopedMemory) -> None:
    sliding, fixed = alice.thread("sliding"), alice.thread("fixed")
    for thread in (sliding, fixed):
        first = await thread.update(expires_in=60, sliding=thread is sliding)
        assert first.expires_at == first.created_at + timedelta(seconds=60)
        await thread.append([{}])
        info = await thread.info()
        assert info is not None
        assert info.expires_at is not None
        if thread is sliding:
            assert first.expires_at < info.expires_at <= info.updated_at + timedelta(seconds=60)
            assert info.lifetime == 60
        else:
            assert (info.expires_at, info.lifetime) == (first.expires_at, None)
        assert (await thread.update(title="x")).expires_at == info.expires_at
        never = await thread.update(expires_in=None)
        assert (never.expires_at, never.lifetime, never.title) == (None, None, "x")


async def test_a_thread_that_has_expired_is_gone_for_every_reader(alice: AsyncScopedMemory, rows: Rows) -> None:
    thread = alice.thread("t")
    await thread.append([{"content": "hello"}, {"content": "there"}])
    await put_checkpoint(alice, "t")
    assert len(await alice.search_threads("hello")) == 1
    expire(rows, "t")
    assert (await thread.items(), await thread.messages(), await thread.info()) == ([], [], None)
    assert (await thread.pop(), await thread.rewind(to=0)) == (None, 0)
    assert (await alice.threads(), await alice.search_threads("hello")) == ([], [])
    assert [record async for record in alice.export()] == []
    assert [record async for record in alice.export("t")] == []
    with pytest.raises(ThreadNotFoundError):
        await thread.fork(at=1)
    assert rows("SELECT count(*) FROM lakemem.thread_items") == [(2,)]
    assert await thread.delete() is False
    assert left_behind(rows) == {}


@pytest.mark.parametrize("swept", [True, False])
async def test_a_write_to_a_thread_that_has_expired_begins_it_anew(
    alice: AsyncScopedMemory, rows: Rows, swept: bool
) -> None:
    """It is the same whether its rows were removed or not."""
    kept = await numbered(alice.thread("kept"), 1)
    for thread_id in ("appended", "updated", "put"):
        origin = await numbered(alice.thread(f"origin of {thread_id}"), 2)
        thread = await origin.fork(at=2, thread_id=thread_id)
        await put_checkpoint(alice, thread_id)
        await thread.update(title="Old", metadata={"old": True}, expires_in=60)
        expire(rows, thread_id)
        if swept:
            assert await alice._storage.run(threads.remove_expired(alice.owner, 100)) == 1
    before = await kept.info()
    assert await alice.thread("appended").append([{"new": 1}]) == range(1, 2)
    assert (await alice.thread("updated").update(metadata={"new": 1})).metadata == {"new": 1}
    assert await alice.thread("updated").append([{"new": 1}]) == range(1, 2)
    await put_checkpoint(alice, "put")
    for thread_id in ("appended", "updated", "put"):
        thread = alice.thread(thread_id)
        assert await thread.items() == ([] if thread_id == "put" else [{"new": 1}])
        info = await thread.info()
        assert info is not None
        assert before is not None
        assert info.created_at > before.updated_at
        assert (info.title, info.expires_at, info.lifetime, info.forked_from) == (None, None, None, None)
        assert info.metadata == ({"new": 1} if thread_id == "updated" else {})
        assert bool(await alice.checkpoints.get(thread_id, "")) is (thread_id == "put")
    assert left_behind(rows)["checkpoints"] == 1


async def test_what_has_expired_is_removed_with_all_its_rows_in_batches(alice: AsyncScopedMemory, rows: Rows) -> None:
    for n in range(5):
        await numbered(alice.thread(f"{n}"), 3)
        await put_checkpoint(alice, f"{n}")
        if n:
            expire(rows, f"{n}")
    sizes = [await alice._storage.run(threads.remove_expired(alice.owner, 3)) for _ in range(3)]
    assert sizes == [3, 1, 0]
    assert left_behind(rows) == {
        "threads": 1, "thread_items": 3, "checkpoints": 1, "checkpoint_blobs": 1, "checkpoint_writes": 1,
    }  # fmt: skip
    assert await places(alice.thread("0")) == [1, 2, 3]


async def test_a_sweep_leaves_out_a_thread_that_is_being_written_to(alice: AsyncScopedMemory, rows: Rows) -> None:
    await numbered(alice.thread("t"), 1)
    expire(rows, "t")
    with rows.connect() as writer, writer.transaction():
        writer.execute("UPDATE lakemem.threads SET expires_at = NULL")
        assert await alice._storage.run(threads.remove_expired(alice.owner, 9)) == 0
    assert await places(alice.thread("t")) == [1]


# Forks and rewinds.


async def test_a_fork_keeps_positions_times_and_what_is_known_of_the_thread(alice: AsyncScopedMemory) -> None:
    thread = await numbered(alice.thread("t"), 4)
    await thread.pop()
    await thread.append([{"n": 5}])
    await thread.update(title="Plans", metadata={"a": 1}, expires_in=60)
    fork = await thread.fork(at=3, thread_id="f")
    assert fork.thread_id == "f"
    assert await fork.messages() == (await thread.messages())[:3]
    info, origin = await fork.info(), await thread.info()
    assert info is not None
    assert origin is not None
    assert (info.forked_from, info.forked_position, info.title, info.metadata) == ("t", 3, "Plans", {"a": 1})
    assert info.created_at > origin.created_at
    assert info.lifetime == 60
    assert [found.thread_id for found in await alice.threads()] == ["f", "t"]

    assert await fork.append([{"f": 1}]) == range(4, 5)
    again = await fork.fork(at=4)
    assert await again.items() == [{"n": 1}, {"n": 2}, {"n": 3}, {"f": 1}]
    assert (await again.info()).forked_from == "f"  # type: ignore[union-attr]
    assert await thread.delete()
    assert len(await fork.items()) == 4
    assert await places(alice.thread("t")) == []


async def test_a_fork_ends_no_later_than_its_thread_whose_end_is_fixed(alice: AsyncScopedMemory) -> None:
    thread = await numbered(alice.thread("t"), 1)
    end = (await thread.update(expires_in=60, sliding=False)).expires_at
    assert (await (await thread.fork(at=1)).info()).expires_at == end  # type: ignore[union-attr]


async def test_a_fork_of_what_is_not_there_or_onto_what_is_there_is_refused_whole(
    alice: AsyncScopedMemory, rows: Rows
) -> None:
    thread = await numbered(alice.thread("t"), 3)
    await thread.pop()
    other = await numbered(alice.thread("other"), 1)
    before = rows("SELECT * FROM lakemem.threads ORDER BY 2"), rows("SELECT * FROM lakemem.thread_items ORDER BY 2, 3")
    for at in (0, 3, 4):
        with pytest.raises(InvalidInputError, match=f"position {at}"):
            await thread.fork(at=at, thread_id="f")
    for wrong in (-1, None, True, "1", 2**63):
        with pytest.raises(InvalidInputError, match="at must be"):
            await thread.fork(at=wrong)  # type: ignore[arg-type]
    for taken in (other, thread):
        with pytest.raises(ConflictError):
            await thread.fork(at=1, thread_id=taken.thread_id)
    with pytest.raises(ThreadNotFoundError):
        await alice.thread("nothing").fork(at=1)
    with pytest.raises(InvalidInputError):
        await thread.fork(at=1, thread_id=" ")
    after = rows("SELECT * FROM lakemem.threads ORDER BY 2"), rows("SELECT * FROM lakemem.thread_items ORDER BY 2, 3")
    assert after == before


async def test_a_fork_takes_the_place_of_a_thread_that_has_expired(alice: AsyncScopedMemory, rows: Rows) -> None:
    thread, old = await numbered(alice.thread("t"), 2), await numbered(alice.thread("old"), 5)
    await old.update(title="Old", metadata={"old": 1}, expires_in=9)
    await put_checkpoint(alice, "old")
    expire(rows, "old")
    await thread.fork(at=2, thread_id="old")
    assert await old.messages() == await thread.messages()
    info = await old.info()
    assert info is not None
    assert (info.title, info.metadata, info.expires_at, info.forked_from) == (None, {}, None, "t")
    assert await old.append([{}]) == range(3, 4)
    assert await alice.checkpoints.get("old", "") is None


async def test_a_rewind_removes_what_came_after_and_its_positions_are_not_given_again(
    alice: AsyncScopedMemory,
) -> None:
    thread = await numbered(alice.thread("t"), 5)
    assert await thread.rewind(to=9) == 0
    assert await thread.rewind(to=3) == 2
    assert await thread.rewind(to=3) == 0
    assert await thread.append([{}]) == range(6, 7)
    assert await thread.rewind(to=4) == 1
    assert await places(thread) == [1, 2, 3]
    assert await thread.rewind(to=0) == 3
    assert await thread.append([{}]) == range(7, 8)
    assert await alice.thread("nothing").rewind(to=0) == 0
    with pytest.raises(InvalidInputError, match="to must be"):
        await thread.rewind(to=-1)


async def test_changes_at_once_keep_one_order_and_leave_nothing_by_halves(alice: AsyncScopedMemory) -> None:
    thread = alice.thread("t")
    given: list[range] = []
    forks: list[tuple[int, list[Any]]] = []
    removed: list[int] = []

    async def append(writer: int) -> None:
        batches = [[{"writer": writer, "n": n, "part": part} for part in range(3)] for n in range(8)]
        given.extend([await thread.append(batch) for batch in batches])

    async def fork() -> None:
        for _ in range(8):
            for message in (await thread.messages())[-1:]:
                try:
                    made = await thread.fork(at=message.position)
                except InvalidInputError:
                    continue  # It was taken back meanwhile.
                forks.append((message.position, await made.messages()))

    async def rewind() -> None:
        for _ in range(8):
            messages = await thread.messages()
            if len(messages) > 3:
                removed.append(await thread.rewind(to=messages[-4].position))
            if await thread.pop() is not None:
                removed.append(1)

    await agather([lambda: append(1), lambda: append(2), fork, fork, rewind, rewind])
    positions = sorted(place for batch in given for place in batch)
    assert positions == list(range(1, 49))
    left = await thread.messages()
    assert len(left) + sum(removed) == 48
    assert [message.position for message in left] == sorted(message.position for message in left)
    for at, messages in forks:
        assert messages[-1].position == at
        for batch in given:
            # Of a batch that one saw whole, a prefix is there: rewinds and pops take from the end.
            seen = [message.item["part"] for message in messages if message.position in batch]
            assert seen == list(range(len(seen)))
