"""MLflow: evaluate an agent with its memory, and see what the memory did in each trace.

pip install "lakemem[local,openai-agents,mlflow]" mlflow
python mlflow_evaluate.py
"""

import os

import mlflow
from agents import Agent
from mlflow.entities import Trace
from mlflow.genai import evaluate, scorer

from lakemem import AsyncMemory
from lakemem.demo.openai_agents import ScriptedModel
from lakemem.integrations.mlflow import make_predict_fn, trace
from lakemem.integrations.openai_agents import memory_tools

DATA = [
    {
        "inputs": {"question": "I am Ada. I like short answers.", "user_id": "ada"},
        "expectations": {"word": "noted"},
    },
    {
        "inputs": {"question": "How should you answer me?", "user_id": "bob"},
        "expectations": {"word": "nothing"},  # what Ada said is none of Bob's
    },
]


@scorer
def says_it(outputs: str, expectations: dict[str, str]) -> bool:
    return expectations["word"] in outputs


def user_of(row: Trace) -> str:
    return row.info.trace_metadata["mlflow.trace.user"]


def main() -> None:
    mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db"))
    experiment = mlflow.set_experiment("lakemem-example")

    memory = trace(AsyncMemory())  # opened by predict_fn, on an event loop of its own
    agent = Agent(name="Assistant", tools=memory_tools(memory), model=ScriptedModel())
    with make_predict_fn(agent, memory=memory) as predict_fn:
        result = evaluate(data=DATA, predict_fn=predict_fn, scorers=[says_it])
    print(f"says_it: {result.metrics['says_it/mean']:.0%}")

    rows = mlflow.search_traces(locations=[experiment.experiment_id], run_id=result.run_id, return_type="list")
    for row in sorted(rows, key=user_of):
        print(user_of(row), [span.name for span in row.data.spans if span.get_attribute("lakemem.operation")])


if __name__ == "__main__":
    main()
