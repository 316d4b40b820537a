"""A sweep gives back the room of what nobody sees any more, for all owners, and touches nothing else."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

import pytest

from lakemem import AsyncMemory, InvalidInputError, Lakebase, Retention, Swept
from lakemem.operations import sweeping, threads
from lakemem.operations.checkpoints import Address, Blob
from lakemem.testing.concurrency import agather
from tests.support.rows import Rows

TABLES = ("threads", "thread_items", "checkpoints", "memories", "applied_writes")


def count(target: Lakebase, owner: str) -> dict[str, int]:
    rows = Rows(target, owner)
    return {table: rows(f"SELECT count(*) FROM lakemem.{table}")[0][0] for table in TABLES}  # type: ignore[arg-type]


async def put(memory: AsyncMemory, user_id: str, thread_id: str, checkpoint_id: str, source: str = "loop") -> None:
    await memory.for_user(user_id).checkpoints.put(
        Address(thread_id, "", checkpoint_id),
        parent_checkpoint_id=None,
        checkpoint=Blob("json", b"{}"),
        metadata=f'{{"source": "{source}"}}',
        channel_versions="{}",
        blobs={},
    )


async def expire(memory: AsyncMemory, target: Lakebase, user_id: str, *thread_ids: str) -> None:
    rows = Rows(target, f"user:{user_id}")
    for thread_id in thread_ids:
        await memory.for_user(user_id).thread(thread_id).update(expires_in=60)
        rows("UPDATE lakemem.threads SET expires_at = now() - interval '1 s' WHERE thread_id = %s", thread_id)


@pytest.mark.parametrize("users", [3])
async def test_what_has_expired_goes_and_the_rest_stays(memory: AsyncMemory, target: Lakebase, users: int) -> None:
    names = [f"user {number}" for number in range(users)]
    for name in names:
        user = memory.for_user(name)
        for thread_id in ("dead", "alive"):
            await user.thread(thread_id).append([{"n": 1}])
            await put(memory, name, thread_id, "1")
        await user.save("dead", 1, expires_in=60)
        await user.save("alive", 1)
        Rows(target, user.owner)("UPDATE lakemem.memories SET expires_at = now() - interval '1 s' WHERE key = 'dead'")
        await expire(memory, target, name, "dead")
    told: list[Swept] = []
    assert await memory.sweep(progress=told.append) == Swept(threads=users, memories=users)
    assert told[-1] == Swept(threads=users, memories=users)
    for name in names:
        left = {"threads": 1, "thread_items": 1, "checkpoints": 1, "memories": 1, "applied_writes": 0}
        assert count(target, f"user:{name}") == left
    assert await memory.sweep() == Swept()


async def test_a_retention_thins_out_the_threads_of_everybody(memory: AsyncMemory, target: Lakebase) -> None:
    for name in ("alice", "bob"):
        for thread_id in ("1", "2"):
            for number in range(6):
                await put(memory, name, thread_id, str(number), source="input" if number % 3 == 0 else "loop")
    assert await memory.sweep(Retention(turn_ends=True)) == Swept(checkpoints=2 * 2 * 4)
    for name in ("alice", "bob"):
        kept = [each.checkpoint_id for each in await memory.for_user(name).checkpoints.list(thread_id="1")]
        assert kept == ["5", "2"]
    assert await memory.sweep(Retention(last=1)) == Swept(checkpoints=4)


async def test_pages_and_batches_lose_nothing(
    memory: AsyncMemory, target: Lakebase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 2)
    for name in ("alice", "bob", "carol"):
        for thread_id in ("1", "2", "3"):
            await put(memory, name, thread_id, "1")
            await put(memory, name, thread_id, "2")
    await expire(memory, target, "bob", "1", "2", "3")
    assert await memory.sweep(Retention(last=1)) == Swept(threads=3, checkpoints=6)
    assert count(target, "user:bob")["checkpoints"] == 0


async def test_marks_of_writes_go_after_a_week(memory: AsyncMemory, target: Lakebase) -> None:
    alice = memory.for_user("alice")
    for number in range(3):
        await memory._storage.run(threads.append(alice.owner, "t", [{"n": number}]), write_id=uuid.uuid4())
    Rows(target, alice.owner)(
        "UPDATE lakemem.applied_writes SET applied_at = now() - interval '8 days'"
        " WHERE write_id <> (SELECT max(write_id::text)::uuid FROM lakemem.applied_writes)"
    )
    assert await memory.sweep() == Swept(marks=2)
    assert count(target, alice.owner)["applied_writes"] == 1


async def test_a_retention_that_is_none_removes_nothing(memory: AsyncMemory) -> None:
    await put(memory, "alice", "1", "1")
    bad: Any = 3
    with pytest.raises(InvalidInputError, match="retention"):
        await memory.sweep(bad)
    with pytest.raises(InvalidInputError, match="last"):
        await memory.sweep(Retention(last=-1))
    assert len(await memory.for_user("alice").checkpoints.list()) == 1


async def test_an_app_can_read_nothing_as_the_owner_of_a_sweep_but_which_threads_there_are(
    memory: AsyncMemory, target: Lakebase
) -> None:
    alice = memory.for_user("alice")
    await alice.thread("t").append([{"secret": 1}])
    await alice.save("secret", 1)
    await put(memory, "alice", "t", "1")
    assert count(target, "sweep") == {**dict.fromkeys(TABLES, 0), "threads": 1}
    rows = Rows(target, "sweep")
    assert rows("DELETE FROM lakemem.threads RETURNING 1") == []
    assert rows("UPDATE lakemem.threads SET title = 'x' RETURNING 1") == []


async def test_a_sweep_beside_writers_takes_nothing_that_they_write(memory: AsyncMemory, target: Lakebase) -> None:
    async def write(number: int) -> None:
        for turn in range(5):
            await memory.for_user("alice").thread(f"{number}").append([{"n": turn}])
            await put(memory, "alice", f"{number}", str(turn))

    for number in range(4):
        await memory.for_user("alice").thread(f"{number}").append([{"n": "old"}])
    await expire(memory, target, "alice", "0", "1", "2", "3")
    calls: list[Any] = [partial(write, number) for number in range(4)]
    await agather([*calls, partial(memory.sweep, Retention(last=5))])
    for number in range(4):
        items = await memory.for_user("alice").thread(f"{number}").items()
        assert items == [{"n": turn} for turn in range(5)]
        assert len(await memory.for_user("alice").checkpoints.list(thread_id=f"{number}")) == 5
