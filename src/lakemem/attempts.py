"""For which attempt at which run this code works, so that whatever it writes is fenced by that attempt."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from lakemem.target import Lakebase


@dataclass(frozen=True, slots=True)
class CurrentAttempt:
    """An attempt at a run.

    Attributes:
        target, schema: where the run is.
    """

    target: Lakebase
    schema: str
    owner: str
    run_id: str
    number: int


_current: ContextVar[CurrentAttempt | None] = ContextVar("lakemem_attempt", default=None)


def begin(attempt: CurrentAttempt) -> None:
    """Fence what this task writes from now on, with its tasks and threads."""
    _current.set(attempt)


def is_fenced() -> bool:
    """Whether this code works for an attempt."""
    return _current.get() is not None


def fencing(target: Lakebase, schema: str, owner: str) -> CurrentAttempt | None:
    """Return the attempt that must still be the last one of its run for this code to write as an owner."""
    current = _current.get()
    if current is None or current.owner != owner or (current.target, current.schema) != (target, schema):
        return None
    return current
