"""Bad input: a clear error before anything is written."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, TypeAlias

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from lakemem import CallableEmbedder, InvalidInputError, Memory, ScopedMemory
from lakemem.embedding import MAX_DIMENSIONS
from lakemem.testing import DatabaseFactory

Call: TypeAlias = Callable[[ScopedMemory, Any], object]

TABLES = (
    "threads", "thread_items", "memories", "memory_events", "applied_writes",
    "checkpoints", "checkpoint_blobs", "checkpoint_writes", "checkpoint_segments", "checkpoint_positions",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A memory with one row of each kind, and a look at all rows there are."""

    memory: Memory
    admin: psycopg.Connection[tuple[Any, ...]]

    @property
    def alice(self) -> ScopedMemory:
        return self.memory.for_user("alice")

    def rows(self) -> list[object]:
        return [self.admin.execute(f"SELECT * FROM lakemem.{table} ORDER BY 1, 2, 3").fetchall() for table in TABLES]  # type: ignore[arg-type]

    def refuses(self, call: Callable[[], object]) -> str:
        """Make a call that must fail, and return what the error says."""
        before = self.rows()
        with pytest.raises(InvalidInputError) as error:
            call()
        assert self.rows() == before
        assert "hush" not in str(error.value)
        assert len(str(error.value)) < 300
        return str(error.value)


@pytest.fixture(scope="module")
def place(databases: DatabaseFactory, admin_dsn: str) -> Iterator[Place]:
    target = databases.create()
    login = make_conninfo(admin_dsn, dbname=str(target.database), client_encoding="utf8")
    with Memory(target) as memory, psycopg.connect(login, autocommit=True) as admin:
        place = Place(memory, admin)
        place.alice.save("key", "value", metadata={"a": 1})
        place.alice.thread("t").append([{"n": 1}])
        yield place
    databases.drop(target)


NOT_IDS = [
    "", " ", "\t\n", "hush\x00", "hush\nb", "\x1b[0m", "hush\x7f", "hush\x85", "hush \ud800", "x" * 256, "🦆" * 151,
    5, 1.5, True, b"hush", ["hush"], object(),
]  # fmt: skip
ID_PLACES: dict[str, Call] = {
    "save": lambda user, bad: user.save(bad, 1),
    "get": lambda user, bad: user.get(bad),
    "update": lambda user, bad: user.update(bad, 1),
    "delete": lambda user, bad: user.delete(bad),
    "erase": lambda user, bad: user.delete(bad, erase=True),
    "thread": lambda user, bad: user.thread(bad),
    "label": lambda user, bad: user.save("key", 1, namespace=(bad,)),
    "source": lambda user, bad: user.save("key", 1, thread_id=bad),
}


@pytest.mark.parametrize("bad", NOT_IDS, ids=lambda bad: ascii(bad)[:20])
@pytest.mark.parametrize("where", ID_PLACES)
def test_what_is_no_identifier_is_refused(place: Place, where: str, bad: object) -> None:
    place.refuses(lambda: ID_PLACES[where](place.alice, bad))


@pytest.mark.parametrize("bad", [*NOT_IDS, None], ids=lambda bad: ascii(bad)[:20])
def test_what_is_no_identifier_names_no_user_scope_or_schema(place: Place, bad: Any) -> None:
    assert "user_id" in place.refuses(lambda: place.memory.for_user(bad))
    assert "scope" in place.refuses(lambda: place.memory.for_scope(bad))
    if bad is not None:
        assert "schema" in place.refuses(lambda: Memory(place.memory.target, schema=bad))


@pytest.mark.parametrize("bad", ["x" * 64, "ä" * 32, "100%", "a$do$b", "pg_mine"])
def test_a_schema_that_postgres_would_read_differently_is_refused(place: Place, bad: str) -> None:
    assert "schema" in place.refuses(lambda: Memory(place.memory.target, schema=bad))


def test_the_longest_identifiers_are_taken(place: Place) -> None:
    # Random, so that Postgres cannot compress them below the limit of its indexes.
    letters = random.Random(1)

    def longest(count: int) -> str:
        return "".join(chr(letters.randrange(0x4E00, 0x9FFF)) for _ in range(count))

    user = place.memory.for_user(longest(200))
    key, thread_id, namespace = longest(200), longest(200), tuple(longest(12) for _ in range(16))
    saved = user.save(key, 1, namespace=namespace, thread_id=thread_id)
    assert user.get(key, namespace=namespace) == saved
    assert user.delete(key, namespace=namespace)
    user.thread(thread_id).append([{"n": 1}])
    assert user.thread(thread_id).items() == [{"n": 1}]


@pytest.mark.parametrize(
    "bad",
    [
        "hush", b"hush", None, 5, {"hush": 1}, {"hush"}, iter(["hush"]), ("hush.b",), ("*",), ("hush*",), ("a", ""),
        ("a", None), ("a", 1), ("a",) * 17, ("x" * 255,) * 3, (("a",),), [["a"]], ("a\x00",), ("a\tb",), ("\ud800",),
    ],
    ids=lambda bad: ascii(bad)[:20],
)  # fmt: skip
def test_what_is_no_namespace_is_refused(place: Place, bad: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: place.alice.save("key", 1, namespace=bad),
        lambda: place.alice.get("key", namespace=bad),
        lambda: place.alice.update("key", 1, namespace=bad),
        lambda: place.alice.delete("key", namespace=bad),
        lambda: place.alice.items(namespace=bad),
        lambda: place.alice.search("value", namespace=bad),
    ]
    for call in calls:
        place.refuses(call)


def nested(depth: int) -> list[Any]:
    value: list[Any] = ["hush"]
    for _ in range(depth):
        value = [value]
    return value


def endless() -> list[Any]:
    value: list[Any] = ["hush"]
    value.append({"again": value})
    return value


NOT_JSON: dict[str, Any] = {
    "NaN": math.nan,
    "infinity": {"hush": [-math.inf]},
    "a set": {"hush"},
    "bytes": b"hush",
    "an object": object(),
    "a time": datetime(2024, 1, 1, tzinfo=UTC),
    "a decimal": Decimal("1.5"),
    "a complex number": 1j,
    "a generator": (n for n in "hush"),
    "a key that is a number": {1: "hush"},
    "a key that is None": [{"a": {None: "hush"}}],
    "a key that is a tuple": {("hush",): 1},
    "itself": endless(),
    "300 levels": nested(300),
    "100,000 levels": nested(100_000),
    "10 MB": "hush" * 2_500_000,
    "10 MB of wide characters": ["🦆" * 2_500_000],
    "a number of 5,000 digits": 10**5000,
}


@pytest.mark.parametrize("kind", NOT_JSON)
def test_what_is_not_json_or_too_much_of_it_is_refused(place: Place, kind: str) -> None:
    bad = NOT_JSON[kind]
    place.refuses(lambda: place.alice.save("key", bad))
    place.refuses(lambda: place.alice.save("key", bad, text="a text of its own"))
    place.refuses(lambda: place.alice.update("key", bad))
    place.refuses(lambda: place.alice.update("key", {"a": bad}, text="a text of its own"))
    place.refuses(lambda: place.alice.thread("t").append([{"good": 1}, {"bad": bad}]))
    place.refuses(lambda: place.alice.save("key", 1, metadata={"a": bad}))
    place.refuses(lambda: place.alice.update("key", metadata={"a": bad}))
    assert "filter" in place.refuses(lambda: place.alice.items(filter={"a": bad}))
    assert "filter" in place.refuses(lambda: place.alice.search("value", filter={"a": bad}))


@pytest.mark.parametrize(
    "bad",
    [
        "hush", ["hush"], 5, [("a", 1)], {1: 2}, {"a": "hush\x00"}, {"hush\x00": 1}, {"a": ["\ud800"]},
        {"a": "x" * 70_000},
    ],
    ids=lambda bad: ascii(bad)[:20],
)  # fmt: skip
def test_what_is_no_metadata_is_refused(place: Place, bad: Any) -> None:
    place.refuses(lambda: place.alice.save("key", 1, metadata=bad))
    place.refuses(lambda: place.alice.update("key", metadata=bad))
    place.refuses(lambda: place.alice.items(filter=bad))
    place.refuses(lambda: place.alice.search("value", filter=bad))


def test_deep_json_below_the_limit_comes_back_from_a_deep_stack(place: Place) -> None:
    value = nested(190)
    user = place.memory.for_user("deep")
    user.save("key", value)
    user.thread("t").append([{"a": value}])

    def from_below(depth: int) -> object:
        return from_below(depth - 1) if depth else (user.get("key"), user.thread("t").items())

    record, items = from_below(500)  # type: ignore[misc]
    assert json.dumps([record.value, items]) == json.dumps([value, [{"a": value}]])


NOT_NUMBERS = ["5", b"5", True, [5], math.nan, math.inf, -math.inf, 10**400, -(10**400), 1j, object()]
NUMBER_PLACES: dict[str, tuple[Call, list[Any]]] = {
    "limit": (lambda user, bad: user.items(limit=bad), [-1, 1.5]),
    "limit of a search": (lambda user, bad: user.search("value", limit=bad), [-1, 1.5]),
    "limit of threads": (lambda user, bad: user.threads(limit=bad), [-1, 1.5]),
    "limit of a thread": (lambda user, bad: user.thread("t").items(limit=bad), [-1, 1.5]),
    "offset": (lambda user, bad: user.items(offset=bad), [-1, 1.5, None]),
    "min_similarity": (lambda user, bad: user.search("value", min_similarity=bad), [-1.01, 1.01]),
    "importance": (lambda user, bad: user.save("key", 1, importance=bad), [-0.01, 1.01, None]),
    "position": (lambda user, bad: user.save("key", 1, position=bad), [-1, 1.5, 2**63]),
    "expires_in": (lambda user, bad: user.save("key", 1, expires_in=bad), [0, -1.0, 1e300]),
    "expires_in of an update": (lambda user, bad: user.update("key", expires_in=bad), [0, -1.0, 1e300]),
    "expected_version": (lambda user, bad: user.update("key", 1, expected_version=bad), [-1, 1.5, 2**63]),
}


@pytest.mark.parametrize("where", NUMBER_PLACES)
def test_what_is_not_the_right_number_is_refused(place: Place, where: str) -> None:
    call, out_of_range = NUMBER_PLACES[where]
    # A limit has no end: one that is larger than all there can be means all.
    endless = {10**400} if "limit" in where or where == "offset" else set()
    for bad in [*NOT_NUMBERS, *out_of_range]:
        if not (isinstance(bad, int) and bad in endless):
            assert where.split()[0] in place.refuses(lambda bad=bad: call(place.alice, bad))  # type: ignore[misc]


@pytest.mark.parametrize(
    "bad",
    [
        "2024-01-01", 1_700_000_000, datetime(2024, 1, 1), datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_moment_is_refused(place: Place, bad: Any) -> None:
    assert "occurred_at" in place.refuses(lambda: place.alice.save("key", 1, occurred_at=bad))


@pytest.mark.parametrize("year", [2, 9998])
def test_a_moment_far_away_comes_back(place: Place, year: int) -> None:
    moment = datetime(year, 12, 31, 23, tzinfo=timezone(timedelta(hours=-14)))
    user = place.memory.for_user("historian")
    user.save("key", 1, occurred_at=moment)
    assert [record.occurred_at for record in user.items()] == [moment]


@pytest.mark.parametrize("bad", ["", "  ", "\n", None, 5, b"hush", ["hush"]], ids=ascii)
def test_what_is_no_text_is_refused(place: Place, bad: Any) -> None:
    assert "query" in place.refuses(lambda: place.alice.search(bad))
    if bad is not None:
        assert "text" in place.refuses(lambda: place.alice.save("key", 1, text=bad))
        assert "text" in place.refuses(lambda: place.alice.update("key", text=bad))


def test_an_update_that_changes_nothing_is_refused(place: Place) -> None:
    place.refuses(lambda: place.alice.update("key"))


@pytest.mark.parametrize("dimensions", [0, -1, MAX_DIMENSIONS + 1])
def test_an_embedder_of_impossible_dimensions_is_refused(place: Place, dimensions: int) -> None:
    embedder = CallableEmbedder(lambda texts: [], model="none", dimensions=dimensions)
    place.refuses(lambda: Memory(place.memory.target, embedder=embedder))


def test_the_longest_vector_fits_into_a_row_that_is_full(place: Place) -> None:
    numbers = random.Random(1)
    embedder = CallableEmbedder(
        lambda texts: [[numbers.gauss(0, 1) for _ in range(MAX_DIMENSIONS)] for _ in texts],
        model="m" * 200,
        dimensions=MAX_DIMENSIONS,
    )
    with Memory(place.memory.target, embedder=embedder) as memory:
        user = memory.for_user("u" * 255)
        namespace = tuple("".join(numbers.choices("abcdef", k=37)) for _ in range(16))
        for _ in range(2):
            user.save(
                "k" * 255,
                "".join(numbers.choice("abc def") for _ in range(5000)),
                namespace=namespace,
                metadata={"a": "".join(numbers.choices("abcdef", k=3000))},
                thread_id="t" * 255,
                position=2**63 - 1,
                occurred_at=datetime.now(UTC),
                expires_in=60,
            )
        assert [(record.version, record.embedded) for record in user.items()] == [(2, True)]


any_text = st.text(st.characters(exclude_categories=()), max_size=20)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | any_text,
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(any_text, parts, max_size=4),
    max_leaves=20,
)


@settings(max_examples=60)
@given(value=any_json, query=any_text)
def test_any_json_is_taken_and_comes_back(place: Place, value: Any, query: str) -> None:
    user = place.memory.for_user("anything")
    thread = user.thread("t")
    thread.append([{"value": value}])
    user.save("key", value)
    if query.strip():
        user.search(query)
    record = user.get("key")
    assert record is not None
    assert json.dumps([record.value, thread.pop()]) == json.dumps([value, {"value": value}])
