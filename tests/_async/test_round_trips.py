"""What a call costs: one wait for the network, whatever it does.

A proxy between lakemem and Postgres counts. Each call is one round trip; the statements in it are those that
set the owner, take a lock where one is needed, and do the work.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import pytest

from lakemem import (
    AsyncMemory,
    AsyncScopedMemory,
    AsyncThread,
    Lakebase,
    MemoryNotFoundError,
    Retention,
    RunError,
    ThreadInfo,
    TokenUsage,
    Window,
)
from lakemem._async.checkpoints import AsyncCheckpoints
from lakemem._async.runs import AsyncRuns
from lakemem.embedding import CallableEmbedder
from lakemem.operations import threads, transcripts
from lakemem.operations.checkpoints import Address, Blob, Composition
from tests.support.extractors import SentenceExtractor
from tests.support.proxy import Proxy

Call: TypeAlias = Callable[[AsyncScopedMemory], Awaitable[Any]]

ADDRESS = Address("t", "", "1")
SAID = {"role": "user", "content": "I like blue."}
CURSOR = ThreadInfo("t", datetime.now(UTC), datetime.now(UTC)).cursor

MOMENT = "2026-01-01T00:00:00+00:00"
ARCHIVE: list[dict[str, Any]] = [
    {
        "kind": "thread", "thread_id": "archived", "title": None, "metadata": {}, "created_at": MOMENT,
        "updated_at": MOMENT, "expires_at": None, "lifetime": None, "forked_from": None, "forked_position": None,
    },
    {"kind": "item", "thread_id": "archived", "position": 1, "created_at": MOMENT, "item": {}},
]  # fmt: skip


async def drained(records: AsyncIterator[Any]) -> list[Any]:
    return [record async for record in records]


# call -> (statements, how it is made)
THREAD_CALLS: dict[str, tuple[int, Call]] = {
    "append": (2, lambda user: user.thread("t").append([{"n": 1}, {"n": 2}, {"n": 3}])),
    "items": (2, lambda user: user.thread("t").items()),
    "messages": (2, lambda user: user.thread("t").messages(limit=2)),
    "info": (2, lambda user: user.thread("t").info()),
    "pop": (3, lambda user: user.thread("t").pop()),
    "window": (2, lambda user: user.thread("t").window(Window(tokens=99, items=9))),
    "oldest": (2, lambda user: user.thread("t").oldest(2)),
    "new_items": (2, lambda user: user.thread("t").new_items([{"n": 1}, {"n": 4}])),
    "store_usage": (2, lambda user: user.thread("t").store_usage(TokenUsage(requests=1))),
    "usage": (2, lambda user: user.thread("t").usage()),
    "turns": (2, lambda user: user.thread("t").turns()),
    "replace_tail": (3, lambda user: user.thread("t").replace_tail(None, [{"n": 1}])),
    "fork": (2, lambda user: user.thread("u").fork(at=1)),
    "rewind": (3, lambda user: user.thread("t").rewind(to=1)),
    "update": (2, lambda user: user.thread("u").update(title="A title", metadata={"a": 1}, expires_in=60)),
    "clear": (3, lambda user: user.thread("t").clear()),
    "delete": (2, lambda user: user.thread("t").delete()),
}
MEMORY_CALLS: dict[str, tuple[int, Call]] = {
    "save": (3, lambda user: user.save("colour", {"likes": "blue"}, metadata={"a": 1}, expires_in=60)),
    "get": (2, lambda user: user.get("colour")),
    "history": (2, lambda user: user.history("colour")),
    "revert": (3, lambda user: user.revert("colour", 1)),
    "forget": (2, lambda user: user.forget(thread_id="t", namespace=("a",), filter={"a": 1})),
    "items": (2, lambda user: user.items(filter={"a": 1}, limit=5)),
    "search": (3, lambda user: user.search("which colour", filter={"a": 1}, min_similarity=-1)),
    "search_many": (3, lambda user: user.search_many(["which colour", "which town"])),
    "context": (3, lambda user: user.context("which colour", max_tokens=100)),
    "remember": (3, lambda user: user.remember([SAID], thread_id="t")),
    "extract": (3, lambda user: user.extract([SAID], SentenceExtractor(), dry_run=True)),
    "update": (3, lambda user: user.update("colour", {"likes": "red"})),
    "delete": (3, lambda user: user.delete("colour")),
    "threads": (2, lambda user: user.threads(filter={"a": 1}, after=CURSOR)),
    "search_threads": (2, lambda user: user.search_threads("hello")),
    "residue": (2, lambda user: user.residue()),
    "drop_keys": (2, lambda user: user.drop_keys(reason="case 17")),
    "hold": (2, lambda user: user.hold("case 17", placed_by="legal", reason="a claim")),
    "holds": (2, lambda user: user.holds()),
    "release": (2, lambda user: user.release("case 17", released_by="legal")),
    "export": (2, lambda user: drained(user.export("t"))),
    "import_archive": (4, lambda user: user.import_archive(ARCHIVE)),
}
CHECKPOINT_CALLS: dict[str, tuple[int, Call]] = {
    "put": (
        2,
        lambda user: user.checkpoints.put(
            ADDRESS,
            parent_checkpoint_id=None,
            checkpoint=Blob("json", b"{}"),
            metadata="{}",
            channel_versions='{"a": "1", "b": "1"}',
            blobs={"a": ("1", Blob("json", b"1"))},
            compositions={"b": ("1", Composition("list", ((-1, -1),), Blob("json", b"[1]"), 1, None))},
        ),
    ),
    "put_writes": (
        2,
        lambda user: user.checkpoints.put_writes(
            ADDRESS, task_id="1", task_path="", writes=[(0, "a", Blob("json", b"2"))]
        ),
    ),
    "get": (2, lambda user: user.checkpoints.get("t", "")),
    "history": (2, lambda user: user.checkpoints.history("t", "", None, ["a"])),
    "copy_thread": (3, lambda user: user.checkpoints.copy_thread("t", str(uuid.uuid4()))),
    "prune": (3, lambda user: user.checkpoints.prune("t", Retention(turn_ends=True))),
    "delete_for_runs": (3, lambda user: user.checkpoints.delete_for_runs(["run"])),
    "list": (2, lambda user: user.checkpoints.list(thread_id="t")),
    "take": (2, lambda user: user.checkpoints.take(ADDRESS)),
    "delete_thread": (3, lambda user: user.checkpoints.delete_thread("t")),
}


async def refused(call: Callable[[], Awaitable[Any]]) -> None:
    with pytest.raises(RunError):
        await call()


RUN_CALLS: dict[str, tuple[int, Call]] = {
    "create": (3, lambda user: user.runs.create({"n": 1}, run_id="r", thread_id="t", idempotency_key="once")),
    "get": (2, lambda user: user.runs.get("r")),
    "list": (2, lambda user: user.runs.list(10, thread_id="t")),
    "events": (3, lambda user: user.runs.events("r")),
    # It neither waits nor has failed.
    "resume": (2, lambda user: refused(lambda: user.runs.resume("r", "yes"))),
    "retry": (2, lambda user: refused(lambda: user.runs.retry("r"))),
    "cancel": (2, lambda user: user.runs.cancel("r")),
    "delete": (3, lambda user: user.runs.delete("r")),
}
CALLS = {
    f"{group}.{name}": cost_and_call
    for group, calls in (
        ("thread", THREAD_CALLS),
        ("memory", MEMORY_CALLS),
        ("checkpoints", CHECKPOINT_CALLS),
        ("runs", RUN_CALLS),
    )
    for name, cost_and_call in calls.items()
}


def embed(texts: Sequence[str]) -> list[list[float]]:
    return [[float(len(text)), 1.0] for text in texts]


@pytest.fixture
def proxy(target: Lakebase) -> Iterator[Proxy]:
    with Proxy(target) as proxy:
        yield proxy


@pytest.fixture
async def memory(proxy: Proxy) -> AsyncIterator[AsyncMemory]:
    embedder = CallableEmbedder(embed, model="length", dimensions=2)
    async with AsyncMemory(proxy.target, embedder=embedder, max_size=1) as memory:
        # The first call waits for the pool's connection, which the pool makes on its own.
        await memory.for_user("alice").thread("u").append([{"n": 1}])
        yield memory


@pytest.mark.parametrize(
    ("owner", "calls", "makes_no_call"),
    [
        (AsyncThread, THREAD_CALLS, set()),
        # A consolidation goes in batches, and so does a look at the audit log. An erasure has a test of its own.
        (AsyncScopedMemory, MEMORY_CALLS, {"thread", "consolidate", "audit", "erase", "rotate_key"}),
        (AsyncCheckpoints, CHECKPOINT_CALLS, set()),
        # A tail waits, and reads when something is there.
        (AsyncRuns, RUN_CALLS, {"tail"}),
    ],
)
def test_every_call_is_in_the_table(owner: type, calls: dict[str, object], makes_no_call: set[str]) -> None:
    public = {name for name, _ in inspect.getmembers(owner, inspect.isfunction) if not name.startswith("_")}
    assert public - makes_no_call == set(calls)


async def test_every_call_is_one_round_trip_also_the_first_time(alice: AsyncScopedMemory, proxy: Proxy) -> None:
    expected = {name: (1, statements, 0) for name, (statements, _) in CALLS.items()}
    for _ in range(2):
        counted = {}
        for name, (_, call) in CALLS.items():
            proxy.reset()
            await call(alice)
            counted[name] = (proxy.round_trips, proxy.statements, proxy.connections)
        assert counted == expected


@pytest.mark.parametrize("late", [{}, {"valid_from": datetime(2024, 1, 1, tzinfo=UTC)}])
@pytest.mark.parametrize("address", [{"key": "k"}, {"key": None}, {"key": None, "subject": "user.employer"}])
async def test_a_save_is_one_round_trip_however_it_is_made(
    alice: AsyncScopedMemory, proxy: Proxy, address: dict[str, Any], late: dict[str, Any]
) -> None:
    for _ in range(2):
        proxy.reset()
        await alice.save(**address, value="blue", **late)
        assert (proxy.round_trips, proxy.statements) == (1, 3)


async def test_a_save_with_an_idempotency_key_is_read_back_when_it_is_repeated(
    alice: AsyncScopedMemory, proxy: Proxy
) -> None:
    for round_trips, statements in ((1, 4), (2, 6)):
        proxy.reset()
        await alice.save("k", "blue", idempotency_key="once")
        assert (proxy.round_trips, proxy.statements) == (round_trips, statements)


async def test_what_waits_for_its_vector_is_one_round_trip_with_the_job_for_it(proxy: Proxy) -> None:
    def refuse(texts: Sequence[str]) -> list[list[float]]:
        raise OSError

    embedder = CallableEmbedder(refuse, model="length", dimensions=2)
    async with AsyncMemory(proxy.target, embedder=embedder, max_size=1) as memory:
        alice = memory.for_user("alice")
        await alice.thread("u").append([{"n": 1}])
        calls: list[Call] = [
            lambda user: user.save("colour", "blue"),
            lambda user: user.update("colour", "red"),
            lambda user: user.remember([SAID], thread_id="t"),
        ]
        for call in calls:
            proxy.reset()
            await call(alice)
            assert (proxy.round_trips, proxy.statements) == (1, 4)


async def test_a_large_item_is_one_round_trip(alice: AsyncScopedMemory, proxy: Proxy) -> None:
    proxy.reset()
    await alice.thread("t").append([{"content": "x" * 2_000_000}])
    assert proxy.round_trips == 1
    await alice.thread("t").items()
    assert proxy.round_trips == 2


async def test_an_export_is_one_round_trip_a_batch(alice: AsyncScopedMemory, proxy: Proxy) -> None:
    for _ in range(3):
        await alice.thread("t").append([{"n": n} for n in range(500)])
    await alice.thread("v").append([{"content": "x" * (transcripts.BATCH_BYTES - 100)}, {"n": 1}])
    proxy.reset()
    records = await drained(alice.export())
    assert [record["position"] for record in records if record.get("thread_id") == "t" and "item" in record] == list(
        range(1, 1501)
    )
    assert [len(str(record["item"])) > 100 for record in records[-2:]] == [True, False]
    # The audit log; 1,000 records; those up to the item that is too large; the rest; the memories; and seven kinds of
    # what agents leave, of which there is nothing.
    assert proxy.round_trips == 5 + 7


async def test_an_erasure_is_one_round_trip(alice: AsyncScopedMemory, proxy: Proxy) -> None:
    proxy.reset()
    assert (await alice.erase(reason="case 17")).rows == 2
    assert (proxy.round_trips, proxy.statements) == (1, 2)


async def test_a_call_that_fails_is_one_round_trip(alice: AsyncScopedMemory, proxy: Proxy) -> None:
    proxy.reset()
    with pytest.raises(MemoryNotFoundError):
        await alice.update("nothing", {})
    assert proxy.round_trips == 1


async def test_a_write_with_an_id_is_one_round_trip_applied_or_not(
    memory: AsyncMemory, alice: AsyncScopedMemory, proxy: Proxy
) -> None:
    append, write_id = threads.append(alice.owner, "t", [{"n": 1}]), uuid.uuid4()
    for _ in range(2):
        proxy.reset()
        await memory._storage.run(append, write_id=write_id)
        assert (proxy.round_trips, proxy.statements) == (1, 3)


async def test_what_is_refused_before_it_is_sent_costs_no_round_trip(alice: AsyncScopedMemory, proxy: Proxy) -> None:
    proxy.reset()
    with pytest.raises(ValueError, match="namespace"):
        await alice.get("key", namespace=("a.b",))
    assert await alice.thread("t").append([]) == range(0)
    assert proxy.round_trips == 0
