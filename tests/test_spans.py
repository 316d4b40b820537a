"""Spans say the same as the positions that they stand for."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lakemem.spans import flat, joined, paired, placed, positions_of, spans_of

stored = st.lists(st.integers(1, 12), unique=True)
"""Positions of stored elements, in any order: neighbours are frequent."""


@st.composite
def mixed(draw: st.DrawFn) -> list[int]:
    """Positions of a value: stored elements, and new ones that count downwards from -1."""
    positions = draw(stored)
    for number in range(1, draw(st.integers(0, 6)) + 1):
        after = positions.index(-number + 1) + 1 if number > 1 else 0
        positions.insert(draw(st.integers(after, len(positions))), -number)
    return positions


@given(stored)
def test_spans_lead_back_to_their_positions(positions: list[int]) -> None:
    spans = spans_of(positions)
    assert positions_of(spans) == positions
    # No two of them could be one.
    assert all(left[1] + 1 != right[0] for left, right in pairwise(spans))
    assert paired(flat(spans)) == spans


@given(mixed(), st.integers(12, 40))
def test_new_elements_get_the_positions_behind_the_last_one(positions: list[int], before: int) -> None:
    given_out = [position if position > 0 else before - position for position in positions]
    assert positions_of(placed(spans_of(positions), before)) == given_out
    assert len(set(given_out)) == len(given_out)


@given(mixed(), st.integers(12, 14))
def test_joining_changes_no_position(positions: list[int], before: int) -> None:
    spans = placed(spans_of(positions), before)
    assert positions_of(joined(spans)) == positions_of(spans)
    assert joined(spans) == spans_of(positions_of(spans))


def test_spans_at_their_bounds() -> None:
    assert spans_of([]) == joined(()) == placed((), 3) == paired([]) == ()
    assert spans_of([-1, 1]) == ((-1, -1), (1, 1))
    assert spans_of([1, 2, 4, 3, -1, -2, 5]) == ((1, 2), (4, 4), (3, 3), (-1, -2), (5, 5))
    assert placed(((2, 3), (-1, -2)), 9) == ((2, 3), (10, 11))
    assert joined(((1, 2), (3, 3), (5, 6), (4, 4))) == ((1, 3), (5, 6), (4, 4))
    assert flat(((1, 2), (7, 7))) == [1, 2, 7, 7]
