"""The newest end of a thread: windows, what is new in an input, compaction, turns and what they used."""

from __future__ import annotations

from typing import Any

import pytest

from lakemem import (
    AsyncMemory,
    AsyncScopedMemory,
    AsyncThread,
    InvalidInputError,
    Lakebase,
    TokenUsage,
    Window,
)
from lakemem.testing.concurrency import agather
from tests.conftest import connect
from tests.support.rows import Rows

Item = dict[str, Any]


def said(*texts: str) -> list[Item]:
    """Messages of the user and of the assistant in turn."""
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": "\\u0000"}'}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "NUL \x00 and half a pair \ud83e"}


@pytest.fixture
async def thread(alice: AsyncScopedMemory) -> AsyncThread:
    return alice.thread("t")


async def test_a_window_holds_the_newest_items_that_fit(thread: AsyncThread) -> None:
    items = [*said("a", "b"), CALL, OUTPUT, *said("c", "d\x00\ud83e")]
    await thread.append(items)
    assert await thread.window(Window(tokens=1_000)) == items
    assert await thread.window(Window(items=9)) == items
    assert await thread.window(Window(items=4)) == items[2:]
    assert await thread.window(Window(items=3)) == items[4:]
    assert await thread.window(Window(tokens=0)) == []
    assert await thread.window(Window(items=0)) == []
    assert await thread.window(Window(tokens=4, count=lambda item: 1, max_bytes=9_999)) == items[2:]
    assert await thread.window(Window(tokens=99, items=2, count=lambda item: 1)) == items[4:]
    assert await (await thread.fork(at=2)).window(Window(items=1)) == items[1:2]


async def test_a_window_reads_no_more_bytes_than_it_says(thread: AsyncThread) -> None:
    counted: list[Item] = []

    def count(item: Any) -> int:
        counted.append(item)
        return 1

    await thread.append([*said(*["x" * 1_000] * 50), *said("y" * 100)])
    assert len(await thread.window(Window(tokens=10_000, count=count, max_bytes=5_000))) == 5
    assert len(counted) <= 6
    # The item before may be reasoning that the first one needs, but for a message of the user.
    await thread.append([{"role": "assistant", "content": "z" * 6_000}, *said("", "end")])
    assert await thread.window(Window(tokens=10_000, max_bytes=5_000)) == said("", "end")
    await thread.append([{"type": "reasoning", "summary": ["r" * 6_000]}, *said("", "end")[1:]])
    assert await thread.window(Window(tokens=10_000, max_bytes=5_000)) == []
    await thread.append([{"role": "user", "content": "u" * 6_000}, {"role": "assistant", "content": "answer"}])
    assert await thread.window(Window(tokens=10_000, max_bytes=5_000)) == said("", "answer")[1:]


async def test_a_window_of_a_long_thread_touches_few_rows(thread: AsyncThread, target: Lakebase) -> None:
    for start in range(0, 3_000, 1_000):
        await thread.append(said(*(f"{number} " + "x" * 200 for number in range(start, start + 1_000))))
    with connect(target) as connection:
        read = "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_user_tables WHERE relname = 'thread_items'"
        flush = "SELECT pg_stat_force_next_flush()"
        before = connection.execute(read).fetchone()
        assert before is not None
        assert len(await thread.window(Window(tokens=1_000))) > 10
        await thread.info()
        connection.execute(flush)
        after = connection.execute(read).fetchone()
        assert after is not None
        assert int(str(after[0])) - int(str(before[0])) < 1_000


async def test_what_is_new_in_an_input(thread: AsyncThread) -> None:
    assert await thread.new_items("hello") == said("hello")
    await thread.append([*said("hello"), CALL, OUTPUT, *said("", "hi")[1:]])
    question = {"role": "user", "content": [{"type": "input_text", "text": "hello"}]}
    assert await thread.new_items([*said("hello", "hi"), question]) == [question]
    assert await thread.new_items(said("hello", "hi")) == []
    assert await thread.new_items([]) == []
    await thread.clear()
    assert await thread.new_items(said("hello", "hi", "hello")) == said("hello", "hi", "hello")
    with pytest.raises(InvalidInputError, match="JSON object"):
        await thread.new_items(["hello"])  # type: ignore[list-item]


async def test_what_is_new_is_told_in_a_long_thread_from_its_end(thread: AsyncThread) -> None:
    await thread.append(said(*["ok"] * 600))
    assert await thread.new_items(said(*["ok"] * 601)) == said("ok")
    assert await thread.new_items([*said("", "ok")[1:], *said("ok")]) == said("ok")


async def test_a_tail_is_replaced_if_it_is_as_expected(thread: AsyncThread) -> None:
    await thread.append(said("a", "b", "c", "d"))
    tail = await thread.messages(2)
    assert await thread.replace_tail(tail, [{"summary": "c\x00"}, {"n": 2}])
    assert await thread.items() == [*said("a", "b"), {"summary": "c\x00"}, {"n": 2}]
    assert [message.position for message in await thread.messages()] == [1, 2, 5, 6]
    assert not await thread.replace_tail(tail, [{"n": 3}])

    everything = await thread.messages()
    assert await thread.replace_tail(everything[3:], [], prune_to=2)
    assert await thread.items() == [{"summary": "c\x00"}]
    assert await thread.replace_tail(None, said("x"))
    assert await thread.items() == said("x")
    assert [message.position for message in await thread.oldest(5)] == [7]


async def test_a_tail_that_has_changed_stays(thread: AsyncThread, alice: AsyncScopedMemory) -> None:
    await thread.append(said("a", "b", "c"))
    seen = await thread.messages()
    await thread.append(said("d"))
    for expected in (seen, seen[1:], seen[:1], [seen[0], seen[2]]):
        assert not await thread.replace_tail(expected, [{"n": 1}])
    await thread.pop()
    await thread.pop()
    assert not await thread.replace_tail(seen, [{"n": 1}])
    assert await thread.items() == said("a", "b")

    # Another thread of the same name has the same positions, and other times.
    old = await thread.messages()
    await thread.delete()
    assert not await thread.replace_tail(old, [{"n": 1}])
    assert not await thread.replace_tail(None, [{"n": 1}])
    assert await thread.info() is None
    await thread.append(said("a", "b"))
    assert not await thread.replace_tail(old, [{"n": 1}])
    assert await thread.items() == said("a", "b")


async def test_a_replacement_that_makes_no_sense_is_refused(thread: AsyncThread) -> None:
    await thread.append(said("a", "b"))
    seen = await thread.messages()
    with pytest.raises(InvalidInputError, match="None for all"):
        await thread.replace_tail([], [{"n": 1}])
    with pytest.raises(InvalidInputError, match="prune_to"):
        await thread.replace_tail(seen[1:], [{"n": 1}], prune_to=2)
    with pytest.raises(InvalidInputError, match="JSON"):
        await thread.replace_tail(seen, [{"n": float("nan")}])
    assert await thread.items() == said("a", "b")


async def test_of_many_replacements_and_appends_none_loses_an_item(thread: AsyncThread) -> None:
    """Whatever order they come in: an item is in the thread, or in the summary that says it replaced it."""
    await thread.append([{"n": -1}])

    async def compact(number: int) -> bool:
        tail = await thread.messages()
        names = [name for message in tail for name in message.item.get("of", [message.item.get("n")])]
        return await thread.replace_tail(tail, [{"of": names}])

    async def append(number: int) -> bool:
        return bool(await thread.append([{"n": number}]))

    calls = [lambda number=number, call=call: call(number) for number in range(20) for call in (append, compact)]
    done = await agather(calls)
    assert all(done[::2])
    found = [name for item in await thread.items() for name in item.get("of", [item.get("n")])]
    assert sorted(found) == list(range(-1, 20))


async def test_turns_and_what_they_used(thread: AsyncThread) -> None:
    assert not await thread.store_usage(TokenUsage(requests=1))
    assert await thread.usage() == TokenUsage()
    quoting = {"role": "assistant", "content": '{"role":"user"} said \\"role\\":\\"user\\"'}
    await thread.append([*said("first\x00\ud83e", "b"), CALL, OUTPUT, quoting])
    first = TokenUsage(input_tokens=10, output_tokens=5, total_tokens=15, requests=1, models=("small",))
    assert await thread.store_usage(first, run_id="run 1")
    more = TokenUsage(
        input_tokens=30, output_tokens=7, total_tokens=37, cached_tokens=20, reasoning_tokens=2, requests=2,
        models=("large",),
    )  # fmt: skip
    # The run went on after an approval: its numbers are those of all of it.
    assert await thread.store_usage(more, run_id="run 1")
    await thread.append(said("second", "c", "third", "d"))
    assert await thread.store_usage(first)
    assert await thread.store_usage(first)

    turns = await thread.turns()
    assert [(turn.position, turn.item["content"], turn.items) for turn in turns] == [
        (1, "first\x00\ud83e", 5),
        (6, "second", 2),
        (8, "third", 2),
    ]
    twice = TokenUsage(input_tokens=20, output_tokens=10, total_tokens=30, requests=2, runs=2, models=("small",))
    assert [turn.usage for turn in turns] == [_with_runs(more, 1), TokenUsage(), twice]
    assert await thread.turns(limit=1) == turns[2:]
    assert await thread.turns(limit=0) == []
    assert await thread.usage() == TokenUsage(
        input_tokens=50, output_tokens=17, total_tokens=67, cached_tokens=20, reasoning_tokens=2, requests=4, runs=3,
        models=("large", "small"),
    )  # fmt: skip
    # What a turn used that was taken back is no other turn's.
    await thread.rewind(to=7)
    assert await thread.turns() == turns[:2]
    assert (await thread.usage()).runs == 3


def _with_runs(usage: TokenUsage, runs: int) -> TokenUsage:
    return TokenUsage(
        usage.input_tokens, usage.output_tokens, usage.total_tokens, usage.cached_tokens, usage.reasoning_tokens,
        usage.requests, runs, usage.models,
    )  # fmt: skip


async def test_what_was_used_stays_with_compaction_and_goes_with_the_thread(
    alice: AsyncScopedMemory, target: Lakebase
) -> None:
    rows = Rows(target, alice.owner)
    thread = alice.thread("t")
    for remove in (thread.clear, thread.delete):
        await thread.append(said("a", "b"))
        assert await thread.store_usage(TokenUsage(requests=3))
        await thread.replace_tail(None, [{"type": "compaction"}])
        await thread.rewind(to=0)
        assert (await thread.usage()).requests == 3
        await remove()
        assert await thread.usage() == TokenUsage()
        assert rows("SELECT count(*) FROM lakemem.run_usage") == [(0,)]


async def test_nothing_is_read_of_a_thread_that_has_expired(alice: AsyncScopedMemory, target: Lakebase) -> None:
    thread, rows = alice.thread("t"), Rows(target, alice.owner)
    await thread.append(said("a", "b"))
    await thread.store_usage(TokenUsage(requests=1))
    seen = await thread.messages()
    await thread.update(expires_in=60)
    rows("UPDATE lakemem.threads SET expires_at = now()")
    assert await thread.window(Window(items=9)) == []
    assert await thread.oldest(9) == await thread.turns() == []
    assert await thread.usage() == TokenUsage()
    assert await thread.new_items(said("a")) == said("a")
    assert not await thread.replace_tail(seen, [])
    assert not await thread.replace_tail(None, [{"n": 1}])
    assert not await thread.store_usage(TokenUsage(requests=1))
    await thread.append(said("c"))
    assert await thread.items() == said("c")
    assert await thread.usage() == TokenUsage()
    assert rows("SELECT count(*) FROM lakemem.run_usage") == [(0,)]


@pytest.mark.parametrize(
    "usage",
    [TokenUsage(requests=-1), TokenUsage(input_tokens=1.5), TokenUsage(models=("",))],  # type: ignore[arg-type]
)
async def test_numbers_that_are_none_are_refused(thread: AsyncThread, usage: TokenUsage) -> None:
    await thread.append(said("a"))
    with pytest.raises(InvalidInputError):
        await thread.store_usage(usage)
    assert await thread.usage() == TokenUsage()


async def test_turns_are_their_owners(memory: AsyncMemory, alice: AsyncScopedMemory, bob: AsyncScopedMemory) -> None:
    await alice.thread("t").append(said("a", "b"))
    await alice.thread("t").store_usage(TokenUsage(requests=1))
    seen = await alice.thread("t").messages()
    theirs = bob.thread("t")
    assert not await theirs.replace_tail(seen, [])
    assert not await theirs.replace_tail(None, [])
    assert not await theirs.store_usage(TokenUsage(requests=5))
    assert await theirs.window(Window(items=9)) == await theirs.turns() == await theirs.oldest(9) == []
    assert await theirs.usage() == TokenUsage()
    assert await theirs.new_items(said("a", "b")) == said("a", "b")
    assert await alice.thread("t").messages() == seen
    assert (await alice.thread("t").usage()).requests == 1
