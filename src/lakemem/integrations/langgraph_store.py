"""LangGraph's store on lakemem's memories; import it from `lakemem.integrations.langgraph`.

Source: langgraph.store.base, https://reference.langchain.com/python/langgraph/store/
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lakemem._async.memory import AsyncMemory
from lakemem._async.scoped import AsyncScopedMemory
from lakemem._async.store import AsyncItems, AsyncItemSweep
from lakemem._sync.memory import Memory
from lakemem._sync.scoped import ScopedMemory
from lakemem._sync.store import Items, ItemSweep
from lakemem.errors import ConfigurationError, InvalidInputError, MissingExtraError
from lakemem.operations import store
from lakemem.operations.store import Answer, Change, Question, StoredItem

try:
    from langgraph.config import get_config
    from langgraph.store.base import (
        BaseStore,
        GetOp,
        IndexConfig,
        Item,
        ListNamespacesOp,
        MatchCondition,
        Op,
        PutOp,
        Result,
        SearchItem,
        SearchOp,
        TTLConfig,
        get_text_at_path,
    )

    from lakemem.integrations.langgraph_index import checked_fields, index_embedder
    from lakemem.integrations.langgraph_sweeping import AsyncSweeper, Sweeper, checked_ttl, sweep_minutes
except ImportError as error:
    raise MissingExtraError("langgraph", "lakemem.integrations.langgraph") from error


class _Store(BaseStore):
    """What both stores share: from LangGraph's operations to memories and back. It does no I/O."""

    supports_ttl = True

    def __init__(self, fields: Sequence[str] | None, index: IndexConfig | None, ttl: TTLConfig | None) -> None:
        self._fields = checked_fields(fields, index)
        self._embedder = None if index is None else index_embedder(index)
        self.ttl_config = checked_ttl(ttl)

    def _changes(self, ops: Sequence[Op]) -> list[Change]:
        """Of each key the last put, which may delete."""
        last = {(tuple(op.namespace), op.key): op for op in ops if isinstance(op, PutOp)}
        return [self._change(op) for op in last.values()]

    def _change(self, op: PutOp) -> Change:
        if op.value is None:
            return store.delete(op.namespace, op.key)
        if not isinstance(op.value, Mapping):
            raise InvalidInputError(f"a store keeps JSON objects, not {type(op.value).__name__}")
        ttl = None if op.ttl is None else op.ttl * 60
        return store.save(op.namespace, op.key, dict(op.value), text=self._searched_text(op), ttl=ttl)

    def _searched_text(self, op: PutOp) -> str | None:
        """What search reads of a value: None for all of it, "" for nothing."""
        fields = self._fields if op.index is None else op.index
        if fields is False:
            return ""
        if isinstance(fields, str) or not all(isinstance(path, str) for path in fields):
            raise InvalidInputError('index is False, or a list of paths into the value, such as ["text", "tags[*]"]')
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
        fields: the paths into a value that search reads, unless a put says otherwise; by default ``["$"]``, all of
            it. They make one text together.
        index: ``{"dims": ..., "embed": ..., "fields": [...]}``: an embedder for this store, in place of the memory's.
        ttl: ``{"default_ttl": minutes, "refresh_on_read": True, "sweep_interval_minutes": minutes}``. An item expires
            so long after it was last written, or read, unless `refresh_on_read` is False. It is not found any more
            from then on; a sweep erases it. Without `ttl`, reads do not refresh unless a call says so.

    Raises:
        ConfigurationError: an argument is not understood.
    """

    def __init__(
        self,
        memory: AsyncMemory | AsyncScopedMemory,
        *,
        fields: Sequence[str] | None = None,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
    ) -> None:
        if not isinstance(memory, AsyncMemory | AsyncScopedMemory):
            raise ConfigurationError("AsyncLakebaseStore needs an AsyncMemory; for a Memory there is LakebaseStore")
        super().__init__(fields, index, ttl)
        self._memory = memory
        self._embeddings = None if self._embedder is None else memory._embeddings.by(self._embedder)
        self._sweep = AsyncItemSweep(memory)
        self._sweeper = AsyncSweeper(self._sweep)
        self._loop = _running_loop()

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations: first what reads, then, of each key, the last that writes.

        All reads are one round trip and one transaction, and so are up to 500 writes.
        """
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

    async def sweep_ttl(self) -> int:
        """Erase what has expired, in small transactions: of the memory's user, or with the memory itself, of everybody.

        Returns:
            How many items that was.
        """
        return await self._sweep.run()

    async def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> asyncio.Task[None]:
        """Sweep now, and again and again, as a task that ends when it is stopped, cancelled, or the memory closed.

        Args:
            sweep_interval_minutes: by default that of the `ttl` of this store, else 5.

        Raises:
            ConfigurationError: the memory is not open, or the interval is not a number of minutes.
        """
        return self._sweeper.start(sweep_minutes(sweep_interval_minutes, self.ttl_config))

    async def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """Stop the sweeper after the transaction that it is at. Returns whether that was within `timeout` seconds."""
        return await self._sweeper.stop(timeout)

    async def _run(self, items: AsyncItems, ops: Sequence[Op]) -> list[Result]:
        return _results(ops, await items.batch(_questions(ops), self._changes(ops)))

    def _items(self) -> AsyncItems:
        memory = self._memory
        scoped = memory if isinstance(memory, AsyncScopedMemory) else memory.for_user(_user_id())
        return AsyncItems(scoped, self._embeddings)


class LakebaseStore(_Store):
    """The twin of :class:`AsyncLakebaseStore` for graphs that run without asyncio, on a :class:`~lakemem.Memory`.

    Its async methods work too, each on a thread.
    """

    def __init__(
        self,
        memory: Memory | ScopedMemory,
        *,
        fields: Sequence[str] | None = None,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
    ) -> None:
        if not isinstance(memory, Memory | ScopedMemory):
            raise ConfigurationError("LakebaseStore needs a Memory; for an AsyncMemory there is AsyncLakebaseStore")
        super().__init__(fields, index, ttl)
        self._memory = memory
        self._embeddings = None if self._embedder is None else memory._embeddings.by(self._embedder)
        self._sweep = ItemSweep(memory)
        self._sweeper = Sweeper(self._sweep)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations: first what reads, then, of each key, the last that writes.

        All reads are one round trip and one transaction, and so are up to 500 writes.
        """
        ops = list(ops)
        return _results(ops, self._items().batch(_questions(ops), self._changes(ops)))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations as `batch` does, on a thread."""
        return await asyncio.to_thread(self.batch, list(ops))

    def sweep_ttl(self) -> int:
        """Erase what has expired, in small transactions: of the memory's user, or with the memory itself, of everybody.

        Returns:
            How many items that was.
        """
        return self._sweep.run()

    def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> concurrent.futures.Future[None]:
        """Sweep now, and again and again, on a daemon thread, until it is stopped, or the memory closed.

        Args:
            sweep_interval_minutes: by default that of the `ttl` of this store, else 5.

        Returns:
            A future that is done when the thread ends. Cancelling it stops the thread.

        Raises:
            ConfigurationError: the memory is not open, or the interval is not a number of minutes.
        """
        return self._sweeper.start(sweep_minutes(sweep_interval_minutes, self.ttl_config))

    def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """Stop the sweeper after the transaction that it is at. Returns whether that was within `timeout` seconds."""
        return self._sweeper.stop(timeout)

    def _items(self) -> Items:
        memory = self._memory
        scoped = memory if isinstance(memory, ScopedMemory) else memory.for_user(_user_id())
        return Items(scoped, self._embeddings)


def _questions(ops: Sequence[Op]) -> list[Question]:
    return [_question(op) for op in ops if not isinstance(op, PutOp)]


def _question(op: GetOp | SearchOp | ListNamespacesOp) -> Question:
    if isinstance(op, GetOp):
        return store.get(op.namespace, op.key, refresh=op.refresh_ttl)
    if isinstance(op, SearchOp):
        return store.search(
            op.namespace_prefix,
            query=op.query,
            filter=op.filter,
            limit=op.limit,
            offset=op.offset,
            refresh=op.refresh_ttl,
        )
    if isinstance(op, ListNamespacesOp):
        patterns = [(condition.path, _is_suffix(condition)) for condition in op.match_conditions or ()]
        return store.listing(patterns, depth=op.max_depth, limit=op.limit, offset=op.offset)
    raise InvalidInputError(f"a store knows no operation of the type {type(op).__name__}")


def _is_suffix(condition: MatchCondition) -> bool:
    if condition.match_type not in ("prefix", "suffix"):
        raise InvalidInputError(f"a namespace matches by a prefix or a suffix, not by {condition.match_type!r}")
    return condition.match_type == "suffix"


def _results(ops: Sequence[Op], answers: Iterable[Answer]) -> list[Result]:
    """One result for each operation; None for what writes."""
    left = iter(answers)
    return [None if isinstance(op, PutOp) else _result(op, next(left)) for op in ops]


def _result(op: Op, answer: Any) -> Result:
    if isinstance(op, GetOp):
        return None if answer is None else Item(**_fields(answer))
    if isinstance(op, SearchOp):
        return [SearchItem(**_fields(item), score=item.score) for item in answer]
    return answer  # type: ignore[no-any-return]


def _fields(item: StoredItem) -> dict[str, Any]:
    return {
        "namespace": item.namespace,
        "key": item.key,
        "value": item.value,
        "created_at": item.created_at,
        "updated_at": item.updated_at,
    }


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
