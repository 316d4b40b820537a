"""Agents of both frameworks, asked by MLflow."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from agents import Agent
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from mlflow.entities import Feedback, SpanStatusCode, Trace
from mlflow.genai import evaluate, scorer
from psycopg.conninfo import make_conninfo
from pydantic import BaseModel

from lakemem import AsyncMemory, ConfigurationError, InvalidInputError, Lakebase, Memory, StorageUnavailableError
from lakemem.demo.langgraph import ScriptedChatModel
from lakemem.demo.openai_agents import ScriptedModel
from lakemem.integrations import langgraph, openai_agents
from lakemem.integrations.mlflow import PredictFn, make_predict_fn, trace
from tests.mlflow.conftest import Traces
from tests.openai_agents.models import PlannedModel

FIRST_WORDS = "What was the first thing I told you in this conversation?"
NOBODY_LISTENS = "postgresql://ada:hunter2@127.0.0.1:1/agents"


def graph_of(tools: list[Any], saver: Any) -> Any:
    """A graph whose assistant and tools run on asyncio where its saver does."""
    model = ScriptedChatModel().bind_tools(tools)
    builder = StateGraph(MessagesState)
    builder.add_node("assistant", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_node("tools", ToolNode(tools))
    builder.add_edge(START, "assistant")
    builder.add_conditional_edges("assistant", tools_condition)
    builder.add_edge("tools", "assistant")
    return builder.compile(checkpointer=saver)


def agent_of(memory: AsyncMemory) -> Agent[Any]:
    return Agent(name="Assistant", tools=openai_agents.memory_tools(memory), model=ScriptedModel())


def async_graph_of(memory: AsyncMemory) -> Any:
    return graph_of(langgraph.memory_tools(memory), langgraph.AsyncLakebaseSaver(memory))


Make = Callable[..., PredictFn]


@pytest.fixture(params=["agent", "graph", "sync graph"])
def make(request: pytest.FixtureRequest, target: Lakebase) -> Iterator[Make]:
    """Makes the function for an agent of each kind."""
    made: list[Any] = []

    def make(**options: Any) -> PredictFn:
        if request.param == "sync graph":
            made.append(memory := trace(Memory(target)))
            memory.open()
            graph = graph_of(langgraph.memory_tools(memory), langgraph.LakebaseSaver(memory))
            predict_fn = make_predict_fn(graph, **options)
        else:
            of_memory = trace(AsyncMemory(target))
            agent = agent_of(of_memory) if request.param == "agent" else async_graph_of(of_memory)
            predict_fn = make_predict_fn(agent, memory=of_memory, **options)
        made.append(predict_fn)
        return predict_fn

    yield make
    for closable in reversed(made):
        closable.close()


def test_every_call_is_a_conversation_of_its_own(make: Make) -> None:
    predict_fn = make(user_id="ada")
    assert predict_fn(question="I like short answers.") == "Nice to meet you. I have noted: answer_style."
    assert predict_fn(question=FIRST_WORDS) == f'You began with: "{FIRST_WORDS}"'


def test_a_thread_in_the_inputs_is_continued(make: Make) -> None:
    predict_fn = make()
    predict_fn(question="I like tea.", thread_id="42")
    assert predict_fn(question=FIRST_WORDS, session_id="42", user_id="bob") == f'You began with: "{FIRST_WORDS}"'
    for inputs in ({"thread_id": "7"}, {"session_id": "7"}, {"custom_inputs": {"thread_id": "7"}}):
        predict_fn(question="I like tea.", user_id="ada", **inputs)
        assert predict_fn({"question": FIRST_WORDS, "user_id": "ada", **inputs}) == 'You began with: "I like tea."'


def test_every_call_has_a_user_of_its_own_unless_one_is_named(make: Make) -> None:
    predict_fn = make()
    predict_fn(question="I like tea.")
    assert predict_fn(question="What do I like?") == "I know nothing about you yet."

    predict_fn(question="I like tea.", user_id="ada")
    told = "From earlier conversations I know: The user likes tea."
    assert predict_fn(question="What do I like?", custom_inputs={"user_id": "ada"}) == told
    assert make(user_id="ada")(question="What do I like?") == told
    assert make(user_id="ada")(question="What do I like?", user_id="bob") == "I know nothing about you yet."


async def test_it_works_within_a_running_event_loop(make: Make) -> None:
    predict_fn = make(user_id="ada")
    assert "noted" in predict_fn(question="I like tea.")
    assert "tea" in predict_fn(question="What do I like?")


def test_it_works_from_many_threads(make: Make) -> None:
    predict_fn = make()

    def converse(number: int) -> str:
        mine = {"thread_id": f"thread-{number}", "user_id": f"user-{number}"}
        predict_fn(question=f"I like tea {number}.", **mine)
        return predict_fn(question="What do I like?", **mine)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(converse, range(8)))
    assert answers == [f"From earlier conversations I know: The user likes tea {number}." for number in range(8)]


@pytest.mark.parametrize(
    "inputs",
    [
        {"input": "I like tea."},
        {"query": "I like tea.", "expected_tools": ["save_memory"]},
        {"whatever_it_is_called": "I like tea."},
        {"messages": [{"role": "user", "content": "Hello"}, {"role": "user", "content": "I like tea."}]},
    ],
    ids=lambda inputs: next(iter(inputs)),
)
def test_the_question_is_found_among_the_inputs(make: Make, inputs: dict[str, Any]) -> None:
    assert "noted" in make()(**inputs)


@pytest.mark.parametrize("inputs", [{}, {"thread_id": "1"}, {"a": "x", "b": "y"}, {"question": 7}], ids=str)
def test_inputs_without_one_question_are_refused(inputs: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="question"):
        make_predict_fn(Agent(name="Assistant"))(**inputs)


def test_mlflow_evaluates_it(make: Make, traces: Traces) -> None:
    @scorer
    def knows(outputs: str, expectations: dict[str, str]) -> Feedback:
        return Feedback(value=expectations["word"] in outputs)

    data = [
        {"inputs": {"question": "I like tea.", "user_id": "ada"}, "expectations": {"word": "answer_style"}},
        {"inputs": {"question": "What do I like?", "user_id": "bob"}, "expectations": {"word": "nothing"}},
        {"inputs": {"question": FIRST_WORDS, "user_id": "cyd"}, "expectations": {"word": FIRST_WORDS}},
        {"inputs": {"question": FIRST_WORDS, "user_id": "dan"}, "expectations": {"word": "I like tea"}},
    ]
    result = evaluate(data=data, predict_fn=make(), scorers=[knows])
    assert result.metrics["knows/mean"] == 0.75

    found = {trace.info.trace_metadata["mlflow.trace.user"]: trace for trace in traces.all()}
    assert sorted(found) == ["ada", "bob", "cyd", "dan"]
    assert len({trace.info.trace_metadata["mlflow.trace.session"] for trace in found.values()}) == 4
    assert spans_under_the_root(found["ada"], "memories.save")
    assert spans_under_the_root(found["bob"], "recall.search")
    for found_trace in found.values():
        [root] = [span for span in found_trace.data.spans if span.parent_id is None]
        assert root.name == "predict_fn"
        assert isinstance(root.outputs, str)


def spans_under_the_root(trace: Trace, name: str) -> list[str]:
    return [
        span.name for span in trace.data.spans if span.get_attribute("lakemem.operation") == name and span.parent_id
    ]


def test_an_agent_needs_no_memory() -> None:
    agent = Agent(name="Assistant", model=ScriptedModel())
    with make_predict_fn(agent) as predict_fn:
        assert predict_fn(question=FIRST_WORDS) == f'You began with: "{FIRST_WORDS}"'


def test_a_structured_output_is_told_as_json() -> None:
    class City(BaseModel):
        name: str

    agent = Agent(
        name="Assistant", output_type=City, model=PlannedModel(lambda model, items: [model.says('{"name": "Rome"}')])
    )
    with make_predict_fn(agent) as predict_fn:
        assert predict_fn(question="Which city?") == '{"name":"Rome"}'


def test_the_error_of_an_agent_is_raised_and_traced(traces: Traces) -> None:
    def fail(model: PlannedModel, items: list[Any]) -> Any:
        raise ZeroDivisionError

    agent = Agent(name="Assistant", model=PlannedModel(fail))
    with make_predict_fn(agent) as predict_fn, pytest.raises(ZeroDivisionError):
        predict_fn(question="1/0?")
    assert traces.only().data.spans[0].status.status_code == SpanStatusCode.ERROR


def test_after_it_was_closed_it_begins_anew(target: Lakebase) -> None:
    memory = AsyncMemory(target)
    predict_fn = make_predict_fn(agent_of(memory), memory=memory, user_id="ada")
    predict_fn(question="I like tea.")
    predict_fn.close()
    predict_fn.close()
    assert "tea" in predict_fn(question="What do I like?")
    predict_fn.close()


def test_a_process_ends_quietly_with_one_that_was_left_open(target: Lakebase) -> None:
    program = """
        import mlflow
        from agents import Agent
        from lakemem import AsyncMemory
        from lakemem.demo.openai_agents import ScriptedModel
        from lakemem.integrations.mlflow import make_predict_fn

        mlflow.tracing.disable()
        agent = Agent(name="Assistant", model=ScriptedModel())
        predict_fn = make_predict_fn(agent, memory=AsyncMemory())
        print(predict_fn(question="What did I say in this conversation?"))
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "LAKEMEM_DSN": make_conninfo(**target.parameters), "OPENAI_AGENTS_DISABLE_TRACING": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_memory_that_cannot_be_opened_says_why_at_each_call() -> None:
    memory = AsyncMemory(Lakebase.dsn(NOBODY_LISTENS))
    with make_predict_fn(agent_of(memory), memory=memory) as predict_fn:
        for _ in range(2):
            with pytest.raises(StorageUnavailableError):
                predict_fn(question="What do I like?")


async def test_a_memory_that_is_open_elsewhere_is_refused_and_stays_open(target: Lakebase) -> None:
    async with AsyncMemory(target) as memory:
        predict_fn = make_predict_fn(agent_of(memory), memory=memory)
        with pytest.raises(ConfigurationError, match="another event loop"):
            predict_fn(question="What do I like?")
        predict_fn.close()
        assert (await memory.health()).status == "ok"


def test_a_graph_on_an_async_memory_needs_that_memory(target: Lakebase) -> None:
    with pytest.raises(ConfigurationError, match="give make_predict_fn its memory"):
        make_predict_fn(async_graph_of(AsyncMemory(target)))


def test_what_is_no_agent_and_no_async_memory_is_refused(target: Lakebase) -> None:
    with pytest.raises(ConfigurationError, match="Agent of the OpenAI Agents SDK"):
        make_predict_fn(lambda question: "yes")
    with pytest.raises(ConfigurationError, match="AsyncMemory"):
        make_predict_fn(Agent(name="Assistant"), memory=Memory(target))  # type: ignore[arg-type]
