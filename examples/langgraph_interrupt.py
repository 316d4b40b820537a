"""LangGraph: a graph waits for a person's approval, and goes on later in another process.

pip install "lakemem[local,langgraph]"
python langgraph_interrupt.py
"""

from typing import TypedDict

from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from lakemem import Memory
from lakemem.integrations.langgraph import LakebaseSaver


class State(TypedDict):
    amount: int
    outcome: str


def approve(state: State) -> dict:
    decision = interrupt({"question": f"Refund {state['amount']} EUR?"})
    return {"outcome": "refunded" if decision == "yes" else "refused"}


builder = StateGraph(State).add_node("approve", approve).add_edge(START, "approve")
config = {"configurable": {"thread_id": "refund-17", "user_id": "ada"}}


def ask() -> None:
    with Memory() as memory:
        graph = builder.compile(checkpointer=LakebaseSaver(memory))
        state = graph.invoke({"amount": 20}, config)
        print("The graph waits:", state["__interrupt__"][0].value["question"])


def resume(decision: str) -> None:
    """Nothing is left of `ask` but what Postgres has: this may run on another day, on another machine."""
    with Memory() as memory:
        graph = builder.compile(checkpointer=LakebaseSaver(memory))
        print("It waits at:", graph.get_state(config).next)
        print("Outcome:", graph.invoke(Command(resume=decision), config)["outcome"])


if __name__ == "__main__":
    ask()
    resume("yes")
