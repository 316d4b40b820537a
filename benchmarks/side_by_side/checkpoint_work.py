"""What a checkpointer is asked: a conversation that goes on, checkpoint by checkpoint."""

from __future__ import annotations

from itertools import cycle
from typing import Any

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.base.id import uuid6

from side_by_side.rounds import Operation
from side_by_side.savers import Savers
from side_by_side.texts import Texts, message_pair

MESSAGES = 20
STEPS_OF_A_THREAD = 300
"""Then the next begins: a hundred turns of three checkpoints."""

TEXTS = Texts(seed=2)
PAIRS = cycle([message_pair(TEXTS, asked=190, answered=190) for _ in range(500)])


def messages(count: int) -> list[Any]:
    return [message for _ in range(count // 2) for message in next(PAIRS)]


class Conversation:
    """One thread, whose channel `messages` changes with every checkpoint."""

    def __init__(self, thread_id: str) -> None:
        self.newest: Any = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
        self.named_by_thread = self.newest
        self.step = -1
        self._version: Any = None

    def following(self, saver: Any, values: list[Any]) -> tuple[Any, Any, Any, Any]:
        """The arguments of aput for the next checkpoint."""
        self.step += 1
        self._version = saver.get_next_version(self._version, None)
        versions = {"messages": self._version, "branch:to:assistant": self._version}
        checkpoint = {
            **empty_checkpoint(),
            "v": 4,
            "id": str(uuid6(clock_seq=self.step)),
            "channel_values": {"messages": values, "branch:to:assistant": None},
            "channel_versions": versions,
            "versions_seen": {"assistant": {"branch:to:assistant": self._version}},
            "updated_channels": ["messages"],
        }
        metadata = {"source": "loop", "step": self.step, "parents": {}}
        return self.newest, checkpoint, metadata, versions

    async def put(self, saver: Any, values: list[Any]) -> None:
        self.newest = await saver.aput(*self.following(saver, values))


def step(savers: Savers) -> Operation:
    """Put a checkpoint with 20 messages, the writes of a task, and read the state again.

    The next step goes on from the messages that were read: the two oldest leave, and two come.
    """
    conversations: dict[int, tuple[Conversation, list[Any]]] = {}
    numbers = iter(range(10**9))

    async def take_step(number: int) -> None:
        saver = savers(number)
        conversation, values = conversations.get(number, (None, []))
        if conversation is None or conversation.step >= STEPS_OF_A_THREAD:
            conversation, values = Conversation(f"thread-{number}-{next(numbers)}"), messages(MESSAGES)
        await conversation.put(saver, values)
        reply = values[-1]
        await saver.aput_writes(
            conversation.newest, [("messages", [reply]), ("branch:to:assistant", None)], f"task-{conversation.step}"
        )
        found = await saver.aget_tuple(conversation.named_by_thread)
        values = found.checkpoint["channel_values"]["messages"]
        assert len(values) == MESSAGES
        assert len(found.pending_writes) == 2
        conversations[number] = conversation, [*values[2:], *next(PAIRS)]

    return take_step
