"""The root, and the view that is confined to one owner."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from copy import copy
from datetime import datetime
from types import TracebackType
from typing import Any

from lakemem._async.checkpoints import AsyncCheckpoints
from lakemem._async.database import AsyncDatabase, AsyncStorage
from lakemem._async.embeddings import AsyncEmbeddings
from lakemem._async.sweeping import AsyncSweep
from lakemem._async.threads import AsyncThread
from lakemem.connecting import connector_for
from lakemem.context import resolve_thread_id
from lakemem.operations import memories, threads, transcripts
from lakemem.protocols import CredentialProvider, Embedder
from lakemem.schema import schema_name
from lakemem.target import Lakebase
from lakemem.types import Health, Hit, MemoryRecord, Retention, Swept, ThreadHit, ThreadInfo
from lakemem.validation import check_identifier

_UNCHANGED: Any = object()


class AsyncMemory:
    """Short-term and long-term memory in one Postgres.

    The constructor does no I/O. Use it as a context manager, or call `open` and `close`::

        async with AsyncMemory() as memory:
            user = memory.for_user("alice")

    Args:
        target: where the database is; by default what :meth:`Lakebase.from_env` finds.
        embedder: turns texts into vectors; without one, search goes by words alone.
        credentials: gives the password for each new connection, such as :class:`CachedCredentials`.
        schema: the Postgres schema of lakemem's tables; by default ``LAKEBASE_AGENT_MEMORY_SCHEMA``, else
            ``lakemem``.
        migrate: whether `open` creates or upgrades the tables; by default only on an embedded Postgres.
        min_size: connections that are kept open.
        max_size: connections at the most.
        max_idle: seconds after which a connection beyond `min_size` is closed when nobody uses it.
        timeout: seconds to wait for a connection.
        embedding_deadline: seconds to wait for the embedder.

    Raises:
        ConfigurationError: the target cannot be made out, or settings contradict each other.
    """

    def __init__(
        self,
        target: Lakebase | None = None,
        *,
        embedder: Embedder | None = None,
        credentials: CredentialProvider | None = None,
        schema: str | None = None,
        migrate: bool | None = None,
        min_size: int = 1,
        max_size: int = 10,
        max_idle: float = 600.0,
        timeout: float = 10.0,
        embedding_deadline: float = 10.0,
    ) -> None:
        self._target = Lakebase.from_env() if target is None else target
        self._embeddings = AsyncEmbeddings(embedder, embedding_deadline)
        self._schema = schema_name(schema)
        self._storage: AsyncStorage = AsyncDatabase(
            connector_for(self._target, credentials),
            schema=self._schema,
            migrate=self._target.kind == "embedded" if migrate is None else migrate,
            min_size=min_size,
            max_size=max_size,
            max_idle=max_idle,
            timeout=timeout,
        )

    @property
    def target(self) -> Lakebase:
        """Where the database is."""
        return self._target

    @property
    def schema(self) -> str:
        """The Postgres schema of lakemem's tables."""
        return self._schema

    async def open(self) -> None:
        """Connect, and check the tables.

        Raises:
            StorageUnavailableError: Postgres cannot be reached.
            SchemaError: its tables do not fit this version of lakemem.
        """
        await self._storage.open()

    async def close(self) -> None:
        """Give back all connections; leave the embedded server."""
        await self._storage.close()

    async def __aenter__(self) -> AsyncMemory:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def setup(self) -> list[str]:
        """Create or upgrade the tables; needs no `open`.

        Any number of processes may do so at once.

        Returns:
            The names of the migrations that were applied; none where the tables are as they should be.

        Raises:
            StorageUnavailableError: Postgres cannot be reached.
            StorageError: this role may not create a schema, or the extension `vector`.
            SchemaError: the database is not in UTF8.
        """
        return await self._storage.setup()

    async def health(self) -> Health:
        """Say how memory is; it does not raise when Postgres is down."""
        return await self._storage.health()

    async def sweep(
        self, retention: Retention | None = None, *, progress: Callable[[Swept], None] | None = None
    ) -> Swept:
        """Remove, of all owners, what has expired, and the checkpoints that a retention does not keep.

        Nobody sees what has expired; this gives its room back. It goes in batches, each of them one transaction,
        beside all that goes on, and may be stopped and begun again. Run it as the owner of the tables: an app has
        no right to remove the marks of writes.

        Args:
            retention: which checkpoints of each thread to keep; by default all.
            progress: is told what was removed so far, after each batch.
        """
        return await AsyncSweep(self._storage, retention, progress).run()

    def for_user(self, user_id: str) -> AsyncScopedMemory:
        """The memory of one user. The database itself confines what follows to it. No I/O.

        Raises:
            InvalidInputError: the id cannot name a user.
        """
        return AsyncScopedMemory(self._storage, self._embeddings, f"user:{check_identifier('user_id', user_id)}")

    def for_scope(self, scope: str) -> AsyncScopedMemory:
        """The memory that a team, a tenant or an agent shares; no user's own memory is in it. No I/O.

        Raises:
            InvalidInputError: the name cannot name a scope.
        """
        return AsyncScopedMemory(self._storage, self._embeddings, f"scope:{check_identifier('scope', scope)}")

    def logged_in_as(
        self, credentials: CredentialProvider, *, max_size: int = 2, max_idle: float = 60.0
    ) -> AsyncMemory:
        """The same tables and embedder, through a pool of its own whose logins use other credentials.

        It is not open yet, never changes tables, and keeps no connection that nobody uses.
        """
        memory = AsyncMemory(
            self._target,
            credentials=credentials,
            schema=self._schema,
            migrate=False,
            min_size=0,
            max_size=max_size,
            max_idle=max_idle,
        )
        memory._embeddings = self._embeddings
        return memory

    def through(self, wrap: Callable[[AsyncStorage], AsyncStorage]) -> AsyncMemory:
        """The same memory, its operations run by what `wrap` makes of the storage."""
        memory = copy(self)
        memory._storage = wrap(self._storage)
        return memory

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self._target}>"


class AsyncScopedMemory:
    """What one user, or one shared scope, remembers. Nothing that it does can touch anyone else's rows.

    A memory is a JSON value under a key, in a namespace: a tuple of labels, such as ``("preferences",
    "travel")``. Saving under the same key again makes a new version.
    """

    def __init__(self, storage: AsyncStorage, embeddings: AsyncEmbeddings, owner: str) -> None:
        self._storage = storage
        self._embeddings = embeddings
        self._owner = owner

    @property
    def owner(self) -> str:
        """``user:ID`` or ``scope:ID``."""
        return self._owner

    @property
    def is_degraded(self) -> bool:
        """Whether memory is down and :func:`~lakemem.degrading` answers in its place: what is read is empty."""
        return self._storage.is_degraded

    @property
    def checkpoints(self) -> AsyncCheckpoints:
        """The checkpoints of this owner's graphs, for adapters."""
        return AsyncCheckpoints(self._storage, self._owner)

    def thread(self, thread_id: str | None = None) -> AsyncThread:
        """A conversation of this owner; a new one without an id. No I/O: a thread begins with its first item."""
        thread_id = resolve_thread_id() if thread_id is None else check_identifier("thread_id", thread_id)
        return AsyncThread(self._storage, self._owner, thread_id)

    async def threads(
        self, limit: int | None = 100, *, filter: Mapping[str, Any] | None = None, after: str | None = None
    ) -> list[ThreadInfo]:
        """Return this owner's threads, the last active first.

        Args:
            limit: how many at the most; None for all.
            filter: what their metadata must contain.
            after: the `cursor` of the last thread of a page, for the page after it. What is written in the
                meantime neither repeats nor skips a thread, unless that thread itself becomes active: then it is
                on top of the first page.

        Raises:
            InvalidInputError: an argument is not what it should be.
        """
        return await self._storage.run(threads.listing(self._owner, limit, filter=filter, after=after))

    async def search_threads(self, query: str, *, limit: int | None = 10) -> list[ThreadHit]:
        """Return the items of this owner's threads in which words of the query stand, the best first.

        Words are compared by their stems, by the rules of English. The more and the rarer the words, the better
        the hit; of equally good ones the newest is first. It reads every item of the owner: some 10 ms for each
        thousand of them.

        Args:
            query: words to look for. Those that stand everywhere, such as "the", do not count.
            limit: how many at the most; None for all.

        Raises:
            InvalidInputError: the query is blank, or not a text.
        """
        return await self._storage.run(transcripts.search(self._owner, query, limit))

    async def export(self, thread_id: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """Yield the threads and their items as JSON objects: each thread, then its items in their order.

        Each has a ``kind``, ``"thread"`` or ``"item"``; times are ISO 8601. They are read in batches, each of them
        one round trip; so what others write in the meantime may be in it or not.

        Args:
            thread_id: only this thread.

        Raises:
            StorageUnavailableError: memory is down. :func:`~lakemem.degrading` does not answer in its place.
        """
        place: transcripts.Place | None = transcripts.BEGINNING
        while place is not None:
            batch = await self._storage.run(transcripts.export(self._owner, thread_id, place))
            for record in batch.records:
                yield record
            place = batch.end

    async def save(
        self,
        key: str | None,
        value: Any,
        *,
        namespace: Sequence[str] = (),
        text: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        importance: float = 0.5,
        thread_id: str | None = None,
        position: int | None = None,
        occurred_at: datetime | None = None,
        expires_in: float | None = None,
    ) -> MemoryRecord:
        """Remember a JSON value; a value that is there already becomes an earlier version.

        Args:
            key: the name of the memory; None to make one up.
            value: what to remember: anything that JSON can say.
            namespace: where the key belongs; the same key in another namespace is another memory.
            text: what search reads; by default the words of the key and the value.
            metadata: a JSON object to filter by.
            importance: 0 to 1.
            thread_id, position: the thread and the item it was learnt from.
            occurred_at: when it happened.
            expires_in: seconds until it is forgotten.

        Returns:
            The version that was saved.

        Raises:
            InvalidInputError: an argument cannot be stored. Nothing was written.
            EmbeddingError: the embedder returned something that is not a vector. Nothing was written.
        """
        draft = memories.draft(
            key,
            value,
            namespace=namespace,
            text=text,
            metadata=metadata,
            importance=importance,
            thread_id=thread_id,
            position=position,
            occurred_at=occurred_at,
            expires_in=expires_in,
        )
        embedded = await self._embeddings.embed(draft.text)
        return await self._storage.run(memories.save(self._owner, draft, embedded))

    async def get(self, key: str, *, namespace: Sequence[str] = ()) -> MemoryRecord | None:
        """Return the current version of a memory; None where there is none, or it has expired."""
        return await self._storage.run(memories.get(self._owner, key, namespace))

    async def items(
        self,
        *,
        namespace: Sequence[str] = (),
        filter: Mapping[str, Any] | None = None,
        limit: int | None = 100,
        offset: int = 0,
    ) -> list[MemoryRecord]:
        """Return current memories, the newest first.

        Args:
            namespace: the first labels of the namespaces to look in; by default all.
            filter: what their metadata must contain.
            limit: how many at the most; None for all.
            offset: how many to leave out first.
        """
        return await self._storage.run(
            memories.items(self._owner, namespace=namespace, filter=filter, limit=limit, offset=offset)
        )

    async def update(
        self,
        key: str,
        value: Any = _UNCHANGED,
        *,
        namespace: Sequence[str] = (),
        text: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_in: float | None = None,
        expected_version: int | None = None,
    ) -> MemoryRecord:
        """Change a memory that is there; what is not given stays as it is.

        Args:
            key: the name of the memory.
            value: the new value; the text that search reads follows it, unless `text` is given too.
            namespace: where the key belongs.
            text: what search reads.
            metadata: replaces all metadata.
            expires_in: seconds from now until it is forgotten.
            expected_version: fail unless this is the current version.

        Returns:
            The new version.

        Raises:
            MemoryNotFoundError: there is no memory under this key.
            ConflictError: it is at another version than expected.
            InvalidInputError: an argument cannot be stored. Nothing was written.
        """
        draft = memories.change(
            key,
            value,
            has_value=value is not _UNCHANGED,
            namespace=namespace,
            text=text,
            metadata=metadata,
            expires_in=expires_in,
        )
        embedded = await self._embeddings.embed(draft.text)
        return await self._storage.run(memories.update(self._owner, draft, embedded, expected_version=expected_version))

    async def delete(self, key: str, *, namespace: Sequence[str] = (), erase: bool = False) -> bool:
        """Forget a memory; False where there is none.

        It is found no more. Its versions stay in the database for the record, unless they are erased.

        Args:
            key: the name of the memory.
            namespace: where the key belongs.
            erase: remove every version for good.
        """
        return await self._storage.run(memories.delete(self._owner, key, namespace, erase=erase))

    async def search(
        self,
        query: str,
        *,
        namespace: Sequence[str] = (),
        filter: Mapping[str, Any] | None = None,
        limit: int | None = 10,
        min_similarity: float | None = None,
    ) -> list[Hit]:
        """Return the memories that fit a question best, by meaning and by words, the best first.

        Without an embedder, or while it is down, the search goes by words alone, and `Hit.arms` says so.

        Args:
            query: a question, or key words.
            namespace: the first labels of the namespaces to look in; by default all.
            filter: what their metadata must contain.
            limit: how many at the most; None for all.
            min_similarity: leave out what is less similar in meaning than this, -1 to 1. What has no vector to
                compare is found by its words all the same.
        """
        embedded = await self._embeddings.embed(memories.check_query(query))
        return await self._storage.run(
            memories.search(
                self._owner,
                memories.check_query(query),
                embedded,
                namespace=namespace,
                filter=filter,
                limit=limit,
                min_similarity=min_similarity,
            )
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._owner}>"
