"""The checker finds what is wrong, each kind of it, and nothing where nothing is."""

from __future__ import annotations

import random
from dataclasses import asdict
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.history import Entry, Findings, History, Read, Write, check

LOG = "t"


def history(*writes: tuple[str, int, float, float]) -> History:
    """Writes by id, size, beginning and acknowledgement."""
    made = History()
    for write_id, size, began, acknowledged in writes:
        made.writes[write_id] = Write(write_id, LOG, size, began, acknowledged)
    return made


def numbers(found: Findings) -> dict[str, int]:
    """What is not zero."""
    return {name: number for name, number in asdict(found).items() if number and name != "examples"}


A, B = ("a", 2, 0.0, 1.0), ("b", 1, 2.0, 3.0)
PENDING = ("p", 2, 0.0, inf)
A0, A1, B0, P0, P1 = ("a", 0), ("a", 1), ("b", 0), ("p", 0), ("p", 1)


@pytest.mark.parametrize(
    ("writes", "entries", "expected"),
    [
        ([A, B], [A0, A1, B0], {}),
        ([A, B], [A0, A1], {"lost": 1}),
        ([A, B], [], {"lost": 2}),
        ([A, B], [A0, B0], {"torn": 1}),
        ([A, B], [A0, A1, B0, B0], {"doubled": 1}),
        ([A, B], [A0, A1, B0, A0, A1], {"doubled": 1}),
        ([A, B], [B0, A0, A1], {"disordered": 1}),
        ([A, B], [A1, A0, B0], {"disordered": 1}),
        ([A, ("b", 1, 0.5, 3.0)], [B0, A0, A1], {}),
        ([A, ("b", 1, 0.5, 3.0)], [A0, B0, A1], {"disordered": 1}),
        ([A, B], [A0, A1, B0, ("x", 0)], {"strange": 1}),
        ([A, B], [A0, A1, ("a", 2), B0], {"strange": 1}),
        ([A, PENDING], [A0, A1], {"absent": 1}),
        ([A, PENDING], [A0, A1, P0, P1], {"whole": 1}),
        ([A, PENDING], [P0, P1, A0, A1], {"whole": 1}),
        ([A, PENDING], [A0, A1, P1], {"torn": 1}),
        ([A, PENDING], [P0, P1, A0, A1, P0, P1], {"whole": 1, "doubled": 1}),
        ([A, ("p", 2, 2.0, inf)], [P0, P1, A0, A1], {"whole": 1, "disordered": 1}),
    ],
)
def test_what_is_wrong_is_named(
    writes: list[tuple[str, int, float, float]], entries: list[Entry], expected: dict[str, int]
) -> None:
    found = check(history(*writes), {LOG: entries})
    acknowledged = sum(write[3] < inf for write in writes)
    assert numbers(found) == {"acknowledged": acknowledged, **expected}
    assert bool(found.wrong) == bool(set(expected) - {"whole", "absent"})
    assert bool(found.examples) == bool(found.wrong)


@pytest.mark.parametrize(
    ("entries", "began", "stale"),
    [
        ([A0, A1], 1.5, 0),
        ([A0, A1, B0], 2.5, 0),
        ([A0, A1], 2.5, 0),
        ([], 0.5, 0),
        ([], 1.5, 1),
        ([A0, A1], 3.5, 1),
        ([B0], 2.5, 1),
    ],
)
def test_a_read_finds_a_beginning_with_all_that_was_done(entries: list[Entry], began: float, stale: int) -> None:
    made = history(A, B)
    made.reads.append(Read(LOG, began, tuple(entries)))
    assert check(made, {LOG: [A0, A1, B0]}).stale == stale


def test_a_log_of_which_nothing_is_found_is_lost() -> None:
    assert check(history(A), {}).lost == 1


def test_what_stands_in_the_wrong_log_is_lost_there_and_strange_here() -> None:
    found = check(history(A), {"other": [A0, A1]})
    assert (found.lost, found.strange) == (1, 2)


def test_a_history_outlives_its_process_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "history"
    noted = History(path)
    done, pending = noted.begin(LOG, 2), noted.begin(LOG)
    noted.acknowledge(done)
    read = History()
    read.add(path)
    assert read.writes == {done.write_id: done, pending.write_id: pending}
    assert read.writes[pending.write_id].acknowledged == inf


@st.composite
def runs(draw: st.DrawFn) -> tuple[History, list[Entry]]:
    """A history as a log without a fault makes it: each write is applied at one moment between begin and answer."""
    made, applied = History(), []
    for number in range(draw(st.integers(1, 12))):
        began = draw(st.floats(0, 10))
        at = began + draw(st.floats(0, 2))
        answered = at + draw(st.floats(0, 2))
        size = draw(st.integers(1, 3))
        fate = draw(st.sampled_from(["done", "done", "done", "unheard", "never"]))
        write = Write(f"w{number}", LOG, size, began, answered if fate == "done" else inf)
        made.writes[write.write_id] = write
        if fate != "never":
            applied.append((at, write))
    applied.sort(key=lambda each: each[0])
    return made, [(write.write_id, part) for _, write in applied for part in range(write.size)]


@given(runs())
def test_a_log_without_a_fault_has_no_findings(run: tuple[History, list[Entry]]) -> None:
    made, entries = run
    found = check(made, {LOG: entries})
    assert not found.wrong, found.examples
    assert found.acknowledged + found.whole + found.absent == len(made.writes)


@given(runs(), st.integers())
def test_whatever_is_taken_out_put_in_twice_or_moved_is_found(run: tuple[History, list[Entry]], seed: int) -> None:
    made, entries = run
    chance = random.Random(seed)
    done = [write for write in made.writes.values() if write.acknowledged < inf]
    if not done:
        return
    write = chance.choice(done)
    its = [entry for entry in entries if entry[0] == write.write_id]
    without = [entry for entry in entries if entry[0] != write.write_id]
    assert check(made, {LOG: without}).lost == 1
    place = chance.randrange(len(without) + 1)
    assert check(made, {LOG: [*entries[:place], *its, *entries[place:]]}).doubled == 1
    if write.size > 1:
        assert check(made, {LOG: [entry for entry in entries if entry != its[-1]]}).torn == 1
    began_later = [each for each in made.writes.values() if each.began > write.acknowledged]
    if any(entry[0] in {each.write_id for each in began_later} for entry in entries):
        assert check(made, {LOG: [*without, *its]}).disordered >= 1
