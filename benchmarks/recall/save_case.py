"""Saves without an embedding: how many a second."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from functools import partial
from itertools import cycle
from uuid import uuid4

from side_by_side.bench import TIMES, Work
from side_by_side.rounds import work_for, work_in_threads

from recall import stores
from recall.bench import LongTermBench

FLOOR_SAVES = "CREATE TABLE floor_saves (owner text, key text, value json, text text, PRIMARY KEY (owner, key))"
FLOOR_SAVE = """
INSERT INTO floor_saves VALUES (%s, %s, %s::text::json, %s)
ON CONFLICT (owner, key) DO UPDATE SET value = excluded.value, text = excluded.text
"""


async def saves(bench: LongTermBench, case: str, workers: int) -> None:
    """New memories, each worker for a user of its own.

    The peer is `PostgresStore.put`. `AsyncPostgresStore.aput` gathers what waits into one statement: that is another
    peer, and a row of its own.
    """
    texts = cycle([turn.text for turn in bench.corpus.turns])
    async with AsyncExitStack() as stack:
        target = stack.enter_context(bench.server.database())
        memory = await stack.enter_async_context(stores.ours(target, None))
        store = await stack.enter_async_context(stores.peer(target, None))
        blocking_store = stack.enter_context(stores.blocking_peer(target))
        pool = await stack.enter_async_context(stores.floor_pool(target))
        async with pool.connection() as connection:
            await connection.execute(FLOOR_SAVES, prepare=False)

        async def ours(worker: int) -> None:
            await memory.for_user(f"user-{worker}").save(uuid4().hex, {"text": next(texts)})

        def peer(worker: int) -> None:
            blocking_store.put(stores.namespace(f"user-{worker}"), uuid4().hex, {"text": next(texts)})

        async def gathering_peer(worker: int) -> None:
            await store.aput(stores.namespace(f"user-{worker}"), uuid4().hex, {"text": next(texts)})

        async def floor(worker: int) -> None:
            text = next(texts)
            async with pool.connection() as connection:
                row = [f"user-{worker}", uuid4().hex, json.dumps({"text": text}), text]
                await connection.cursor(binary=True).execute(FLOOR_SAVE, row)

        contenders: dict[str, Work] = {
            "ours": partial(work_for, workers=workers, operation=ours),
            "peer": partial(work_in_threads, workers=workers, operation=peer),
            "gathering": partial(work_for, workers=workers, operation=gathering_peer),
            "floor": partial(work_for, workers=workers, operation=floor),
        }
        found = await bench.alternate(case, contenders)
    bench.note_figures(case, found, {"ops/s": "rate", **TIMES})
    rates = {name: figures.rate for name, figures in found.items()}
    bench.note(case, "ops/s, peer aput", ours=rates["ours"], peer=rates["gathering"], floor=rates["floor"])
