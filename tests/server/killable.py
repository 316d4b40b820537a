"""What the processes serve that the tests end: `lakemem serve tests.server.killable:NAME`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph

STEPS = 12


def note(text: str) -> None:
    """Leave a trace of what was done, which the tests read."""
    with Path(os.environ["NOTES"]).open("a") as notes:
        notes.write(f"{text}\n")


def _node(number: int) -> Callable[[MessagesState], Awaitable[Any]]:
    async def run(state: MessagesState) -> Any:
        await asyncio.sleep(0.15)
        note(f"{os.getpid()} {number}")
        return {"messages": [AIMessage(f"step {number}")]}

    return run


def _graph() -> Any:
    builder = StateGraph(MessagesState)
    for number in range(STEPS):
        builder.add_node(str(number), _node(number))
        builder.add_edge(str(number - 1) if number else START, str(number))
    return builder.compile()


graph = _graph()


async def poison(request: dict[str, Any]) -> str:
    """A request that ends the process which works on it."""
    if request["input"] != "poison":
        return "well"
    note(str(os.getpid()))
    os._exit(1)
