"""What goes over the wire, without a server: frames, cursors, requests, and what agents may give."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from lakemem import InvalidInputError
from lakemem.run_types import Run, RunEvent
from lakemem.server.answers import Answer, standing
from lakemem.server.asking import read_asked
from lakemem.server.shapes import response_of
from lakemem.server.sse import DONE, KEEP_ALIVE, cursor_of, frame
from tests.answers import check_stream

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def a_run(**changed: Any) -> Run:
    fields: dict[str, Any] = {
        "run_id": "resp_1", "thread_id": "t", "owner": "user:ada", "status": "in_progress", "attempt": 1,
        "attempts_used": 1, "max_attempts": 2, "request": {"input": "Hello"}, "output": None, "error": None,
        "metadata": {}, "question": None, "answer": None, "asked_by": 0, "cancel_requested": False,
        "created_at": NOW, "started_at": NOW, "completed_at": None, "deadline": NOW, "last_sequence": -1,
        "background": True, "kind": "stream", "previous_run_id": None,
    }  # fmt: skip
    return Run(**{**fields, **changed})


# Frames.


events = st.dictionaries(
    st.text(max_size=5), st.none() | st.text() | st.integers() | st.lists(st.text(max_size=5), max_size=3), max_size=4
)


@given(events, st.integers(0, 2**62))
def test_a_frame_has_the_event_and_its_number_and_no_line_that_a_client_could_split(
    event: dict[str, Any], number: int
) -> None:
    event = {name: value for name, value in event.items() if name not in ("sequence_number", "response_id")}
    for text in (json.dumps(event), json.dumps(event, ensure_ascii=False).encode(errors="replace").decode()):
        made = frame(text, number, "resp_1")
        assert made.endswith("\n\n")
        first, second = made.removesuffix("\n\n").splitlines()
        assert first == f"id: {number}"
        told = json.loads(second.removeprefix("data: "))
        assert told == {**json.loads(text), "sequence_number": number, "response_id": "resp_1"}


def test_signs_of_life_are_no_events_to_the_openai_client() -> None:
    wire = KEEP_ALIVE + frame('{"type":"a"}', 0, "r") + KEEP_ALIVE + KEEP_ALIVE + frame('{"type":"b"}', 1, "r") + DONE
    decoded = list(SSEDecoder().iter_bytes(iter([wire.encode()])))
    assert [each.data[:6] for each in decoded] == ['{"sequ', '{"sequ', "[DONE]"]


@pytest.mark.parametrize(
    ("query", "headers", "cursor"),
    [
        ({}, {}, -1),
        ({"starting_after": ""}, {}, -1),
        ({"starting_after": "-1"}, {}, -1),
        ({"starting_after": "0"}, {}, 0),
        ({"starting_after": "7"}, {}, 7),
        ({"starting_after": "7"}, {"last-event-id": "9"}, 9),
        ({}, {"last-event-id": "0"}, 0),
    ],
)
def test_cursors(query: dict[str, str], headers: dict[str, str], cursor: int) -> None:
    assert cursor_of(query, headers) == cursor


@pytest.mark.parametrize("given", ["-2", "x", "1.5", "1e3", "--1", "٣", "9" * 30])
def test_cursors_that_are_none(given: str) -> None:
    with pytest.raises(InvalidInputError, match="starting_after"):
        cursor_of({"starting_after": given}, {})


# Requests.


def test_a_request_keeps_what_is_for_the_agent() -> None:
    body = {"input": "Hello", "background": True, "stream": True, "model": "m", "custom_inputs": {"a": 1}}
    asked = read_asked(json.dumps(body).encode(), {"idempotency-key": "k"})
    assert asked.request == {"input": "Hello", "model": "m", "custom_inputs": {"a": 1}}
    assert (asked.background, asked.stream, asked.kind, asked.idempotency_key) == (True, True, "stream", "k")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "a JSON object"),
        (b"{}", "input must be"),
        (b'{"input": []}', "nothing to answer"),
        (b'{"input": "x", "stream": "yes"}', "stream must be true or false"),
        (b'{"input": "x", "background": 1}', "background must be true or false"),
        (b'{"input": "x", "previous_response_id": 7}', "previous_response_id must be a string"),
        (b'{"input": "x", "previous_response_id": "r", "conversation": "c"}', "either previous_response_id or"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_requests_that_are_refused(body: bytes, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_asked(body, {})


# What an agent gives, as events.


def answered(*given: Any, run: Run | None = None, kept: tuple[Any, ...] = ()) -> tuple[Answer, list[dict[str, Any]]]:
    answer = Answer(run or a_run(), kept)
    made = [event for thing in given for event in answer.of(thing)]
    made += answer.closing()
    return answer, made


def whole(answer: Answer, made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The stream of a first attempt, numbered as Postgres does."""
    ended = a_run(status="completed", output=answer.output, completed_at=NOW)
    stream = [*answer.opening(None), *made, *answer.ending(ended)]
    return [{**event, "sequence_number": number} for number, event in enumerate(stream)]


DELTA = {"type": "response.output_text.delta", "item_id": "m", "delta": "Hello"}
MESSAGE = {
    "type": "message", "id": "m", "role": "assistant", "status": "completed",
    "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
}  # fmt: skip
CALL = {"type": "function_call", "id": "f", "call_id": "c", "name": "weather", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "sun"}


@pytest.mark.parametrize(
    "given",
    [
        ["Hel", "lo"],
        [["Hello"]],
        [{"role": "assistant", "content": "Hello"}],
        [{"output": [MESSAGE]}],
        [{"object": "response", "status": "completed", "output": [MESSAGE]}],
        [{"type": "response.output_item.done", "item": MESSAGE}],
        [DELTA, {"type": "response.output_item.done", "item": MESSAGE}],
        [
            {"type": "response.created", "response": {}},
            {"type": "response.completed", "response": {"output": [MESSAGE]}},
        ],
    ],
    ids=["texts", "list", "message", "output", "response", "done", "delta and done", "own lifecycle"],
)
def test_whatever_an_agent_gives_is_a_stream_that_clients_can_read(given: list[Any]) -> None:
    answer, made = answered(*given)
    check_stream(whole(answer, made))
    assert [item["content"][0]["text"] for item in answer.output] == ["Hello"]


def test_calls_and_their_results_have_their_places() -> None:
    answer, made = answered(CALL, RESULT, "It is sunny")
    check_stream(whole(answer, made))
    assert [item["type"] for item in answer.output] == ["function_call", "function_call_output", "message"]


def test_what_an_agent_announces_itself_is_passed_on_as_it_is() -> None:
    added = {"type": "response.output_item.added", "output_index": 0, "item": {**MESSAGE, "content": []}}
    own = {"type": "my.progress", "percent": 7, "sequence_number": 99}
    answer, made = answered(added, own, {"type": "response.output_item.done", "output_index": 0, "item": MESSAGE})
    assert made[1] == {"type": "my.progress", "percent": 7}
    assert [event["type"] for event in made].count("response.output_item.added") == 1
    assert answer.output == [MESSAGE]


def test_a_later_attempt_goes_on_behind_what_stands() -> None:
    run = a_run(attempt=2, last_sequence=7)
    answer, made = answered(
        {"type": "response.output_item.done", "output_index": 0, "item": MESSAGE}, run=run, kept=(CALL,)
    )
    assert answer.opening(4) == [
        {
            "type": "response.resumed",
            "attempt": 2,
            "from_seq": 8,
            "discard_after_seq": 4,
            "conversation_id": "t",
        }
    ]
    assert {event["output_index"] for event in made} == {1}
    assert answer.output == [CALL, MESSAGE]


def test_what_stands_of_earlier_attempts() -> None:
    def done(number: int, item: Any) -> RunEvent:
        return RunEvent(number, 1, json.dumps({"type": "response.output_item.done", "item": item}))

    resumed = RunEvent(3, 2, json.dumps({"type": "response.resumed", "discard_after_seq": 1}))
    other = RunEvent(0, 1, json.dumps({"type": "response.created"}))
    log = [other, done(1, CALL), done(2, {**MESSAGE, "id": "lost"}), resumed, done(4, RESULT)]
    assert standing(log) == [(1, CALL), (4, RESULT)]


@pytest.mark.parametrize(
    "given",
    [
        {"type": "error", "code": "c", "message": "no"},
        {"type": "error", "error": {"code": "c", "message": "no"}},
        {"type": "response.failed", "response": {"error": {"code": "c", "message": "no"}}},
        {"status": "failed", "error": {"code": "c", "message": "no"}, "output": []},
    ],
    ids=["flat", "nested", "failed", "response"],
)
def test_an_agent_may_say_that_it_failed(given: dict[str, Any]) -> None:
    answer, made = answered(given)
    assert (answer.failure, made) == (("c", "no"), [])


def test_an_agent_that_asks_something_waits() -> None:
    asks = [{"id": "c", "value": {"tool": "refund"}}]
    answer, _ = answered(
        {"type": "response.completed", "response": {"output": []}, "custom_outputs": {"interrupts": asks}}
    )
    assert answer.waits
    shown = response_of(a_run(status="waiting"), answer.told)
    assert (shown["status"], shown["incomplete_details"]) == ("incomplete", {"reason": "waiting_for_input"})
    assert shown["custom_outputs"] == {"thread_id": "t", "interrupts": asks}


@pytest.mark.parametrize("given", [7, b"x", object(), {"output": [7]}])
def test_what_is_nothing_that_can_be_shown(given: Any) -> None:
    with pytest.raises(InvalidInputError):
        answered(given)
