"""Requests that no agent can answer, with what the error says of each; for the runners of both frameworks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

SAID: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]

REFUSED: dict[str, tuple[Any, str]] = {
    "nothing": (None, "a request is an object"),
    "a text": ("Hello", "a request is an object"),
    "no input": ({}, "input must be a text or a list"),
    "null": ({"input": None}, "input must be a text or a list"),
    "a number": ({"input": 7}, "input must be a text or a list"),
    "bytes": ({"input": b"Hello"}, "input must be a text or a list"),
    "an object": ({"input": {"role": "user", "content": "Hello"}}, "input must be a text or a list"),
    "no items": ({"input": []}, "nothing to answer"),
    "a blank text": ({"input": " \n"}, r"input\[0\].content must not be empty"),
    "an item that is a text": ({"input": ["Hello"]}, r"input\[0\] must be an object"),
    "an item that is null": ({"input": [*SAID, None]}, r"input\[1\] must be an object"),
    "no role": ({"input": [{"content": "Hello"}]}, r"input\[0\].role must be one of"),
    "an unknown role": ({"input": [{"role": "root", "content": "Hello"}]}, r"input\[0\].role must be one of"),
    "a role that is a list": ({"input": [{"role": ["user"], "content": "Hello"}]}, r"input\[0\].role must be one of"),
    "no content": ({"input": [{"role": "user"}]}, r"input\[0\].content must be a text"),
    "content that is a number": ({"input": [{"role": "user", "content": 7}]}, r"input\[0\].content must be a text"),
    "empty content": ({"input": [{"role": "user", "content": []}]}, r"input\[0\].content must not be empty"),
    "parts that are texts": ({"input": [{"role": "user", "content": ["Hello"]}]}, "objects that each have a type"),
    "a part without a type": ({"input": [{"role": "user", "content": [{"text": "Hello"}]}]}, "each have a type"),
    "a type that is a number": ({"input": [{"type": 7}]}, r"input\[0\].type must be a string"),
    "a result of no call": ({"input": [{"type": "function_call_output", "output": "x"}]}, "call_id must be a string"),
    "the agent's own words": ({"input": [*SAID, {"role": "assistant", "content": "Hi"}]}, "nothing to answer"),
    "what JSON cannot say": ({"input": [{"role": "user", "content": "x", "at": float("nan")}]}, "is not JSON"),
    "too much": ({"input": [{"role": "user", "content": "x" * 9_000_000}]}, "at most"),
    "inputs that are a list": ({"input": SAID, "custom_inputs": []}, "custom_inputs must be an object"),
    "a thread that is a number": ({"input": SAID, "custom_inputs": {"thread_id": 7}}, "thread_id must be a string"),
    "a thread with a NUL": ({"input": SAID, "custom_inputs": {"thread_id": "a\x00"}}, "control characters"),
    "a conversation that is a list": ({"input": SAID, "context": {"conversation_id": [1]}}, "must be a string"),
    "an answer to nothing": ({"input": SAID, "custom_inputs": {"resume": True}}, "does not wait for an answer"),
    "an answer that is null": ({"input": SAID, "custom_inputs": {"resume": None}}, "resume is null"),
    "an object of another kind": (SimpleNamespace(messages=SAID), "a request is an object"),
}
