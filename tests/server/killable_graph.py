"""A graph in a process that is killed; to import what it is made of takes a while."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph

from tests.server.killable import STEPS, note


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
