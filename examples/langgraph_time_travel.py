"""LangGraph: a person answers in the middle of a run, and later the run goes on from an earlier state of it.

pip install "lakemem[local,langgraph]"
python langgraph_time_travel.py
"""

from typing import Any

from langchain_core.language_models import FakeListChatModel
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from lakemem import Memory
from lakemem.integrations.langgraph import LakebaseSaver

# Stands in for a model: what it says to each call, one after the other.
model = FakeListChatModel(responses=["Dear Bob, no.", "Dear Bob, I am afraid not. Best, Ada"])


class Letter(MessagesState):
    verdict: str


def write(state: Letter) -> dict[str, Any]:
    return {"messages": [model.invoke(state["messages"])]}


def review(state: Letter) -> dict[str, Any]:
    """The run stops here, until somebody has answered."""
    return {"verdict": interrupt({"draft": state["messages"][-1].text})}


builder = StateGraph(Letter).add_node(write).add_node(review)
builder.add_edge(START, "write").add_edge("write", "review")
config: Any = {"configurable": {"thread_id": "letter-to-bob", "user_id": "ada"}}


def main() -> None:
    with Memory() as memory:
        # Begins anew, however often the example is run.
        memory.for_user("ada").thread("letter-to-bob").delete()
        graph = builder.compile(checkpointer=LakebaseSaver(memory))

        paused = graph.invoke({"messages": [("user", "Decline Bob's offer.")]}, config)
        print("To review:", paused["__interrupt__"][0].value["draft"])
        done = graph.invoke(Command(resume="too short"), config)
        print("The verdict:", done["verdict"])

        # Every state the run went through, the newest first.
        history = list(graph.get_state_history(config))
        print("History:", [state.next for state in history])
        before_writing = next(state for state in history if state.next == ("write",))

        # A fork: the same request with one more sentence, from before the letter was written.
        fork = graph.update_state(before_writing.config, {"messages": [("user", "Be polite.")]}, as_node=START)
        paused = graph.invoke(None, fork)
        print("To review now:", paused["__interrupt__"][0].value["draft"])
        done = graph.invoke(Command(resume="good"), config)
        print("The verdict now:", done["verdict"])

        # Both branches stay, and share what they have in common.
        first = graph.get_state(history[0].config).values
        assert [message.text for message in first["messages"]] == ["Decline Bob's offer.", "Dear Bob, no."]
        assert first["verdict"] == "too short"
        assert [message.text for message in done["messages"]] == [
            "Decline Bob's offer.",
            "Be polite.",
            "Dear Bob, I am afraid not. Best, Ada",
        ]
        assert graph.get_state(config).values == done
        stored = {state.config["configurable"]["checkpoint_id"] for state in graph.get_state_history(config)}
        assert {state.config["configurable"]["checkpoint_id"] for state in history} < stored
        print("Both branches are stored:", len(stored), "checkpoints")


if __name__ == "__main__":
    main()
