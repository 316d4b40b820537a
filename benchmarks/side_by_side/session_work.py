"""What a session is asked in a turn. It needs no library, so that it is the same in every environment."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

from side_by_side.rounds import Operation
from side_by_side.texts import turns

READ = 100
ITEMS = turns(seed=1, count=500)


async def fill(sessions: Callable[[int], Any], count: int) -> None:
    """Give sessions 0 to `count` the items that a turn reads."""
    items = [item for turn in ITEMS[: READ // 2] for item in turn]
    for number in range(count):
        await sessions(number).add_items(items)
        assert await sessions(number).get_items(limit=READ) == items


def turn(session_of: Callable[[int], Any]) -> Operation:
    """Read the newest 100 items, then add two."""
    following = cycle(ITEMS)

    async def take_turn(number: int) -> None:
        session = session_of(number)
        found = await session.get_items(limit=READ)
        assert len(found) == READ
        await session.add_items(next(following))

    return take_turn


def kept(sessions: Callable[[int], Any]) -> Callable[[int], Any]:
    """The same object for the same number, as in a process that keeps its sessions."""
    objects: dict[int, Any] = {}

    def session_of(number: int) -> Any:
        if number not in objects:
            objects[number] = sessions(number)
        return objects[number]

    return session_of
