"""Requests to agents, and what has to hold for each answer; for the runners of both frameworks."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lakemem import AsyncMemory

try:
    from mlflow.types import responses
except ImportError:  # mlflow-skinny alone, as with the oldest versions
    responses = None  # type: ignore[assignment]


def asked(text: Any, thread_id: str | None = "t", user_id: str = "ada", **custom_inputs: Any) -> dict[str, Any]:
    return {"input": text, "custom_inputs": {"thread_id": thread_id, "user_id": user_id, **custom_inputs}}


def checked(answer: Any) -> dict[str, Any]:
    """The answer, which is made of JSON and valid to MLflow."""
    json.dumps(answer, allow_nan=False)
    if responses is not None:
        responses.ResponsesAgentResponse(**answer)
    return dict(answer)


def check_stream(events: list[dict[str, Any]]) -> None:
    """The order of events, by what the client of the Responses API relies on."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.completed"
    added: dict[int, Any] = {}
    done: dict[int, Any] = {}
    texts: dict[str, str] = {}
    for event in events:
        json.dumps(event, allow_nan=False)
        if responses is not None:
            responses.ResponsesAgentStreamEvent(**event)
        kind, place = event["type"], event.get("output_index")
        if kind == "response.output_item.added":
            assert place not in added
            added[place] = event["item"]
        elif kind == "response.output_text.delta":
            assert added[place]["id"] == event["item_id"]
            texts[event["item_id"]] = texts.get(event["item_id"], "") + event["delta"]
        elif kind == "response.output_text.done":
            assert texts[event["item_id"]].strip() == event["text"].strip()
        elif kind == "response.output_item.done":
            assert place not in done
            done[place] = event["item"]
            assert event["item"]["type"] == "function_call_output" or added[place].get("id") == event["item"].get("id")
    assert sorted(done) == list(range(len(done)))
    assert events[-1]["response"]["output"] == [done[place] for place in sorted(done)]


def text_of(answer: dict[str, Any]) -> str:
    return str(answer["output"][-1]["content"][0]["text"])


def running() -> set[asyncio.Task[Any]]:
    """The tasks that are running, without those of the pool, which come and go."""
    return {task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__qualname__", "") != "Event.wait"}


async def is_well(memory: AsyncMemory) -> bool:
    return (await memory.health()).status == "ok"


class SlowEmbedder:
    """Is asked off the event loop; while it is held, it does not answer."""

    model, dimensions = "slow", 2

    def __init__(self) -> None:
        self._going = threading.Event()
        self._going.set()

    @contextmanager
    def held(self) -> Iterator[None]:
        self._going.clear()
        yield
        self._going.set()

    def embed(self, texts: Any) -> Any:
        self._going.wait(20)
        return [[1.0, 0.0] for _ in texts]
