# Generated from tests/_async/test_threads.py by tools/unasync.py: edit that file, then run `make generate`.
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

from lakemem import InvalidInputError, Lakebase, Memory, ScopedMemory, StorageError
from lakemem.operations import threads
from lakemem.testing import DatabaseFactory
from lakemem.testing.concurrency import gather
from lakemem.waiting import call_blocking
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
def alice(memory: Memory) -> ScopedMemory:
    return memory.for_user(f"alice {uuid.uuid4()}")


@pytest.fixture
def bob(memory: Memory) -> ScopedMemory:
    return memory.for_user(f"bob {uuid.uuid4()}")


def test_items_come_back_as_they_were(alice: ScopedMemory) -> None:
    thread = alice.thread("t")
    assert thread.append(ITEMS) == range(1, 4)
    items = thread.items()
    assert items == ITEMS
    assert [list(item) for item in items] == [list(item) for item in ITEMS]


@pytest.mark.parametrize("item", UNUSUAL)
def test_an_unusual_item_comes_back_byte_for_byte(alice: ScopedMemory, item: dict[str, Any]) -> None:
    thread = alice.thread("t")
    thread.append([item])
    [stored] = thread.items()
    assert json.dumps(stored) == json.dumps(item)
    assert json.dumps(thread.pop()) == json.dumps(item)


def test_an_item_of_a_megabyte_comes_back_whole(alice: ScopedMemory) -> None:
    thread = alice.thread("t")
    item = {"content": "".join(chr(0x100 + n % 5000) for n in range(500_000))}
    thread.append([item, {"after": "it"}])
    assert thread.items() == [item, {"after": "it"}]


def test_a_limit_gives_the_newest_items_the_oldest_of_them_first(alice: ScopedMemory) -> None:
    thread = alice.thread("t")
    for n in range(5):
        thread.append([{"n": n}])
    assert [item["n"] for item in thread.items(limit=2)] == [3, 4]
    assert [message.position for message in thread.messages(limit=2)] == [4, 5]
    assert len(thread.items(limit=99)) == 5
    assert len(thread.items(limit=10**30)) == 5
    assert thread.items(limit=0) == []


def test_messages_carry_the_time_in_the_order_of_their_positions(alice: ScopedMemory) -> None:
    thread = alice.thread("t")
    thread.append([{"n": 1}])
    thread.append([{"n": 2}])
    first, second = thread.messages()
    assert first.created_at < second.created_at
    info = thread.info()
    assert info is not None
    assert info.created_at <= first.created_at
    assert info.updated_at.tzinfo is not None


def test_an_append_of_nothing_begins_no_thread(alice: ScopedMemory) -> None:
    assert alice.thread("t").append([]) == range(0)
    assert alice.thread("t").info() is None


def test_pop_takes_the_last_item_and_its_position_is_not_given_again(alice: ScopedMemory) -> None:
    thread = alice.thread("t")
    thread.append([{"n": 1}, {"n": 2}])
    assert thread.pop() == {"n": 2}
    assert thread.append([{"n": 3}]) == range(3, 4)
    assert thread.items() == [{"n": 1}, {"n": 3}]
    assert [thread.pop(), thread.pop(), thread.pop()] == [{"n": 3}, {"n": 1}, None]


def test_pops_at_once_take_different_items(alice: ScopedMemory) -> None:
    thread = alice.thread("t")
    thread.append([{"n": n} for n in range(12)])
    popped = gather([thread.pop] * 12)
    assert sorted(item["n"] for item in popped if item is not None) == list(range(12))


def test_clear_keeps_the_thread_and_goes_on_counting(alice: ScopedMemory) -> None:
    thread = alice.thread("t")
    thread.append([{"n": 1}, {"n": 2}])
    thread.clear()
    assert thread.items() == []
    assert thread.info() is not None
    assert thread.append([{"n": 3}]) == range(3, 4)


def test_a_deleted_thread_is_gone_and_can_begin_anew(alice: ScopedMemory) -> None:
    thread = alice.thread("t")
    thread.append([{"n": 1}])
    assert thread.delete() is True
    assert thread.delete() is False
    assert (thread.items(), thread.info(), alice.threads()) == ([], None, [])
    assert thread.append([{"n": 2}]) == range(1, 2)


def test_a_delete_takes_the_items_of_an_append_that_is_under_way(alice: ScopedMemory, target: Lakebase) -> None:
    thread = alice.thread("t")
    thread.append([{"n": 1}])

    rows = Rows(target, alice.owner)
    with rows.connect() as writer, rows.connect() as onlooker:
        started = threading.Event()

        def commit_late() -> None:
            with writer.transaction():
                writer.execute("UPDATE lakemem.threads SET last_position = 2 WHERE thread_id = 't'")
                writer.execute("INSERT INTO lakemem.thread_items SELECT owner, thread_id, 2, '{}' FROM lakemem.threads")
                started.set()
                wait_until_blocked(onlooker)

        def delete() -> None:
            call_blocking(started.wait)
            thread.delete()

        gather([lambda: call_blocking(commit_late), delete])
    assert rows("SELECT * FROM lakemem.thread_items") == []
    assert thread.append([{"n": 3}, {"n": 4}]) == range(1, 3)


def test_threads_are_listed_the_last_active_first(alice: ScopedMemory) -> None:
    for thread_id in ("first", "second", "third"):
        alice.thread(thread_id).append([{}])
    alice.thread("first").append([{}])
    assert [info.thread_id for info in alice.threads()] == ["first", "third", "second"]
    assert [info.thread_id for info in alice.threads(limit=1)] == ["first"]


def test_concurrent_appends_keep_one_order_without_gaps(memory: Memory) -> None:
    thread = memory.for_user("alice").thread("busy")
    batches = [[{"writer": writer, "n": n} for n in range(3)] for writer in range(40)]
    places = gather([lambda batch=batch: thread.append(batch) for batch in batches])
    messages = thread.messages()
    assert [message.position for message in messages] == list(range(1, 121))
    for batch, place in zip(batches, places, strict=True):
        assert [message.item for message in messages if message.position in place] == batch


def test_processes_that_append_at_once_keep_one_order_without_gaps(alice: ScopedMemory, target: Lakebase) -> None:
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
    messages = alice.thread("shared").messages()
    assert [message.position for message in messages] == list(range(1, 61))
    for writer in "012":
        assert [m.item["n"] for m in messages if m.item.get("writer") == writer] == list(range(10))
    pairs = zip(messages[0::2], messages[1::2], strict=True)
    assert all(first.item["n"] == second.item["n"] for first, second in pairs)


def test_to_anyone_but_its_user_a_thread_does_not_exist(alice: ScopedMemory, bob: ScopedMemory) -> None:
    alice.thread("t").append(ITEMS)
    stranger = bob.thread("t")
    assert stranger.items() == []
    assert stranger.messages() == []
    assert stranger.info() is None
    assert stranger.pop() is None
    assert stranger.delete() is False
    stranger.clear()
    assert bob.threads() == []
    assert stranger.append([{"n": 1}]) == range(1, 2)
    assert stranger.delete() is True
    assert alice.thread("t").items() == ITEMS


def test_a_user_and_a_scope_of_the_same_name_share_nothing(memory: Memory) -> None:
    name = f"sales {uuid.uuid4()}"
    memory.for_user(name).thread("t").append([{"n": 1}])
    assert memory.for_scope(name).thread("t").items() == []
    assert memory.for_user(f"user:{name}").thread("t").items() == []


def test_a_write_with_an_id_is_applied_once(memory: Memory, alice: ScopedMemory) -> None:
    write_id = uuid.uuid4()
    append = threads.append(alice.owner, "t", [{"n": 1}])
    results = gather([lambda: memory._storage.run(append, write_id=write_id)] * 8)
    assert sorted(results, key=len) == [range(0)] * 7 + [range(1, 2)]
    assert memory._storage.run(append, write_id=write_id) == append.fallback
    assert alice.thread("t").items() == [{"n": 1}]


def test_the_id_of_a_write_counts_for_one_user(memory: Memory, alice: ScopedMemory, bob: ScopedMemory) -> None:
    write_id = uuid.uuid4()
    for user in (alice, bob):
        memory._storage.run(threads.append(user.owner, "t", [{"n": 1}]), write_id=write_id)
    assert bob.thread("t").items() == [{"n": 1}]


def test_a_write_that_failed_can_be_repeated_with_its_id(memory: Memory, alice: ScopedMemory) -> None:
    write_id = uuid.uuid4()
    append = threads.append(alice.owner, "t", [{"n": 1}])
    broken = replace(append, parameters={**append.parameters, "items": ["not JSON"]})
    with pytest.raises(StorageError):
        memory._storage.run(broken, write_id=write_id)
    assert memory._storage.run(append, write_id=write_id) == range(1, 2)


def test_an_append_is_all_or_nothing(memory: Memory, alice: ScopedMemory) -> None:
    append = threads.append(alice.owner, "t", [{"n": 1}])
    broken = replace(append, parameters={**append.parameters, "items": ['{"n": 1}', "not JSON"]})
    with pytest.raises(StorageError):
        memory._storage.run(broken)
    assert alice.thread("t").info() is None


@pytest.mark.parametrize(
    "bad",
    [
        "text", {"a": 1}, [1], [["a"]], [None], [{"a": float("nan")}], [{"a": math.inf}], [{"a": {1}}], [{1: "a"}],
        [{"a": 1}, {"b": b"bytes"}],
        [{"a": [{"b": {2: "c"}}]}],
        iter([{"a": 1}]),
    ],
)  # fmt: skip
def test_what_is_not_a_json_object_is_refused_whole(alice: ScopedMemory, bad: object) -> None:
    thread = alice.thread("t")
    with pytest.raises(InvalidInputError):
        thread.append(bad)  # type: ignore[arg-type]
    assert thread.info() is None
