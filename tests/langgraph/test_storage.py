"""What checkpoints take up: each element of a large value once, however its versions share them."""

from __future__ import annotations

import json
import pickle
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from lakemem import AsyncMemory, Lakebase, Memory
from lakemem.operations.checkpoints import Address, Blob
from tests.langgraph.conftest import Saver, saver_of
from tests.langgraph.history import History, Stored, assert_same, message, renewed, space
from tests.langgraph.running import config
from tests.langgraph.test_savers import FernetCipher
from tests.support.rows import Rows

OWNER = "user:alice"
DAY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def rows(target: Lakebase) -> Rows:
    return Rows(target, OWNER)


@pytest.fixture(params=["async", "sync"])
async def memory(request: pytest.FixtureRequest, target: Lakebase) -> AsyncIterator[AsyncMemory | Memory]:
    """A memory of each world, with the few connections that one thread needs."""
    if request.param == "async":
        async with AsyncMemory(target, min_size=1) as memory:
            yield memory
    else:
        with Memory(target, min_size=1) as sync_memory:
            yield sync_memory


def _edit(messages: list[Any], place: int) -> list[Any]:
    return [*messages[:place], HumanMessage("edited " + "y" * 400, id="e"), *messages[place + 1 :]]


def _mutate(messages: list[Any]) -> list[Any]:
    messages[0].additional_kwargs.setdefault("seen", []).append(True)
    messages[-1].content += "!"
    return messages


# How a list changes, and how many of its elements are new.
CHANGES: list[tuple[str, Callable[[list[Any]], list[Any]], int]] = [
    ("begin", lambda it: [message(number) for number in range(10)], 10),
    ("append", lambda it: [*it, message(10), message(11)], 2),
    ("edit in the middle", lambda it: _edit(it, 5), 1),
    ("change in place", _mutate, 2),
    ("nothing new", list, 0),
    ("remove", lambda it: it[:3] + it[5:], 0),
    ("append again", lambda it: [*it, message(12)], 1),
    ("trim from the front", lambda it: it[3:], 0),
    ("put before", lambda it: [message(13), *it], 1),
    ("reverse", lambda it: it[::-1], 0),
    ("twice the same", lambda it: [*it, it[0]], 1),
    ("swap", lambda it: [it[-1], *it[1:-1], it[0]], 0),
    ("change in place again", _mutate, 2),
    ("replace all", lambda it: [message(number) for number in range(20, 28)], 8),
    ("append to these", lambda it: [*it, message(28)], 1),
]


@pytest.mark.parametrize("whose", ["one saver", "a saver for each request"])
async def test_of_a_list_only_what_is_new_is_stored(saver: Saver, rows: Rows, whose: str) -> None:
    history = History(saver)
    values: list[Any] = []
    before = space(rows)
    for name, change, added in CHANGES:
        if whose != "one saver" and history.checkpoints:
            saver = renewed(saver)
            loaded = await history.load(saver)
            values = change(loaded.checkpoint["channel_values"]["messages"])
            await history.put({"messages": values}, saver=saver, after=loaded)
        else:
            values = change(values)
            await history.put({"messages": values})
        found = space(rows).since(before)
        assert (found.elements, found.segments) == (added, min(added, 1)), name
        assert found.size < 700 * added + 1, name
        before = space(rows)
    await history.check()
    [(whole, composed)] = rows(
        "SELECT count(*) FILTER (WHERE kind IS NULL), count(*) FILTER (WHERE kind = 'list')"
        " FROM lakemem.checkpoint_blobs"
    )
    assert (whole, composed) == (0, len(CHANGES))


async def test_of_a_dict_only_the_entries_that_changed_are_stored(saver: Saver, rows: Rows) -> None:
    history = History(saver)
    files: dict[Any, Any] = {f"file {number}": "x" * 300 for number in range(6)}
    nested: dict[Any, Any] = {
        1: {"n": [1]},
        "1": "text",
        None: "y" * 1_200,
        (1, (2,)): datetime(2026, 1, 1, tzinfo=UTC),
    }
    steps: list[tuple[dict[Any, Any], int]] = [
        (files, 6),
        ({**files, "new": "y"}, 1),
        ({**files, "new": "z", "file 2": "changed"}, 2),
        ({name: text for name, text in files.items() if name != "file 1"}, 1),
        (dict(reversed(files.items())), 1),
        ({name.upper(): text for name, text in files.items()}, 6),
        (nested, 4),
        ({**nested, 1: {"n": [True]}}, 1),
        ({**nested, 1: {"n": [1.0]}, 2: "two"}, 2),
    ]
    before = 0
    for values, added in steps:
        await history.put({"files": values})
        found = space(rows).elements
        assert found - before == added, values
        before = found
    await history.check()
    # The order of entries is that of the value that was put.
    newest = await history.load(renewed(saver))
    assert list(newest.values["files"]) == [1, "1", None, (1, (2,)), 2]


async def test_a_long_text_is_stored_when_it_changes(saver: Saver, rows: Rows) -> None:
    history = History(saver)
    text = "ä🦆\x00" * 1_000
    for value, segments in [
        (text, 1),
        (text, 1),
        (text + "more", 2),
        (text + "more", 2),
        ("short", 2),
        (text, 3),
        (text.encode(), 4),
        (text.encode(), 4),
    ]:
        await history.put({"draft": value})
        assert space(rows).segments == segments
    await history.check()


async def test_channels_and_namespaces_and_threads_grow_by_themselves(saver: Saver, rows: Rows) -> None:
    history, inner, other = History(saver), History(saver, namespace="inner:1|deeper:2"), History(saver, "2")
    first = {name: [f"{name} {n}" + "x" * 400 for n in range(4)] for name in ("a", "b", "c")}
    for each in (history, inner, other):
        await each.put(dict(first))
    assert space(rows) == (9, 36, space(rows).size)
    longer = {"a": [*first["a"], "new"], "b": first["b"][1:], "c": first["c"]}
    await history.put(longer)
    await inner.put({"b": longer["b"]})
    await inner.put({"c": [*first["c"], "y", "z"]})
    await other.put({"a": None, "b": longer["b"]})
    await other.put({"a": first["a"]})
    assert [space(rows, name).elements for name in "abc"] == [13, 12, 14]
    for each in (history, inner, other):
        await each.check()


@pytest.mark.parametrize("kind", [list, dict])
async def test_a_value_shrinks_and_grows_past_what_is_worth_taking_apart(
    saver: Saver, rows: Rows, kind: type[Any]
) -> None:
    history = History(saver)
    large: list[Any] = [[n, "x" * 300] for n in range(5)]
    larger = [*large, [5, "y"]]
    for value, elements in [([], 0), (large, 5), ([], 5), (larger, 6), (larger[:2], 6), (large, 6), ([], 6)]:
        await history.put({"log": kind(value)})
        assert space(rows).elements == elements
    await history.check()


async def test_branches_share_what_they_have_in_common(saver: Saver, rows: Rows) -> None:
    history = History(saver)
    log: list[Any] = []
    for number in range(6):
        log = [*log, message(number)]
        await history.put({"log": log})
    assert space(rows).elements == 6
    trunk, left = history.checkpoints[3], history.checkpoints[-1]
    # The saver knows the newest version, which the fork goes back behind.
    right = await history.put({"log": [*trunk.values["log"], message(100)]}, after=trunk)
    assert space(rows).elements == 7
    for number in range(4):
        left = await history.put({"log": [*left.values["log"], message(200 + number)]}, after=left)
        right = await history.put({"log": [*right.values["log"], message(300 + number)]}, after=right)
    grown = space(rows).elements - 7
    # Each turn knows the other branch alone: what the two share is used again, and the rest of its own is not.
    assert 8 <= grown <= 8 + 2 * sum(range(2, 6))
    await history.check()
    # A saver for each request reads its branch first, and stores no more than what is new.
    before = space(rows).elements
    for tip in (left, right, left):
        saver = renewed(saver)
        loaded = await history.load(saver, tip)
        await history.put({"log": [*loaded.values["log"], message(400)]}, after=loaded, saver=saver)
    assert space(rows).elements == before + 3
    await history.check()


async def test_two_savers_go_on_in_turn_without_reading(saver: Saver, rows: Rows) -> None:
    """Each knows its own last version: what the other added since is stored once more, and nothing is lost."""
    other, history = renewed(saver), History(saver)
    log: list[Any] = []
    for number in range(8):
        log = [*log, message(number)]
        await history.put({"log": log}, saver=(saver, other)[number % 2])
    await history.check()
    assert space(rows).elements <= 1 + 2 + 2 * 6


async def test_a_clone_with_an_allowlist_knows_what_the_saver_knows(saver: Saver, rows: Rows) -> None:
    strict = renewed(saver, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    clone = strict.with_allowlist([("tests.langgraph.history", "Stored")])
    assert clone is not strict
    history = History(strict)
    log = [message(number) for number in range(5)]
    await history.put({"log": log})
    await history.put({"log": [*log, message(5)]}, saver=clone)  # type: ignore[arg-type]
    await history.put({"log": [*log, message(5), message(6)]})
    assert space(rows).elements == 7
    await history.check()


class Pickle:
    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        return "pickle", pickle.dumps(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        assert data[0] == "pickle"
        return pickle.loads(data[1])


class Json:
    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        return "json", json.dumps(obj).encode()

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        assert data[0] == "json"
        return json.loads(data[1])


ODD = [["a datetime", n, DAY, "x" * 400] for n in range(4)]
SERIALIZERS: dict[str, tuple[Callable[[], Any], list[Any]]] = {
    "encrypted": (lambda: EncryptedSerializer(FernetCipher(), JsonPlusSerializer()), ODD),
    "pickle": (Pickle, [*ODD, (1, "x"), {1, 2}, 2**70, Pickle]),
    "pickle as a fallback": (lambda: JsonPlusSerializer(pickle_fallback=True), [*ODD, {1, 2}, 2**70]),
    "JSON": (Json, [{"n": n, "text": "x" * 400} for n in range(4)]),
}


@pytest.mark.parametrize("name", SERIALIZERS)
async def test_any_serializer_stores_only_what_is_new(saver: Saver, rows: Rows, name: str) -> None:
    make, parts = SERIALIZERS[name]
    serde = make()
    saver = renewed(saver, serde=serde)
    history = History(saver)
    await history.put({"log": list(parts)})
    await history.put({"log": [*parts, "new"]})
    await history.put({"log": [*parts[1:], "newer", parts[0]]})
    twin = renewed(saver, serde=serde)
    loaded = await history.load(twin)
    await history.put({"log": [*loaded.values["log"], "newest"]}, after=loaded, saver=twin)
    assert space(rows).elements == len(parts) + 3
    if name == "encrypted":
        assert rows("SELECT DISTINCT type FROM lakemem.checkpoint_segments") == [("msgpack+fernet",)]
        assert b"datetime" not in b"".join(blob for (blob,) in rows("SELECT blob FROM lakemem.checkpoint_segments"))
    await history.check(renewed(saver, serde=serde))


async def test_a_thread_that_was_stored_whole_goes_on_by_its_elements(target: Lakebase, rows: Rows) -> None:
    """As an import writes it, and as earlier versions did."""
    log = [message(number) for number in range(20)]
    serde = JsonPlusSerializer()
    versions: dict[str, str | int | float] = {"log": "00000000000000000000000000000003.0.123"}
    async with AsyncMemory(target, min_size=1) as memory:
        user = memory.for_user("alice")
        saver = saver_of(memory, "alice")
        body: dict[str, Any] = {"v": 4, "id": "1", "ts": "", "channel_values": {}, "versions_seen": {}}
        await user.checkpoints.put(
            Address("1", "", "1"),
            parent_checkpoint_id=None,
            checkpoint=Blob(*serde.dumps_typed({**body, "channel_versions": versions, "updated_channels": None})),
            metadata="{}",
            channel_versions=json.dumps(versions),
            blobs={"log": (str(versions["log"]), Blob(*serde.dumps_typed(log)))},
        )
        history = History(saver)
        loaded = await history.load(saver)
        assert_same(loaded.values, {"log": log})
        added = []
        for number in range(3):
            before = space(rows).elements
            saver = renewed(saver)
            loaded = await history.load(saver)
            log = [*log, message(100 + number)]
            await history.put({"log": log}, after=loaded, saver=saver)
            added.append(space(rows).elements - before)
        # The first that is taken apart is stored once more, and the following are not.
        assert added == [21, 1, 1]
        history.checkpoints.insert(0, Stored(config("1", checkpoint_ns="", checkpoint_id="1"), loaded.checkpoint, {}))
        history.checkpoints[0].values["log"] = log[:20]
        await history.check()


# What LangGraph promises of every checkpointer.


async def test_metadata_is_found_by_what_it_contains(saver: Saver) -> None:
    history = History(saver)
    entries: list[dict[str, Any]] = [
        {"source": "input", "step": 2, "request": {}, "score": 1},
        {"source": "loop", "step": 1, "request": {"foo": "bar", "deep": {"n": [1, 2]}}, "score": None},
        {"source": "loop", "step": 1, "request": {"foo": "baz"}, "nul": "a\x00b"},
        {},
    ]
    for entry in entries:
        await history.put({"log": [1]}, **{"source": "fork", "step": 9, **entry})
    wanted: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [3, 2, 1, 0]),
        ({"source": "input"}, [0]),
        ({"step": 1}, [2, 1]),
        ({"step": 1, "request": {"foo": "bar"}}, [1]),
        ({"request": {"deep": {"n": [2]}}}, [1]),
        ({"request": {"foo": "bar"}, "source": "input"}, []),
        ({"source": "loop", "step": 1, "score": None}, [1]),
        ({"score": True}, []),
        ({"step": "1"}, []),
        ({"nul": "a\x00b", "source": "loop"}, [2]),
        ({"missing": None}, []),
    ]
    for filter, expected in wanted:
        found = [each.config async for each in saver.alist(config(), filter=filter)]
        assert found == [history.checkpoints[number].place for number in expected], filter
    everywhere = [each.config async for each in saver.alist(None, filter={"step": 1}, limit=1)]
    assert everywhere == [history.checkpoints[2].place]


async def test_writes_come_in_the_order_of_their_tasks(saver: Saver) -> None:
    place = (await History(saver).put({"log": [1]})).place
    calls: list[tuple[str, str, list[tuple[str, Any]]]] = [
        ("task 1", "~__pregel_pull, b", [("log", "b1"), ("other", "b1, too")]),
        ("task 3", "~__pregel_pull, a", [("log", "a3")]),
        ("task 2", "~__pregel_pull, a", [("log", "a2\x00"), ("__error__", "failed"), ("log", "a2, later")]),
        ("task 0", "", [("__pregel_tasks", {"node": "x"})]),
    ]
    for task_id, path, writes in calls:
        await saver.aput_writes(place, writes, task_id, path)
    found = await saver.aget_tuple(place)
    assert found is not None
    assert found.pending_writes == [
        ("task 0", "__pregel_tasks", {"node": "x"}),
        ("task 2", "__error__", "failed"),
        ("task 2", "log", "a2\x00"),
        ("task 2", "log", "a2, later"),
        ("task 3", "log", "a3"),
        ("task 1", "log", "b1"),
        ("task 1", "other", "b1, too"),
    ]


async def test_parents_befores_and_limits_name_the_checkpoints_around(saver: Saver) -> None:
    history = History(saver)
    for number in range(4):
        await history.put({"log": [message(n) for n in range(number + 3)]})
    places = [stored.place for stored in history.checkpoints]
    found = [each async for each in saver.alist(config())]
    assert [each.config for each in found] == places[::-1]
    assert [each.parent_config for each in found] == [*places[-2::-1], None]
    before = [each async for each in saver.alist(config(), before=places[3], limit=2)]
    assert [each.config for each in before] == [places[2], places[1]]
    assert before[0] == await saver.aget_tuple(places[2])
    assert [each async for each in saver.alist(config(), before=places[0])] == []
    assert [each.config async for each in saver.alist(places[1])] == [places[1]]


def test_versions_of_a_channel_grow_for_many_steps() -> None:
    saver = saver_of(Memory(Lakebase.dsn("host=nowhere")), "alice")
    for start in (None, 7, "7", f"{7:032}.0.5", "00000099.abc", "00099999.-_x"):
        version = saver.get_next_version(start, None)
        versions = [version] + [version := saver.get_next_version(version, None) for _ in range(1_000)]
        assert versions == sorted(set(versions))
        assert start is None or isinstance(start, int) or len(start) < 8 or start < versions[0]
    # Two branches from the same version do not meet.
    assert saver.get_next_version("00000007.a", None) != saver.get_next_version("00000007.a", None)


async def test_a_saver_goes_on_after_another_process_erased_its_user(saver: Saver, rows: Rows) -> None:
    """It remembers versions that are gone: what it stores next does not rest on them."""
    history = History(saver)
    await history.put({"messages": [message(number) for number in range(10)]})
    rows("SELECT lakemem.erase_all(%s, NULL, NULL)", OWNER)
    assert await saver.aget_tuple(config("t")) is None
    anew = History(saver)
    await anew.put({"messages": [message(number) for number in range(5)]})
    await anew.put({"messages": [message(number) for number in range(6)]})
    await anew.check()
    await anew.check(renewed(saver))
