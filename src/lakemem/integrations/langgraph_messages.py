"""LangChain's messages as items of the Responses API, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
)

from lakemem.responses import Item, message_item, new_id, text_of, usage_of

_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}


def items_of(message: BaseMessage) -> list[Item]:
    """A message as items: an agent's message is its text, and each of its calls."""
    if isinstance(message, ToolMessage):
        return [{"type": "function_call_output", "call_id": message.tool_call_id, "output": str(message.text)}]
    if not isinstance(message, AIMessage):
        return [{"type": "message", "role": _ROLES.get(message.type, message.type), "content": str(message.text)}]
    text = str(message.text)
    said = [message_item(text, message.id or new_id("msg"))] if text else []
    return [*said, *(_call_item(message, place, call) for place, call in enumerate(message.tool_calls))]


def messages_of(items: Iterable[Mapping[str, Any]]) -> list[BaseMessage]:
    """Items as messages; calls that follow each other are one message. What no message can say is left out."""
    messages: list[BaseMessage] = []
    for item in items:
        kind = item.get("type", "message")
        if kind == "function_call":
            call = _call_of(item)
            if messages and isinstance(messages[-1], AIMessage):
                messages[-1] = AIMessage(messages[-1].content, tool_calls=[*messages[-1].tool_calls, call])
            else:
                messages.append(AIMessage("", tool_calls=[call]))
        elif kind == "function_call_output":
            output = item.get("output")
            content = output if isinstance(output, str) else json.dumps(output)
            messages.append(ToolMessage(content, tool_call_id=item["call_id"]))
        elif kind == "message":
            messages.append(_message_of(item))
    return messages


def unanswered_calls(messages: Sequence[BaseMessage]) -> list[ToolCall]:
    """The calls of the agent's last message that have no result: models refuse a conversation with such a call."""
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        if isinstance(message, AIMessage):
            answered = {after.tool_call_id for after in messages[place:] if isinstance(after, ToolMessage)}
            return [call for call in message.tool_calls if call["id"] not in answered]
    return []


def usage_of_messages(messages: Iterable[BaseMessage]) -> dict[str, Any]:
    """The tokens that the agent's messages took, as far as their models say."""
    usages = [message.usage_metadata for message in messages if isinstance(message, AIMessage)]
    known = [usage for usage in usages if usage is not None]
    return usage_of(
        sum(usage["input_tokens"] for usage in known),
        sum(usage["output_tokens"] for usage in known),
        cached=sum(usage.get("input_token_details", {}).get("cache_read", 0) for usage in known),
        reasoning=sum(usage.get("output_token_details", {}).get("reasoning", 0) for usage in known),
    )


def _call_item(message: AIMessage, place: int, call: ToolCall) -> Item:
    return {
        "type": "function_call",
        "id": f"fc_{message.id}_{place}",
        "call_id": call["id"] or "",
        "name": call["name"],
        "arguments": json.dumps(call["args"], ensure_ascii=False, default=str),
        "status": "completed",
    }


def _call_of(item: Mapping[str, Any]) -> ToolCall:
    try:
        arguments = json.loads(item.get("arguments") or "{}")
    except ValueError:
        arguments = {}
    args = arguments if isinstance(arguments, dict) else {}
    return ToolCall(name=str(item.get("name", "")), args=args, id=item["call_id"])


def _message_of(item: Mapping[str, Any]) -> BaseMessage:
    if item["role"] == "assistant":
        return AIMessage(text_of(item))
    content = item["content"]
    parts: str | list[str | dict[Any, Any]] = content if isinstance(content, str) else [_part(part) for part in content]
    return HumanMessage(parts) if item["role"] == "user" else SystemMessage(parts)


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a message as LangChain's models take it."""
    if part["type"] in ("input_text", "output_text"):
        return {"type": "text", "text": part.get("text", "")}
    if part["type"] == "input_image" and isinstance(part.get("image_url"), str):
        return {"type": "image_url", "image_url": {"url": part["image_url"]}}
    return dict(part)
