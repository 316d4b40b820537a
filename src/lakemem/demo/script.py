"""A model that follows a few rules, for machines where no real one is configured.

It does what a real model does with the memory tools, and knows nothing beside what it is told and what they
return: take the memory away, and it forgets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

INSTRUCTIONS = (
    "You are a helpful assistant with a long-term memory of the user. Save what the user tells you about "
    "themselves with save_memory, one fact a call. Search your memories before you answer a question about the "
    "user. Say so when you find nothing. Be brief."
)

INTRODUCTION = "Hi, I am Ada. I work in the workspace analytics-eu, and I like short answers with a code sample."
SHORT_TERM_QUESTION = "What was the first thing I told you in this conversation?"
LONG_TERM_QUESTION = "Which workspace should my job run in, and how should you answer me?"

_FACTS = (
    (re.compile(r"\bI work in (?:the )?(workspace [\w-]+)"), "preferred_workspace", "The user works in the {}."),
    (re.compile(r"\bI like ([^.!?]+)"), "answer_style", "The user likes {}."),
    (re.compile(r"\bI am ([A-Z]\w+)"), "name", "The user is called {}."),
)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What the model wants to have done."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Transcript:
    """What the model sees: all that the user said in this conversation, and the tools' answers to the last of it."""

    user_messages: Sequence[str]
    tool_answers: Sequence[str]


def next_step(transcript: Transcript) -> list[ToolCall] | str:
    """Return the tools to call now, or what to say."""
    message = transcript.user_messages[-1]
    if transcript.tool_answers:
        return _say_what_was_done(transcript.tool_answers)
    if facts := _facts_in(message):
        return [ToolCall("save_memory", fact) for fact in facts]
    if "in this conversation" in message:
        return f'You began with: "{transcript.user_messages[0]}"'
    return [ToolCall("search_memories", {"query": message})]


def _facts_in(message: str) -> list[dict[str, str]]:
    found = [(key, text, pattern.search(message)) for pattern, key, text in _FACTS]
    return [{"key": key, "value": text.format(match[1])} for key, text, match in found if match]


def _say_what_was_done(answers: Sequence[str]) -> str:
    results = [json.loads(answer) for answer in answers]
    if saved := [result["saved"] for result in results if "saved" in result]:
        return f"Nice to meet you. I have noted: {', '.join(saved)}."
    values = [str(memory["value"]) for result in results for memory in result.get("memories", [])]
    if not values:
        return "I know nothing about you yet."
    return "From earlier conversations I know: " + " ".join(values)
