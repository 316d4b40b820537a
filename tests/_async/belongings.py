"""Something of a user in every table that has owners."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from lakemem import AsyncMemory, AsyncScopedMemory
from lakemem.operations import running, threads
from lakemem.operations.checkpoints import Address, Blob, Composition
from lakemem.thread_types import TokenUsage
from tests.support.belongings import add_data_key, add_index


async def fill(memory: AsyncMemory, user: AsyncScopedMemory, said: str) -> None:
    """Give a user rows everywhere, with `said` in whatever has a text."""
    await user.save("colour", said, namespace=("likes",), metadata={"note": said})
    await user.save("colour", f"{said} again", namespace=("likes",))
    await user.save("town", said, occurred_at=datetime(2024, 1, 2, tzinfo=UTC), expires_in=3600)
    await user.remember([{"role": "user", "content": said}], thread_id="t")
    await memory._storage.run(threads.append(user.owner, "t", [{"content": said}, {"n": 2}]), write_id=uuid.uuid4())
    await user.thread("t").update(title=said, metadata={"note": said}, expires_in=3600)
    await user.thread("t").fork(at=1, thread_id="fork")
    await user.thread("t").store_usage(TokenUsage(requests=1, input_tokens=7))
    value = Blob("json", f'"{said}"'.encode())
    for checkpoint_id, parent in (("1", None), ("2", "1")):
        address = Address("t", "", checkpoint_id)
        await user.checkpoints.put(
            address,
            parent_checkpoint_id=parent,
            checkpoint=value,
            metadata='{"source": "loop"}',
            channel_versions=f'{{"a": "{checkpoint_id}", "c": "{checkpoint_id}"}}',
            blobs={"a": (checkpoint_id, value)},
            compositions={"c": (checkpoint_id, Composition("list", ((-1, -1),), value, 1, None))},
        )
        await user.checkpoints.put_writes(address, task_id="1", task_path="", writes=[(0, "a", value)])
    add_index(memory.target, user.owner)
    add_data_key(memory.target, user.owner)
    await _run(memory, user, "done", said, ends=True)
    await _run(memory, user, "under way", said, ends=False)


async def _run(memory: AsyncMemory, user: AsyncScopedMemory, run_id: str, said: str, *, ends: bool) -> None:
    await user.runs.create({"input": said}, run_id=run_id)
    claim = running.claim(user.owner, worker=None, lease=60, takes_over=False, max_attempts=1, per_owner=None)
    assert await memory._storage.run(claim) is not None
    at = running.Position(owner=user.owner, run_id=run_id, attempt=1, last_sequence=-1)
    ending = running.Ending(outcome="completed", output=f'["{said}"]') if ends else None
    await memory._storage.run(running.append(at, [f'{{"delta":"{said}"}}'], lease=60, ending=ending))
