"""What was tried on each surface, and what came of it."""

from __future__ import annotations

import dataclasses
import re
import uuid
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import psycopg

MARK = re.compile(r"mark-[0-9a-f]{12}")
"""Each user's texts have one of these, and no other's."""
_NEW_ID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?:resp|msg|run)_[0-9a-f]+|[0-9a-f]{32}"
)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)?")

_NUMBERED = {"event_id"}
_NUMBER = re.compile(r'"event_id": \d+,?')
"""The audit log numbers the events of all owners. Only the owner of the tables may read it."""


def new_mark() -> str:
    return f"mark-{uuid.uuid4().hex[:12]}"


@dataclass
class Row:
    """A surface. `read`, `changed` and `counted` are of rows of others; `differing` are answers that tell of them."""

    attempts: int = 0
    refused: int = 0
    read: int = 0
    changed: int = 0
    counted: int = 0
    differing: int = 0

    @property
    def leaks(self) -> int:
        return self.read + self.changed + self.counted + self.differing


@dataclass
class Ledger:
    rows: dict[str, Row] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    def row(self, surface: str) -> Row:
        return self.rows.setdefault(surface, Row())

    @property
    def total(self) -> Row:
        return Row(*(sum(getattr(row, each.name) for row in self.rows.values()) for each in dataclasses.fields(Row)))

    def note(self, surface: str, call: str, outcome: Outcome, own: Set[str]) -> None:
        """Count an attempt, and look for what is not the caller's own."""
        row = self.row(surface)
        row.attempts += 1
        row.refused += outcome.is_error
        found = outcome.marks - own
        row.read += len(found)
        if found:
            self.findings.append(f"{surface}.{call} showed {len(found)} others' texts")
        if outcome.is_unexpected:
            row.differing += 1
            self.findings.append(
                f"{surface}.{call} raised {type(outcome.value).__name__}, which is no error of lakemem"
            )

    def compare(self, surface: str, call: str, probing: object, control: object) -> None:
        """What there is must answer as what there is not."""
        if probing == control:
            return
        row = self.row(surface)
        if is_error(probing) or is_error(control):
            row.differing += 1
        else:
            row.counted += 1
        self.findings.append(f"{surface}.{call} tells them apart:\n  {str(probing)[:600]}\n  {str(control)[:600]}")

    def __str__(self) -> str:
        head = ("surface", "attempts", "refused", "read", "changed", "counted", "differing errors")
        lines = [head, *((name, *dataclasses.astuple(row)) for name, row in self.rows.items())]
        lines.append(("all", *dataclasses.astuple(self.total)))
        widths = [max(len(f"{line[place]:,}" if place and line is not head else str(line[place])) for line in lines)
                  for place in range(len(head))]  # fmt: skip
        return "\n".join(
            "  ".join(
                str(cell).ljust(width) if place == 0 else (cell if isinstance(cell, str) else f"{cell:,}").rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        )


@dataclass(frozen=True)
class Outcome:
    """What a call returned or raised."""

    value: Any
    is_error: bool = False

    @property
    def is_unexpected(self) -> bool:
        """An error of the driver or of the server, which may quote rows; or a bug."""
        return self.is_error and isinstance(self.value, psycopg.Error | AttributeError | IndexError | UnicodeError)

    @property
    def marks(self) -> set[str]:
        return set(MARK.findall(" ".join(texts(self.value))))

    def normal(self, names: Iterable[str]) -> object:
        """What it says, without the names that the call was given, new ids, and times."""
        return _normal(self.value, sorted(filter(None, names), key=len, reverse=True))


def is_error(normal: object) -> bool:
    return isinstance(normal, tuple) and bool(normal) and normal[0] == "error"


def texts(value: Any, depth: int = 0) -> Iterable[str]:
    """All texts in a value, whatever holds them; of an error, those of its causes too."""
    if depth > 12 or value is None or isinstance(value, bool | int | float):
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes | bytearray | memoryview):
        yield bytes(value).decode("utf-8", "replace")
    elif isinstance(value, BaseException):
        yield f"{value} {value!r}"
        yield from texts(value.args, depth + 1)
        yield from texts(getattr(value, "__notes__", ()), depth + 1)
        for other in (value.__cause__, None if value.__suppress_context__ else value.__context__):
            yield from texts(other, depth + 1)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for each in dataclasses.fields(value):
            yield from texts(getattr(value, each.name, None), depth + 1)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from texts(key, depth + 1)
            yield from texts(part, depth + 1)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from texts(part, depth + 1)
    else:
        yield repr(value)


def _normal(value: Any, names: list[str], depth: int = 0) -> Any:
    if depth > 12:
        return "..."
    if isinstance(value, str):
        for name in names:
            value = value.replace(name, "<name>")
        return _MOMENT.sub("<moment>", _NEW_ID.sub("<id>", _NUMBER.sub("", value)))
    if isinstance(value, bytes):
        return _normal(value.decode("utf-8", "replace"), names, depth)
    if isinstance(value, int | float) and not isinstance(value, bool) and 1e9 < value < 1e11:
        return "<moment>"
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime | date | timedelta):
        return "<moment>"
    if isinstance(value, uuid.UUID):
        return "<id>"
    if isinstance(value, BaseException):
        return ("error", type(value).__name__, _normal(str(value), names, depth + 1))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        told = [each.name for each in dataclasses.fields(value) if each.name not in _NUMBERED]
        return {name: _normal(getattr(value, name, None), names, depth + 1) for name in told}
    if isinstance(value, Mapping):
        return {_normal(str(key), names, depth + 1): _normal(part, names, depth + 1) for key, part in value.items()}
    if isinstance(value, list | tuple):
        # What is equal but for its name comes in the order of that.
        return sorted((_normal(part, names, depth + 1) for part in value), key=str)
    if isinstance(value, set | frozenset):
        return sorted(map(str, (_normal(part, names, depth + 1) for part in value)))
    return type(value).__name__
