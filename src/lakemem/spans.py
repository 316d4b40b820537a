"""Spans: runs of positions, each the first and the last of them, in the order of the elements they stand for.

A new element has no position before it is stored; until then the n-th new one counts as position -n.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

Spans: TypeAlias = tuple[tuple[int, int], ...]


def spans_of(positions: Iterable[int]) -> Spans:
    """Join positions that follow each other; those of new elements count downwards."""
    runs: list[list[int]] = []
    for position in positions:
        step = 1 if position > 0 else -1
        if runs and runs[-1][1] + step == position:
            runs[-1][1] = position
        else:
            runs.append([position, position])
    return tuple((first, last) for first, last in runs)


def positions_of(spans: Spans) -> list[int]:
    """List the positions, for spans of stored elements."""
    return [position for first, last in spans for position in range(first, last + 1)]


def joined(spans: Spans) -> Spans:
    """Join spans of stored elements that follow each other."""
    runs: list[tuple[int, int]] = []
    for first, last in spans:
        if runs and runs[-1][1] + 1 == first:
            runs[-1] = (runs[-1][0], last)
        else:
            runs.append((first, last))
    return tuple(runs)


def placed(spans: Spans, before: int) -> Spans:
    """Give new elements the positions that follow `before`."""
    return tuple((before - first, before - last) if first < 0 else (first, last) for first, last in spans)


def flat(spans: Spans) -> list[int]:
    """First, last, first, last ... as the database keeps them."""
    return [bound for span in spans for bound in span]


def paired(bounds: Sequence[int]) -> Spans:
    """Read what :func:`flat` wrote."""
    return tuple(zip(bounds[0::2], bounds[1::2], strict=True))
