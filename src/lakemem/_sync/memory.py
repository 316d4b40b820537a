# Generated from src/lakemem/_async/memory.py by tools/unasync.py: edit that file, then run `make generate`.
"""The root: the pool of connections, and the way to what one owner has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from types import TracebackType

from lakemem._sync.auditing import AuditLog
from lakemem._sync.consolidating import Consolidating
from lakemem._sync.database import Database, Storage
from lakemem._sync.embeddings import Embeddings
from lakemem._sync.guarding import Guarding
from lakemem._sync.jobs import Worker
from lakemem._sync.keys import Keys
from lakemem._sync.reembedding import Reembedding
from lakemem._sync.scoped import ScopedMemory
from lakemem._sync.sealing import SealedStorage
from lakemem._sync.sweeping import Sweep
from lakemem.connecting import connector_for
from lakemem.consolidation import Consolidation
from lakemem.encryption import Encryption
from lakemem.errors import InvalidInputError
from lakemem.forgetting import AuditEvent
from lakemem.guarding import Guard
from lakemem.protocols import CredentialProvider, Embedder, Extractor
from lakemem.schema import schema_name
from lakemem.scopes import Scope, scope_owner, user_owner
from lakemem.target import Lakebase, is_deployed
from lakemem.types import Health
from lakemem.work_types import Consolidated, Reembedded, Retention, Swept


class Memory:
    """Short-term and long-term memory in one Postgres.

    The constructor does no I/O. Use it as a context manager, or call `open` and `close`::

        with Memory() as memory:
            user = memory.for_user("alice")

    Args:
        target: where the database is; by default what :meth:`Lakebase.from_env` finds.
        embedder: turns texts into vectors; without one, search goes by words alone.
        credentials: gives the password for each new connection, such as :class:`CachedCredentials`.
        schema: the Postgres schema of lakemem's tables; by default ``LAKEBASE_AGENT_MEMORY_SCHEMA``, else
            ``lakemem``.
        migrate: whether `open` creates or upgrades the tables; by default only on an embedded Postgres.
        production: whether `open` refuses a login that row-level security does not confine, such as a superuser's;
            by default in a deployed app (``DATABRICKS_APP_NAME`` is set). Elsewhere the log has a warning.
        min_size: connections that are kept open.
        max_size: connections at the most.
        max_idle: seconds after which a connection beyond `min_size` is closed when nobody uses it.
        timeout: seconds to wait for a connection.
        embedding_deadline: seconds to wait for the embedder.
        guard: what may be stored in memories, and what is held back; by default all is stored as it is.
        encryption: encrypts what users store before it leaves the process; by default with the master keys of
            ``LAKEMEM_MASTER_KEYS``, and not at all where that is not set.

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
        production: bool | None = None,
        min_size: int = 1,
        max_size: int = 10,
        max_idle: float = 600.0,
        timeout: float = 10.0,
        embedding_deadline: float = 10.0,
        guard: Guard | None = None,
        encryption: Encryption | None = None,
    ) -> None:
        self._target = Lakebase.from_env() if target is None else target
        self._embeddings = Embeddings(embedder, embedding_deadline)
        self._guard = Guarding(guard)
        self._schema = schema_name(schema)
        self._production = is_deployed() if production is None else production
        self._storage: Storage = Database(
            connector_for(self._target, credentials),
            target=self._target,
            schema=self._schema,
            migrate=self._target.kind == "embedded" if migrate is None else migrate,
            production=self._production,
            min_size=min_size,
            max_size=max_size,
            max_idle=max_idle,
            timeout=timeout,
        )
        self._encryption = Encryption.from_env() if encryption is None else encryption
        if self._encryption is not None:
            self._storage = SealedStorage(self._storage, self._encryption)

    @property
    def target(self) -> Lakebase:
        """Where the database is."""
        return self._target

    @property
    def schema(self) -> str:
        """The Postgres schema of lakemem's tables."""
        return self._schema

    def open(self) -> None:
        """Connect, and check the tables.

        Raises:
            StorageUnavailableError: Postgres cannot be reached.
            SchemaError: its tables do not fit this version of lakemem.
            ConfigurationError: in production, Postgres does not keep users apart for this login.
        """
        self._storage.open()

    def close(self) -> None:
        """Give back all connections; leave the embedded server."""
        self._storage.close()

    def __enter__(self) -> Memory:
        self.open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def setup(self) -> list[str]:
        """Create or upgrade the tables; needs no `open`.

        Any number of processes may do so at once.

        Returns:
            The names of the migrations that were applied; none where the tables are as they should be.

        Raises:
            StorageUnavailableError: Postgres cannot be reached.
            StorageError: this role may not create a schema, or the extension `vector`.
            SchemaError: the database is not in UTF8.
        """
        return self._storage.setup()

    def health(self) -> Health:
        """Say how memory is; it does not raise when Postgres is down."""
        return self._storage.health()

    def sweep(
        self,
        retention: Retention | None = None,
        *,
        keep_runs: float | None = 30 * 86400.0,
        keep_run_events: float | None = 7 * 86400.0,
        progress: Callable[[Swept], None] | None = None,
    ) -> Swept:
        """Remove, of all owners, what has expired, old runs, and the checkpoints that a retention does not keep.

        Nobody sees what has expired; this gives its room back. It goes in batches, each of them one transaction,
        beside all that goes on, and may be stopped and begun again. Run it as the owner of the tables: an app has
        no right to remove the marks of writes.

        Args:
            retention: which checkpoints of each thread to keep; by default all.
            keep_runs: seconds from its end for which a run is kept; None for ever.
            keep_run_events: seconds from its end for which the events of a run are kept; None as long as the run.
            progress: is told what was removed so far, after each batch.

        Raises:
            InvalidInputError: a number cannot be.
        """
        sweep = Sweep(self._storage, retention, keep_runs=keep_runs, keep_run_events=keep_run_events, progress=progress)
        return sweep.run()

    def audit(self, erased: str) -> Iterator[AuditEvent]:
        """Yield what the audit log says of somebody who was erased.

        Args:
            erased: the `owner` of the receipt.

        Raises:
            InvalidInputError: no receipt has such an owner.
            StorageError: this login may not read the log; the owner of the tables may.
        """
        if not re.fullmatch(r"erased:[0-9a-f]{64}", erased):
            raise InvalidInputError("erased must be the owner of a receipt: erased: and 64 hexadecimal digits")
        return AuditLog(self._storage).under(erased)

    def consolidate(
        self,
        policy: Consolidation | None = None,
        *,
        dry_run: bool = False,
        progress: Callable[[Consolidated], None] | None = None,
    ) -> Consolidated:
        """Follow a policy through the memories of all owners; see :meth:`ScopedMemory.consolidate`.

        Run it as the owner of the tables.

        Raises:
            ConfigurationError: this login does not own the tables.
            InvalidInputError: the policy has a number that cannot be.
        """
        return Consolidating(self._storage, policy, dry_run=dry_run, progress=progress).everybody()

    def reembed(
        self,
        embedder: Embedder,
        *,
        finish: bool = False,
        replace: bool = False,
        dry_run: bool = False,
        progress: Callable[[Reembedded], None] | None = None,
    ) -> Reembedded:
        """Change the embedder of the memories of all owners, while they are searched and written to.

        Each version gets a vector of the new embedder besides the one it has, the current ones first. A search finds
        by either embedder what has a vector of it. So call this, start the app anew with the new embedder, and call
        this once more with `finish`. It goes in batches, each of them one transaction, and may be stopped and begun
        again, also by several processes at once. Run it as the owner of the tables.

        Args:
            embedder: the new one.
            finish: when the app has the new embedder: fill what is left, and let the new vectors take the place of
                the old ones.
            replace: drop the vectors of another change that was begun and is not to be finished.
            dry_run: change nothing, and say what there is to do.
            progress: is told what was done so far, after each batch.

        Raises:
            ConfigurationError: this login does not own the tables.
            ConflictError: another change was begun, and not finished.
            EmbedderUnavailableError: the embedder failed. What was done is kept.
            EmbeddingError: the embedder returned something that is not a vector. What was done is kept.
        """
        reembedding = Reembedding(self._storage, embedder, replace=replace, progress=progress)
        if dry_run:
            return reembedding.look()
        filled = reembedding.fill()
        return reembedding.move() if finish else filled

    @property
    def keys(self) -> Keys:
        """The data keys of all owners: to encrypt what is stored in clear, and to rotate. Use it as the tables' owner.

        Raises:
            ConfigurationError: the memory has no encryption.
        """
        return Keys(self._storage)

    def worker(
        self,
        extractor: Extractor | None = None,
        *,
        deadline: float = 60.0,
        lease: float = 180.0,
        interval: float = 1.0,
        max_attempts: int = 8,
        pause: float = 5.0,
        max_pause: float = 3600.0,
    ) -> Worker:
        """What does the jobs of all owners: extracts facts from what they remember, fills in late vectors. No I/O.

        Args:
            extractor: finds facts; without one, only vectors are filled in.
            deadline: seconds to wait for the extractor.
            lease: seconds after which another worker may take over what this one has begun.
            interval: seconds between two looks for jobs when there are none.
            max_attempts: how often a job is tried before it is given up.
            pause, max_pause: seconds before the second attempt, and at the most before any; each pause is twice as
                long as the one before.

        Raises:
            InvalidInputError: a number cannot be.
        """
        return Worker(
            self._storage,
            self._embeddings,
            extractor,
            deadline=deadline,
            lease=lease,
            interval=interval,
            max_attempts=max_attempts,
            pause=pause,
            max_pause=max_pause,
            guard=self._guard,
        )

    def for_user(self, user_id: str, *, scopes: Sequence[Scope] = ()) -> ScopedMemory:
        """The memory of one user. The database itself confines what follows to it. No I/O.

        Args:
            scopes: shared scopes that this user may read. A search finds their memories besides the user's own; all
                else, and every write, is the user's alone. Whoever calls this answers for the right to read them.

        Raises:
            InvalidInputError: the id cannot name a user.
        """
        return self._of(user_owner(user_id), scopes)

    def for_scope(self, scope: Scope, *, scopes: Sequence[Scope] = ()) -> ScopedMemory:
        """The memory that a team, a tenant or an agent shares; no user's own memory is in it. No I/O.

        Args:
            scope: its name, or several that make one scope together, such as
                ``{"team": "billing", "agent": "support"}``.
            scopes: other scopes in which a search looks besides.

        Raises:
            InvalidInputError: the name cannot name a scope.
        """
        return self._of(scope_owner(scope), scopes)

    def _of(self, owner: str, scopes: Sequence[Scope]) -> ScopedMemory:
        also_read = [scope_owner(scope) for scope in scopes]
        return ScopedMemory(self._storage, self._embeddings, owner, also_read, self._guard)

    def logged_in_as(self, credentials: CredentialProvider, *, max_size: int = 2, max_idle: float = 60.0) -> Memory:
        """The same tables and embedder, through a pool of its own whose logins use other credentials.

        It is not open yet, never changes tables, and keeps no connection that nobody uses.
        """
        memory = Memory(
            self._target,
            credentials=credentials,
            schema=self._schema,
            migrate=False,
            production=self._production,
            min_size=0,
            max_size=max_size,
            max_idle=max_idle,
            encryption=self._encryption,
        )
        memory._embeddings = self._embeddings
        memory._guard = self._guard
        return memory

    def through(self, wrap: Callable[[Storage], Storage]) -> Memory:
        """The same memory, its operations run by what `wrap` makes of the storage."""
        memory = copy(self)
        memory._storage = wrap(self._storage)
        return memory

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self._target}>"
