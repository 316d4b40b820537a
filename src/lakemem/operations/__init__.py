"""What lakemem asks of Postgres, as values.

A function of this package checks its arguments and returns an :class:`Operation`: one named statement with its
parameters, and how to read the rows. Nothing here waits or connects, so the async side, the sync side, and the
wrapper that keeps writes while the database is down all run the same operations.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")
Rows: TypeAlias = Sequence[tuple[Any, ...]]
Merge: TypeAlias = Callable[[Sequence["Operation[T]"]], "Operation[list[T]]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[T]):
    """One statement on behalf of one owner: one round trip, one transaction.

    Attributes:
        statement: its name, ``file.name``.
        owner: whose rows it may see; row-level security holds it to these.
        parse: makes the result of the rows.
        fallback: the result while memory is down.
        writes: whether it changes something.
        alone: whether nothing else may be written for its owner in the meantime, by whomever.
        erases: whether it removes all that its owner has, what waits to be written included.
        turn: for a small write, which may go to Postgres together with others that wait at the same moment: what it
            takes hold of, by which these are put in order.
        merge: makes one operation of several that have the same `merge`, whoever they are of, if no two of them take
            hold of the same. Its result is the list of theirs.
        lock: a name; operations with the same name wait for each other.
        first: a statement that runs before it, with the same parameters, so that it sees what that waited for.
        sealed_with: the key that its texts are sealed with, where they are: it is refused unless that is its owner's
            current one.
        waits: whether it may be put off, or answered with the fallback, while memory is down; if not, the outage
            is raised.
        repeated: what answers in its place where it was marked, and has been applied before; without it, the fallback.
        parts: operations of the same owner that run in its place, see :func:`together`; `parse` is then given a row
            for each, with its result.
    """

    statement: str
    owner: str
    parameters: Mapping[str, Any] = field(repr=False)
    parse: Callable[[Rows], T] = field(repr=False)
    fallback: T = field(repr=False)
    writes: bool = False
    alone: bool = False
    erases: bool = False
    turn: str | None = None
    merge: Merge[T] | None = field(default=None, repr=False)
    lock: str | None = None
    first: str | None = None
    sealed_with: uuid.UUID | None = None
    waits: bool = True
    repeated: Operation[T] | None = None
    parts: tuple[Operation[Any], ...] = ()

    @property
    def size(self) -> int:
        """Roughly the bytes that its parameters take."""
        return sum(part.size for part in self.parts) + _size(self.parameters.values())

    def result(self, answers: Sequence[Rows]) -> T:
        """Read the rows that came back: those of the statement, or of each part in their order."""
        if not self.parts:
            return self.parse(answers[0])
        return self.parse([(part.parse(rows),) for part, rows in zip(self.parts, answers, strict=True)])


def together(statement: str, parts: Sequence[Operation[Any]]) -> Operation[list[Any]]:
    """Several operations as one: still one round trip, and one transaction.

    Args:
        statement: a name for them together, for those who look on.
        parts: at least one; each runs after the one before it, and sees what that has done. A part may have parts
            itself.

    Returns:
        An operation whose result is the list of theirs.
    """

    def results(rows: Rows) -> list[Any]:
        left = iter(rows)
        return [part.parse([next(left) for _ in part.parts]) if part.parts else next(left)[0] for part in parts]

    return Operation(
        statement=statement,
        owner=parts[0].owner,
        parameters={},
        parse=results,
        fallback=[part.fallback for part in parts],
        writes=any(part.writes for part in parts),
        alone=any(part.alone for part in parts),
        waits=all(part.waits for part in parts),
        parts=tuple(leaf for part in parts for leaf in part.parts or (part,)),
    )


def _size(values: Iterable[Any]) -> int:
    size = 0
    for value in values:
        kind = type(value)
        if kind is str or kind is bytes:
            size += len(value)
        elif kind is list:
            size += _size(value)
        else:
            size += 8
    return size
