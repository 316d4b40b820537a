"""Threads on a real Postgres."""

from __future__ import annotations

import json
import math
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from lakemem import AsyncMemory, AsyncScopedMemory, InvalidInputError, Lakebase, StorageError
from lakemem.operations import threads
from lakemem.testing import DatabaseFactory
from lakemem.testing.concurrency import agather
from lakemem.waiting import acall_blocking
from tests.support.locks import wait_until_blocked
from tests.support.processes import run_at_once
from tests.support.rows import Rows

ITEMS: list[dict[str, Any]] = [
    {"role": "user", "content": "Grüße, 你好, 🦆, \x00 and a lone \ud83e"},
    {"z": 1, "a": [None, True, 1.5, {"deep": []}], "": "empty key"},
    {"type": "function_call", "arguments": '{"a": 1}', "call_id": "c1"},
]

UNUSUAL: list[dict[str, Any]] = [
    {},
    {"float": 0.1, "whole": 1.0, "small": 5e-324, "large": 1.7976931348623157e308, "minus": -0.0},
    {"int": 10**400, "negative": -(2**63)},
    {"text": '\x00\x01\x1f\x7f\u2028\u2029\ufeff\uffff\U0010ffff"\\/\b\f\n\r\t'},
    {"surrogates": "\udc00\ud800", "escaped": "\\u0000 \\ud800"},
    {"\x00": "a key of NUL", "\ud800": "a key that is half a character", " ": "blank"},
    {"e\u0301": "two code points", "\xe9": "one"},
    {"b": 1, "a": 2, "B": 3, "10": 4, "9": 5},
]


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
async def bob(memory: AsyncMemory) -> AsyncScopedMemory:
    return memory.for_user(f"bob {uuid.uuid4()}")


async def test_items_come_back_as_they_were(alice: AsyncScopedMemory) -> None:
    thread = alice.thread("t")
    assert await thread.append(ITEMS) == range(1, 4)
    items = await thread.items()
    assert items == ITEMS
    assert [list(item) for item in items] == [list(item) for item in ITEMS]


@pytest.mark.parametrize("item", UNUSUAL)
async def test_an_unusual_item_comes_back_byte_for_byte(alice: AsyncScopedMemory, item: dict[str, Any]) -> None:
    thread = alice.thread("t")
    await thread.append([item])
    [stored] = await thread.items()
    assert json.dumps(stored) == json.dumps(item)
    assert json.dumps(await thread.pop()) == json.dumps(item)


async def test_an_item_of_a_megabyte_comes_back_whole(alice: AsyncScopedMemory) -> None:
    thread = alice.thread("t")
    item = {"content": "".join(chr(0x100 + n % 5000) for n in range(500_000))}
    await thread.append([item, {"after": "it"}])
    assert await thread.items() == [item, {"after": "it"}]


async def test_a_limit_gives_the_newest_items_the_oldest_of_them_first(alice: AsyncScopedMemory) -> None:
    thread = alice.thread("t")
    for n in range(5):
        await thread.append([{"n": n}])
    assert [item["n"] for item in await thread.items(limit=2)] == [3, 4]
    assert [message.position for message in await thread.messages(limit=2)] == [4, 5]
    assert len(await thread.items(limit=99)) == 5
    assert len(await thread.items(limit=10**30)) == 5
    assert await thread.items(limit=0) == []


async def test_messages_carry_the_time_in_the_order_of_their_positions(alice: AsyncScopedMemory) -> None:
    thread = alice.thread("t")
    await thread.append([{"n": 1}])
    await thread.append([{"n": 2}])
    first, second = await thread.messages()
    assert first.created_at < second.created_at
    info = await thread.info()
    assert info is not None
    assert info.created_at <= first.created_at
    assert info.updated_at.tzinfo is not None


async def test_an_append_of_nothing_begins_no_thread(alice: AsyncScopedMemory) -> None:
    assert await alice.thread("t").append([]) == range(0)
    assert await alice.thread("t").info() is None


async def test_pop_takes_the_last_item_and_its_position_is_not_given_again(alice: AsyncScopedMemory) -> None:
    thread = alice.thread("t")
    await thread.append([{"n": 1}, {"n": 2}])
    assert await thread.pop() == {"n": 2}
    assert await thread.append([{"n": 3}]) == range(3, 4)
    assert await thread.items() == [{"n": 1}, {"n": 3}]
    assert [await thread.pop(), await thread.pop(), await thread.pop()] == [{"n": 3}, {"n": 1}, None]


async def test_pops_at_once_take_different_items(alice: AsyncScopedMemory) -> None:
    thread = alice.thread("t")
    await thread.append([{"n": n} for n in range(12)])
    popped = await agather([thread.pop] * 12)
    assert sorted(item["n"] for item in popped if item is not None) == list(range(12))


async def test_clear_keeps_the_thread_and_goes_on_counting(alice: AsyncScopedMemory) -> None:
    thread = alice.thread("t")
    await thread.append([{"n": 1}, {"n": 2}])
    await thread.clear()
    assert await thread.items() == []
    assert await thread.info() is not None
    assert await thread.append([{"n": 3}]) == range(3, 4)


async def test_a_deleted_thread_is_gone_and_can_begin_anew(alice: AsyncScopedMemory) -> None:
    thread = alice.thread("t")
    await thread.append([{"n": 1}])
    assert await thread.delete() is True
    assert await thread.delete() is False
    assert (await thread.items(), await thread.info(), await alice.threads()) == ([], None, [])
    assert await thread.append([{"n": 2}]) == range(1, 2)


async def test_a_delete_takes_the_items_of_an_append_that_is_under_way(
    alice: AsyncScopedMemory, target: Lakebase
) -> None:
    thread = alice.thread("t")
    await thread.append([{"n": 1}])

    rows = Rows(target, alice.owner)
    with rows.connect() as writer, rows.connect() as onlooker:
        started = threading.Event()

        def commit_late() -> None:
            with writer.transaction():
                writer.execute("UPDATE lakemem.threads SET last_position = 2 WHERE thread_id = 't'")
                writer.execute("INSERT INTO lakemem.thread_items SELECT owner, thread_id, 2, '{}' FROM lakemem.threads")
                started.set()
                wait_until_blocked(onlooker)

        async def delete() -> None:
            await acall_blocking(started.wait)
            await thread.delete()

        await agather([lambda: acall_blocking(commit_late), delete])
    assert rows("SELECT * FROM lakemem.thread_items") == []
    assert await thread.append([{"n": 3}, {"n": 4}]) == range(1, 3)


async def test_threads_are_listed_the_last_active_first(alice: AsyncScopedMemory) -> None:
    for thread_id in ("first", "second", "third"):
        await alice.thread(thread_id).append([{}])
    await alice.thread("first").append([{}])
    assert [info.thread_id for info in await alice.threads()] == ["first", "third", "second"]
    assert [info.thread_id for info in await alice.threads(limit=1)] == ["first"]


async def test_concurrent_appends_keep_one_order_without_gaps(memory: AsyncMemory) -> None:
    thread = memory.for_user("alice").thread("busy")
    batches = [[{"writer": writer, "n": n} for n in range(3)] for writer in range(40)]
    places = await agather([lambda batch=batch: thread.append(batch) for batch in batches])
    messages = await thread.messages()
    assert [message.position for message in messages] == list(range(1, 121))
    for batch, place in zip(batches, places, strict=True):
        assert [message.item for message in messages if message.position in place] == batch


async def test_processes_that_append_at_once_keep_one_order_without_gaps(
    alice: AsyncScopedMemory, target: Lakebase
) -> None:
    run_at_once(
        "import os\n"
        "from lakemem import Lakebase, Memory\n"
        "memory = Memory(Lakebase.dsn(os.environ['DSN']))\n"
        "memory.open()\n"
        "thread = memory.for_user(os.environ['USER_ID']).thread('shared')\n",
        "for n in range(10):\n"
        "    thread.append([{'writer': os.environ['NUMBER'], 'n': n}, {'n': n}])\n"
        "memory.close()\n",
        count=3,
        DSN=make_conninfo(**target.parameters),
        USER_ID=alice.owner.removeprefix("user:"),
    )
    messages = await alice.thread("shared").messages()
    assert [message.position for message in messages] == list(range(1, 61))
    for writer in "012":
        assert [m.item["n"] for m in messages if m.item.get("writer") == writer] == list(range(10))
    pairs = zip(messages[0::2], messages[1::2], strict=True)
    assert all(first.item["n"] == second.item["n"] for first, second in pairs)


async def test_to_anyone_but_its_user_a_thread_does_not_exist(alice: AsyncScopedMemory, bob: AsyncScopedMemory) -> None:
    await alice.thread("t").append(ITEMS)
    stranger = bob.thread("t")
    assert await stranger.items() == []
    assert await stranger.messages() == []
    assert await stranger.info() is None
    assert await stranger.pop() is None
    assert await stranger.delete() is False
    await stranger.clear()
    assert await bob.threads() == []
    assert await stranger.append([{"n": 1}]) == range(1, 2)
    assert await stranger.delete() is True
    assert await alice.thread("t").items() == ITEMS


async def test_a_user_and_a_scope_of_the_same_name_share_nothing(memory: AsyncMemory) -> None:
    name = f"sales {uuid.uuid4()}"
    await memory.for_user(name).thread("t").append([{"n": 1}])
    assert await memory.for_scope(name).thread("t").items() == []
    assert await memory.for_user(f"user:{name}").thread("t").items() == []


async def test_a_write_with_an_id_is_applied_once(memory: AsyncMemory, alice: AsyncScopedMemory) -> None:
    write_id = uuid.uuid4()
    append = threads.append(alice.owner, "t", [{"n": 1}])
    results = await agather([lambda: memory._storage.run(append, write_id=write_id)] * 8)
    assert sorted(results, key=len) == [range(0)] * 7 + [range(1, 2)]
    assert await memory._storage.run(append, write_id=write_id) == append.fallback
    assert await alice.thread("t").items() == [{"n": 1}]


async def test_the_id_of_a_write_counts_for_one_user(
    memory: AsyncMemory, alice: AsyncScopedMemory, bob: AsyncScopedMemory
) -> None:
    write_id = uuid.uuid4()
    for user in (alice, bob):
        await memory._storage.run(threads.append(user.owner, "t", [{"n": 1}]), write_id=write_id)
    assert await bob.thread("t").items() == [{"n": 1}]


async def test_a_write_that_failed_can_be_repeated_with_its_id(memory: AsyncMemory, alice: AsyncScopedMemory) -> None:
    write_id = uuid.uuid4()
    append = threads.append(alice.owner, "t", [{"n": 1}])
    broken = replace(append, parameters={**append.parameters, "items": ["not JSON"]})
    with pytest.raises(StorageError):
        await memory._storage.run(broken, write_id=write_id)
    assert await memory._storage.run(append, write_id=write_id) == range(1, 2)


async def test_an_append_is_all_or_nothing(memory: AsyncMemory, alice: AsyncScopedMemory) -> None:
    append = threads.append(alice.owner, "t", [{"n": 1}])
    broken = replace(append, parameters={**append.parameters, "items": ['{"n": 1}', "not JSON"]})
    with pytest.raises(StorageError):
        await memory._storage.run(broken)
    assert await alice.thread("t").info() is None


@pytest.mark.parametrize(
    "bad",
    [
        "text", {"a": 1}, [1], [["a"]], [None], [{"a": float("nan")}], [{"a": math.inf}], [{"a": {1}}], [{1: "a"}],
        [{"a": 1}, {"b": b"bytes"}],
        [{"a": [{"b": {2: "c"}}]}],
        iter([{"a": 1}]),
    ],
)  # fmt: skip
async def test_what_is_not_a_json_object_is_refused_whole(alice: AsyncScopedMemory, bad: object) -> None:
    thread = alice.thread("t")
    with pytest.raises(InvalidInputError):
        await thread.append(bad)  # type: ignore[arg-type]
    assert await thread.info() is None
