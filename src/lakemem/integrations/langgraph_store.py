"""LangGraph's store on lakemem's memories; import it from `lakemem.integrations.langgraph`.

Source: langgraph.store.base, https://reference.langchain.com/python/langgraph/store/
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lakemem._async.memory import AsyncMemory, AsyncScopedMemory
from lakemem._async.store import AsyncItems, StoredItem
from lakemem._sync.memory import Memory, ScopedMemory
from lakemem._sync.store import Items
from lakemem._sync.store import StoredItem as SyncStoredItem
from lakemem.errors import ConfigurationError, InvalidInputError, MissingExtraError

try:
    from langgraph.config import get_config
    from langgraph.store.base import (
        BaseStore,
        GetOp,
        Item,
        ListNamespacesOp,
        Op,
        PutOp,
        Result,
        SearchItem,
        SearchOp,
        TTLConfig,
        get_text_at_path,
    )
except ImportError as error:
    raise MissingExtraError("langgraph", "lakemem.integrations.langgraph") from error


class _Store(BaseStore):
    """What both stores share: from LangGraph's operations to memories and back. It does no I/O."""

    supports_ttl = True

    def __init__(self, fields: Sequence[str], ttl: TTLConfig | None) -> None:
        if isinstance(fields, str) or not fields:
            raise ConfigurationError('fields is a list of paths into values, such as ["text", "tags[*]"], or ["$"]')
        self._fields = list(fields)
        self.ttl_config = _checked_ttl(ttl)

    def _put_arguments(self, op: PutOp) -> dict[str, Any]:
        """The arguments of `Items.put` beside the address."""
        if not isinstance(op.value, Mapping):
            raise InvalidInputError(f"a store keeps JSON objects, not {type(op.value).__name__}")
        return {
            "value": op.value,
            "text": self._searched_text(op),
            "expires_in": None if op.ttl is None else op.ttl * 60,
        }

    def _searched_text(self, op: PutOp) -> str | None:
        """What search reads of a value: None for all of it, "" for nothing."""
        fields = self._fields if op.index is None else op.index
        if fields is False:
            return ""
        if "$" in fields:
            return None
        return "\n".join(text for field in fields for text in get_text_at_path(op.value, field))


class AsyncLakebaseStore(_Store):
    """A store for graphs that run on asyncio: ``builder.compile(store=AsyncLakebaseStore(memory))``.

    A search with a query goes by meaning and by words, as :meth:`AsyncScopedMemory.search` does, and its score
    orders the items of that search. Without an embedder it goes by words alone.

    Its sync methods serve sync nodes and tools of such a graph, which run on threads.

    Args:
        memory: with ``memory.for_user(...)`` or ``memory.for_scope(...)``, all items are theirs. With the memory
            itself, the config of the run says whose they are: ``{"configurable": {"user_id": ...}}``.
        fields: the paths into a value that search reads, unless a put says otherwise; ``"$"`` is all of it. They
            make one text together.
        ttl: ``{"default_ttl": minutes}``. An item expires that long after it was written; reading it does not
            put that off.
    """

    def __init__(
        self,
        memory: AsyncMemory | AsyncScopedMemory,
        *,
        fields: Sequence[str] = ("$",),
        ttl: TTLConfig | None = None,
    ) -> None:
        if not isinstance(memory, AsyncMemory | AsyncScopedMemory):
            raise ConfigurationError("AsyncLakebaseStore needs an AsyncMemory; for a Memory there is LakebaseStore")
        super().__init__(fields, ttl)
        self._memory = memory
        self._loop = _running_loop()

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations: first what reads, then, of each key, the last that writes."""
        self._loop = _running_loop()
        return await self._run(self._items(), list(ops))

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations on the event loop of the graph; for threads other than the loop's own."""
        loop = self._loop
        if loop is None or not loop.is_running() or loop is _running_loop():
            raise ConfigurationError(
                "a sync call on AsyncLakebaseStore works only beside its running event loop: call aget, aput, "
                "asearch and adelete, or take LakebaseStore(Memory(...))"
            )
        return asyncio.run_coroutine_threadsafe(self._run(self._items(), list(ops)), loop).result()

    async def _run(self, items: AsyncItems, ops: Sequence[Op]) -> list[Result]:
        results = [None if isinstance(op, PutOp) else await self._read(items, op) for op in ops]
        for op in _last_puts(ops):
            if op.value is None:
                await items.delete(op.namespace, op.key)
            else:
                await items.put(op.namespace, op.key, **self._put_arguments(op))
        return results

    async def _read(self, items: AsyncItems, op: GetOp | SearchOp | ListNamespacesOp) -> Result:
        if isinstance(op, GetOp):
            item = await items.get(op.namespace, op.key)
            return None if item is None else _item(item)
        if isinstance(op, SearchOp):
            return [_search_item(item) for item in await items.search(op.namespace_prefix, **_search_arguments(op))]
        return await items.namespaces(_patterns(op), depth=op.max_depth, limit=op.limit, offset=op.offset)

    def _items(self) -> AsyncItems:
        memory = self._memory
        return AsyncItems(memory if isinstance(memory, AsyncScopedMemory) else memory.for_user(_user_id()))


class LakebaseStore(_Store):
    """The twin of :class:`AsyncLakebaseStore` for graphs that run without asyncio, on a :class:`~lakemem.Memory`.

    Its async methods work too, each on a thread.
    """

    def __init__(
        self,
        memory: Memory | ScopedMemory,
        *,
        fields: Sequence[str] = ("$",),
        ttl: TTLConfig | None = None,
    ) -> None:
        if not isinstance(memory, Memory | ScopedMemory):
            raise ConfigurationError("LakebaseStore needs a Memory; for an AsyncMemory there is AsyncLakebaseStore")
        super().__init__(fields, ttl)
        self._memory = memory

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations: first what reads, then, of each key, the last that writes."""
        items, ops = self._items(), list(ops)
        results = [None if isinstance(op, PutOp) else self._read(items, op) for op in ops]
        for op in _last_puts(ops):
            if op.value is None:
                items.delete(op.namespace, op.key)
            else:
                items.put(op.namespace, op.key, **self._put_arguments(op))
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        return await asyncio.to_thread(self.batch, list(ops))

    def _read(self, items: Items, op: GetOp | SearchOp | ListNamespacesOp) -> Result:
        if isinstance(op, GetOp):
            item = items.get(op.namespace, op.key)
            return None if item is None else _item(item)
        if isinstance(op, SearchOp):
            return [_search_item(item) for item in items.search(op.namespace_prefix, **_search_arguments(op))]
        return items.namespaces(_patterns(op), depth=op.max_depth, limit=op.limit, offset=op.offset)

    def _items(self) -> Items:
        memory = self._memory
        return Items(memory if isinstance(memory, ScopedMemory) else memory.for_user(_user_id()))


def _last_puts(ops: Sequence[Op]) -> list[PutOp]:
    return list({(op.namespace, op.key): op for op in ops if isinstance(op, PutOp)}.values())


def _search_arguments(op: SearchOp) -> dict[str, Any]:
    return {"query": op.query, "filter": op.filter, "limit": op.limit, "offset": op.offset}


def _patterns(op: ListNamespacesOp) -> list[tuple[Sequence[str], bool]]:
    return [(condition.path, condition.match_type == "suffix") for condition in op.match_conditions or ()]


def _item(item: StoredItem | SyncStoredItem) -> Item:
    return Item(**_fields(item))


def _search_item(item: StoredItem | SyncStoredItem) -> SearchItem:
    return SearchItem(**_fields(item), score=item.score)


def _fields(item: StoredItem | SyncStoredItem) -> dict[str, Any]:
    return {
        "namespace": item.record.namespace,
        "key": item.record.key,
        "value": item.record.value,
        "created_at": item.created_at,
        "updated_at": item.record.valid_from,
    }


def _checked_ttl(ttl: TTLConfig | None) -> TTLConfig:
    ttl = ttl or {}
    for name, reason in (
        ("refresh_on_read", "an item expires so long after it was written, and reading does not put that off"),
        ("sweep_interval_minutes", "expired items are not found any more, and a sweep is a job of its own"),
    ):
        if ttl.get(name):
            raise ConfigurationError(f"the store takes no ttl[{name!r}]: {reason}")
    return {"refresh_on_read": False, "omit_expired": True, "default_ttl": ttl.get("default_ttl")}


def _user_id() -> str:
    try:
        user_id = get_config().get("configurable", {}).get("user_id")
    except RuntimeError:
        user_id = None
    if user_id is None:
        raise ConfigurationError(
            'this call does not say whose items it is about: put "user_id" into the config\'s "configurable" and '
            "call the store within the graph's run, or give memory.for_user(...) in place of the memory"
        )
    return str(user_id)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
