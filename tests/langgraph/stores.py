"""Stores of both worlds, called in their own."""

from __future__ import annotations

import asyncio
from typing import Any

from langgraph.store.base import BaseStore, Item, Op

from lakemem import AsyncMemory, Memory
from lakemem.integrations.langgraph import AsyncLakebaseStore, LakebaseStore

Store = AsyncLakebaseStore | LakebaseStore


def store_of(memory: AsyncMemory | Memory, user_id: str | None = None, **options: Any) -> Store:
    if isinstance(memory, AsyncMemory):
        return AsyncLakebaseStore(memory if user_id is None else memory.for_user(user_id), **options)
    return LakebaseStore(memory if user_id is None else memory.for_user(user_id), **options)


async def run(store: BaseStore, *ops: Op) -> list[Any]:
    """Run operations in the world of the store."""
    if isinstance(store, LakebaseStore):
        return await asyncio.to_thread(store.batch, ops)
    return await store.abatch(ops)


def told(result: Any) -> Any:
    """What a result says, without times, and without the order of items that no query orders."""
    if isinstance(result, Item):
        return (result.namespace, result.key, result.value)
    if isinstance(result, list) and result and isinstance(result[0], Item):
        return sorted((told(item) for item in result), key=repr)
    return result
