"""What is done with one statement, so that its texts are sealed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lakemem.encryption import Cipher, Opener
from lakemem.operations import Operation, Rows
from lakemem.operations.resealing import Table

Row = tuple[Any, ...]
Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done with one statement.

    Attributes:
        seal: returns the parameters that change.
        open: returns the rows as the operation reads them.
        refusal: why the statement cannot be run where texts are encrypted.
        copies: what it copies to another thread, where the copies are to be sealed anew.
    """

    seal: Callable[[Cipher, Parameters], Mapping[str, Any]] | None = None
    open: Callable[[Opener, Operation[Any], Rows], Rows] | None = None
    refusal: Callable[[Parameters], str | None] | None = None
    copies: tuple[Table, ...] = ()


def with_column(row: Row, column: int, found: Any) -> Row:
    return (*row[:column], found, *row[column + 1 :])
