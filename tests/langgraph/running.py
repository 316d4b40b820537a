"""Graphs that run in the world of their saver, and what is the same in every run of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import StateSnapshot
from pydantic import BaseModel

from lakemem.integrations.langgraph import LakebaseSaver

_DIFFERS_BY_RUN = {
    "id",
    "ts",
    "timestamp",
    "created_at",
    "run_id",
    "thread_id",
    "user_id",
    "checkpoint_id",
    "checkpoint_ns",
    "checkpoint_map",
    "langgraph_checkpoint_ns",
    "parents",
}


def config(thread_id: str = "1", **configurable: Any) -> RunnableConfig:
    return {"configurable": {"thread_id": thread_id, **configurable}}


class Running:
    """A graph with its saver, called without asyncio where the saver is the sync one."""

    def __init__(
        self, builder: StateGraph[Any, Any, Any, Any], saver: BaseCheckpointSaver[Any], **options: Any
    ) -> None:
        self.graph: CompiledStateGraph[Any, Any, Any, Any] = builder.compile(checkpointer=saver, **options)
        self.blocks = isinstance(saver, LakebaseSaver)

    async def invoke(self, input: Any, config: RunnableConfig, **options: Any) -> Any:
        if self.blocks:
            return await asyncio.to_thread(lambda: self.graph.invoke(input, config, **options))
        return await self.graph.ainvoke(input, config, **options)

    async def stream(self, input: Any, config: RunnableConfig, **options: Any) -> list[Any]:
        if self.blocks:
            return await asyncio.to_thread(lambda: list(self.graph.stream(input, config, **options)))
        return [event async for event in self.graph.astream(input, config, **options)]

    async def state(self, config: RunnableConfig, **options: Any) -> StateSnapshot:
        if self.blocks:
            return await asyncio.to_thread(self.graph.get_state, config, **options)
        return await self.graph.aget_state(config, **options)

    async def history(self, config: RunnableConfig, **options: Any) -> list[StateSnapshot]:
        """The newest first."""
        if self.blocks:
            return await asyncio.to_thread(lambda: list(self.graph.get_state_history(config, **options)))
        return [snapshot async for snapshot in self.graph.aget_state_history(config, **options)]

    async def update(self, config: RunnableConfig, values: Any, as_node: str | None = None) -> RunnableConfig:
        if self.blocks:
            return await asyncio.to_thread(self.graph.update_state, config, values, as_node)
        return await self.graph.aupdate_state(config, values, as_node)


def told(value: Any) -> Any:
    """What a run says of itself, without what differs from run to run."""
    if isinstance(value, BaseMessage):
        return (value.type, value.content, told(getattr(value, "tool_calls", [])))
    if isinstance(value, StateSnapshot):
        return told(value._asdict())
    if isinstance(value, BaseModel):
        return told(value.model_dump())
    if is_dataclass(value) and not isinstance(value, type):
        return told(asdict(value))
    if isinstance(value, BaseException):
        return repr(value)
    if isinstance(value, dict):
        return {key: told(part) for key, part in value.items() if key not in _DIFFERS_BY_RUN}
    if isinstance(value, str):
        return value
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return told(value._asdict())
    if isinstance(value, Sequence):
        return [told(part) for part in value]
    return value
