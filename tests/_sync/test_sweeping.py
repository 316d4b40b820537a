# Generated from tests/_async/test_sweeping.py by tools/unasync.py: edit that file, then run `make generate`.
"""A sweep gives back the room of what nobody sees any more, for all owners, and touches nothing else."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

import pytest

from lakemem import InvalidInputError, Lakebase, Memory, Retention, Swept
from lakemem.operations import sweeping, threads
from lakemem.operations.checkpoints import Address, Blob
from lakemem.testing.concurrency import gather
from tests.support.rows import Rows

TABLES = ("threads", "thread_items", "checkpoints", "memories", "applied_writes")


def count(target: Lakebase, owner: str) -> dict[str, int]:
    rows = Rows(target, owner)
    return {table: rows(f"SELECT count(*) FROM lakemem.{table}")[0][0] for table in TABLES}  # type: ignore[arg-type]


def put(memory: Memory, user_id: str, thread_id: str, checkpoint_id: str, source: str = "loop") -> None:
    memory.for_user(user_id).checkpoints.put(
        Address(thread_id, "", checkpoint_id),
        parent_checkpoint_id=None,
        checkpoint=Blob("json", b"{}"),
        metadata=f'{{"source": "{source}"}}',
        channel_versions="{}",
        blobs={},
    )


def expire(memory: Memory, target: Lakebase, user_id: str, *thread_ids: str) -> None:
    rows = Rows(target, f"user:{user_id}")
    for thread_id in thread_ids:
        memory.for_user(user_id).thread(thread_id).update(expires_in=60)
        rows("UPDATE lakemem.threads SET expires_at = now() - interval '1 s' WHERE thread_id = %s", thread_id)


@pytest.mark.parametrize("users", [3])
def test_what_has_expired_goes_and_the_rest_stays(memory: Memory, target: Lakebase, users: int) -> None:
    names = [f"user {number}" for number in range(users)]
    for name in names:
        user = memory.for_user(name)
        for thread_id in ("dead", "alive"):
            user.thread(thread_id).append([{"n": 1}])
            put(memory, name, thread_id, "1")
        user.save("dead", 1, expires_in=60)
        user.save("alive", 1)
        Rows(target, user.owner)("UPDATE lakemem.memories SET expires_at = now() - interval '1 s' WHERE key = 'dead'")
        expire(memory, target, name, "dead")
    told: list[Swept] = []
    assert memory.sweep(progress=told.append) == Swept(threads=users, memories=users)
    assert told[-1] == Swept(threads=users, memories=users)
    for name in names:
        left = {"threads": 1, "thread_items": 1, "checkpoints": 1, "memories": 1, "applied_writes": 0}
        assert count(target, f"user:{name}") == left
    assert memory.sweep() == Swept()


def test_a_retention_thins_out_the_threads_of_everybody(memory: Memory, target: Lakebase) -> None:
    for name in ("alice", "bob"):
        for thread_id in ("1", "2"):
            for number in range(6):
                put(memory, name, thread_id, str(number), source="input" if number % 3 == 0 else "loop")
    assert memory.sweep(Retention(turn_ends=True)) == Swept(checkpoints=2 * 2 * 4)
    for name in ("alice", "bob"):
        kept = [each.checkpoint_id for each in memory.for_user(name).checkpoints.list(thread_id="1")]
        assert kept == ["5", "2"]
    assert memory.sweep(Retention(last=1)) == Swept(checkpoints=4)


def test_pages_and_batches_lose_nothing(memory: Memory, target: Lakebase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 2)
    for name in ("alice", "bob", "carol"):
        for thread_id in ("1", "2", "3"):
            put(memory, name, thread_id, "1")
            put(memory, name, thread_id, "2")
    expire(memory, target, "bob", "1", "2", "3")
    assert memory.sweep(Retention(last=1)) == Swept(threads=3, checkpoints=6)
    assert count(target, "user:bob")["checkpoints"] == 0


def test_marks_of_writes_go_after_a_week(memory: Memory, target: Lakebase) -> None:
    alice = memory.for_user("alice")
    for number in range(3):
        memory._storage.run(threads.append(alice.owner, "t", [{"n": number}]), write_id=uuid.uuid4())
    Rows(target, alice.owner)(
        "UPDATE lakemem.applied_writes SET applied_at = now() - interval '8 days'"
        " WHERE write_id <> (SELECT max(write_id::text)::uuid FROM lakemem.applied_writes)"
    )
    assert memory.sweep() == Swept(marks=2)
    assert count(target, alice.owner)["applied_writes"] == 1


def test_a_retention_that_is_none_removes_nothing(memory: Memory) -> None:
    put(memory, "alice", "1", "1")
    bad: Any = 3
    with pytest.raises(InvalidInputError, match="retention"):
        memory.sweep(bad)
    with pytest.raises(InvalidInputError, match="last"):
        memory.sweep(Retention(last=-1))
    assert len(memory.for_user("alice").checkpoints.list()) == 1


def test_an_app_can_read_nothing_as_the_owner_of_a_sweep_but_which_threads_there_are(
    memory: Memory, target: Lakebase
) -> None:
    alice = memory.for_user("alice")
    alice.thread("t").append([{"secret": 1}])
    alice.save("secret", 1)
    put(memory, "alice", "t", "1")
    assert count(target, "sweep") == {**dict.fromkeys(TABLES, 0), "threads": 1}
    rows = Rows(target, "sweep")
    assert rows("DELETE FROM lakemem.threads RETURNING 1") == []
    assert rows("UPDATE lakemem.threads SET title = 'x' RETURNING 1") == []


def test_a_sweep_beside_writers_takes_nothing_that_they_write(memory: Memory, target: Lakebase) -> None:
    def write(number: int) -> None:
        for turn in range(5):
            memory.for_user("alice").thread(f"{number}").append([{"n": turn}])
            put(memory, "alice", f"{number}", str(turn))

    for number in range(4):
        memory.for_user("alice").thread(f"{number}").append([{"n": "old"}])
    expire(memory, target, "alice", "0", "1", "2", "3")
    calls: list[Any] = [partial(write, number) for number in range(4)]
    gather([*calls, partial(memory.sweep, Retention(last=5))])
    for number in range(4):
        items = memory.for_user("alice").thread(f"{number}").items()
        assert items == [{"n": turn} for turn in range(5)]
        assert len(memory.for_user("alice").checkpoints.list(thread_id=f"{number}")) == 5
