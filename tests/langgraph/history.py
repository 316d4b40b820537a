"""A thread that is written as a graph writes it, and what it takes up in the tables."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, create_checkpoint, empty_checkpoint

from tests.langgraph.conftest import Saver
from tests.langgraph.running import config
from tests.support.rows import Rows


class Space(NamedTuple):
    """What is stored of elements."""

    segments: int
    elements: int
    size: int

    def since(self, before: Space) -> Space:
        return Space(*(now - then for now, then in zip(self, before, strict=True)))


def space(rows: Rows, channel: str = "%", thread_id: str = "%") -> Space:
    [found] = rows(
        "SELECT count(*)::int, coalesce(sum(length), 0)::int, coalesce(sum(octet_length(blob)), 0)::int"
        " FROM lakemem.checkpoint_segments WHERE channel LIKE %s AND thread_id LIKE %s",
        channel,
        thread_id,
    )
    return Space(*found)


def message(number: int) -> HumanMessage:
    """Four of them are worth to be stored by element."""
    return HumanMessage(f"message {number} " + "x" * 400, id=str(number))


def renewed(saver: Saver, **options: Any) -> Saver:
    """Another saver on the same memory, that knows nothing."""
    return type(saver)(saver._memory, **options)  # type: ignore[arg-type]


@dataclass
class Stored:
    """A checkpoint that was put, and what it should read as."""

    place: RunnableConfig
    checkpoint: Checkpoint
    values: dict[str, Any]


@dataclass
class History:
    """A thread of one saver.

    Attributes:
        checkpoints: all that were put, the oldest first.
    """

    saver: Saver
    thread_id: str = "1"
    namespace: str = ""
    checkpoints: list[Stored] = field(default_factory=list)

    async def put(
        self, changed: dict[str, Any], *, after: Stored | None = None, saver: Saver | None = None, **metadata: Any
    ) -> Stored:
        """Store a checkpoint after the given one, or the newest. A channel that is None is emptied.

        The values are what the saver is given; a copy of them is what it should read.
        """
        saver = saver or self.saver
        before = after or (self.checkpoints[-1] if self.checkpoints else None)
        place = before.place if before else config(self.thread_id, checkpoint_ns=self.namespace)
        last = before.checkpoint if before else empty_checkpoint()
        versions = dict(last["channel_versions"])
        new = {name: saver.get_next_version(_text(versions.get(name)), None) for name in changed}
        values = {name: value for name, value in {**last["channel_values"], **changed}.items() if value is not None}
        checkpoint = create_checkpoint(last, None, len(self.checkpoints))
        checkpoint |= {"channel_values": values, "channel_versions": {**versions, **new}}
        stamped: Any = {"source": "loop", "step": len(self.checkpoints), "parents": {}, **metadata}
        expected = copy.deepcopy(values)
        stored = Stored(await saver.aput(place, checkpoint, stamped, dict(new)), checkpoint, expected)
        self.checkpoints.append(stored)
        return stored

    async def load(self, saver: Saver, stored: Stored | None = None) -> Stored:
        """Go on with a checkpoint as a new request does: with what is read, the newest or a given one."""
        place = stored.place if stored else config(self.thread_id, checkpoint_ns=self.namespace)
        found = await saver.aget_tuple(place)
        assert found is not None
        values = found.checkpoint["channel_values"]
        return Stored(found.config, found.checkpoint, copy.deepcopy(values))

    async def check(self, saver: Saver | None = None) -> None:
        """Every checkpoint still reads as it was put, one by one and in a list."""
        saver = saver or renewed(self.saver)
        for stored in self.checkpoints:
            found = await saver.aget_tuple(stored.place)
            assert found is not None
            assert_same(found.checkpoint["channel_values"], stored.values)
        place = config(self.thread_id, checkpoint_ns=self.namespace)
        listed = [found async for found in saver.alist(place)]
        by_id = {stored.place["configurable"]["checkpoint_id"]: stored for stored in self.checkpoints}
        assert len(listed) == len(by_id)
        for found in listed:
            assert_same(found.checkpoint["channel_values"], by_id[found.config["configurable"]["checkpoint_id"]].values)


def assert_same(found: Any, expected: Any) -> None:
    """Equal, in order, and of the same types: 1 is neither True nor 1.0."""
    assert found == expected
    assert repr(sorted(found.items())) == repr(sorted(expected.items()))


def _text(version: str | int | float | None) -> str | None:
    return None if version is None else str(version)
