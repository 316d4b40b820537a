"""Threads on a real Postgres."""

from __future__ import annotations

import pytest

from lakemem import AsyncMemory, AsyncScopedMemory, InvalidInputError
from lakemem.testing.concurrency import agather

ITEMS = [
    {"role": "user", "content": "Grüße, 你好, 🦆, \x00 and a lone \ud83e"},
    {"z": 1, "a": [None, True, 1.5, {"deep": []}], "": "empty key"},
    {"type": "function_call", "arguments": '{"a": 1}', "call_id": "c1"},
]


async def test_items_come_back_as_they_were(alice: AsyncScopedMemory) -> None:
    thread = alice.thread("t")
    assert await thread.append(ITEMS) == range(1, 4)
    items = await thread.items()
    assert items == ITEMS
    assert [list(item) for item in items] == [list(item) for item in ITEMS]


async def test_concurrent_appends_keep_one_order_without_gaps(memory: AsyncMemory) -> None:
    thread = memory.for_user("alice").thread("busy")
    batches = [[{"writer": writer, "n": n} for n in range(3)] for writer in range(40)]
    places = await agather([lambda batch=batch: thread.append(batch) for batch in batches])
    messages = await thread.messages()
    assert [message.position for message in messages] == list(range(1, 121))
    for batch, place in zip(batches, places, strict=True):
        assert [message.item for message in messages if message.position in place] == batch


@pytest.mark.parametrize(
    "bad", ["text", {"a": 1}, [1], [["a"]], [None], [{"a": float("nan")}], [{"a": {1}}], [{1: "a"}]]
)
async def test_what_is_not_a_json_object_is_refused_whole(alice: AsyncScopedMemory, bad: object) -> None:
    thread = alice.thread("t")
    with pytest.raises(InvalidInputError):
        await thread.append(bad)  # type: ignore[arg-type]
    assert await thread.info() is None
