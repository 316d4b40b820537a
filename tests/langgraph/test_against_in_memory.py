"""Any sequence of calls leaves behind what it leaves behind in LangGraph's own InMemorySaver."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    Checkpoint,
    CheckpointTuple,
    create_checkpoint,
    empty_checkpoint,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME

from lakemem import AsyncMemory, Memory
from tests.langgraph.conftest import saver_of
from tests.langgraph.running import config
from tests.support.examples import examples

PLACES = [("a", ""), ("a", "inner:1"), ("a", "inner:1|deeper:2"), ("b", ""), ("ä'%\\", "")]

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
channels = st.sampled_from(["messages", "__start__", "branch:to:x", "ü"])


@dataclass(frozen=True)
class Put:
    """A checkpoint after another one (by its place in what was stored), or the first of a branch."""

    place: tuple[str, str]
    after: int | None
    changed: dict[str, Any]
    emptied: str | None
    step: int


@dataclass(frozen=True)
class PutWrites:
    checkpoint: int
    task: str
    path: str
    writes: list[tuple[str, Any]]


@dataclass(frozen=True)
class DeleteThread:
    thread_id: str


puts = st.builds(
    Put,
    place=st.sampled_from(PLACES),
    after=st.none() | st.integers(0, 9),
    changed=st.dictionaries(channels, values, max_size=3),
    emptied=st.none() | channels,
    step=st.integers(-1, 3),
)
put_writes = st.builds(
    PutWrites,
    checkpoint=st.integers(0, 9),
    task=st.sampled_from(["task 1", "task 2"]),
    path=st.sampled_from(["", "~__pregel_pull, b", "~__pregel_pull, a"]),
    writes=st.lists(st.tuples(channels | st.sampled_from([ERROR, INTERRUPT, RESUME]), values), max_size=4),
)
deletes = st.builds(DeleteThread, st.sampled_from(["a", "b", "never"]))
# Most sequences should grow.
sequences = st.lists(puts | puts | puts | put_writes | put_writes | deletes, min_size=1, max_size=12)


@dataclass
class Pair:
    """Both savers, and the checkpoints that they were given."""

    ours: BaseCheckpointSaver[Any]
    theirs: InMemorySaver
    stored: list[tuple[RunnableConfig, Checkpoint]] = field(default_factory=list)

    async def run(self, step: Put | PutWrites | DeleteThread) -> None:
        if isinstance(step, Put):
            await self._put(step)
        elif isinstance(step, DeleteThread):
            for saver in (self.ours, self.theirs):
                await saver.adelete_thread(step.thread_id)
        elif self.stored:
            place, _ = self.stored[step.checkpoint % len(self.stored)]
            for saver in (self.ours, self.theirs):
                await saver.aput_writes(place, step.writes, step.task, step.path)

    async def _put(self, step: Put) -> None:
        """As a graph does: what did not change keeps its version."""
        thread_id, namespace = step.place
        before = config(thread_id, checkpoint_ns=namespace)
        checkpoint = empty_checkpoint()
        branch = [entry for entry in self.stored if _names(entry[0])[:2] == step.place]
        if step.after is not None and branch:
            before, checkpoint = branch[step.after % len(branch)]
        versions = dict(checkpoint["channel_versions"])
        new = {name: self.theirs.get_next_version(_text(versions.get(name)), None) for name in _changed(step)}
        after = create_checkpoint(checkpoint, None, step.step)
        channel_values = {**checkpoint["channel_values"], **step.changed}
        if step.emptied is not None:
            channel_values.pop(step.emptied, None)
        after |= {"channel_values": channel_values, "channel_versions": {**versions, **new}}
        metadata: Any = {"source": "loop", "step": step.step, "parents": {}, "text": "a\x00b ü"}
        stored = [await saver.aput(before, after, metadata, dict(new)) for saver in (self.ours, self.theirs)]
        assert stored[0] == stored[1]
        self.stored.append((stored[0], after))

    async def compare(self) -> None:
        for thread_id, namespace in PLACES:
            for place in (config(thread_id), config(thread_id, checkpoint_ns=namespace)):
                assert _seen(await self.ours.aget_tuple(place)) == _seen(await self.theirs.aget_tuple(place))
            within = config(thread_id, checkpoint_ns=namespace)
            await self._compare_lists(within, limit=2)
            await self._compare_lists(within, filter={"step": 1, "text": "ab ü"})
        for place, _ in self.stored:
            assert _seen(await self.ours.aget_tuple(place)) == _seen(await self.theirs.aget_tuple(place))
            await self._compare_lists(place)
            thread_id, namespace, _ = _names(place)
            await self._compare_lists(config(thread_id, checkpoint_ns=namespace), before=place, limit=3)
        await self._compare_lists(None)
        await self._compare_lists(None, filter={"step": 0})

    async def _compare_lists(self, place: RunnableConfig | None, **options: Any) -> None:
        ours, theirs = [
            [_seen(found) async for found in saver.alist(place, **options)] for saver in (self.ours, self.theirs)
        ]
        assert [found["names"][2] for found in ours] == sorted((found["names"][2] for found in ours), reverse=True)
        # InMemorySaver lists one thread and namespace after the other.
        assert ours == sorted(theirs, key=lambda found: str(found["names"][2]), reverse=True)


@settings(max_examples=examples(25), derandomize=True)
@given(steps=sequences)
async def test_every_sequence_of_calls_ends_as_it_does_in_memory(
    memory: AsyncMemory | Memory, steps: Sequence[Put | PutWrites | DeleteThread]
) -> None:
    pair = Pair(saver_of(memory, str(uuid.uuid4())), InMemorySaver())
    for step in steps:
        await pair.run(step)
    await pair.compare()


def _changed(step: Put) -> set[str]:
    return step.changed.keys() | ({step.emptied} if step.emptied is not None else set())


def _names(place: RunnableConfig) -> tuple[str, str, str | None]:
    configurable = place["configurable"]
    return configurable["thread_id"], configurable.get("checkpoint_ns", ""), configurable.get("checkpoint_id")


def _text(version: str | int | float | None) -> str | None:
    return None if version is None else str(version)


def _seen(found: CheckpointTuple | None) -> dict[str, Any]:
    if found is None:
        return {}
    return {
        "names": _names(found.config),
        "parent": None if found.parent_config is None else _names(found.parent_config),
        "checkpoint": found.checkpoint,
        "metadata": found.metadata,
        "writes": found.pending_writes,
    }
