"""A model behind OpenAI's HTTP interfaces: it saves what it is told, and answers with what it finds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Step = tuple[str, dict[str, str]] | str
"""A tool to call, or what to say."""


def next_step(said: str, answers: Sequence[str]) -> Step:
    if answers:
        return f"Found [/b]: {' '.join(answers)}"
    if said.startswith("Hi, I am"):
        return "save_memory", {"key": "introduction", "value": said}
    return "search_memories", {"query": said}


def responses(body: Any) -> dict[str, Any]:
    """The answer to a POST of /responses."""
    items = body["input"]
    last = max(place for place, item in enumerate(items) if item.get("role") == "user")
    step = next_step(
        _text(items[last]["content"]),
        [item["output"] for item in items[last:] if item.get("type") == "function_call_output"],
    )
    output: dict[str, Any]
    if isinstance(step, str):
        content = [{"type": "output_text", "text": step, "annotations": []}]
        output = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}
    else:
        name, given = step
        output = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": name, "status": "completed"}
        output["arguments"] = json.dumps(given)
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "model": body["model"],
        "output": [output],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def chat_completions(body: Any) -> dict[str, Any]:
    """The answer to a POST of /chat/completions."""
    messages = body["messages"]
    last = max(place for place, message in enumerate(messages) if message["role"] == "user")
    step = next_step(
        _text(messages[last]["content"]),
        [_text(message["content"]) for message in messages[last:] if message["role"] == "tool"],
    )
    message: dict[str, Any] = {"role": "assistant", "content": step if isinstance(step, str) else None}
    if not isinstance(step, str):
        name, given = step
        function = {"name": name, "arguments": json.dumps(given)}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
