"""Real graphs on both savers. What a graph tells of itself must be what it tells on LangGraph's own InMemorySaver."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph, add_messages
from langgraph.types import Command, Send, interrupt

from lakemem import AsyncMemory, Lakebase, Memory, degrading
from lakemem.demo.langgraph import ScriptedChatModel
from lakemem.integrations.langgraph import AsyncLakebaseSaver, LakebaseSaver
from tests.langgraph.conftest import Saver
from tests.langgraph.running import Running, config, told

Scenario = Callable[[BaseCheckpointSaver[Any]], Awaitable[Any]]
STREAM_MODES = ["values", "updates", "checkpoints", "tasks", "debug", "messages", "custom"]


class Log(TypedDict):
    log: Annotated[list[Any], operator.add]


def extend(state: list[Any], writes: Sequence[list[Any]]) -> list[Any]:
    return [*state, *(item for write in writes for item in write)]


class Changes(TypedDict):
    log: Annotated[list[Any], DeltaChannel(extend, snapshot_frequency=5)]


class Chat(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


def says(word: str) -> Any:
    """A node."""
    return lambda state: {"log": [word]}


def chain(*nodes: tuple[str, Any]) -> StateGraph[Any]:
    """A graph whose nodes run one after the other."""
    builder = StateGraph(Log)
    before = START
    for name, node in nodes:
        builder.add_node(name, node)
        builder.add_edge(before, name)
        before = name
    return builder


async def a_pause_for_an_answer(saver: BaseCheckpointSaver[Any]) -> Any:
    def ask(state: Log) -> Log:
        name = interrupt({"question": "Who are you? \x00"})
        return {"log": [f"hello {name}"]}

    running = Running(chain(("before", says("before")), ("ask", ask), ("after", says("after"))), saver)
    paused = await running.invoke({"log": []}, config())
    waiting = await running.state(config())
    assert waiting.next == ("ask",)
    assert waiting.interrupts[0].value == {"question": "Who are you? \x00"}
    assert paused["log"] == ["before"]

    done = await running.invoke(Command(resume="Ada"), config())
    assert done["log"] == ["before", "hello Ada", "after"]
    assert (await running.state(config())).next == ()
    return [paused, waiting, done, await running.history(config())]


async def two_questions_of_one_node(saver: BaseCheckpointSaver[Any]) -> Any:
    """The answer to the first is stored, and the node runs again with it."""

    def ask(state: Log) -> Log:
        return {"log": [interrupt("first?"), interrupt("second?")]}

    running = Running(chain(("ask", ask)), saver)
    steps = [
        await running.invoke({"log": []}, config()),
        await running.invoke(Command(resume={"answer": 1}), config()),
        await running.state(config()),
        await running.invoke(Command(resume=[]), config()),
    ]
    assert steps[-1]["log"] == [{"answer": 1}, []]
    return [steps, await running.history(config())]


async def questions_of_parallel_branches(saver: BaseCheckpointSaver[Any]) -> Any:
    builder = StateGraph(Log)
    for name in ("a", "b", "c"):
        builder.add_node(name, lambda state, name=name: {"log": [(name, interrupt(f"{name}?"))]})
        builder.add_edge(START, name)
    running = Running(builder, saver)
    await running.invoke({"log": []}, config())
    interrupts = (await running.state(config())).interrupts
    assert sorted(question.value for question in interrupts) == ["a?", "b?", "c?"]

    answers = {question.id: f"yes to {question.value}" for question in interrupts}
    first = interrupts[0]
    await running.invoke(Command(resume={first.id: answers.pop(first.id)}), config())
    left = await running.state(config())
    assert {question.id for question in left.interrupts} == answers.keys()
    done = await running.invoke(Command(resume=answers), config())
    assert [told(entry) for entry in done["log"]] == [[name, f"yes to {name}?"] for name in "abc"]
    return [left.next, done, await running.history(config())]


async def a_stop_before_a_node(saver: BaseCheckpointSaver[Any]) -> Any:
    nodes = [(name, says(name)) for name in ("one", "two", "three")]
    running = Running(chain(*nodes), saver, interrupt_before=["two"], interrupt_after=["two"])
    inputs: list[Log | None] = [{"log": []}, None, None]
    seen = [await running.invoke(input, config()) for input in inputs]
    assert [state["log"] for state in seen] == [["one"], ["one", "two"], ["one", "two", "three"]]
    return [seen, await running.history(config())]


async def a_conversation_of_many_turns(saver: BaseCheckpointSaver[Any]) -> Any:
    builder = StateGraph(Chat)
    builder.add_node("count", lambda state: {"messages": [("ai", f"{len(state['messages'])} 🦆\x00")]})
    builder.add_edge(START, "count")
    running = Running(builder, saver)
    for turn in range(6):
        state = await running.invoke({"messages": [("user", f"turn {turn}")]}, config())
    assert [message.content for message in state["messages"][-2:]] == ["turn 5", "11 🦆\x00"]
    assert (await running.state(config("another"))).values == {}
    return await running.history(config())


async def a_choice_between_nodes(saver: BaseCheckpointSaver[Any]) -> Any:
    """Nodes that say with a Command where to go next, and a loop."""

    def step(state: Log) -> Command[Any]:
        return Command(update={"log": [len(state["log"])]}, goto="step" if len(state["log"]) < 3 else END)

    running = Running(chain(("step", step)), saver)
    done = await running.invoke({"log": []}, config())
    assert done["log"] == [0, 1, 2, 3]
    return await running.history(config())


async def branches_that_join(saver: BaseCheckpointSaver[Any]) -> Any:
    builder = StateGraph(Log)
    builder.add_node("spread", says("spread"))
    for number in range(6):
        builder.add_node(f"branch {number}", says(str(number)))
        builder.add_edge("spread", f"branch {number}")
        builder.add_edge(f"branch {number}", "join")
    builder.add_node("join", says("join"))
    builder.add_edge(START, "spread")
    running = Running(builder, saver)
    done = await running.invoke({"log": []}, config())
    assert done["log"] == ["spread", *"012345", "join"]
    return await running.history(config())


async def tasks_that_are_sent(saver: BaseCheckpointSaver[Any]) -> Any:
    builder = StateGraph(Log)
    builder.add_node("work", lambda item: {"log": [item["n"] * 10]})
    builder.add_conditional_edges(START, lambda state: [Send("work", {"n": n}) for n in range(12)], ["work"])
    running = Running(builder, saver)
    done = await running.invoke({"log": []}, config())
    assert done["log"] == [n * 10 for n in range(12)]
    return await running.history(config())


async def a_branch_that_fails(saver: BaseCheckpointSaver[Any]) -> Any:
    """What its sibling wrote is kept, so that the sibling does not run twice."""
    runs: list[str] = []

    def lucky(state: Log) -> Log:
        runs.append("lucky")
        return {"log": ["lucky"]}

    def unlucky(state: Log) -> Log:
        runs.append("unlucky")
        if runs.count("unlucky") == 1:
            raise RuntimeError("no luck in Łódź")
        return {"log": ["unlucky"]}

    builder = StateGraph(Log)
    builder.add_node("start", says("start"))
    builder.add_edge(START, "start")
    for node in (lucky, unlucky):
        builder.add_node(node.__name__, node)
        builder.add_edge("start", node.__name__)
    # One after the other, so that the lucky one is done when the other fails.
    one_at_a_time: RunnableConfig = {**config(), "max_concurrency": 1}
    running = Running(builder, saver)
    with pytest.raises(RuntimeError, match="no luck"):
        await running.invoke({"log": []}, one_at_a_time)
    failed = await running.state(config())
    tasks = {task.name: task for task in failed.tasks}
    assert failed.values == {"log": ["start", "lucky"]}
    assert "no luck in Łódź" in str(tasks["unlucky"].error)
    done = await running.invoke(None, one_at_a_time)
    assert sorted(done["log"]) == ["lucky", "start", "unlucky"]
    assert runs == ["lucky", "unlucky", "unlucky"]
    return [failed, done, await running.history(config())]


async def a_subgraph(saver: BaseCheckpointSaver[Any]) -> Any:
    """It has checkpoints in a namespace of its own, and its question pauses the graph around it."""
    inner = chain(("inner 1", says("inner 1")), ("ask", lambda state: {"log": [interrupt("inside?")]}))
    running = Running(
        chain(("outer 1", says("outer 1")), ("inner", inner.compile()), ("outer 2", says("outer 2"))), saver
    )
    paused = await running.stream({"log": []}, config(), subgraphs=True, stream_mode="updates")
    outside = await running.state(config(), subgraphs=True)
    [task] = outside.tasks
    assert task.state is not None
    inside: Any = task.state
    assert inside.values == {"log": ["outer 1", "inner 1"]}
    assert inside.next == ("ask",)
    namespace = inside.config["configurable"]["checkpoint_ns"]
    assert namespace.startswith("inner:")

    within = await running.history(config(checkpoint_ns=namespace))
    assert [snapshot.next for snapshot in within] == [("ask",), ("inner 1",), ("__start__",)]
    done = await running.stream(Command(resume="yes"), config(), subgraphs=True, stream_mode="values")
    state = await running.state(config())
    assert state.values["log"][-2:] == ["yes", "outer 2"]
    return [[event[1:] for event in (*paused, *done)], outside, within, await running.history(config())]


async def a_subgraph_that_remembers(saver: BaseCheckpointSaver[Any]) -> Any:
    """With a checkpointer of its own (`checkpointer=True`) it keeps its state from turn to turn."""

    class Inner(TypedDict):
        counts: Annotated[list[int], operator.add]

    builder = StateGraph(Inner)
    builder.add_node("count", lambda state: {"counts": [len(state["counts"])]})
    builder.add_edge(START, "count")
    inner = builder.compile(checkpointer=True)

    def turn(state: Log) -> Log:
        return {"log": [inner.invoke({"counts": []})["counts"]]}

    async def aturn(state: Log) -> Log:
        return {"log": [(await inner.ainvoke({"counts": []}))["counts"]]}

    probe = Running(chain(("turn", turn)), saver)
    running = probe if probe.blocks else Running(chain(("turn", aturn)), saver)
    for _ in range(3):
        state = await running.invoke({"log": []}, config())
    assert state["log"] == [[0], [0, 1], [0, 1, 2]]
    return await running.history(config())


async def travel_in_time(saver: BaseCheckpointSaver[Any]) -> Any:
    """A run from an earlier checkpoint makes a branch, and the first one stays."""
    nodes = [
        (name, lambda state, name=name: {"log": [f"{name} of {len(state['log'])}"]}) for name in ("one", "two", "three")
    ]
    running = Running(chain(*nodes), saver)
    first = await running.invoke({"log": ["x"]}, config())
    history = await running.history(config())
    before_two = next(snapshot for snapshot in history if snapshot.next == ("two",))

    again = await running.invoke(None, before_two.config)
    assert again == first
    forked = await running.update(before_two.config, {"log": ["changed"]})
    assert (await running.state(forked)).values["log"] == ["x", "one of 1", "changed"]
    other = await running.invoke(None, forked)
    assert other["log"] == ["x", "one of 1", "changed", "two of 3", "three of 4"]

    newest = await running.state(config())
    assert newest.values == other
    assert (await running.state(history[0].config)).values == first
    assert (await running.state(before_two.config)).values == before_two.values
    return [again, other, await running.history(config())]


async def two_forks_of_one_checkpoint(saver: BaseCheckpointSaver[Any]) -> Any:
    """Both write the next version of the same channel, and each keeps its own value."""
    running = Running(chain(("one", says("one"))), saver)
    await running.invoke({"log": []}, config())
    start = (await running.state(config())).config
    left = await running.update(start, {"log": ["left"]}, as_node="one")
    right = await running.update(start, {"log": ["right"]}, as_node="one")
    assert (await running.state(left)).values["log"] == ["one", "left"]
    assert (await running.state(right)).values["log"] == ["one", "right"]
    return await running.history(config())


async def an_edited_state(saver: BaseCheckpointSaver[Any]) -> Any:
    nodes = [(name, says(name)) for name in ("one", "two")]
    running = Running(chain(*nodes), saver, interrupt_before=["two"])
    await running.update(config(), {"log": ["given"]}, as_node="__start__")
    assert (await running.state(config())).next == ("one",)
    await running.invoke(None, config())
    await running.update(config(), {"log": ["instead of two"]}, as_node="two")
    state = await running.state(config())
    assert state.next == ()
    assert state.values["log"] == ["given", "one", "instead of two"]
    return await running.history(config())


async def a_channel_that_is_stored_as_its_changes(saver: BaseCheckpointSaver[Any]) -> Any:
    """Its value is put together again from the writes of earlier checkpoints, along the branch."""
    builder = StateGraph(Changes)
    for name in ("z", "y", "x"):
        builder.add_node(name, says(name))
        builder.add_edge(START, name)
    running = Running(builder, saver)
    for turn in range(4):
        state = await running.invoke({"log": [turn]}, config())
    assert state["log"] == [entry for turn in range(4) for entry in (turn, "x", "y", "z")]
    history = await running.history(config())
    fork = await running.update(history[3].config, {"log": ["forked"]}, as_node="x")
    assert (await running.state(fork)).values["log"][-1] == "forked"
    assert (await running.state(history[0].config)).values == state
    return await running.history(config())


async def streams(saver: BaseCheckpointSaver[Any]) -> Any:
    model = ScriptedChatModel()

    def assistant(state: Chat) -> Chat:
        get_stream_writer()({"progress": 0.5})
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(Chat)
    builder.add_node("assistant", assistant)
    builder.add_edge(START, "assistant")
    running = Running(builder, saver)
    text = "What was the first thing I told you in this conversation?"
    events = await running.stream({"messages": [("user", text)]}, config(), stream_mode=STREAM_MODES)
    assert {mode for mode, _ in events} == set(STREAM_MODES)
    assert ("custom", {"progress": 0.5}) in events
    assert any(mode == "messages" and text in str(chunk[0].content) for mode, chunk in events)

    stored = await running.history(config())
    checkpoints = [event["config"]["configurable"]["checkpoint_id"] for mode, event in events if mode == "checkpoints"]
    assert checkpoints == [snapshot.config["configurable"]["checkpoint_id"] for snapshot in reversed(stored)]
    return events


async def what_is_stored_at_the_end_only(saver: BaseCheckpointSaver[Any]) -> Any:
    running = Running(chain(*((name, says(name)) for name in ("one", "two", "three"))), saver)
    await running.invoke({"log": []}, config(), durability="exit")
    history = await running.history(config())
    assert [snapshot.values["log"] for snapshot in history] == [["one", "two", "three"]]
    return history


async def a_filtered_history(saver: BaseCheckpointSaver[Any]) -> Any:
    running = Running(chain(*((name, says(name)) for name in ("one", "two", "three"))), saver)
    await running.invoke({"log": []}, config())
    everything = await running.history(config())
    before = await running.history(config(), before=everything[1].config, limit=2)
    assert [told(snapshot) for snapshot in before] == [told(snapshot) for snapshot in everything[2:4]]
    loops = await running.history(config(), filter={"source": "loop", "step": 1})
    assert [snapshot.metadata["step"] for snapshot in loops if snapshot.metadata] == [1]
    return [before, loops]


@pytest.mark.parametrize(
    "scenario",
    [
        a_pause_for_an_answer,
        two_questions_of_one_node,
        questions_of_parallel_branches,
        a_stop_before_a_node,
        a_conversation_of_many_turns,
        a_choice_between_nodes,
        branches_that_join,
        tasks_that_are_sent,
        a_branch_that_fails,
        a_subgraph,
        a_subgraph_that_remembers,
        travel_in_time,
        two_forks_of_one_checkpoint,
        an_edited_state,
        a_channel_that_is_stored_as_its_changes,
        streams,
        what_is_stored_at_the_end_only,
        a_filtered_history,
    ],
    ids=lambda scenario: scenario.__name__,
)
async def test_a_graph_runs_as_it_does_in_memory(saver: Saver, scenario: Scenario) -> None:
    expected = told(await scenario(InMemorySaver()))
    assert expected
    assert told(await scenario(saver)) == expected


async def test_a_graph_goes_on_in_another_process_where_it_was_interrupted(saver: Saver) -> None:
    """A second saver object knows nothing but what is stored."""

    def graph(saver: Saver) -> Running:
        return Running(chain(("ask", lambda state: {"log": [interrupt("?")]}), ("after", says("after"))), saver)

    await graph(saver).invoke({"log": []}, config())
    twin: Saver = type(saver)(saver._memory)  # type: ignore[arg-type]
    assert (await graph(twin).invoke(Command(resume="yes"), config()))["log"] == ["yes", "after"]


async def test_many_threads_run_beside_each_other(saver: Saver) -> None:
    running = Running(chain(*((name, says(name)) for name in ("one", "two"))), saver)
    inputs = [[thread, "ä" * 5_000] for thread in range(16)]
    done = await asyncio.gather(
        *(running.invoke({"log": start}, config(str(thread))) for thread, start in enumerate(inputs))
    )
    assert [state["log"] for state in done] == [[*start, "one", "two"] for start in inputs]
    for thread, start in enumerate(inputs):
        assert (await running.state(config(str(thread)))).values["log"] == [*start, "one", "two"]


async def test_a_workflow_of_functions_remembers_its_results(saver: Saver) -> None:
    """LangGraph's functional API: what a task returned is stored, and not done again after the pause."""
    done: list[int] = []

    @task
    def double(number: int) -> int:
        done.append(number)
        return 2 * number

    def workflow(saver: BaseCheckpointSaver[Any]) -> Any:
        @entrypoint(checkpointer=saver)
        def run(number: int, *, previous: Any = None) -> Any:
            doubled = double(number).result()
            return [previous, doubled, interrupt("go on?")]

        return run

    flow = workflow(saver)
    for number in (1, 2):
        inputs: list[Any] = [number, Command(resume="yes")]
        for input in inputs:
            if isinstance(saver, LakebaseSaver):
                result = await asyncio.to_thread(flow.invoke, input, config())
            else:
                result = await flow.ainvoke(input, config())
    assert result == [[None, 2, "yes"], 4, "yes"]
    assert done == [1, 2]


async def test_both_savers_go_on_with_each_others_threads(target: Lakebase) -> None:
    builder = chain(("ask", lambda state: {"log": [interrupt("?")]}), ("after", says("after")))
    async with AsyncMemory(target) as async_memory:
        with Memory(target) as memory:
            first = Running(builder, AsyncLakebaseSaver(async_memory.for_user("ada")))
            second = Running(builder, LakebaseSaver(memory.for_user("ada")))
            await first.invoke({"log": ["x"]}, config())
            assert (await second.state(config())).next == ("ask",)
            await second.invoke(Command(resume="yes"), config())
            assert (await first.state(config())).values["log"] == ["x", "yes", "after"]
            assert told(await first.history(config())) == told(await second.history(config()))


async def test_a_graph_answers_while_the_database_is_down() -> None:
    """Within a run the graph needs no checkpointer; between runs the thread is lost until the database is back."""
    nowhere = Lakebase.dsn("postgresql://ada:secret@127.0.0.1:1/agents")
    builder = chain(("one", says("one")), ("two", says("two")))
    async with degrading(AsyncMemory(nowhere), cooldown=60.0) as async_memory:
        with degrading(Memory(nowhere), cooldown=60.0) as memory:
            for saver in (AsyncLakebaseSaver(async_memory.for_user("a")), LakebaseSaver(memory.for_user("a"))):
                running = Running(builder, saver)
                assert (await running.invoke({"log": []}, config()))["log"] == ["one", "two"]
                assert (await running.state(config())).values == {}
            assert memory.health().pending_writes == (await async_memory.health()).pending_writes > 3
