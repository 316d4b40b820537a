"""Random operations on a store, beside LangGraph's own in memory."""

from __future__ import annotations

import uuid
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.store.base import GetOp, ListNamespacesOp, MatchCondition, Op, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

from lakemem import AsyncMemory, Memory
from tests.langgraph.stores import Store, run, store_of, told
from tests.support.examples import examples

LABELS = st.sampled_from(["a", "b", "ü", "\U0001f333", "A b", "_%"])
NAMESPACES = st.lists(LABELS, min_size=1, max_size=4).map(tuple)
KEYS = st.sampled_from(["k", "l", "K\U0001f333"])
NUMBERS = st.integers(-2, 2) | st.sampled_from([-0.5, 1.5, 1e300])
SCALARS = NUMBERS | st.sampled_from(["", "a", "b", "10"]) | st.none() | st.booleans()
FIELDS = st.sampled_from(["n", "text", "deep"])
VALUES = st.fixed_dictionaries(
    {"n": NUMBERS, "text": st.sampled_from(["a", "b", ""])},
    optional={"deep": st.dictionaries(FIELDS, SCALARS | st.lists(SCALARS, max_size=2), max_size=2), "extra": SCALARS},
)
PATTERNS = st.builds(
    MatchCondition,
    st.sampled_from(["prefix", "suffix"]),
    st.lists(LABELS | st.just("*"), max_size=4).map(tuple),
)
LISTINGS = st.builds(
    ListNamespacesOp,
    st.lists(PATTERNS, max_size=2).map(tuple),
    st.none() | st.integers(1, 4),
    st.integers(0, 6),
    st.integers(0, 3),
)
# Where the two agree: only numbers, of a field that is always there, are more or less; True is not 1.
COMPARISONS = st.dictionaries(
    st.sampled_from(["$gt", "$gte", "$lt", "$lte", "$eq", "$ne"]), NUMBERS, min_size=1, max_size=2
)
# In Python, False is 0 and True is 1; in JSON they are not.
EQUAL = st.sampled_from([-2, -1, 2, -0.5, 1.5, 1e300, "", "a", "b", "10"]) | st.none()
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "n": NUMBERS | COMPARISONS,
        "text": st.sampled_from(["a", "b"]) | st.fixed_dictionaries({"$ne": st.sampled_from(["a", ""])}),
        "extra": EQUAL | st.fixed_dictionaries({"$ne": EQUAL}),
        "deep": st.dictionaries(FIELDS, EQUAL | st.fixed_dictionaries({"$eq": EQUAL}), max_size=2),
    },
)
OPERATIONS = st.one_of(
    st.tuples(NAMESPACES, KEYS, VALUES).map(lambda fields: PutOp(*fields)),
    st.tuples(NAMESPACES, KEYS, VALUES | st.none()).map(lambda fields: PutOp(*fields)),
    st.tuples(NAMESPACES, KEYS).map(lambda fields: GetOp(*fields)),
    st.tuples(st.just(()) | NAMESPACES, st.none() | FILTERS).map(lambda fields: SearchOp(*fields, limit=1000)),
    LISTINGS,
)
FEW = st.sampled_from(["a", "b"])
PLACES = st.lists(st.lists(FEW, min_size=1, max_size=4).map(tuple), min_size=3, max_size=12, unique=True)
WILD = st.builds(
    MatchCondition,
    st.sampled_from(["prefix", "suffix"]),
    st.lists(FEW | st.just("*"), min_size=1, max_size=4).map(tuple),
)
SEARCHES_OF_PLACES = st.lists(
    st.builds(
        ListNamespacesOp,
        st.lists(WILD, min_size=1, max_size=2).map(tuple),
        st.none() | st.integers(1, 4),
        st.integers(1, 9),
        st.integers(0, 2),
    ),
    min_size=10,
    max_size=20,
)
BATCHES = st.lists(st.lists(OPERATIONS, max_size=12), min_size=1, max_size=4)


class Model:
    """LangGraph's store in memory, without the namespaces of which nothing is left."""

    def __init__(self) -> None:
        self._store = InMemoryStore()

    def batch(self, ops: list[Op]) -> list[Any]:
        alive = InMemoryStore()
        for item in self._store.search((), limit=1000):
            alive.put(item.namespace, item.key, item.value)
        self._store = alive
        listed = [alive.batch([op])[0] for op in ops if isinstance(op, ListNamespacesOp)]
        results = alive.batch(ops)
        return [
            listed.pop(0) if isinstance(op, ListNamespacesOp) else result
            for op, result in zip(ops, results, strict=True)
        ]


def as_json(value: Any) -> Any:
    """With True and 1 apart, which are the same to Python."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, dict):
        return {key: as_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(part) for part in value]
    return value


SETTINGS = settings(max_examples=examples(25), report_multiple_bugs=False)


@SETTINGS
@given(batches=BATCHES)
async def test_random_batches_have_the_results_they_have_in_memory(
    memory: AsyncMemory | Memory, batches: list[list[Op]]
) -> None:
    store: Store = store_of(memory, str(uuid.uuid4()))
    model = Model()
    for batch in batches:
        expected = model.batch(batch)
        found = await run(store, *batch)
        for op, result, wanted in zip(batch, found, expected, strict=True):
            assert as_json(told(result)) == as_json(told(wanted)), op


@SETTINGS
@given(places=PLACES, searches=SEARCHES_OF_PLACES)
async def test_wildcards_find_the_namespaces_they_find_in_memory(
    memory: AsyncMemory | Memory, places: list[tuple[str, ...]], searches: list[Op]
) -> None:
    store: Store = store_of(memory, str(uuid.uuid4()))
    model = InMemoryStore()
    puts = [PutOp(place, "k", {}) for place in places]
    model.batch(puts)
    await run(store, *puts)
    for op, found, wanted in zip(searches, await run(store, *searches), model.batch(searches), strict=True):
        assert found == wanted, op
