"""The history of threads: thinned out, copied, and followed to what a delta channel holds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

from lakemem import AsyncMemory, ConflictError, InvalidInputError, Lakebase, Memory, Retention
from lakemem.integrations.langgraph import AsyncLakebaseSaver
from tests.langgraph.conftest import Saver, saver_of
from tests.langgraph.running import Running, config, told
from tests.support.rows import Rows

delta = pytest.importorskip("langgraph.channels.delta")

TEXT = "The quick brown fox jumps over the lazy dog. " * 8


class Chat(TypedDict):
    messages: Annotated[list[Any], add_messages]


def joined(state: list[str], writes: Sequence[list[str]]) -> list[str]:
    return [*state, *(note for write in writes for note in write)]


def chat(saver: Saver) -> Running:
    builder = StateGraph(Chat)
    builder.add_node("model", lambda state: {"messages": [AIMessage(f"{len(state['messages'])} {TEXT}")]})
    builder.add_edge(START, "model")
    return Running(builder, saver)


def notes(saver: Saver, frequency: int = 100) -> Running:
    channel = delta.DeltaChannel(joined, snapshot_frequency=frequency)
    builder = StateGraph(TypedDict("Notes", {"notes": Annotated[list[str], channel], "turn": str}))  # type: ignore[operator]
    builder.add_node("writer", lambda state: {"notes": [f"written in {state['turn']}"]})
    builder.add_edge(START, "writer")
    return Running(builder, saver)


async def talk(running: Running, turns: Sequence[int], thread: str = "1") -> None:
    for turn in turns:
        await running.invoke({"messages": [HumanMessage(f"question {turn} {TEXT}")]}, config(thread))


async def ids(running: Running, thread: str = "1") -> list[str]:
    return [each.config["configurable"]["checkpoint_id"] for each in await running.history(config(thread))]


def stored(target: Lakebase) -> dict[str, int]:
    rows = Rows(target, "user:alice")
    tables = ("checkpoints", "checkpoint_blobs", "checkpoint_segments", "checkpoint_writes")
    return {table: rows(f"SELECT count(*) FROM lakemem.{table}")[0][0] for table in tables}  # type: ignore[arg-type]


# What is kept.


async def test_what_a_rule_keeps_stays_as_it_was_and_the_rest_goes(saver: Saver, target: Lakebase) -> None:
    running = chat(saver)
    await talk(running, range(6))
    before = await running.history(config())
    assert len(before) == 18

    await saver.aprune(["1"], strategy=Retention(turn_ends=True))
    after = await running.history(config())
    ends = [each for each in before if not each.next]
    assert [told(each.values) for each in after] == [told(each.values) for each in ends]
    assert len(after) == 6

    await saver.aprune(["1"], strategy=Retention(last=2))
    assert await ids(running) == [each.config["configurable"]["checkpoint_id"] for each in before if not each.next][:2]

    await saver.aprune(["1"])
    (latest,) = await running.history(config())
    assert told(latest.values) == told(before[0].values)
    assert stored(target)["checkpoints"] == 1
    await talk(running, [6])
    assert len((await running.state(config())).values["messages"]) == 14


async def test_the_values_and_writes_of_what_goes_go_with_it(saver: Saver, target: Lakebase) -> None:
    running = chat(saver)
    await talk(running, range(4), "long")
    await talk(running, range(1), "short")
    await saver.adelete_thread("long")
    alone = stored(target)
    await talk(running, range(4), "long")
    # All but the messages of the last checkpoint: nothing of these is stored twice.
    await saver.aprune(["long"])
    left = stored(target)
    assert {
        table: left[table] - alone[table] for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
    } == {
        "checkpoints": 1,
        "checkpoint_blobs": 1,
        "checkpoint_writes": 0,
    }
    assert len((await running.state(config("long"))).values["messages"]) == 8
    await saver.aprune(["long", "short"], strategy="delete")
    assert set(stored(target).values()) == {0}


async def test_rules_add_up(saver: Saver) -> None:
    running = chat(saver)
    await talk(running, range(5))
    before = await running.history(config())
    await saver.aprune(["1"], strategy=Retention(last=4, turn_ends=True))
    kept = {each.config["configurable"]["checkpoint_id"] for each in before if not each.next}
    kept |= {each.config["configurable"]["checkpoint_id"] for each in before[:4]}
    assert set(await ids(running)) == kept
    await saver.aprune(["1"], strategy=Retention(younger_than=3600))
    assert set(await ids(running)) == kept
    await saver.aprune(["1"], strategy=Retention(younger_than=0.001))
    assert len(await ids(running)) == 1


async def test_a_call_of_a_subgraph_goes_with_the_checkpoint_that_called_it(saver: Saver, target: Lakebase) -> None:
    inner = StateGraph(Chat)
    inner.add_node("model", lambda state: {"messages": [AIMessage(TEXT)]})
    inner.add_edge(START, "model")
    for name, checkpointer in (("called", None), ("lasting", True)):
        outer = StateGraph(Chat)
        outer.add_node("inner", inner.compile(checkpointer=checkpointer))
        outer.add_edge(START, "inner")
        running = Running(outer, saver)
        await talk(running, range(3), name)
    spaces = (
        "SELECT count(DISTINCT checkpoint_ns) FROM lakemem.checkpoints WHERE thread_id = %s AND checkpoint_ns <> ''"
    )
    rows = Rows(target, "user:alice")
    called = rows(spaces, "called")[0][0]
    await saver.aprune(["called", "lasting"], strategy=Retention(last=3))
    assert called == 0 or rows(spaces, "called")[0][0] == 1
    assert rows(spaces, "lasting")[0][0] == 1


async def test_a_delta_channel_is_whole_after_pruning(saver: Saver) -> None:
    running = notes(saver)
    for turn in range(5):
        await running.invoke({"notes": [f"said {turn}"], "turn": str(turn)}, config())
    before = await running.state(config())
    assert len(before.values["notes"]) == 10
    await saver.aprune(["1"])
    assert (await running.state(config())).values == before.values
    await running.invoke({"notes": ["said 5"], "turn": "5"}, config())
    assert (await running.state(config())).values["notes"] == [*before.values["notes"], "said 5", "written in 5"]


async def test_what_is_older_than_a_snapshot_of_a_delta_channel_goes(saver: Saver) -> None:
    running = notes(saver, frequency=3)
    for turn in range(6):
        await running.invoke({"notes": [f"said {turn}"], "turn": str(turn)}, config())
    before = await running.state(config())
    many = len(await ids(running))
    await saver.aprune(["1"])
    assert len(await ids(running)) < many / 2
    assert (await running.state(config())).values == before.values


async def test_a_history_follows_the_branch_in_one_round_trip_and_equals_the_walk(saver: Saver) -> None:
    running = notes(saver, frequency=4)
    for turn in range(5):
        await running.invoke({"notes": [f"said {turn}"], "turn": str(turn)}, config())
    snapshots = await running.history(config())
    earlier = snapshots[len(snapshots) // 2].config
    await running.update(earlier, {"notes": ["a branch"]}, as_node="writer")
    for snapshot in await running.history(config()):
        found = await saver.aget_delta_channel_history(config=snapshot.config, channels=["notes", "none"])
        walked = await super(type(saver), saver).aget_delta_channel_history(  # type: ignore[misc]
            config=snapshot.config, channels=["notes", "none"]
        )
        assert found == walked
    latest = await saver.aget_delta_channel_history(config=config(), channels=["notes"])
    assert latest["notes"]["writes"] or "seed" in latest["notes"]
    assert await saver.aget_delta_channel_history(config=config("nowhere"), channels=["notes"]) == {
        "notes": {"writes": []}
    }
    assert await saver.aget_delta_channel_history(config=config(), channels=[]) == {}


async def test_batches_end_where_nothing_is_left(
    saver: Saver, target: Lakebase, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = chat(saver)
    await talk(running, range(4))
    before = await running.state(config())
    for room in ("_async", "_sync"):
        monkeypatch.setattr(f"lakemem.{room}.checkpoints.pruning.BATCH", 5)
    monkeypatch.setitem(prune_defaults(), "limit", 5)
    await saver.aprune(["1"])
    assert stored(target)["checkpoints"] == 1
    assert told((await running.state(config())).values) == told(before.values)


def prune_defaults() -> dict[str, Any]:
    from lakemem.operations import pruning

    defaults = pruning.prune.__kwdefaults__
    assert defaults is not None
    return defaults


@pytest.mark.parametrize(
    "strategy", ["keep", "", None, 3, Retention(last=-1), Retention(last=True), Retention(younger_than=-1.0)]
)
async def test_a_strategy_that_there_is_not_removes_nothing(saver: Saver, strategy: Any) -> None:
    running = chat(saver)
    await talk(running, range(2))
    with pytest.raises(InvalidInputError):
        await saver.aprune(["1"], strategy=strategy)
    assert len(await ids(running)) == 6


async def test_another_user_loses_nothing(memory: AsyncMemory | Memory) -> None:
    hers, his = saver_of(memory, "alice"), saver_of(memory, "bob")
    theirs = {}
    for saver in (hers, his):
        await talk(chat(saver), range(2))
        theirs[saver] = await ids(chat(saver))
    await his.aprune(["1"])
    await his.adelete_for_runs(["run"])
    await his.aprune(["1"], strategy="delete")
    assert await ids(chat(hers)) == theirs[hers]
    await his.acopy_thread("1", "2")
    assert await ids(chat(his), "2") == []


# Beside each other.


async def test_writers_and_pruners_at_once_lose_nothing(async_memory: AsyncMemory) -> None:
    savers = [AsyncLakebaseSaver(async_memory.for_user("alice")) for _ in range(2)]

    async def prune() -> None:
        for _ in range(30):
            await savers[1].aprune(["1"], strategy=Retention(last=random.randint(1, 3)))
            await asyncio.sleep(0)

    pruning = asyncio.create_task(prune())
    for turn in range(12):
        await talk(chat(savers[0]), [turn])
        # Whoever reads by the other saver takes up elements by what that one knows.
        found = await savers[1].aget_tuple(config())
        assert found is not None
        assert len(found.checkpoint["channel_values"]["messages"]) == 2 * turn + 2
    await pruning
    messages = (await chat(savers[0]).state(config())).values["messages"]
    assert [message.content.split()[0] for message in messages[1::2]] == [str(n) for n in range(1, 24, 2)]


# Runs and copies.


async def test_the_checkpoints_of_a_run_go_and_those_before_stay(saver: Saver, target: Lakebase) -> None:
    running = chat(saver)
    for turn, run in enumerate(["first", "second"]):
        place: Any = {**config(), "metadata": {"run_id": run}}
        await running.invoke({"messages": [HumanMessage(f"{turn} {TEXT}")]}, place)
    await saver.adelete_for_runs(["second", "never"])
    assert len((await running.state(config())).values["messages"]) == 2
    assert len(await ids(running)) == 3
    await saver.adelete_for_runs(["first"])
    assert set(stored(target).values()) == {0}


async def test_a_run_that_a_later_delta_channel_needs_is_refused(saver: Saver) -> None:
    running = notes(saver)
    for run in ("first", "second"):
        place: Any = {**config(), "metadata": {"run_id": run}}
        await running.invoke({"notes": [run], "turn": run}, place)
    before = await running.state(config())
    with pytest.raises(ConflictError, match="delta channels"):
        await saver.adelete_for_runs(["first"])
    assert (await running.state(config())).values == before.values
    await saver.adelete_for_runs(["second"])
    assert (await running.state(config())).values["notes"] == ["first", "written in first"]


@pytest.mark.parametrize("of", [chat, notes])
async def test_a_copy_has_all_of_the_history_and_goes_its_own_way(saver: Saver, of: Callable[[Saver], Running]) -> None:
    running = of(saver)
    given: Any = {"messages": [HumanMessage(TEXT)], "notes": ["a"], "turn": "x"}
    for _ in range(3):
        await running.invoke(given, config("1"))
    await saver.acopy_thread("1", "2")
    before = [told(each.values) for each in await running.history(config("1"))]
    assert [told(each.values) for each in await running.history(config("2"))] == before
    await running.invoke(given, config("2"))
    await saver.aprune(["2"])
    assert [told(each.values) for each in await running.history(config("1"))] == before
    with pytest.raises(ConflictError, match="has checkpoints already"):
        await saver.acopy_thread("1", "2")
    await saver.adelete_thread("1")
    assert len((await running.state(config("2"))).values) > 0
