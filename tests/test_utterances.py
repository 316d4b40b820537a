"""What was said is read from the items of either framework."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    message_to_dict,
)
from openai.types.responses import ResponseOutputMessage, ResponseOutputText

from lakemem import InvalidInputError, Message
from lakemem.utterances import Utterance, keys_of, utterances

NOW = datetime(2025, 5, 1, tzinfo=UTC)

SPOKEN: dict[str, tuple[object, tuple[str, str]]] = {
    "plain": ({"role": "user", "content": "Hi"}, ("user", "Hi")),
    "a name": ({"role": "user", "content": "Hi", "name": "Ada"}, ("Ada", "Hi")),
    "a speaker": ({"role": "critic", "content": "Hi", "speaker": "Ada"}, ("Ada", "Hi")),
    "another role": ({"role": "critic", "content": "Hi"}, ("critic", "Hi")),
    "an input of the Responses API": (
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image"}]},
        ("user", "a"),
    ),
    "an output of the Responses API": (
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}, {"refusal": "b"}]},
        ("assistant", "a\nb"),
    ),
    "an object of the OpenAI SDK": (
        ResponseOutputMessage(
            id="1",
            type="message",
            role="assistant",
            status="completed",
            content=[ResponseOutputText(type="output_text", text="a", annotations=[])],
        ),
        ("assistant", "a"),
    ),
    "a human of LangChain": (HumanMessage("Hi"), ("user", "Hi")),
    "a human with a name": (HumanMessage("Hi", name="Ada"), ("Ada", "Hi")),
    "an agent of LangChain": (AIMessage([{"type": "text", "text": "a"}, "b"]), ("assistant", "a\nb")),
    "a part of an answer": (AIMessageChunk("Hi"), ("assistant", "Hi")),
    "as LangChain stores it": (message_to_dict(HumanMessage("Hi")), ("user", "Hi")),
    "a message of a thread": (Message(3, {"role": "user", "content": "Hi"}, NOW), ("user", "Hi")),
}


@pytest.mark.parametrize("name", SPOKEN)
def test_a_message_is_read_in_any_shape(name: str) -> None:
    item, (speaker, said) = SPOKEN[name]
    [utterance] = utterances([item])
    assert (utterance.speaker, utterance.said, utterance.text) == (speaker, said, f"{speaker}: {said}")


@pytest.mark.parametrize(
    "item",
    [
        {"role": "system", "content": "Be kind."},
        {"role": "developer", "content": "Be kind."},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
        {"type": "function_call", "name": "look", "arguments": "{}", "call_id": "1"},
        {"type": "function_call_output", "call_id": "1", "output": "42"},
        {"type": "reasoning", "summary": [{"text": "hm"}]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": [{"type": "input_image", "image_url": "..."}]},
        SystemMessage("Be kind."),
        ToolMessage("42", tool_call_id="1"),
        AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "1"}]),
    ],
)
def test_what_nobody_said_is_left_out(item: object) -> None:
    assert utterances([item]) == []


def test_a_time_and_a_position_come_along() -> None:
    item: dict[str, Any] = {"role": "user", "content": "Hi", "occurred_at": "2025-05-01T00:00:00Z", "position": 4}
    assert utterances([item]) == [Utterance("user", "Hi", NOW, 4, trust="user")]
    assert utterances([Message(3, {"role": "user", "content": "Hi"}, NOW)]) == [
        Utterance("user", "Hi", NOW, 3, trust="user")
    ]


@pytest.mark.parametrize("item", [3, None, "text", {"content": "Hi"}, {"role": 3, "content": "Hi"}, object()])
def test_what_is_no_message_is_refused(item: object) -> None:
    with pytest.raises(InvalidInputError):
        utterances([item])


def test_a_key_tells_places_and_words_apart() -> None:
    one = Utterance("user", "Hi")
    others = [
        Utterance("ada", "Hi"),
        Utterance("user", "Ho"),
        Utterance("user", "Hi", NOW),
        Utterance("user", "Hi", None, 1),
    ]
    keys = [
        *keys_of([one, one], "t"),
        *keys_of([one], "u"),
        *keys_of([one], None),
        *(keys_of([o], "t")[0] for o in others),
    ]
    assert len(set(keys)) == len(keys)
    assert keys_of([one, one], "t") == keys[:2]
