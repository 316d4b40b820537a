"""The memory tools, at work on one owner's memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from lakemem.errors import GuardError, InvalidInputError, MemoryNotFoundError
from lakemem.memory_types import MemoryRecord
from lakemem.protocols import AsyncLongTermMemory
from lakemem.resilience import OUTAGES
from lakemem.tool_specs import (
    HELD_BACK,
    KEPT,
    LIST_LIMIT,
    MAX_VALUE,
    SEARCH_LIMIT,
    UNAVAILABLE,
    answer,
    describe_hit,
    describe_record,
    listed,
    spec_named,
)

logger = logging.getLogger("lakemem")


class AsyncToolbox:
    """Runs a tool that a model called. A model's mistake, or an outage, is an answer to it and not an error.

    Args:
        user: whose memory it is.
        namespace: where in it the tools work.
    """

    def __init__(self, user: AsyncLongTermMemory, namespace: Sequence[str] = ()) -> None:
        self._user = user
        self._namespace = namespace

    async def call(self, name: str, arguments: object) -> str:
        """Run the tool `name`, and return its answer as JSON text."""
        try:
            given = spec_named(name).check(arguments)
            result: str = await getattr(self, name)(**given)
        except (InvalidInputError, MemoryNotFoundError, GuardError) as error:
            return answer(error=str(error))
        except OUTAGES as error:
            logger.warning("a memory tool could not reach memory: %s", error)
            return answer(error=UNAVAILABLE)
        return result

    async def save_memory(self, key: str, value: str) -> str:
        record = await self._user.save(key, value, namespace=self._namespace, trust="model")
        return _written(record) or answer(saved=record.key)

    async def get_memory(self, key: str) -> str:
        record = await self._user.get(key, namespace=self._namespace)
        return self._found(memory=None if record is None else describe_record(record))

    async def search_memories(self, query: str) -> str:
        hits = await self._user.search(query, namespace=self._namespace, limit=SEARCH_LIMIT)
        return self._found(**listed(describe_hit(hit) for hit in hits))

    async def list_memories(self) -> str:
        records = await self._user.items(namespace=self._namespace, limit=LIST_LIMIT)
        return self._found(**listed(describe_record(record, MAX_VALUE) for record in records))

    async def update_memory(self, key: str, value: str) -> str:
        record = await self._user.update(key, value, namespace=self._namespace, trust="model")
        return _written(record) or answer(updated=record.key)

    async def delete_memory(self, key: str) -> str:
        deleted = await self._user.delete(key, namespace=self._namespace)
        return answer(deleted=key) if deleted else answer(error="there is no memory under this key")

    def _found(self, **found: Any) -> str:
        """What was read. While a degrading memory is down it reads as empty, and the model is not to believe that."""
        if getattr(self._user, "is_degraded", False) and not any(found.values()):
            return answer(error=UNAVAILABLE)
        return answer(**found)


def _written(record: MemoryRecord) -> str | None:
    """What to tell a model whose write was not made; None where it was."""
    errors = {"kept": KEPT, "quarantined": HELD_BACK}
    return answer(error=errors[record.outcome]) if record.outcome in errors else None
