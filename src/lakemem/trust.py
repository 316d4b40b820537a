"""Who said what a memory says, and what follows from it. Pure.

The levels have an order. What is demanded is met by every level from it upwards; what a model or a tool says never
takes the place of what counts for more.
"""

from __future__ import annotations

from collections.abc import Iterable

from lakemem.errors import InvalidInputError
from lakemem.memory_types import Trust

LEVELS: tuple[Trust, ...] = ("unknown", "tool", "model", "user")
"""From the least to the most. Nothing is known of where the first comes from, so it meets no demand but its own."""


def check_trust(trust: object) -> Trust:
    """Return `trust` if it is a level."""
    if trust not in LEVELS:
        raise InvalidInputError(f"trust must be one of: {', '.join(map(repr, reversed(LEVELS)))}")
    return trust


def at_least(trust: Trust | None) -> list[str]:
    """The levels that meet a demand; all of them without one."""
    return list(LEVELS if trust is None else LEVELS[LEVELS.index(check_trust(trust)) :])


def below(trust: Trust) -> list[str]:
    return list(LEVELS[: LEVELS.index(trust)])


def above(trust: Trust) -> list[str]:
    return list(LEVELS[LEVELS.index(trust) + 1 :])


def least(levels: Iterable[Trust]) -> Trust:
    """The level of what was made of others; `unknown` where it was made of nothing."""
    return min(levels, key=LEVELS.index, default="unknown")
