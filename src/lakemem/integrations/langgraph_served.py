"""LangGraph: a graph that is served, and goes on from its last checkpoint when its process has died."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from lakemem.errors import MissingExtraError
from lakemem.recalling import Recall
from lakemem.responses import Event, Item, read_request
from lakemem.run_context import RunContext

try:
    from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
    from langchain_core.runnables import RunnableConfig
    from langgraph.types import Command

    from lakemem.integrations.langgraph_messages import items_of
    from lakemem.integrations.langgraph_runner import (
        Graph,
        Placed,
        Prepared,
        asked_by,
        begun,
        events_of,
        placed,
        question_of,
        recalling,
    )
except ImportError as error:
    raise MissingExtraError("langgraph", "lakemem.integrations.langgraph_served") from error

if TYPE_CHECKING:
    from langgraph.types import Interrupt, StateSnapshot

RUN = "lakemem_run"
"""Where the metadata of a checkpoint has the run that made it."""


class GraphAgent:
    """A graph as :func:`lakemem.server.create_app` serves it.

    Each step is stored before the next one begins. An attempt that follows another one goes on from the last
    checkpoint: what the finished steps did is not done again.

    Args:
        graph: compiled, with ``messages`` in its state; without a checkpointer of its own it gets one on the memory.
        recall: what to recall for each request; see :func:`~lakemem.integrations.langgraph.respond`.
        config: of each run, such as a recursion limit.
    """

    def __init__(self, graph: Graph, *, recall: Recall | bool = True, config: RunnableConfig | None = None) -> None:
        self._graph = graph
        self._recall = recall
        self._config = config

    def check(self, request: Mapping[str, Any]) -> None:
        """Raise InvalidInputError for a request without anything to answer."""
        read_request(request)

    def answer(self, context: RunContext) -> AsyncGenerator[Event, None]:
        """Give the events of one attempt."""
        return events_of(lambda: self._prepared(context))

    async def _prepared(self, context: RunContext) -> Prepared:
        config = cast(RunnableConfig, {**(self._config or {})})
        config["metadata"] = {**config.get("metadata", {}), RUN: context.run_id}
        place = await placed(self._graph, read_request(context.request), context.memory, None, None, config)
        if context.attempt > 1 and place.snapshot is not None and _began(place.snapshot, context.run_id):
            return await self._continued(place, place.snapshot, context)
        prepared = await begun(place, self._recall, name=lambda number: _input_id(context.run_id, number))
        return _durable(prepared)

    async def _continued(self, place: Placed, snapshot: StateSnapshot, context: RunContext) -> Prepared:
        """Go on from the last checkpoint of this run."""
        messages = place.messages
        begins = _first_of_answer(messages, context.run_id)
        # Where the messages are gone that it began with, what the client was given says where the answer is.
        answered = messages[(0 if context.earlier else len(messages)) if begins is None else begins :]
        missing = context.keep_what_is_in([item for message in answered for item in _items(message)])
        config = await recalling(place, question_of(messages), self._recall)
        input: Command[Any] | None = None
        interrupts: Sequence[Interrupt] | None = None
        if _stops(place.graph, snapshot):
            if context.was_asked and asked_by(snapshot.interrupts) == context.run.question:
                input = Command(resume=context.run.answer) if snapshot.interrupts else None
            else:
                interrupts = snapshot.interrupts
        return _durable(
            Prepared(
                place.answering,
                place.graph,
                input,
                config,
                messages,
                answered,
                missing,
                is_over=interrupts is not None or not snapshot.next,
                interrupts=interrupts,
            )
        )


def _items(message: BaseMessage) -> list[Item]:
    return items_of(message) if isinstance(message, AIMessage | ToolMessage) else []


def _durable(prepared: Prepared) -> Prepared:
    return replace(prepared, durability="sync")


def _began(snapshot: StateSnapshot, run_id: str) -> bool:
    return (snapshot.metadata or {}).get(RUN) == run_id


def _stops(graph: Graph, snapshot: StateSnapshot) -> bool:
    """Whether the graph waits: for an answer, or before a node at which it is to stop."""
    stops = graph.interrupt_before_nodes
    return bool(snapshot.interrupts or (snapshot.next and (stops == "*" or set(snapshot.next) & set(stops))))


def _input_id(run_id: str, number: int) -> str:
    return f"msg_{run_id}_{number}"


def _first_of_answer(messages: Sequence[BaseMessage], run_id: str) -> int | None:
    """The place behind the messages that the run began with."""
    prefix = f"msg_{run_id}_"
    return max((place + 1 for place, each in enumerate(messages) if (each.id or "").startswith(prefix)), default=None)
