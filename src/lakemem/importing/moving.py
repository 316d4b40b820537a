"""How what a source has is moved: unit by unit, each in a transaction of its own as its owner."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import Connection

from lakemem.errors import InvalidInputError
from lakemem.importing.reports import Report, Watcher

T = TypeVar("T")

BATCH_ROWS = 500
BATCH_BYTES = 4 * 1024 * 1024
ATTEMPTS = 5

OWNER_UNKNOWN = "whose owner is not known"


class Moving:
    """Writes into lakemem's tables.

    Args:
        target: a connection in autocommit to the database with lakemem's tables.
        statements: lakemem's, bound to its schema.
        watcher: hears how it proceeds.
    """

    def __init__(self, target: Connection[Any], statements: Mapping[str, bytes], watcher: Watcher) -> None:
        self._target = target
        self._statements = statements
        self._watcher = watcher

    def each(
        self,
        report: Report,
        total: int,
        units: Iterable[T],
        owner_of: Callable[[T], str | None],
        move: Callable[[str, T], Report],
    ) -> Report:
        """Move units, each in a transaction of its own, and add up what came of them."""
        self._watcher.began(report.kind, total)
        for unit in units:
            report.units += 1
            try:
                if (owner := owner_of(unit)) is not None:
                    moved = self._repeated(owner, move, unit)
                    report.moved += moved.moved
                    report.left += moved.left
                else:
                    report.left[OWNER_UNKNOWN] += 1
            except InvalidInputError as error:
                report.left[f"because {error}"] += 1
            self._watcher.advanced(report)
        self._watcher.ended(report)
        return report

    def _repeated(self, owner: str, move: Callable[[str, T], Report], unit: T) -> Report:
        """Move a unit, again where an agent wrote the same thing at the same moment: what is there then stays."""
        for _ in range(ATTEMPTS - 1):
            try:
                with self.transaction(owner):
                    return move(owner, unit)
            except (psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected):
                continue
        with self.transaction(owner):
            return move(owner, unit)

    @contextmanager
    def transaction(self, owner: str) -> Iterator[None]:
        """Row-level security confines what is read and written to the owner."""
        with self._target.transaction():
            self._target.execute("SELECT set_config('lakemem.owner', %s, true)", [owner])
            yield

    def execute(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        cursor = self._target.execute(self._statements[statement], parameters)
        return cursor.fetchall() if cursor.description else []

    def count(self, statement: str, parameters: Mapping[str, Any]) -> int:
        """How many rows a statement wrote."""
        return self._target.execute(self._statements[statement], parameters).rowcount

    def count_many(self, statement: str, rows: list[dict[str, Any]]) -> int:
        if not rows:
            return 0
        with self._target.cursor() as cursor:
            cursor.executemany(self._statements[statement], rows)
            return cursor.rowcount


def batches(rows: Iterable[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """A few hundred rows at a time, and of big ones fewer."""
    batch: list[T] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += size_of(row)
        if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
