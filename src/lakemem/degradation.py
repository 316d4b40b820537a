"""`degrading`: the wrapper with which an agent works when memory does not."""

from __future__ import annotations

import math
from typing import overload

from lakemem._async.degrading import AsyncDegradingStorage
from lakemem._async.memory import AsyncMemory
from lakemem._sync.degrading import DegradingStorage
from lakemem._sync.memory import Memory
from lakemem.errors import InvalidInputError


@overload
def degrading(
    memory: AsyncMemory,
    *,
    deadline: float = ...,
    open_deadline: float = ...,
    cooldown: float = ...,
    max_writes: int = ...,
    max_bytes: int = ...,
) -> AsyncMemory: ...


@overload
def degrading(
    memory: Memory,
    *,
    deadline: float = ...,
    open_deadline: float = ...,
    cooldown: float = ...,
    max_writes: int = ...,
    max_bytes: int = ...,
) -> Memory: ...


def degrading(
    memory: AsyncMemory | Memory,
    *,
    deadline: float = 2.0,
    open_deadline: float = 10.0,
    cooldown: float = 1.0,
    max_writes: int = 10_000,
    max_bytes: int = 64 * 1024 * 1024,
) -> AsyncMemory | Memory:
    """Return the same memory, made to outlive its database.

    While Postgres is missing, unreachable, slower than `deadline`, or without tables, reads come back empty and
    writes wait in a buffer. When it is back, the writes are replayed in their order, each applied once.
    ``health()`` says how things stand. Errors of a program, such as invalid input, are raised as always.

    The buffer lives in this process: what waits in it is gone if the process dies.

    Args:
        deadline: seconds that an operation may take.
        open_deadline: seconds that opening may take.
        cooldown: seconds between two tries while memory is down.
        max_writes, max_bytes: how much the buffer holds; further writes are refused, and counted.

    Raises:
        InvalidInputError: `memory` is neither of the two, or a bound is not a number above zero.
    """
    if not isinstance(memory, AsyncMemory | Memory):
        raise InvalidInputError(f"degrading takes an AsyncMemory or a Memory, not {type(memory).__name__}")
    bounds = {"cooldown": cooldown, "deadline": deadline, "open_deadline": open_deadline}
    for name, bound in {**bounds, "max_writes": max_writes, "max_bytes": max_bytes}.items():
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 < bound < math.inf:
            raise InvalidInputError(f"{name} must be a finite number above zero, not {bound!r}")
    if isinstance(memory, AsyncMemory):
        return memory.through(
            lambda storage: AsyncDegradingStorage(storage, max_writes=max_writes, max_bytes=max_bytes, **bounds)
        )
    return memory.through(
        lambda storage: DegradingStorage(storage, max_writes=max_writes, max_bytes=max_bytes, **bounds)
    )
