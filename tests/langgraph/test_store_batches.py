"""What a batch costs, that it blocks nobody, and what it does when something is down."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langgraph.store.base import GetOp, ListNamespacesOp, MatchCondition, Op, PutOp, SearchOp

from lakemem import (
    AsyncMemory,
    CallableEmbedder,
    ConfigurationError,
    DimensionMismatchError,
    InvalidInputError,
    Lakebase,
    Memory,
    degrading,
)
from lakemem.integrations.langgraph import AsyncLakebaseStore, LakebaseStore
from lakemem.operations import store as operations
from tests.faults import AsyncPoll
from tests.faults import Proxy as FaultyProxy
from tests.langgraph.stores import run, store_of, told
from tests.support.loops import Attention
from tests.support.proxy import Proxy

EVERYTHING: list[Op] = [
    *(PutOp(("a", str(number % 3)), f"k{number}", {"text": f"needle {number}"}, ttl=10) for number in range(20)),
    PutOp(("a", "0"), "gone", None),
    *(GetOp(("a", str(number % 3)), f"k{number}", bool(number % 2)) for number in range(20)),
    SearchOp(("a",), filter={"text": "needle 1"}),
    SearchOp(("a",), query="needle"),
    SearchOp(("a",), query="another", refresh_ttl=False),
    ListNamespacesOp((MatchCondition("suffix", ("*", "1")),)),
    ListNamespacesOp(max_depth=1),
]


class Embedder(CallableEmbedder):
    """Texts that share letters are close. It counts what it is asked."""

    def __init__(self) -> None:
        self.calls: list[Sequence[str]] = []
        super().__init__(self._letters, model="letters", dimensions=16)

    def _letters(self, texts: list[str]) -> list[list[float]]:
        self.calls.append(texts)
        return [[float(text.count(letter)) + 0.01 for letter in "abcdefghijklmnop"] for text in texts]


@pytest.fixture
def proxy(target: Lakebase) -> Iterator[Proxy]:
    with Proxy(target) as proxy:
        yield proxy


async def test_a_batch_is_a_round_trip_to_read_one_to_write_and_one_call_of_the_embedder(proxy: Proxy) -> None:
    embedder = Embedder()
    async with AsyncMemory(proxy.target, embedder=embedder, max_size=1) as memory:
        store = AsyncLakebaseStore(memory.for_user("alice"), ttl={})
        await store.aput(("a", "0"), "gone", {"text": "hay"})
        for expected in (2, 2):
            embedder.calls.clear()
            proxy.reset()
            results: list[Any] = await store.abatch(EVERYTHING)
            assert (proxy.round_trips, proxy.connections) == (expected, 0)
        assert embedder.calls == [], "the texts of the second time are known"
        assert [len(result or ()) for result in results[-5:]] == [1, 10, 10, 1, 1]
        for ops, expected in [(EVERYTHING[:21], 1), (EVERYTHING[21:], 1), ([], 0)]:
            proxy.reset()
            await store.abatch(ops)
            assert proxy.round_trips == expected
        embedder.calls.clear()
        await store.abatch([SearchOp((), query="new"), *(PutOp(("b",), str(n), {"n": n}) for n in range(9))])
        assert [len(texts) for texts in embedder.calls] == [10]


async def test_many_writes_are_a_transaction_for_each_500(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert operations.MAX_CHANGES == 500
    monkeypatch.setattr(operations, "MAX_CHANGES", 20)
    async with AsyncMemory(proxy.target, max_size=1) as memory:
        store = AsyncLakebaseStore(memory.for_user("alice"))
        await store.aget(("a",), "k")
        proxy.reset()
        await store.abatch([PutOp(("a",), str(number), {"n": number}) for number in range(45)])
        assert proxy.round_trips == 3
        assert len(await store.asearch(("a",), limit=100)) == 45


async def test_a_slow_database_does_not_stall_the_event_loop(target: Lakebase) -> None:
    with FaultyProxy(target) as proxy:
        async with AsyncMemory(proxy.target) as memory:
            store = AsyncLakebaseStore(memory.for_user("alice"), ttl={})
            await store.abatch(EVERYTHING)
            attention = Attention()

            def pass_on(answer: bytes) -> bytes:
                attention.ask()
                return answer

            proxy.answer = pass_on
            await store.abatch(EVERYTHING)
    assert len(attention.answers) >= 2, "one to read, and one to write"
    assert all(attention.answers)


async def test_batches_that_cross_do_not_block_each_other(memory: AsyncMemory | Memory) -> None:
    store = store_of(memory, "alice", ttl={})
    puts = [PutOp(("a",), str(number), {"n": number}, ttl=5) for number in range(10)]
    gets = [GetOp(("a",), str(number)) for number in range(10)]
    batches: list[list[Op]] = [[*puts, *gets], [*reversed(puts), *reversed(gets), SearchOp(("a",))]]
    await asyncio.gather(*(run(store, *batches[number % 2]) for number in range(12)))
    assert [told(item) for item in await run(store, *gets)] == [(("a",), str(n), {"n": n}) for n in range(10)]


async def test_puts_and_deletes_of_one_batch(memory: AsyncMemory | Memory) -> None:
    store = store_of(memory, "alice")
    await run(store, PutOp(("a",), "1", {"n": 1}), PutOp(("a",), "2", {"n": 1}))
    await run(store, PutOp(("a",), "1", None), PutOp(("a",), "2", {"n": 2}), PutOp(("a", 'b"\\,{}'), "3", {"n": 3}))
    found = await run(store, SearchOp(()), GetOp(("a",), "1"), GetOp(("a", 'b"\\,{}'), "3"), ListNamespacesOp())
    assert sorted(item.key for item in found[0]) == ["2", "3"]
    assert found[1] is None
    assert told(found[2]) == (("a", 'b"\\,{}'), "3", {"n": 3})
    assert found[3] == [("a",), ("a", 'b"\\,{}')]


@pytest.mark.parametrize(
    "wrong",
    [
        PutOp(("a",), "k", {"n": float("nan")}),
        PutOp(("a",), "k", {}, index="text"),  # type: ignore[arg-type]
        PutOp(("a",), "k", {}, index=[1]),  # type: ignore[list-item]
        GetOp(("a.b",), "k"),
        SearchOp((), {"n": {"$in": [1]}}),
        SearchOp((), offset=-1),
        ListNamespacesOp((MatchCondition("infix", ("a",)),)),  # type: ignore[arg-type]
        "get",
    ],
)
async def test_a_batch_with_one_mistake_does_nothing(memory: AsyncMemory | Memory, wrong: Any) -> None:
    store = store_of(memory, "alice")
    with pytest.raises(InvalidInputError):
        await run(store, PutOp(("a",), "good", {"n": 1}), wrong)
    assert await run(store, SearchOp(())) == [[]]


async def test_while_memory_is_down_reads_are_empty_and_writes_are_kept(target: Lakebase) -> None:
    with FaultyProxy(target) as proxy:
        async with degrading(AsyncMemory(proxy.target, timeout=1), cooldown=0.05) as memory:
            store = AsyncLakebaseStore(memory.for_user("alice"), ttl={})
            await store.aput(("a", "0"), "old", {"n": 1})
            proxy.refuse()
            assert await store.abatch(EVERYTHING) == [None] * 41 + [[]] * 5
            await store.adelete(("a", "0"), "old")
            assert await store.sweep_ttl() == 0
            assert (await memory.health()).pending_writes == 2, "a sweep is nothing to wait for"
            proxy.restore()
            await AsyncPoll.until(lambda: _is_ok(memory))
            items = await store.asearch((), limit=100)
            assert {item.key for item in items} == {f"k{number}" for number in range(20)}


async def _is_ok(memory: AsyncMemory) -> bool:
    return (await memory.health()).status == "ok"


async def test_an_index_of_langgraphs_is_an_embedder(memory: AsyncMemory | Memory) -> None:
    fake = DeterministicFakeEmbedding(size=8)
    store = store_of(memory, "alice", index={"dims": 8, "embed": fake, "fields": ["text"]})
    await run(store, PutOp(("a",), "1", {"text": "one"}), PutOp(("a",), "2", {"text": "two", "noise": "one"}))
    [[first, second]] = await run(store, SearchOp(("a",), query="one"))
    assert (first.key, second.key) == ("1", "2")
    assert first.score > second.score
    with pytest.raises(DimensionMismatchError):
        await run(store_of(memory, "alice", index={"dims": 9, "embed": fake}), SearchOp((), query="one"))
    assert await run(store_of(memory, "alice"), SearchOp((), query="unknown")) == [[]], "the memory's own has none"


async def embed_async(texts: list[str]) -> list[list[float]]:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": {"dims": 8}}, "embed and dims"),
        ({"index": {"dims": "8", "embed": len}}, "embed and dims"),
        ({"index": {"dims": 8, "embed": embed_async}}, "async function"),
        ({"index": {"dims": 8, "embed": len, "distance_type": "l2"}}, "distance_type"),
        ({"index": {"dims": 8, "embed": len, "fields": ["a"]}, "fields": ["b"]}, "fields"),
        ({"index": {"dims": 8, "embed": len, "fields": []}}, "fields"),
        ({"index": {"dims": 8, "embed": "nobody:knows"}}, "cannot be used"),
    ],
)
async def test_an_index_that_lakemem_cannot_keep_is_refused(
    memory: AsyncMemory | Memory, options: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        store_of(memory, "alice", **options)


async def test_async_methods_of_the_blocking_store_run_on_threads(target: Lakebase) -> None:
    with Memory(target) as memory:
        store = LakebaseStore(memory.for_user("alice"))
        await store.aput(("a",), "k", {"n": 1})
        item = await store.aget(("a",), "k")
        assert item is not None
        assert item.value == {"n": 1}
        assert await store.alist_namespaces(prefix=("*",)) == [("a",)]
        assert store.get(("a",), "k") == item, "a blocking call on the loop blocks it, and works"
