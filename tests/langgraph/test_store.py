"""The stores against LangGraph's own in memory: the same calls have the same results."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

from lakemem import AsyncMemory, CallableEmbedder, ConfigurationError, InvalidInputError, Lakebase, Memory
from lakemem.integrations.langgraph import AsyncLakebaseStore, LakebaseStore
from tests.langgraph.stores import Store, run, store_of, told

BIRDS = {
    "owner": "me",
    "kind": "bird",
    "wings": 2,
    "weight": 0.5,
    "colour": {"main": "blue", "spots": ["white", "red"]},
}
CATS = {"kind": "cat", "wings": 0, "weight": 4.5, "colour": {"main": "black", "spots": []}, "owner": None}
DOGS = {"kind": "dog", "wings": 0, "weight": 30, "trained": True, "name": "10"}
PUTS = [
    PutOp(("animals", "small", "v1"), "bird", BIRDS),
    PutOp(("animals", "small", "v1"), "cat", CATS),
    PutOp(("animals", "large", "v1"), "dog", DOGS),
    PutOp(("animals", "small"), "mouse", {"kind": "mouse", "weight": 0.02}),
    PutOp(("plants", "v2"), "tree", {"kind": "tree", "words": "ünï \U0001f333", "deep": [[1, {"a": None}]]}),
    PutOp(("an",), "a", {}),
]


@pytest.fixture
def store(memory: AsyncMemory | Memory) -> Store:
    """Each store, for one user."""
    return store_of(memory, "alice")


READS: list[Op] = [
    GetOp(("animals", "small", "v1"), "cat"),
    GetOp(("animals", "small"), "cat"),
    GetOp(("plants", "v2"), "tree"),
    GetOp(("an",), "a"),
    SearchOp(()),
    SearchOp(("animals",)),
    SearchOp(("an",)),
    SearchOp(("animals", "small")),
    SearchOp(("animals",), offset=4),
    SearchOp(("animals",), limit=0),
    SearchOp((), {"kind": "cat"}),
    SearchOp((), {"kind": "cat", "wings": 0}),
    SearchOp((), {"kind": "cat", "wings": 2}),
    SearchOp((), {"wings": {"$eq": 0}}),
    SearchOp((), {"wings": {"$ne": 0}}),
    SearchOp((), {"trained": True}),
    SearchOp((), {"owner": None}),
    SearchOp((), {"nothing": {"$ne": None}}),
    SearchOp(("animals",), {"weight": {"$gt": 0.5}}),
    SearchOp(("animals",), {"weight": {"$gte": 0.5}}),
    SearchOp(("animals",), {"weight": {"$lt": 30}}),
    SearchOp(("animals",), {"weight": {"$lte": 30}}),
    SearchOp(("animals",), {"weight": {"$gt": 0.4, "$lt": 9}, "wings": 0}),
    SearchOp((), {"colour": {"main": "black"}}),
    SearchOp((), {"colour": {}}),
    SearchOp((), {"kind": {"main": "black"}}),
    SearchOp((), {"colour": {"spots": ["white", "red"]}}),
    SearchOp((), {"colour": {"spots": ["red"]}}),
    SearchOp((), {"colour": {"spots": []}}),
    SearchOp((), {"colour": {"main": {"$ne": "blue"}}}),
    ListNamespacesOp(),
    ListNamespacesOp(max_depth=1),
    ListNamespacesOp(max_depth=2, limit=2, offset=1),
    ListNamespacesOp((MatchCondition("prefix", ("animals",)),)),
    ListNamespacesOp((MatchCondition("prefix", ("an",)),)),
    ListNamespacesOp((MatchCondition("prefix", ("*", "small")),)),
    ListNamespacesOp((MatchCondition("suffix", ("v1",)),)),
    ListNamespacesOp((MatchCondition("suffix", ("small", "*")),)),
    ListNamespacesOp((MatchCondition("suffix", ("*", "*", "*")),)),
    ListNamespacesOp((MatchCondition("prefix", ("animals",)), MatchCondition("suffix", ("v1",))), max_depth=2),
]


async def test_reads_find_what_the_store_in_memory_finds(store: Store) -> None:
    reference = InMemoryStore()
    await run(store, *PUTS)
    await run(reference, *PUTS)
    # One at a time, so that a failure names the operation.
    for op in READS:
        assert [told(result) for result in await run(store, op)] == [
            told(result) for result in await run(reference, op)
        ], op
    assert len(await run(store, *READS)) == len(READS)


@pytest.mark.parametrize(
    "batch",
    [
        [PutOp(("a",), "k", {"n": 1}), GetOp(("a",), "k"), SearchOp(("a",))],
        [PutOp(("a",), "k", {"n": 1}), PutOp(("a",), "k", {"n": 2})],
        [PutOp(("a",), "k", {"n": 1}), PutOp(("a",), "k", None)],
        [PutOp(("a",), "k", None), PutOp(("a",), "k", {"n": 3})],
        [PutOp(("a",), "old", {"n": 4}), PutOp(("b",), "old", {"n": 5})],
        [PutOp(("a",), "old", None), GetOp(("a",), "old")],
        [PutOp(("never",), "there", None)],
        [],
    ],
    ids=["reads-come-first", "last-put", "deleted", "put-again", "two-namespaces", "delete", "nothing-there", "empty"],
)
async def test_a_batch_does_what_it_does_in_memory(store: Store, batch: list[Op]) -> None:
    reference = InMemoryStore()
    before = PutOp(("a",), "old", {"n": 0})
    for each in (store, reference):
        await run(each, before)
    assert [told(result) for result in await run(store, *batch)] == [
        told(result) for result in await run(reference, *batch)
    ]
    assert told((await run(store, SearchOp(())))[0]) == told((await run(reference, SearchOp(())))[0])


async def test_items_come_newest_first_so_that_pages_do_not_overlap(store: Store) -> None:
    for number in range(5):
        await run(store, PutOp(("n",), str(number), {"n": number}))
    pages = await run(store, *(SearchOp(("n",), limit=2, offset=offset) for offset in (0, 2, 4)))
    assert [[item.key for item in page] for page in pages] == [["4", "3"], ["2", "1"], ["0"]]


async def test_an_item_keeps_the_time_it_was_created_until_it_is_deleted(store: Store) -> None:
    put, get = PutOp(("a",), "k", {"n": 1}), GetOp(("a",), "k")
    await run(store, put)
    [first] = await run(store, get)
    await run(store, PutOp(("a",), "k", {"n": 2}))
    [second], [[found]] = await run(store, get), await run(store, SearchOp(("a",)))
    assert first.created_at == first.updated_at == second.created_at == found.created_at
    assert second.updated_at == found.updated_at > first.updated_at
    await run(store, PutOp(("a",), "k", None))
    await run(store, put)
    [again] = await run(store, get)
    assert again.created_at == again.updated_at > second.updated_at


async def test_strings_compare_with_strings_and_numbers_with_numbers(store: Store) -> None:
    await run(store, PutOp(("d",), "a", {"on": "2026-01-02"}), PutOp(("d",), "b", {"on": 7}), PutOp(("d",), "c", {}))
    after, above, below = await run(
        store,
        SearchOp((), {"on": {"$gt": "2026-01-01"}}),
        SearchOp((), {"on": {"$gt": 6.5}}),
        SearchOp((), {"on": {"$lt": 6.5}}),
    )
    assert ([item.key for item in after], [item.key for item in above], below) == (["a"], ["b"], [])


async def test_values_that_jsonb_refuses_are_kept_and_filtered(store: Store) -> None:
    values = {"nul": "a\x00b\x00\x00", "slashes": "\\u0000", "half": "\ud83d", "kind": "odd"}
    await run(store, PutOp(("odd",), "k", values))
    item, by_kind, by_slashes = await run(
        store, GetOp(("odd",), "k"), SearchOp((), {"kind": "odd"}), SearchOp((), {"slashes": "\\u0000"})
    )
    assert item.value == values
    assert [found.value for found in (*by_kind, *by_slashes)] == [values, values]


def embedder() -> CallableEmbedder:
    """Texts that share letters are close."""
    return CallableEmbedder(
        lambda texts: [[float(text.count(letter)) + 0.01 for letter in "abcdefghijklmnop"] for text in texts],
        model="letters",
        dimensions=16,
    )


async def test_a_query_finds_by_meaning_what_a_filter_lets_through(target: Lakebase) -> None:
    async with AsyncMemory(target, embedder=embedder()) as memory:
        store = AsyncLakebaseStore(memory.for_user("alice"), fields=["text"])
        for key, text in [("1", "aaa"), ("2", "aab"), ("3", "bbb"), ("4", "ccc")]:
            await store.aput(("t",), key, {"text": text, "odd": int(key) % 2, "noise": "aaaaaaaa"})
        found = await store.asearch(("t",), query="aaaa", limit=2)
        assert [item.key for item in found] == ["1", "2"]
        assert found[0].score is not None
        assert found[1].score is not None
        assert found[0].score > found[1].score
        assert [item.key for item in await store.asearch(("t",), query="aaaa", limit=2, offset=1)] == ["2", "3"]
        odd = await store.asearch(("t",), query="bbbb", filter={"odd": {"$gte": 1}}, limit=5)
        assert [item.key for item in odd] == ["3", "1"]
        assert await store.asearch(("elsewhere",), query="aaaa") == []


async def test_what_is_not_indexed_is_found_by_no_query(target: Lakebase) -> None:
    async with AsyncMemory(target, embedder=embedder()) as memory:
        store = AsyncLakebaseStore(memory.for_user("alice"))
        await store.aput(("t",), "hidden", {"text": "aaa needle"}, index=False)
        await store.aput(("t",), "partly", {"text": "ccc", "tags": ["needle", "thread"]}, index=["tags[*]"])
        await store.aput(("t",), "nowhere", {"text": "needle"}, index=["missing.path"])
        assert [item.key for item in await store.asearch(("t",), query="needle")] == ["partly"]
        assert {item.key for item in await store.asearch(("t",))} == {"hidden", "partly", "nowhere"}


async def test_without_an_embedder_a_query_goes_by_words(store: Store) -> None:
    await run(store, PutOp(("t",), "a", {"text": "a needle"}), PutOp(("t",), "b", {"text": "hay"}))
    [found] = await run(store, SearchOp(("t",), query="needles"))
    assert [item.key for item in found] == ["a"]


async def test_items_of_one_user_do_not_exist_for_another(memory: AsyncMemory | Memory) -> None:
    alice, bob = store_of(memory, "alice"), store_of(memory, "bob")
    await run(alice, PutOp(("t",), "k", {"secret": 1}))
    assert await run(bob, GetOp(("t",), "k"), SearchOp(()), ListNamespacesOp()) == [None, [], []]
    await run(bob, PutOp(("t",), "k", None))
    assert told((await run(alice, GetOp(("t",), "k")))[0]) == (("t",), "k", {"secret": 1})


@pytest.mark.parametrize(
    "op",
    [
        PutOp(("a.b",), "k", {}),
        PutOp(("a", ""), "k", {}),
        PutOp(("a",), "", {}),
        PutOp(("a",), "k", ["a list"]),  # type: ignore[arg-type]
        PutOp(("a",), "k", {"n": float("nan")}),
        SearchOp(("a.b",)),
        SearchOp((), {"n": {"$regex": "x"}}),
        SearchOp((), {"n": {"$gt": 1, "plain": 2}}),
        SearchOp((), {"n": float("inf")}),
        SearchOp((), limit=-1),
        ListNamespacesOp(max_depth=0),
    ],
)
async def test_what_cannot_be_stored_or_asked_is_refused(store: Store, op: Op) -> None:
    with pytest.raises(InvalidInputError):
        await run(store, op)


async def test_langgraphs_own_checks_come_first(memory: AsyncMemory | Memory) -> None:
    store = store_of(memory, "alice")
    with pytest.raises(InvalidNamespaceError):
        await store.aput((), "k", {})
    with pytest.raises(InvalidNamespaceError):
        await store.aput(("langgraph",), "k", {})


async def test_a_call_that_names_no_user_is_refused(memory: AsyncMemory | Memory) -> None:
    with pytest.raises(ConfigurationError, match="user_id"):
        await run(store_of(memory), GetOp(("a",), "k"))


async def test_a_sync_call_on_the_loop_says_what_to_do(async_memory: AsyncMemory) -> None:
    store = AsyncLakebaseStore(async_memory.for_user("alice"))
    with pytest.raises(ConfigurationError, match="aget"):
        store.get(("a",), "k")


async def test_each_store_takes_the_memory_of_its_own_world(async_memory: AsyncMemory) -> None:
    with pytest.raises(ConfigurationError, match="AsyncLakebaseStore"):
        LakebaseStore(async_memory)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="LakebaseStore"):
        AsyncLakebaseStore(Memory(async_memory.target))  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", ["text", []])
async def test_fields_is_a_list_of_paths(async_memory: AsyncMemory, fields: Sequence[str]) -> None:
    with pytest.raises(ConfigurationError, match="fields"):
        AsyncLakebaseStore(async_memory, fields=fields)


async def test_an_item_is_replaced_though_something_was_learnt_late_of_it(target: Lakebase) -> None:
    """The version with the highest number need not be the current one."""
    async with AsyncMemory(target) as memory:
        user = memory.for_user("alice")
        store = AsyncLakebaseStore(user)
        await store.aput(("a",), "k", {"n": 1})
        year = datetime(2024, 1, 1, tzinfo=UTC)
        late = await user.save("k", {"n": 0}, namespace=("a",), valid_from=year)
        assert late.superseded_by == 1
        await store.aput(("a",), "k", {"n": 2})
        assert [version.value["n"] for version in await user.history("k", namespace=("a",))] == [2, 0, 1]
        item = await store.aget(("a",), "k")
        assert item is not None
        assert item.value == {"n": 2}
        await store.adelete(("a",), "k")
        assert await store.aget(("a",), "k") is None
        before = await user.get("k", namespace=("a",), as_of=year)
        assert before == late
