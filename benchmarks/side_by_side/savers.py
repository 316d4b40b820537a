"""Who keeps LangGraph's checkpoints: each as its users use it, on ten connections."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

from langgraph.checkpoint.base import WRITES_IDX_MAP, BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from lakemem import AsyncMemory, Lakebase
from lakemem.integrations.langgraph import AsyncLakebaseSaver
from side_by_side.server import POOL_SIZE
from side_by_side.sessions import floor_pool

Savers: TypeAlias = Callable[[int], Any]
"""The saver for the user with this number; a new object each time."""
Contender: TypeAlias = Callable[..., AbstractAsyncContextManager[Savers]]


@asynccontextmanager
async def ours(target: Lakebase, pool_size: int = POOL_SIZE) -> AsyncIterator[Savers]:
    async with AsyncMemory(target, max_size=pool_size) as memory:
        assert (await memory.health()).row_level_security
        yield lambda number: AsyncLakebaseSaver(memory.for_user(f"user-{number}"))


@asynccontextmanager
async def peer(target: Lakebase, pool_size: int = POOL_SIZE) -> AsyncIterator[Savers]:
    """LangGraph's own saver for Postgres, on a pool set up as its documentation says."""
    options = {**target.parameters, "autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    pool: Any = AsyncConnectionPool(kwargs=options, min_size=1, max_size=pool_size, open=False)
    async with pool:
        await AsyncPostgresSaver(pool).setup()
        # One for the process, as a compiled graph has it. Its lock lets one call through at a time.
        saver = AsyncPostgresSaver(pool)
        yield lambda number: saver


FLOOR_TABLES = """
CREATE TABLE IF NOT EXISTS floor_checkpoints (
    thread_id text COLLATE "C", ns text COLLATE "C", checkpoint_id text COLLATE "C", parent_id text,
    type text NOT NULL, checkpoint bytea NOT NULL, versions jsonb NOT NULL, metadata jsonb NOT NULL,
    PRIMARY KEY (thread_id, ns, checkpoint_id)
);
CREATE TABLE IF NOT EXISTS floor_blobs (
    thread_id text COLLATE "C", ns text COLLATE "C", channel text COLLATE "C", version text COLLATE "C",
    type text NOT NULL, blob bytea NOT NULL, PRIMARY KEY (thread_id, ns, channel, version)
);
CREATE TABLE IF NOT EXISTS floor_writes (
    thread_id text COLLATE "C", ns text COLLATE "C", checkpoint_id text COLLATE "C", task_id text COLLATE "C",
    idx integer, channel text NOT NULL, type text NOT NULL, blob bytea NOT NULL,
    PRIMARY KEY (thread_id, ns, checkpoint_id, task_id, idx)
);
"""
FLOOR_PUT = """
WITH blobs AS (
    INSERT INTO floor_blobs
    SELECT %(thread)s, %(ns)s, given.* FROM unnest(
        %(channels)b::text[], %(versions)b::text[], %(types)b::text[], %(blobs)b::bytea[]
    ) AS given
)
INSERT INTO floor_checkpoints
VALUES (%(thread)s, %(ns)s, %(id)s, %(parent)s, %(type)s, %(checkpoint)s, %(all)s::jsonb, %(metadata)s::jsonb)
"""
FLOOR_PUT_WRITES = """
INSERT INTO floor_writes
SELECT %(thread)s, %(ns)s, %(id)s, %(task)s, given.* FROM unnest(
    %(idxs)b::integer[], %(channels)b::text[], %(types)b::text[], %(blobs)b::bytea[]
) AS given
ON CONFLICT DO NOTHING
"""
FLOOR_GET = """
SELECT c.checkpoint_id, c.parent_id, c.type, c.checkpoint, c.metadata::text, blobs.*, writes.*
FROM floor_checkpoints AS c
CROSS JOIN LATERAL (
    SELECT array_agg(v.key), array_agg(b.type), array_agg(b.blob)
    FROM jsonb_each_text(c.versions) AS v
    CROSS JOIN LATERAL (
        SELECT type, blob FROM floor_blobs AS b
        WHERE b.thread_id = c.thread_id AND b.ns = c.ns AND b.channel = v.key AND b.version = v.value
        LIMIT 1
    ) AS b
) AS blobs
CROSS JOIN LATERAL (
    SELECT array_agg(task_id ORDER BY task_id, idx), array_agg(channel ORDER BY task_id, idx),
        array_agg(type ORDER BY task_id, idx), array_agg(blob ORDER BY task_id, idx)
    FROM floor_writes AS w
    WHERE w.thread_id = c.thread_id AND w.ns = c.ns AND w.checkpoint_id = c.checkpoint_id
) AS writes
WHERE c.thread_id = %(thread)s AND c.ns = %(ns)s AND (%(id)s::text IS NULL OR c.checkpoint_id = %(id)s)
ORDER BY c.checkpoint_id DESC LIMIT 1
"""


class FloorSaver(BaseCheckpointSaver[str]):
    """The least that keeps checkpoints: one prepared statement a call, with LangGraph's own serialiser.

    No owner, no row-level security, no check of what is given; every version of a channel is stored whole.
    """

    def __init__(self, pool: AsyncConnectionPool) -> None:
        super().__init__()
        self._pool = pool

    def get_next_version(self, current: Any, channel: None) -> str:
        return f"{1 + int(current or 0):032}"

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        values = checkpoint["channel_values"]
        large = {name for name, value in values.items() if not isinstance(value, str | int | float | bool | None)}
        new = {name: values[name] for name in new_versions if name in large}
        return await self._put(config, checkpoint, metadata, large, new)

    async def aput_appended(self, config: Any, checkpoint: Any, metadata: Any, appended: dict[str, Any]) -> Any:
        """Store what was appended alone, as who knows it by himself could."""
        return await self._put(config, checkpoint, metadata, set(appended), appended)

    async def _put(self, config: Any, checkpoint: Any, metadata: Any, large: set[str], new: dict[str, Any]) -> Any:
        versions, place = checkpoint["channel_versions"], config["configurable"]
        small = {name: value for name, value in checkpoint["channel_values"].items() if name not in large}
        type_, body = self.serde.dumps_typed({**checkpoint, "channel_values": small})
        dumped = [self.serde.dumps_typed(value) for value in new.values()]
        given = {
            "thread": place["thread_id"],
            "ns": place["checkpoint_ns"],
            "id": checkpoint["id"],
            "parent": place.get("checkpoint_id"),
            "type": type_,
            "checkpoint": body,
            "all": json.dumps({name: versions[name] for name in large}),
            "metadata": json.dumps(metadata),
            "channels": list(new),
            "versions": [versions[name] for name in new],
            "types": [type_ for type_, _ in dumped],
            "blobs": [blob for _, blob in dumped],
        }
        await self._execute(FLOOR_PUT, given)
        return {"configurable": {**place, "checkpoint_id": checkpoint["id"]}}

    async def aput_writes(
        self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        dumped = [self.serde.dumps_typed(value) for _, value in writes]
        place = config["configurable"]
        given = {
            "thread": place["thread_id"],
            "ns": place["checkpoint_ns"],
            "id": place["checkpoint_id"],
            "task": task_id,
            "idxs": [WRITES_IDX_MAP.get(channel, index) for index, (channel, _) in enumerate(writes)],
            "channels": [channel for channel, _ in writes],
            "types": [type_ for type_, _ in dumped],
            "blobs": [blob for _, blob in dumped],
        }
        await self._execute(FLOOR_PUT_WRITES, given)

    async def aget_tuple(self, config: Any) -> CheckpointTuple | None:
        place = config["configurable"]
        given = {"thread": place["thread_id"], "ns": place["checkpoint_ns"], "id": place.get("checkpoint_id")}
        async with self._pool.connection() as connection:
            cursor = await connection.cursor(binary=True).execute(FLOOR_GET, given)
            row = await cursor.fetchone()
        if row is None:
            return None
        id_, parent, type_, body, metadata, channels, types, blobs, tasks, names, write_types, write_blobs = row
        checkpoint = self.serde.loads_typed((type_, body))
        for channel, *blob in zip(channels or (), types or (), blobs or (), strict=True):
            checkpoint["channel_values"][channel] = self.serde.loads_typed(tuple(blob))
        writes = zip(tasks or (), names or (), write_types or (), write_blobs or (), strict=True)
        return CheckpointTuple(
            config={"configurable": {**place, "checkpoint_id": id_}},
            checkpoint=checkpoint,
            metadata=json.loads(metadata),
            parent_config=None if parent is None else {"configurable": {**place, "checkpoint_id": parent}},
            pending_writes=[(task, name, self.serde.loads_typed(tuple(blob))) for task, name, *blob in writes],
        )

    async def _execute(self, statement: str, given: dict[str, Any]) -> None:
        async with self._pool.connection() as connection:
            await connection.cursor(binary=True).execute(statement, given)


@asynccontextmanager
async def floor(target: Lakebase, pool_size: int = POOL_SIZE) -> AsyncIterator[Savers]:
    async with floor_pool(target, pool_size) as pool:
        async with pool.connection() as connection:
            await connection.execute(FLOOR_TABLES, prepare=False)
        yield lambda number: FloorSaver(pool)


CONTENDERS: dict[str, Contender] = {"ours": ours, "peer": peer, "floor": floor}
