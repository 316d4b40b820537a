# Generated from tests/_async/test_turns.py by tools/unasync.py: edit that file, then run `make generate`.
"""The newest end of a thread: windows, what is new in an input, compaction, turns and what they used."""

from __future__ import annotations

from typing import Any

import pytest

from lakemem import (
    InvalidInputError,
    Lakebase,
    Memory,
    ScopedMemory,
    Thread,
    TokenUsage,
    Window,
)
from lakemem.testing.concurrency import gather
from tests.conftest import connect
from tests.support.rows import Rows

Item = dict[str, Any]


def said(*texts: str) -> list[Item]:
    """Messages of the user and of the assistant in turn."""
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": "\\u0000"}'}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "NUL \x00 and half a pair \ud83e"}


@pytest.fixture
def thread(alice: ScopedMemory) -> Thread:
    return alice.thread("t")


def test_a_window_holds_the_newest_items_that_fit(thread: Thread) -> None:
    items = [*said("a", "b"), CALL, OUTPUT, *said("c", "d\x00\ud83e")]
    thread.append(items)
    assert thread.window(Window(tokens=1_000)) == items
    assert thread.window(Window(items=9)) == items
    assert thread.window(Window(items=4)) == items[2:]
    assert thread.window(Window(items=3)) == items[4:]
    assert thread.window(Window(tokens=0)) == []
    assert thread.window(Window(items=0)) == []
    assert thread.window(Window(tokens=4, count=lambda item: 1, max_bytes=9_999)) == items[2:]
    assert thread.window(Window(tokens=99, items=2, count=lambda item: 1)) == items[4:]
    assert (thread.fork(at=2)).window(Window(items=1)) == items[1:2]


def test_a_window_reads_no_more_bytes_than_it_says(thread: Thread) -> None:
    counted: list[Item] = []

    def count(item: Any) -> int:
        counted.append(item)
        return 1

    thread.append([*said(*["x" * 1_000] * 50), *said("y" * 100)])
    assert len(thread.window(Window(tokens=10_000, count=count, max_bytes=5_000))) == 5
    assert len(counted) <= 6
    # The item before may be reasoning that the first one needs, but for a message of the user.
    thread.append([{"role": "assistant", "content": "z" * 6_000}, *said("", "end")])
    assert thread.window(Window(tokens=10_000, max_bytes=5_000)) == said("", "end")
    thread.append([{"type": "reasoning", "summary": ["r" * 6_000]}, *said("", "end")[1:]])
    assert thread.window(Window(tokens=10_000, max_bytes=5_000)) == []
    thread.append([{"role": "user", "content": "u" * 6_000}, {"role": "assistant", "content": "answer"}])
    assert thread.window(Window(tokens=10_000, max_bytes=5_000)) == said("", "answer")[1:]


def test_a_window_of_a_long_thread_touches_few_rows(thread: Thread, target: Lakebase) -> None:
    for start in range(0, 3_000, 1_000):
        thread.append(said(*(f"{number} " + "x" * 200 for number in range(start, start + 1_000))))
    with connect(target) as connection:
        read = "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_user_tables WHERE relname = 'thread_items'"
        flush = "SELECT pg_stat_force_next_flush()"
        before = connection.execute(read).fetchone()
        assert before is not None
        assert len(thread.window(Window(tokens=1_000))) > 10
        thread.info()
        connection.execute(flush)
        after = connection.execute(read).fetchone()
        assert after is not None
        assert int(str(after[0])) - int(str(before[0])) < 1_000


def test_what_is_new_in_an_input(thread: Thread) -> None:
    assert thread.new_items("hello") == said("hello")
    thread.append([*said("hello"), CALL, OUTPUT, *said("", "hi")[1:]])
    question = {"role": "user", "content": [{"type": "input_text", "text": "hello"}]}
    assert thread.new_items([*said("hello", "hi"), question]) == [question]
    assert thread.new_items(said("hello", "hi")) == []
    assert thread.new_items([]) == []
    thread.clear()
    assert thread.new_items(said("hello", "hi", "hello")) == said("hello", "hi", "hello")
    with pytest.raises(InvalidInputError, match="JSON object"):
        thread.new_items(["hello"])  # type: ignore[list-item]


def test_what_is_new_is_told_in_a_long_thread_from_its_end(thread: Thread) -> None:
    thread.append(said(*["ok"] * 600))
    assert thread.new_items(said(*["ok"] * 601)) == said("ok")
    assert thread.new_items([*said("", "ok")[1:], *said("ok")]) == said("ok")


def test_a_tail_is_replaced_if_it_is_as_expected(thread: Thread) -> None:
    thread.append(said("a", "b", "c", "d"))
    tail = thread.messages(2)
    assert thread.replace_tail(tail, [{"summary": "c\x00"}, {"n": 2}])
    assert thread.items() == [*said("a", "b"), {"summary": "c\x00"}, {"n": 2}]
    assert [message.position for message in thread.messages()] == [1, 2, 5, 6]
    assert not thread.replace_tail(tail, [{"n": 3}])

    everything = thread.messages()
    assert thread.replace_tail(everything[3:], [], prune_to=2)
    assert thread.items() == [{"summary": "c\x00"}]
    assert thread.replace_tail(None, said("x"))
    assert thread.items() == said("x")
    assert [message.position for message in thread.oldest(5)] == [7]


def test_a_tail_that_has_changed_stays(thread: Thread, alice: ScopedMemory) -> None:
    thread.append(said("a", "b", "c"))
    seen = thread.messages()
    thread.append(said("d"))
    for expected in (seen, seen[1:], seen[:1], [seen[0], seen[2]]):
        assert not thread.replace_tail(expected, [{"n": 1}])
    thread.pop()
    thread.pop()
    assert not thread.replace_tail(seen, [{"n": 1}])
    assert thread.items() == said("a", "b")

    # Another thread of the same name has the same positions, and other times.
    old = thread.messages()
    thread.delete()
    assert not thread.replace_tail(old, [{"n": 1}])
    assert not thread.replace_tail(None, [{"n": 1}])
    assert thread.info() is None
    thread.append(said("a", "b"))
    assert not thread.replace_tail(old, [{"n": 1}])
    assert thread.items() == said("a", "b")


def test_a_replacement_that_makes_no_sense_is_refused(thread: Thread) -> None:
    thread.append(said("a", "b"))
    seen = thread.messages()
    with pytest.raises(InvalidInputError, match="None for all"):
        thread.replace_tail([], [{"n": 1}])
    with pytest.raises(InvalidInputError, match="prune_to"):
        thread.replace_tail(seen[1:], [{"n": 1}], prune_to=2)
    with pytest.raises(InvalidInputError, match="JSON"):
        thread.replace_tail(seen, [{"n": float("nan")}])
    assert thread.items() == said("a", "b")


def test_of_many_replacements_and_appends_none_loses_an_item(thread: Thread) -> None:
    """Whatever order they come in: an item is in the thread, or in the summary that says it replaced it."""
    thread.append([{"n": -1}])

    def compact(number: int) -> bool:
        tail = thread.messages()
        names = [name for message in tail for name in message.item.get("of", [message.item.get("n")])]
        return thread.replace_tail(tail, [{"of": names}])

    def append(number: int) -> bool:
        return bool(thread.append([{"n": number}]))

    calls = [lambda number=number, call=call: call(number) for number in range(20) for call in (append, compact)]
    done = gather(calls)
    assert all(done[::2])
    found = [name for item in thread.items() for name in item.get("of", [item.get("n")])]
    assert sorted(found) == list(range(-1, 20))


def test_turns_and_what_they_used(thread: Thread) -> None:
    assert not thread.store_usage(TokenUsage(requests=1))
    assert thread.usage() == TokenUsage()
    quoting = {"role": "assistant", "content": '{"role":"user"} said \\"role\\":\\"user\\"'}
    thread.append([*said("first\x00\ud83e", "b"), CALL, OUTPUT, quoting])
    first = TokenUsage(input_tokens=10, output_tokens=5, total_tokens=15, requests=1, models=("small",))
    assert thread.store_usage(first, run_id="run 1")
    more = TokenUsage(
        input_tokens=30, output_tokens=7, total_tokens=37, cached_tokens=20, reasoning_tokens=2, requests=2,
        models=("large",),
    )  # fmt: skip
    # The run went on after an approval: its numbers are those of all of it.
    assert thread.store_usage(more, run_id="run 1")
    thread.append(said("second", "c", "third", "d"))
    assert thread.store_usage(first)
    assert thread.store_usage(first)

    turns = thread.turns()
    assert [(turn.position, turn.item["content"], turn.items) for turn in turns] == [
        (1, "first\x00\ud83e", 5),
        (6, "second", 2),
        (8, "third", 2),
    ]
    twice = TokenUsage(input_tokens=20, output_tokens=10, total_tokens=30, requests=2, runs=2, models=("small",))
    assert [turn.usage for turn in turns] == [_with_runs(more, 1), TokenUsage(), twice]
    assert thread.turns(limit=1) == turns[2:]
    assert thread.turns(limit=0) == []
    assert thread.usage() == TokenUsage(
        input_tokens=50, output_tokens=17, total_tokens=67, cached_tokens=20, reasoning_tokens=2, requests=4, runs=3,
        models=("large", "small"),
    )  # fmt: skip
    # What a turn used that was taken back is no other turn's.
    thread.rewind(to=7)
    assert thread.turns() == turns[:2]
    assert (thread.usage()).runs == 3


def _with_runs(usage: TokenUsage, runs: int) -> TokenUsage:
    return TokenUsage(
        usage.input_tokens, usage.output_tokens, usage.total_tokens, usage.cached_tokens, usage.reasoning_tokens,
        usage.requests, runs, usage.models,
    )  # fmt: skip


def test_what_was_used_stays_with_compaction_and_goes_with_the_thread(alice: ScopedMemory, target: Lakebase) -> None:
    rows = Rows(target, alice.owner)
    thread = alice.thread("t")
    for remove in (thread.clear, thread.delete):
        thread.append(said("a", "b"))
        assert thread.store_usage(TokenUsage(requests=3))
        thread.replace_tail(None, [{"type": "compaction"}])
        thread.rewind(to=0)
        assert (thread.usage()).requests == 3
        remove()
        assert thread.usage() == TokenUsage()
        assert rows("SELECT count(*) FROM lakemem.run_usage") == [(0,)]


def test_nothing_is_read_of_a_thread_that_has_expired(alice: ScopedMemory, target: Lakebase) -> None:
    thread, rows = alice.thread("t"), Rows(target, alice.owner)
    thread.append(said("a", "b"))
    thread.store_usage(TokenUsage(requests=1))
    seen = thread.messages()
    thread.update(expires_in=60)
    rows("UPDATE lakemem.threads SET expires_at = now()")
    assert thread.window(Window(items=9)) == []
    assert thread.oldest(9) == thread.turns() == []
    assert thread.usage() == TokenUsage()
    assert thread.new_items(said("a")) == said("a")
    assert not thread.replace_tail(seen, [])
    assert not thread.replace_tail(None, [{"n": 1}])
    assert not thread.store_usage(TokenUsage(requests=1))
    thread.append(said("c"))
    assert thread.items() == said("c")
    assert thread.usage() == TokenUsage()
    assert rows("SELECT count(*) FROM lakemem.run_usage") == [(0,)]


@pytest.mark.parametrize(
    "usage",
    [TokenUsage(requests=-1), TokenUsage(input_tokens=1.5), TokenUsage(models=("",))],  # type: ignore[arg-type]
)
def test_numbers_that_are_none_are_refused(thread: Thread, usage: TokenUsage) -> None:
    thread.append(said("a"))
    with pytest.raises(InvalidInputError):
        thread.store_usage(usage)
    assert thread.usage() == TokenUsage()


def test_turns_are_their_owners(memory: Memory, alice: ScopedMemory, bob: ScopedMemory) -> None:
    alice.thread("t").append(said("a", "b"))
    alice.thread("t").store_usage(TokenUsage(requests=1))
    seen = alice.thread("t").messages()
    theirs = bob.thread("t")
    assert not theirs.replace_tail(seen, [])
    assert not theirs.replace_tail(None, [])
    assert not theirs.store_usage(TokenUsage(requests=5))
    assert theirs.window(Window(items=9)) == theirs.turns() == theirs.oldest(9) == []
    assert theirs.usage() == TokenUsage()
    assert theirs.new_items(said("a", "b")) == said("a", "b")
    assert alice.thread("t").messages() == seen
    assert (alice.thread("t").usage()).requests == 1
