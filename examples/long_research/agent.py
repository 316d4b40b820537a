"""A research agent that works for a while: a graph that reads one source after the other, and then writes a report.

    lakemem serve agent:graph

Each source that was read is a checkpoint. When its process dies, another one reads on from there.
"""

import asyncio
import os
from typing import Annotated

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph

SOURCES = {
    "annual report 2024": "revenue grew by 12 %",
    "annual report 2025": "revenue grew by 7 %",
    "press archive": "a second plant opened in Bergen",
    "patent register": "nine patents on heat pumps",
    "court register": "no proceedings are pending",
    "job offers": "forty engineers are wanted",
}
SECONDS_A_SOURCE = float(os.environ.get("SECONDS_A_SOURCE", "1"))


class State(MessagesState):
    notes: Annotated[list[str], lambda before, new: before + new]


async def read(state: State) -> dict:
    """Read the next source. Here a real agent calls its tools and its model."""
    source = list(SOURCES)[len(state["notes"])]
    await asyncio.sleep(SECONDS_A_SOURCE)
    note = f"{source}: {SOURCES[source]}"
    return {"notes": [note], "messages": [AIMessage(f"I have read the {source}.")]}


def what_next(state: State) -> str:
    return "read" if len(state["notes"]) < len(SOURCES) else "report"


async def report(state: State) -> dict:
    """Write the report. Here a real agent asks its model."""
    question = next(message.content for message in state["messages"] if message.type == "human")
    lines = "\n".join(f"- {note}" for note in state["notes"])
    return {"messages": [AIMessage(f"On your question: {question}\n{lines}")]}


builder = StateGraph(State).add_node("read", read).add_node("report", report)
builder.add_edge(START, "read").add_conditional_edges("read", what_next, ["read", "report"]).add_edge("report", END)
graph = builder.compile()
