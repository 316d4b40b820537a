# Generated from tests/_async/test_threads.py by tools/unasync.py: edit that file, then run `make generate`.
"""Threads on a real Postgres."""

from __future__ import annotations

import pytest

from lakemem import InvalidInputError, Memory, ScopedMemory
from lakemem.testing.concurrency import gather

ITEMS = [
    {"role": "user", "content": "Grüße, 你好, 🦆, \x00 and a lone \ud83e"},
    {"z": 1, "a": [None, True, 1.5, {"deep": []}], "": "empty key"},
    {"type": "function_call", "arguments": '{"a": 1}', "call_id": "c1"},
]


def test_items_come_back_as_they_were(alice: ScopedMemory) -> None:
    thread = alice.thread("t")
    assert thread.append(ITEMS) == range(1, 4)
    items = thread.items()
    assert items == ITEMS
    assert [list(item) for item in items] == [list(item) for item in ITEMS]


def test_concurrent_appends_keep_one_order_without_gaps(memory: Memory) -> None:
    thread = memory.for_user("alice").thread("busy")
    batches = [[{"writer": writer, "n": n} for n in range(3)] for writer in range(40)]
    places = gather([lambda batch=batch: thread.append(batch) for batch in batches])
    messages = thread.messages()
    assert [message.position for message in messages] == list(range(1, 121))
    for batch, place in zip(batches, places, strict=True):
        assert [message.item for message in messages if message.position in place] == batch


@pytest.mark.parametrize(
    "bad", ["text", {"a": 1}, [1], [["a"]], [None], [{"a": float("nan")}], [{"a": {1}}], [{1: "a"}]]
)
def test_what_is_not_a_json_object_is_refused_whole(alice: ScopedMemory, bad: object) -> None:
    thread = alice.thread("t")
    with pytest.raises(InvalidInputError):
        thread.append(bad)  # type: ignore[arg-type]
    assert thread.info() is None
