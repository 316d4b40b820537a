"""A window of a thread: within its bounds, nothing torn apart, and nothing left out that would fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakemem import InvalidInputError, Window, estimate_tokens

Item = dict[str, Any]

PAIRS: dict[str, tuple[Item, Item]] = {
    **{
        kind: ({"type": kind, "call_id": "1"}, {"type": output, "call_id": "1"})
        for kind, output in {
            "function_call": "function_call_output",
            "custom_tool_call": "custom_tool_call_output",
            "shell_call": "shell_call_output",
            "apply_patch_call": "apply_patch_call_output",
            "computer_call": "computer_call_output",
            "tool_search_call": "tool_search_output",
            "program": "program_output",
        }.items()
    },
    "local shell": ({"type": "local_shell_call", "call_id": "1"}, {"type": "local_shell_call_output", "id": "1"}),
    "local shell of the SDK": (
        {"type": "local_shell_call", "call_id": "1"},
        {"type": "local_shell_call_output", "call_id": "1"},
    ),
    "a tool search without ids": ({"type": "tool_search_call"}, {"type": "tool_search_output"}),
    "approval": (
        {"type": "mcp_approval_request", "id": "1"},
        {"type": "mcp_approval_response", "approval_request_id": "1"},
    ),
    "a call that was approved": (
        {"type": "mcp_approval_request", "id": "1"},
        {"type": "mcp_call", "id": "2", "approval_request_id": "1"},
    ),
    "a call by a program": (
        {"type": "program", "call_id": "1"},
        {"type": "function_call", "call_id": "2", "caller": {"type": "program", "caller_id": "1"}},
    ),
    "chat completions": (
        {"role": "assistant", "tool_calls": [{"id": "0"}, {"id": "1"}]},
        {"role": "tool", "tool_call_id": "1"},
    ),
    "reasoning": ({"type": "reasoning", "id": "rs"}, {"type": "message", "role": "assistant", "content": "x"}),
    "reasoning before a call": ({"type": "reasoning", "id": "rs"}, {"type": "function_call", "call_id": "7"}),
}


def user(text: str = "q") -> Item:
    return {"role": "user", "content": text}


def cut(thread: Sequence[Item], *, free: bool = True, **bounds: Any) -> list[Item]:
    return list(thread[Window(**bounds).fit(thread, free=free) :])


def one_each(item: Any) -> int:
    return 1


@pytest.mark.parametrize("pair", PAIRS)
def test_a_result_stands_only_with_its_call(pair: str) -> None:
    first, second = PAIRS[pair]
    note = {"role": "assistant", "content": "between"} if "reasoning" in pair else user("between")
    for thread in ([user(), first, second, user("end")], [user(), first, note, second, user("end")]):
        sizes = [len(cut(thread, items=limit)) for limit in range(len(thread) + 1)]
        together = len(thread) - 1
        assert sizes == [*([0] + [1] * (together - 1)), together, together + 1]
        assert cut(thread, tokens=together - 1, count=one_each) == [user("end")]


@pytest.mark.parametrize("pair", [name for name in PAIRS if "reasoning" not in name])
def test_a_result_without_its_call_is_left_out_with_all_before_it(pair: str) -> None:
    _, second = PAIRS[pair]
    assert cut([user(), second, user("end")], items=9) == [user("end")]
    assert cut([second], items=9) == []


def test_a_call_that_waits_for_its_result_is_kept() -> None:
    thread = [user(), {"type": "function_call", "call_id": "1"}]
    assert cut(thread, items=1) == thread[1:]


def test_a_call_id_that_is_used_again_belongs_to_the_nearest_call() -> None:
    pair = [{"type": "function_call", "call_id": "1"}, {"type": "function_call_output", "call_id": "1"}]
    assert cut([*pair, *pair], items=3) == pair


def test_the_response_after_reasoning_is_one_until_it_ends() -> None:
    response = [
        {"type": "reasoning", "id": "rs"},
        {"type": "function_call", "call_id": "1"},
        {"type": "function_call", "call_id": "2"},
    ]
    outputs = [{"type": "function_call_output", "call_id": number} for number in ("1", "2")]
    answer = {"role": "assistant", "content": "done"}
    thread = [user(), *response, *outputs, answer]
    assert [len(cut(thread, items=limit)) for limit in range(8)] == [0, 1, 1, 1, 1, 1, 6, 7]


@pytest.mark.parametrize(
    ("first", "may_begin"),
    [
        (user(), True),
        ({"role": "developer", "content": ""}, True),
        ({"type": "compaction"}, True),
        ({"role": "assistant", "content": ""}, False),
        ({"type": "function_call", "call_id": "1"}, False),
    ],
)
def test_what_may_follow_on_unseen_reasoning_does_not_begin_a_window(first: Item, may_begin: bool) -> None:
    thread = [first, user("end")]
    assert cut(thread, items=9, free=False) == (thread if may_begin else thread[1:])
    assert cut(thread, items=9, free=True) == thread


def test_an_item_over_the_budget_ends_the_window() -> None:
    thread = [user("a"), user("b" * 400), user("c")]
    assert cut(thread, tokens=50) == thread[2:]
    assert cut(thread[:2], tokens=50) == []
    assert cut(thread, tokens=0) == []
    assert cut([], tokens=50) == []


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({}, "needs a bound"),
        ({"max_bytes": 9}, "needs a bound"),
        ({"tokens": -1}, "negative"),
        ({"items": 1.5}, "whole number"),
        ({"tokens": True}, "whole number"),
    ],
)
def test_a_window_without_sense_is_refused(bounds: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Window(**bounds)


def test_the_estimate_counts_words_and_not_the_bytes_of_images() -> None:
    prose = user("The quick brown fox jumps over the lazy dog. " * 20)
    assert 200 <= estimate_tokens(prose) <= 250
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 1_000_000}
    assert 1_000 <= estimate_tokens({"role": "user", "content": [image]}) <= 1_100
    assert estimate_tokens(user("你好" * 100)) >= 150
    assert estimate_tokens({"a": ["\ud83e", None, 1.5, {}]}) > 0


ids = st.sampled_from("abc")
parts = st.one_of(
    st.just(user()),
    st.just({"role": "assistant", "content": "x"}),
    st.just({"type": "reasoning"}),
    ids.map(lambda name: {"type": "function_call", "call_id": name}),
    ids.map(lambda name: {"type": "function_call_output", "call_id": name}),
)


@given(st.lists(parts, max_size=12), st.integers(0, 13), st.integers(0, 13))
def test_a_window_is_the_longest_one_that_tears_nothing_apart(thread: list[Item], items: int, tokens: int) -> None:
    found = cut(thread, items=items, tokens=tokens, count=one_each)
    whole = [
        size for size in range(min(items, tokens, len(thread)) + 1) if tears_nothing_apart(thread, len(thread) - size)
    ]
    assert len(found) == max(whole)


def tears_nothing_apart(thread: list[Item], start: int) -> bool:
    """The rule again, in other words."""
    kept = thread[start:]
    for place, item in enumerate(kept):
        if item.get("type") == "function_call_output" and not any(
            other.get("type") == "function_call" and other["call_id"] == item["call_id"] for other in kept[:place]
        ):
            return False
    response = []
    for item in reversed(thread[:start]):
        if item.get("role") == "user" or item.get("type") == "function_call_output":
            break
        response.append(item)
    continues = kept and kept[0].get("role") != "user" and kept[0].get("type") != "function_call_output"
    return not (continues and any(item.get("type") == "reasoning" for item in response))
