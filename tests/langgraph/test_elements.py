"""What counts as the same element, and what a value is composed of: nothing here asks a database."""

from __future__ import annotations

import copy
import math
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel

from lakemem import caches
from lakemem.integrations.langgraph_elements import (
    MAX_SPANS,
    Elements,
    Fingerprint,
    Kind,
    KnownVersion,
    KnownVersions,
    composed,
    put_together,
    taken_apart,
)
from lakemem.spans import placed, positions_of

SERDE = JsonPlusSerializer(pickle_fallback=True)


class Text(str):
    pass


class Number(int):
    pass


class Color(Enum):
    RED = 1


class Level(IntEnum):
    LOW = 1


class Model(BaseModel):
    a: Any = 1


class OtherModel(BaseModel):
    a: Any = 1


@dataclass
class Data:
    a: Any = 1


class Question(HumanMessage):
    """Has the fields of its parent."""


DAY = datetime(2026, 1, 1, tzinfo=UTC)
ID = UUID(int=1)
NAN = float("nan")

ALIKE_BUT_DIFFERENT: list[tuple[Any, Any]] = [
    (1, True),
    (1, 1.0),
    (0, False),
    (0.0, -0.0),
    (NAN, math.inf),
    (None, False),
    ("a", b"a"),
    (b"a", bytearray(b"a")),
    ("a", Text("a")),
    (1, Number(1)),
    (1, Level.LOW),
    (1, Color.RED),
    (1, Decimal(1)),
    (2**70, float(2**70)),
    (2**70, str(2**70)),
    (2**70, 2**70 + 1),
    ("half \ud83e", "half ?"),
    ((1, 2), [1, 2]),
    ({1, 2}, [1, 2]),
    ({1, 2}, frozenset({1, 2})),
    ({"a": 1}, OrderedDict(a=1)),
    ({"a": 1}, [["a", 1]]),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({1: "x"}, {"1": "x"}),
    ({1: "x"}, {True: "x"}),
    ({"a": None}, {}),
    (DAY, DAY.isoformat()),
    (DAY, DAY.replace(tzinfo=None)),
    (DAY, DAY.date()),
    (ID, str(ID)),
    (Model(), OtherModel()),
    (Model(), Model(a=True)),
    (Model(), {"a": 1}),
    (Data(), {"a": 1}),
    (Data(), Data(1.0)),
    (HumanMessage("a"), AIMessage("a")),
    (HumanMessage("a"), Question(content="a")),
    (HumanMessage("a"), HumanMessage("a", id="1")),
    (HumanMessage("a"), HumanMessage(["a"])),
    (HumanMessage("a"), HumanMessage("a", extra=None)),
    (HumanMessage("a", extra=1), HumanMessage("a", extra=True)),
    (HumanMessage("a", extra=1), HumanMessage("a", other=1)),
    (HumanMessage("a", additional_kwargs={"extra": 1}), HumanMessage("a", extra=1)),
    (HumanMessage("a"), dict(HumanMessage("a").__dict__)),
    (ToolMessage("a", tool_call_id="1", artifact=(1,)), ToolMessage("a", tool_call_id="1", artifact=[1])),
    (Document("a"), Document("a", metadata={"n": 1})),
]
WRAPPED: list[Callable[[Any], Any]] = [
    lambda value: [value],
    lambda value: [[value]],
    lambda value: [{"deep": [value]}],
    lambda value: {"key": value},
    lambda value: [AIMessage("a", additional_kwargs={"value": value})],
    lambda value: [(value,)],
    lambda value: ["before", {1: 2}, value],
]
UNWRAPPED = (WRAPPED[0], WRAPPED[3], WRAPPED[6])
"""Those in which the value is an element."""


def fingerprint(value: Any) -> Fingerprint:
    return taken_apart(value, SERDE.dumps_typed).fingerprint


@pytest.mark.parametrize(("one", "other"), ALIKE_BUT_DIFFERENT, ids=repr)
def test_what_only_looks_alike_has_another_fingerprint(one: Any, other: Any) -> None:
    for wrap in WRAPPED:
        value, changed = wrap(one), wrap(other)
        # What the serializer itself writes alike is read back alike, whichever of the two is stored.
        if wrap in UNWRAPPED or SERDE.dumps_typed(value) != SERDE.dumps_typed(changed):
            assert fingerprint(value) != fingerprint(changed)
            assert not fingerprint(changed).extends(fingerprint(value))
            assert set(fingerprint(value).of_each()) != set(fingerprint(changed).of_each())
        # A fingerprint is of the content, not of the object.
        assert fingerprint(value) == fingerprint(copy.deepcopy(value))
        assert fingerprint(value).extends(fingerprint(copy.deepcopy(value)))


@pytest.mark.parametrize("key", [True, 1.0, "1", b"1", (1,), None, DAY, Color.RED, Text("1"), 2**70])
def test_the_keys_of_a_dict_count_with_their_types(key: Any) -> None:
    assert fingerprint({1: "x"}) != fingerprint({key: "x"})
    assert fingerprint({key: "x"}) == fingerprint({copy.copy(key): "x"})
    assert fingerprint({key: "x", "y": 1}).extends(fingerprint({key: "x"}))


def test_no_plain_value_looks_like_what_only_the_serializer_can_write() -> None:
    """Else a graph's input could pass for an element that is stored already."""
    for odd in ([DAY], {"a": (1,)}):
        written = list(SERDE.dumps_typed(odd))
        for forged in (written, [written, written], written[1], tuple(written)):
            assert fingerprint([odd]).packed != fingerprint([forged]).packed


@dataclass
class Change:
    make: Callable[[], Any]
    change: Callable[[Any], None]


def _set(obj: Any, name: str, value: Any) -> None:
    setattr(obj, name, value)


CHANGES: dict[str, Change] = {
    "the content": Change(lambda: HumanMessage("a"), lambda it: _set(it, "content", "b")),
    "a block": Change(lambda: HumanMessage([{"type": "text", "text": "a"}]), lambda it: it.content[0].update(text="b")),
    "a nested keyword": Change(
        lambda: HumanMessage("a", additional_kwargs={"deep": {"list": [1]}}),
        lambda it: it.additional_kwargs["deep"]["list"].append(2),
    ),
    "a tool call": Change(
        lambda: AIMessage("", tool_calls=[{"name": "f", "args": {"x": 1}, "id": "1"}]),
        lambda it: it.tool_calls[0]["args"].update(x=True),
    ),
    "a new tool call": Change(
        lambda: AIMessage(""), lambda it: it.tool_calls.append({"name": "f", "args": {}, "id": "1"})
    ),
    "the id": Change(lambda: AIMessage("a"), lambda it: _set(it, "id", "1")),
    "an extra field": Change(lambda: HumanMessage("a", extra=[1]), lambda it: it.extra.append(2)),
    "a first extra field": Change(lambda: HumanMessage("a"), lambda it: _set(it, "extra", 1)),
    "an artifact": Change(
        lambda: ToolMessage("a", tool_call_id="1", artifact=Data([1])), lambda it: it.artifact.a.append(2)
    ),
    "a field of a model": Change(lambda: Model(a=[1]), lambda it: it.a.append(2)),
    "a field of a dataclass": Change(lambda: Data([1]), lambda it: it.a.append(2)),
    "an entry": Change(lambda: {"a": {"b": 1}}, lambda it: it["a"].update(b=2)),
    "a member of a set": Change(lambda: {1}, lambda it: it.add(2)),
    "a byte": Change(lambda: bytearray(b"a"), lambda it: it.append(98)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_in_place_is_noticed(name: str) -> None:
    for wrap in (lambda element: ["before", element, "after"], lambda element: {"before": 1, "it": element}):
        element = CHANGES[name].make()
        value = wrap(element)
        before = fingerprint(value)
        assert fingerprint(value) == before
        CHANGES[name].change(element)
        after = fingerprint(value)
        assert after != before
        assert not after.extends(before)
        known, changed = before.of_each(), after.of_each()
        assert [one == other for one, other in zip(known, changed, strict=True)] == (
            [True, False, True] if isinstance(value, list) else [True, False]
        )
        assert fingerprint(wrap(CHANGES[name].make())) == before


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, -0.0]) | st.text("ab", max_size=2)
    | st.binary(max_size=2) | st.just(DAY) | st.just((1,)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab", max_size=1), inner, max_size=2)
    | st.builds(HumanMessage, st.text("ab", max_size=1), additional_kwargs=st.fixed_dictionaries({"x": inner})),
    max_leaves=4,
)  # fmt: skip
lists = st.lists(plain, max_size=8)
dicts = st.dictionaries(st.text("abc", max_size=1) | st.integers(0, 2), plain, max_size=4)


@given(lists, lists)
def test_one_list_extends_another_where_its_first_elements_are_the_others(left: list[Any], right: list[Any]) -> None:
    def told(value: list[Any]) -> list[bytes]:
        return [pickle.dumps(SERDE.dumps_typed([part])) for part in value]

    starts = told(left)[: len(right)] == told(right)
    assert fingerprint(left).extends(fingerprint(right)) == starts
    assert fingerprint(left + right).extends(fingerprint(left))


class Stored:
    """What the database keeps of a channel: elements by their positions, and versions by their spans."""

    def __init__(self) -> None:
        self.elements: dict[int, Any] = {}
        self.known: KnownVersion | None = None
        self.added = 0

    def put(self, value: Any) -> Elements:
        elements = taken_apart(value, SERDE.dumps_typed)
        spans, added = composed(self.known, elements)
        before = max(self.elements, default=0)
        self.elements.update({before + place: copy.deepcopy(part) for place, part in enumerate(added, 1)})
        self.added = len(added)
        self.known = KnownVersion("1", elements.kind, placed(spans, before), elements.fingerprint)
        return elements

    def read(self) -> Any:
        assert self.known is not None
        positions = positions_of(self.known.spans)
        assert len(set(positions)) == len(positions)
        return put_together(self.known.kind, [self.elements[position] for position in positions])


@given(st.lists(st.lists(plain, min_size=1, max_size=8) | dicts.filter(bool), min_size=1, max_size=6))
def test_every_version_is_read_as_it_was_put(values: list[Any]) -> None:
    stored = Stored()
    for value in values:
        stored.put(value)
        assert fingerprint(stored.read()) == fingerprint(value)
        assert type(stored.read()) is type(value)


def test_of_a_changed_value_only_what_is_new_is_added() -> None:
    message = HumanMessage("a")
    steps: list[tuple[Any, int]] = [
        ([message, 1, 2], 3),
        ([message, 1, 2, 3], 1),
        ([message, 1, 2, 3], 0),
        ([message, 2, 3], 0),
        ([message, "new", 2, 3], 1),
        ([3, 2, "new", message], 0),
        ([3, 3, 2, "new", message], 1),
        ([True, 2, 3], 1),
        # Another kind of value begins anew.
        ({"a": 1, "b": message, 7: 2}, 3),
        ({"b": message, "c": 3, 7: 2}, 1),
        ({"b": message, "c": 3, "7": 2}, 1),
        ({"c": 3, "b": message}, 0),
        ("text", 1),
        ("text", 0),
        ("text and more", 1),
        (b"text and more", 1),
        ([1, 2, 3], 3),
    ]
    stored = Stored()
    for value, added in steps:
        stored.put(value)
        assert (stored.added, stored.read()) == (added, value)


def test_equal_elements_stay_objects_of_their_own() -> None:
    stored = Stored()
    twin = {"n": [1]}
    stored.put([twin, twin])
    assert stored.added == 2
    stored.put([twin, twin, twin])
    assert stored.added == 1
    stored.put([twin, "other", twin, twin, twin])
    assert stored.added == 2
    first, _, *others = stored.read()
    first["n"].append(2)
    assert others == [twin] * 3


def test_a_value_that_is_cut_into_too_many_runs_is_stored_anew() -> None:
    stored = Stored()
    size = 2 * MAX_SPANS
    value: list[Any] = [str(number) for number in range(size)]
    stored.put(value)
    # Each change in the middle of a run leaves two more runs.
    for number in range((MAX_SPANS - 1) // 2):
        value[2 * number + 1] = f"changed {number}"
        stored.put(value)
        assert stored.added == 1
    assert stored.known is not None
    assert len(stored.known.spans) == MAX_SPANS - 1
    # An appended one is in a run of its own, the last that fits.
    value.append("appended")
    stored.put(value)
    assert (stored.added, len(stored.known.spans)) == (1, MAX_SPANS)
    value[-20] = "one too many"
    stored.put(value)
    assert (stored.added, len(stored.known.spans)) == (size + 1, 1)
    assert stored.read() == value


def known(size: int, version: str = "1", kind: Kind = "list") -> KnownVersion:
    """A version that takes this many bytes to remember."""
    return KnownVersion(version, kind, (), Fingerprint([], b"x" * size))


def test_the_versions_that_were_used_last_are_remembered_within_the_capacity() -> None:
    versions = KnownVersions(capacity=100)
    for name in "abc":
        versions.keep(known(30), name)
    assert versions.get("a") is not None
    versions.keep(known(30), "d")
    assert [name for name in "abcd" if versions.get(name)] == ["a", "c", "d"]
    # One that replaces another frees what that took.
    for number in range(20):
        versions.keep(known(30, str(number)), "d")
    assert [name for name in "acd" if versions.get(name)] == ["a", "c", "d"]
    versions.forget("a")
    versions.forget("never there")
    assert versions.get("a") is None
    versions.keep(known(40), "e")
    assert [name for name in "cde" if versions.get(name)] == ["c", "d", "e"]
    # What does not fit at all is not remembered, and neither is what had to make room for it.
    versions.keep(known(101), "f")
    assert not any(versions.get(name) for name in "acdef")
    versions.keep(known(100), "g")
    assert versions.get("g") is not None


def test_a_thread_is_forgotten_with_all_its_channels() -> None:
    versions = KnownVersions()
    for channel in [("ada", "1", "", "a"), ("ada", "1", "inner", "b"), ("ada", "2", "", "a"), ("bob", "1", "", "a")]:
        versions.keep(known(10, channel[0]), *channel)
    versions.forget_thread("ada", "1")
    assert versions.get("ada", "1", "", "a") is versions.get("ada", "1", "inner", "b") is None
    assert versions.get("ada", "2", "", "a") is not None
    assert versions.get("bob", "1", "", "a") is not None


def test_an_erasure_in_this_process_reaches_all_that_is_remembered_of_an_owner() -> None:
    one, another = KnownVersions(), KnownVersions()
    for versions in (one, another):
        for channel in [("user:ada", "1", "", "a"), ("user:ada", "2", "", "a"), ("user:bob", "1", "", "a")]:
            versions.keep(known(10), *channel)
    caches.forget_owner("user:ada")
    for versions in (one, another):
        assert versions.get("user:ada", "1", "", "a") is versions.get("user:ada", "2", "", "a") is None
        assert versions.get("user:bob", "1", "", "a") is not None


def test_versions_may_be_remembered_from_many_threads() -> None:
    versions = KnownVersions(capacity=1_000)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(2_000):
                name = str((turn * 7 + number) % 40)
                found = versions.get("owner", "thread", name)
                assert found is None or found.version == name
                versions.keep(known(turn % 90, name), "owner", "thread", name)
                if turn % 50 == number:
                    versions.forget_thread("owner", "thread")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert versions._size == sum(len(each.fingerprint.packed) for each in versions._versions.values()) <= 1_000
