# Generated from tests/_async/test_memory_model.py by tools/unasync.py: edit that file, then run `make generate`.
"""Whatever happens to a memory, its versions read as those of a model that is kept in memory."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakemem import Lakebase, Memory, MemoryNotFoundError, MemoryRecord, ScopedMemory
from lakemem.testing import DatabaseFactory
from tests._sync.examples import examples
from tests.support.rows import Rows

Deed: TypeAlias = Literal["save", "subject", "late", "update", "revert", "delete", "forget", "erase"]
# What is done, with which of a few values, and to which of the moments and versions that there are.
Step: TypeAlias = tuple[Deed, int, int]

DEEDS: list[Deed] = ["save", "save", "subject", "late", "late", "late", "update", "revert", "delete", "forget"]
steps = st.lists(
    st.tuples(st.sampled_from([*DEEDS, "erase"]), st.integers(0, 2), st.integers(0, 30)), min_size=4, max_size=16
)


@dataclass(frozen=True)
class Version:
    number: int
    value: int
    start: datetime
    end: datetime | None
    next: int | None

    def holds(self, moment: datetime) -> bool:
        return self.start <= moment and (self.end is None or moment < self.end)


class Model:
    """The versions of one memory, by the rules in words: each deed is one of its methods."""

    def __init__(self) -> None:
        self.versions: list[Version] = []
        self.log: list[tuple[str, int]] = []

    @property
    def current(self) -> Version | None:
        return next((version for version in self.versions if version.end is None), None)

    def at(self, moment: datetime) -> Version | None:
        found = [version for version in self.versions if version.holds(moment)]
        assert len(found) <= 1
        return found[0] if found else None

    def close(self, closed: Version | None, end: datetime, by: int | None) -> None:
        self.versions = [replace(each, end=end, next=by) if each is closed else each for each in self.versions]

    def put(self, value: int, start: datetime, action: str) -> None:
        """A version from now on."""
        number = len(self.versions) + 1
        self.close(self.current, start, number)
        self.versions.append(Version(number, value, start, None, None))
        self.log.append((action, number))

    def put_late(self, value: int, start: datetime, action: str) -> None:
        """A version that holds as long as the one that held then, or until the next one."""
        number = len(self.versions) + 1
        held = self.at(start)
        later = [version for version in self.versions if version.start > start]
        if held is not None:
            end, following = held.end, held.next
            self.close(held, start, number)
        elif later:
            soonest = min(later, key=lambda version: (version.start, -version.number))
            end, following = soonest.start, soonest.number
        else:
            end, following = None, None
        self.versions.append(Version(number, value, start, end, following))
        self.log.append((action if held is not None else "save", number))

    def end(self, moment: datetime, action: str) -> None:
        current = self.current
        if current is not None:
            self.close(current, moment, None)
            self.log.append((action, current.number))


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all examples: each works on a user of its own."""
    created = databases.create()
    yield created
    databases.drop(created)


class Run:
    """Does the same to a memory and to the model. The times are those that Postgres gave."""

    def __init__(self, user: ScopedMemory, rows: Rows) -> None:
        self.user, self.rows, self.model = user, rows, Model()
        self.number = 0

    def now(self) -> datetime:
        [(now,)] = self.rows("SELECT clock_timestamp()")
        return now  # type: ignore[no-any-return]

    def moment(self, place: int) -> datetime:
        """One before, at or after the bounds of what there is, or within; never in the future."""
        bounds = sorted({bound for each in self.model.versions for bound in (each.start, each.end) if bound})
        moments = [bound + shift for bound in bounds for shift in (-timedelta(hours=1), timedelta())]
        return (moments or [self.now() - timedelta(days=1)])[place % (len(moments) or 1)]

    def step(self, deed: Deed, value: int, place: int) -> None:
        model = self.model
        match deed:
            case "save" | "subject" | "late":
                moment = self.moment(place) if deed == "late" else None
                key: dict[str, Any] = {"key": "k"} if deed != "subject" else {"key": None, "subject": "k"}
                before = model.current if moment is None else model.at(moment)
                record = self.user.save(**key, value=value, valid_from=moment)
                if before is not None and before.value == value:
                    assert (record.outcome, record.version) == ("unchanged", before.number)
                elif moment is not None:
                    assert (record.outcome, record.valid_from) == ("saved", moment)
                    model.put_late(value, moment, "save")
                else:
                    action = "supersede" if deed == "subject" and model.current is not None else "save"
                    model.put(value, record.valid_from, action)
            case "update":
                if model.current is None:
                    with pytest.raises(MemoryNotFoundError):
                        self.user.update("k", value)
                else:
                    model.put(value, (self.user.update("k", value)).valid_from, "update")
            case "revert":
                wanted = place % (len(model.versions) + 1)
                if wanted == 0:
                    with pytest.raises(MemoryNotFoundError):
                        self.user.revert("k", len(model.versions) + 1)
                else:
                    record = self.user.revert("k", wanted)
                    model.put(model.versions[wanted - 1].value, record.valid_from, "revert")
            case "delete" | "forget":
                there = model.current is not None
                if deed == "delete":
                    assert self.user.delete("k") is there
                else:
                    assert self.user.forget(key="k", namespace=()) == there
                if there:
                    [(ended,)] = self.rows("SELECT max(valid_to) FROM lakemem.memories WHERE superseded_by IS NULL")
                    model.end(ended, deed)
            case "erase":
                there = bool(model.versions)
                assert self.user.forget(key="k", erase=True) == there
                if there:
                    last = max(model.versions, key=lambda version: (version.start, version.number))
                    model.log.append(("erase", last.number))
                    model.versions = []

    def check(self) -> None:
        model, user = self.model, self.user
        assert [seen(record) for record in user.history("k")] == model.versions[::-1]
        current = user.get("k")
        assert (current and seen(current)) == model.current
        assert user.items() == ([current] if current else [])
        for place in range(4 * len(model.versions) + 1):
            moment = self.moment(place)
            then = user.get("k", as_of=moment)
            assert (then and seen(then)) == model.at(moment)
            assert user.items(as_of=moment) == ([then] if then else [])
        log = self.rows("SELECT action, version FROM lakemem.memory_events ORDER BY event_id")
        assert log == model.log


def seen(record: MemoryRecord) -> Version:
    return Version(record.version, record.value, record.valid_from, record.valid_to, record.superseded_by)


@settings(
    max_examples=examples(150),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sequence=steps)
def test_a_memory_has_the_versions_of_the_model(target: Lakebase, memory: Memory, sequence: Sequence[Step]) -> None:
    user = memory.for_user(str(uuid.uuid4()))
    run = Run(user, Rows(target, user.owner))
    for deed, value, place in sequence:
        run.step(deed, value, place)
    run.check()
