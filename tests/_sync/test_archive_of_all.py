# Generated from tests/_async/test_archive_of_all.py by tools/unasync.py: edit that file, then run `make generate`.
"""An archive has all that a user has: taken out, erased, and brought back, it gives the same answers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakemem import ConflictError, Imported, InvalidInputError, Lakebase, Memory, RunEvent, ScopedMemory
from lakemem.operations import archive_work
from lakemem.operations.checkpoints import Address, Blob, Composition
from lakemem.testing import DatabaseFactory
from lakemem.thread_types import TokenUsage
from tests._sync.belongings import fill
from tests._sync.examples import examples
from tests.support.rows import Rows


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture
def memory(target: Lakebase) -> Iterator[Memory]:
    with Memory(target) as memory:
        yield memory


@pytest.fixture
def alice(memory: Memory) -> ScopedMemory:
    return memory.for_user(f"alice {uuid.uuid4()}")


def exported(user: ScopedMemory) -> list[dict[str, Any]]:
    return [json.loads(json.dumps(record)) for record in user.export()]


def answers(user: ScopedMemory) -> dict[str, Any]:
    """What somebody who asks for everything is told."""
    memories = user.items(limit=None)
    found = {
        "memories": memories,
        "histories": [user.history(each.key, namespace=each.namespace) for each in memories],
        "hits": [(hit.key, hit.score, hit.similarity) for hit in user.search("whale colour", limit=50)],
        "threads": user.threads(limit=None),
        "checkpoints": user.checkpoints.list(),
        "said": user.search_threads("whale"),
    }
    for info in user.threads(limit=None):
        thread = user.thread(info.thread_id)
        found[f"thread {info.thread_id}"] = (thread.messages(), thread.turns(), thread.usage())
        for checkpoint in user.checkpoints.list(thread_id=info.thread_id):
            read = user.checkpoints.get(info.thread_id, "", checkpoint.checkpoint_id)
            found[f"checkpoint {info.thread_id} {checkpoint.checkpoint_id}"] = read
    for run in user.runs.list(limit=100):
        found[f"run {run.run_id}"] = (run, _events(user, run.run_id))
    return found


def _events(user: ScopedMemory, run_id: str) -> list[RunEvent]:
    return user.runs.events(run_id, limit=1000)


def test_taken_out_erased_and_brought_back_everything_answers_the_same(memory: Memory, alice: ScopedMemory) -> None:
    fill(memory, alice, "a whale of a secret")
    alice.runs.cancel("under way")
    records, before = exported(alice), answers(alice)
    receipt = alice.erase()
    assert exported(alice) == []
    imported = alice.import_archive(map(json.dumps, records))
    assert imported == Imported(threads=2, items=3, memories=4, usage=1, checkpoints=2, runs=2, run_events=2)
    for name, table in (("threads", "threads"), ("checkpoints", "checkpoints"), ("run_events", "run_events")):
        assert getattr(imported, name) == receipt.counts[table]
    again = exported(alice)
    # Nobody works on it any more.
    [under_way] = [place for place, record in enumerate(again) if record.get("run_id") == "under way"][:1]
    assert (records[under_way]["status"], again[under_way]["status"]) == ("in_progress", "cancelled")
    run, events = before.pop("run under way")
    after = answers(alice)
    run_after, events_after = after.pop("run under way")
    assert (events_after, run_after.completed_at is not None) == (events, True)
    assert replace(run_after, status="in_progress", completed_at=None) == run
    assert after == before
    for kept in (records, again):
        kept[under_way] = {}
    assert again == records
    assert alice.import_archive(records[:under_way] + records[under_way + 1 :]) == Imported()


def test_a_graph_goes_on_where_it_was(memory: Memory, alice: ScopedMemory) -> None:
    """New elements get positions behind those that came back."""
    fill(memory, alice, "a whale")
    records = exported(alice)
    alice.erase()
    alice.import_archive(records)
    value = Blob("json", b'"more"')
    positions = alice.checkpoints.put(
        Address("t", "", "3"),
        parent_checkpoint_id="2",
        checkpoint=value,
        metadata="{}",
        channel_versions='{"c": "3"}',
        blobs={},
        compositions={"c": ("3", Composition("list", ((-1, -1),), value, 1, None))},
    )
    assert positions == {"c": 2}


@pytest.mark.parametrize(
    ("table", "kind", "left_out"),
    [
        ("run_usage", "usage", {}),
        ("checkpoint_segments", "checkpoint_segment", {}),
        ("checkpoint_blobs", "checkpoint_value", {"kind"}),
        ("checkpoints", "checkpoint", {}),
        ("checkpoint_writes", "checkpoint_write", {}),
        # How the run stands with the one who works on it.
        ("runs", "run", {"kind", "worker", "leased_until", "touched_at", "run_after"}),
        ("run_events", "run_event", {}),
    ],
)
def test_every_column_is_in_the_archive(
    memory: Memory, alice: ScopedMemory, target: Lakebase, table: str, kind: str, left_out: set[str]
) -> None:
    fill(memory, alice, "a whale")
    columns = Rows(target, alice.owner)(
        "SELECT column_name::text FROM information_schema.columns WHERE table_schema = 'lakemem' AND table_name = %s",
        table,
    )
    record = next(record for record in exported(alice) if record["kind"] == kind)
    renamed = {"run_kind", "elements"}
    assert {column for (column,) in columns} - {"owner"} - set(left_out) == record.keys() - {"kind"} - renamed


def test_batches_of_any_size_bring_all(memory: Memory, alice: ScopedMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(memory, alice, "a whale")
    whole = exported(alice)
    monkeypatch.setattr(archive_work, "EXPORTED_AT_ONCE", 1)
    assert exported(alice) == whole
    monkeypatch.undo()
    monkeypatch.setattr(archive_work, "BATCH_BYTES", 1)
    assert exported(alice) == whole


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("checkpoint", {"checkpoint": "not base64!"}),
        ("checkpoint", {"checkpoint": 7}),
        ("checkpoint", {"thread_id": "missing"}),
        ("checkpoint", {"channel_versions": []}),
        ("checkpoint_value", {"spans": [1]}),
        ("checkpoint_value", {"channel": "x" * 2000}),
        ("checkpoint_segment", {"length": 0}),
        ("checkpoint_write", {"idx": 2**31}),
        ("usage", {"requests": -1}),
        ("run", {"status": "gone"}),
        ("run", {"run_kind": None}),
        ("run", {"background": 1}),
        ("run", {"attempt": -1}),
        ("run", {"owner": "user:bob"}),
        ("run_event", {"event": float("nan")}),
    ],
)
def test_a_line_that_cannot_be_is_refused(
    memory: Memory, alice: ScopedMemory, kind: str, changes: dict[str, Any]
) -> None:
    fill(memory, alice, "a whale")
    records = exported(alice)
    alice.erase()
    place = next(place for place, record in enumerate(records) if record["kind"] == kind)
    with pytest.raises(InvalidInputError, match=f"^line {place + 1}: "):
        alice.import_archive([*records[:place], {**records[place], **changes}, *records[place + 1 :]])
    assert exported(alice) == []


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("checkpoint", {"checkpoint": "e30="}),
        ("checkpoint_value", {"blob": "e30="}),
        ("checkpoint_segment", {"blob": "e30="}),
        ("checkpoint_write", {"blob": "e30="}),
        ("run", {"created_at": "2020-01-01T00:00:00+00:00"}),
        ("usage", {"created_at": "2020-01-01T00:00:00+00:00"}),
    ],
)
def test_something_else_in_its_place_is_a_conflict(
    memory: Memory, alice: ScopedMemory, kind: str, changes: dict[str, Any]
) -> None:
    fill(memory, alice, "a whale")
    before = exported(alice)
    record = next(record for record in before if record["kind"] == kind and record.get("blob", "") is not None)
    threads = [each for each in before if each["kind"] == "thread"]
    with pytest.raises(ConflictError, match="something else is here"):
        alice.import_archive([*threads, {**record, **changes}])
    assert exported(alice) == before


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["save", "save", "delete", "remember", "append", "pop", "fork", "usage", "put", "run"]),
        st.sampled_from("ab"),
        st.text(max_size=6) | st.integers(),
    ),
    min_size=1,
    max_size=15,
)


def _change(user: ScopedMemory, change: str, key: str, value: Any, number: int) -> None:
    thread = user.thread(key)
    if change == "save":
        user.save(key, value, metadata={"n": number})
    elif change == "delete":
        user.delete(key)
    elif change == "remember":
        user.remember([{"role": "user", "content": f"whale {value}"}], thread_id=key)
    elif change == "append":
        thread.append([{"role": "user", "content": f"whale {value}"}, {"n": number}])
    elif change == "pop":
        thread.pop()
    elif change == "fork" and (messages := thread.messages(1)):
        thread.fork(at=messages[0].position, thread_id=f"{key} {number}")
    elif change == "usage":
        thread.store_usage(TokenUsage(requests=number))
    elif change == "put":
        blob = Blob("json", json.dumps(value).encode())
        user.checkpoints.put(
            Address(key, "", f"{number:03}"),
            parent_checkpoint_id=None,
            checkpoint=blob,
            metadata="{}",
            channel_versions=f'{{"c": "{number}", "d": "{number}"}}',
            blobs={"d": (str(number), blob)},
            compositions={"c": (str(number), Composition("list", ((-1, -1),), blob, 1, None))},
        )
    elif change == "run":
        run = user.runs.create({"input": [value]}, thread_id=key, metadata={"n": number})
        user.runs.cancel(run.run_id)


@settings(max_examples=examples(25))
@given(changes=CHANGES)
def test_whatever_was_done_comes_back(target: Lakebase, changes: list[tuple[str, str, Any]]) -> None:
    with Memory(target) as memory:
        user = memory.for_user(str(uuid.uuid4()))
        for number, (change, key, value) in enumerate(changes, 1):
            _change(user, change, key, value, number)
        records, before = exported(user), answers(user)
        user.erase()
        assert user.residue() == {}
        user.import_archive(records)
        assert answers(user) == before
        assert exported(user) == records
