"""What is new in an input, told from the history that was sent along: pure, and for any conversation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakemem.echoes import after_echo

Item = dict[str, Any]


def user(text: str) -> Item:
    return {"role": "user", "content": text}


def assistant(text: str) -> Item:
    return {"role": "assistant", "content": text}


def tool(number: int) -> list[Item]:
    return [
        {"type": "function_call", "id": f"fc_{number}", "call_id": f"c{number}", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": f"c{number}", "output": "ok"},
    ]


def as_stored(item: Item) -> Item:
    """The same message in the form in which the Agents SDK stores it."""
    if item.get("role") != "assistant":
        return item
    content = [{"type": "output_text", "text": item["content"], "annotations": []}]
    return {"id": f"msg_{id(item)}", "type": "message", "role": "assistant", "status": "completed", "content": content}


def new(stored: list[Item], given: list[Item], *, from_start: bool = True) -> list[Item]:
    return given[after_echo(stored, given, from_start=from_start) :]


OK, A, B = user("ok"), assistant("A"), assistant("B")

CASES: dict[str, tuple[list[Item], list[Item], list[Item]]] = {
    "an empty thread": ([], [OK, A, OK], [OK, A, OK]),
    "an empty input": ([OK, A], [], []),
    "only what is new": ([OK, A], [user("more")], [user("more")]),
    "the same words again": ([OK, A, OK, B], [OK, A, OK, B, OK], [OK]),
    "the same words again, cut off": ([OK, A, OK, B], [B, OK], [OK]),
    "the same words again, and no history": ([OK, A], [OK], [OK]),
    "the same words twice, and no history": ([OK, A, OK, B], [user("x"), OK], [user("x"), OK]),
    "the same answers": ([OK, A, OK, A], [A, OK], [OK]),
    "a repeated request without an answer": ([OK, A, user("q")], [OK, A, user("q")], []),
    "a repeated request, cut off, without an answer": ([OK, A, user("q")], [user("q")], []),
    "one more after a request without an answer": ([OK], [OK, OK], [OK]),
    "a client that lost the answer": ([OK, A, user("q"), B], [OK, A, user("q")], []),
    "a client that lost the answer and goes on": ([OK, A, user("q"), B], [OK, A, user("q"), OK], [OK]),
    "a client that lost an answer like the one before": ([user("1"), A, user("2"), A], [user("1"), A, user("2")], []),
    "words from the middle, and no history": ([user("1"), A, OK, B], [OK, user("2")], [OK, user("2")]),
    "another client was faster": ([OK, A, user("theirs"), B], [OK, A, user("mine")], [user("mine")]),
    "another client was faster, cut off": ([OK, A, user("theirs"), B], [A, user("mine")], [user("mine")]),
    "an input that begins before the thread": ([user("c"), B], [OK, A, user("c"), B, OK], [OK]),
    "a greeting that only the client has": ([OK, A], [assistant("Welcome!"), OK, A, user("q")], [user("q")]),
    "a note that only the client has": ([OK, A], [OK, assistant("(thinking)"), A, user("q")], [user("q")]),
    "a client that keeps no answers": ([user("1"), A, user("2"), B], [user("1"), user("2"), user("3")], [user("3")]),
    "a compacted thread": ([{"type": "compaction", "id": "c"}], [OK, A, OK, B, OK, OK], [OK, OK]),
    "a compacted thread that went on": ([{"type": "compaction", "id": "c"}, OK, B], [OK, A, OK, B, OK], [OK]),
    "calls of tools, by their ids": ([OK, *tool(1), A], [OK, {**tool(1)[0], "id": None}, tool(1)[1], A, OK], [OK]),
    "a call without its result": ([OK, tool(1)[0]], [OK, tool(1)[0], tool(1)[1]], [tool(1)[1]]),
}


@pytest.mark.parametrize("case", CASES)
def test_cases(case: str) -> None:
    stored, given, expected = CASES[case]
    assert new(stored, given) == expected
    assert new([as_stored(item) for item in stored], given) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (user("hi"), {"role": "user", "content": [{"type": "input_text", "text": "hi"}]}),
        (user("hi"), {"type": "message", "id": "m", "status": "completed", **user(" hi\n")}),
        (
            {
                "role": "user",
                "content": [{"type": "input_image", "image_url": "data:x", "detail": None}, {"text": "a"}],
            },
            {
                "role": "user",
                "content": [{"image_url": "data:x", "type": "input_image"}, {"type": "text", "text": "a"}],
            },
        ),
        (
            {"type": "reasoning", "id": "rs_1", "summary": [{"text": "hm"}], "status": None},
            {"type": "reasoning", "summary": [{"text": "hm"}]},
        ),
        ({"role": "tool", "tool_call_id": "t", "content": "1"}, {"role": "tool", "tool_call_id": "t", "content": "2"}),
    ],
)
def test_the_form_makes_no_difference(one: Item, other: Item) -> None:
    assert new([one], [other, user("new")]) == new([other], [one, user("new")]) == [user("new")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (user("hi"), assistant("hi")),
        (user("hi"), {"role": "user", "content": [{"type": "input_image", "image_url": "hi"}]}),
        (tool(1)[0], tool(2)[0]),
        (tool(1)[0], tool(1)[1]),
    ],
)
def test_what_differs_is_new(one: Item, other: Item) -> None:
    assert new([one], [other]) == [other]


texts = st.sampled_from(["ok", "yes", "go on"])
hidden = st.integers(0, 99).map(tool) | st.just([{"type": "reasoning", "summary": []}]) | st.just([])


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[Item], list[Item]]:
    """A thread that ends with an answer, and the messages of it that a client shows."""
    stored: list[Item] = []
    shown: list[Item] = []
    for _ in range(draw(st.integers(1, 6))):
        turn = [user(draw(texts)) for _ in range(draw(st.integers(1, 2)))]
        answer = assistant(draw(texts))
        stored += [*turn, *draw(hidden), as_stored(answer), *draw(hidden)]
        shown += [*turn, answer]
    return stored, shown


news = st.lists(texts.map(user), min_size=1, max_size=3)


@given(conversations(), news, st.data())
def test_a_history_that_is_sent_along_is_not_new_however_it_is_cut(
    conversation: tuple[list[Item], list[Item]], more: list[Item], data: st.DataObject
) -> None:
    stored, shown = conversation
    cut = data.draw(st.integers(0, len(shown) - 1))
    assert new(stored, shown[cut:] + more) == more
    assert new(stored, stored + more) == more


@given(conversations(), st.booleans())
def test_what_is_sent_again_is_not_new(conversation: tuple[list[Item], list[Item]], from_start: bool) -> None:
    stored, shown = conversation
    assert new(stored, shown, from_start=from_start) == []
    assert new(stored, stored, from_start=from_start) == []
    assert new([*stored, user("q")], [*shown, user("q")], from_start=from_start) == []


@given(conversations(), conversations(), news)
def test_a_thread_that_lost_its_beginning_still_tells(
    lost: tuple[list[Item], list[Item]], kept: tuple[list[Item], list[Item]], more: list[Item]
) -> None:
    """Which of several equal places the thread begins at cannot be told; with words of its own it can."""
    marked = [user("a mark"), *kept[0]]
    given = [*lost[1], user("a mark"), *kept[1], *more]
    for from_start in (False, True):
        assert new(marked, given, from_start=from_start) == more
    assert new([{"type": "compaction", "id": "c"}, *marked], given) == more


@given(conversations(), conversations(), news)
def test_what_others_add_meanwhile_makes_nothing_old(
    conversation: tuple[list[Item], list[Item]], others: tuple[list[Item], list[Item]], more: list[Item]
) -> None:
    stored, shown = conversation
    mine = [user(f"mine: {item['content']}") for item in more]
    assert new([*stored, *others[0]], [*shown, *mine])[-len(mine) :] == mine
    told = [*shown, assistant("a word of its own"), *mine]
    assert new([*stored, assistant("a word of its own"), *others[0]], told) == mine
