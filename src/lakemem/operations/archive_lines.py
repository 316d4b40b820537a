"""The lines of an archive: each a record of its kind, checked before anything is stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeAlias

from lakemem.errors import InvalidInputError
from lakemem.operations.archive_fields import FIELDS, OF_A_THREAD, OPTIONAL, Check

IMPORTED_AT_ONCE = 500
"""Records of one transaction: each memory holds a lock on its key, and a server has room for some thousands."""
BATCH_BYTES = 8 * 1024 * 1024
"""A batch ends with the record that exceeds this."""

Record: TypeAlias = Mapping[str, Any]
"""One line of an archive."""

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Row:
    """A record that is checked: the values of its columns, as they are stored.

    Attributes:
        line: the number of its line.
    """

    kind: str
    line: int
    columns: Mapping[str, Any] = field(repr=False)

    @property
    def size(self) -> int:
        return sum(len(value) for value in self.columns.values() if isinstance(value, str))

    def has_expired(self, now: datetime) -> bool:
        expires_at = self.columns.get("expires_at")
        return expires_at is not None and expires_at <= now


def rows_of(lines: Iterable[str | Record], now: datetime | None = None) -> Iterator[Row]:
    """Check the lines of an archive one by one. What has expired in the meantime is passed over.

    Raises:
        InvalidInputError: a line is none of an archive. The message has its number, and nothing of what it says.
    """
    now = datetime.now(UTC) if now is None else now
    kept: dict[str, bool] = {}
    for number, line in enumerate(lines, 1):
        if isinstance(line, str) and not line.strip():
            continue
        try:
            row = _row(number, line)
            if row.kind in OF_A_THREAD:
                thread_id = row.columns["thread_id"]
                if row.kind == "thread":
                    kept[thread_id] = not row.has_expired(now)
                if thread_id not in kept:
                    raise InvalidInputError("what is in a thread stands behind it, and the thread of this is missing")
                if not kept[thread_id]:
                    continue
        except InvalidInputError as error:
            raise InvalidInputError(f"line {number}: {error}") from None
        if not row.has_expired(now):
            yield row


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows for one transaction each: some hundreds, and of large ones fewer."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += row.size
        if len(batch) >= IMPORTED_AT_ONCE or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _row(number: int, line: str | Record) -> Row:
    record = _read(line)
    kind = record.get("kind")
    fields = FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is None:
        raise InvalidInputError(f"its kind is none of {', '.join(FIELDS)}; a newer lakemem may know it")
    unknown = sorted(name for name in record.keys() - fields.keys() - {"kind"} if isinstance(name, str))
    if unknown:
        raise InvalidInputError(f"a {kind} has no field {unknown[0][:40]!r}; a newer lakemem may know it")
    columns = {name: _checked(name, record.get(name, _MISSING), check) for name, check in fields.items()}
    if kind == "memory":
        _check_version(columns)
    return Row(str(kind), number, columns)


def _read(line: str | Record) -> Record:
    if isinstance(line, str):
        try:
            line = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise InvalidInputError("it is not JSON") from None
    if not isinstance(line, Mapping):
        raise InvalidInputError("it is no JSON object")
    return line


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _checked(name: str, given: Any, check: Check) -> Any:
    if given is _MISSING and name not in OPTIONAL:
        raise InvalidInputError(f"the field {name} is missing")
    return check(name, OPTIONAL[name] if given is _MISSING else given)


def _check_version(columns: Mapping[str, Any]) -> None:
    """Check what the fields of a version have to do with each other."""
    if columns["valid_to"] is not None and columns["valid_to"] < columns["valid_from"]:
        raise InvalidInputError("valid_to must not be before valid_from")
    if (columns["embedding"] is None) != (columns["embedding_model"] is None):
        raise InvalidInputError("embedding and embedding_model come together")
