"""Reads the tables of the source, as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib.resources import files
from itertools import count
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection, IsolationLevel, sql

from lakemem._sql import named_statements
from lakemem.errors import ConfigurationError

FETCHED_ROWS = 100


class Message(NamedTuple):
    id: int
    item: str
    created_at: datetime


class Session(NamedTuple):
    thread_id: str
    created_at: datetime
    updated_at: datetime


class Thread(NamedTuple):
    thread_id: str
    first_at: str | None
    last_at: str | None
    users: list[str]


class Checkpoint(NamedTuple):
    checkpoint_ns: str
    checkpoint_id: str
    parent_id: str | None
    checkpoint: str
    versions: str
    metadata: str
    at: str | None


class Blob(NamedTuple):
    checkpoint_ns: str
    channel: str
    version: str
    type: str
    blob: bytes


class Write(NamedTuple):
    checkpoint_ns: str
    checkpoint_id: str
    task_id: str
    task_path: str
    idx: int
    channel: str
    type: str
    blob: bytes


class Item(NamedTuple):
    key: str
    value: str
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    ttl_minutes: float | None
    vector: str | None


class Mem0Owner(NamedTuple):
    """Whose some memories of mem0 are. `agent_id` is given where there is no user."""

    user_id: str | None
    agent_id: str | None


class Mem0Memory(NamedTuple):
    id: str
    payload: str
    vector: str | None


class Source:
    """A database with tables to import. It is only read, in one transaction.

    Args:
        connection: in no transaction; it is left in one.
        schema: where the tables are.
        sessions_table, messages_table: the names of the Agents SDK's tables.
        mem0_table: the name of mem0's collection.
        with_vectors: whether the store's items, and mem0's memories, come with their vectors.
    """

    def __init__(
        self,
        connection: Connection[Any],
        *,
        schema: str = "public",
        sessions_table: str = "agent_sessions",
        messages_table: str = "agent_messages",
        mem0_table: str = "mem0",
        with_vectors: bool = False,
    ) -> None:
        connection.autocommit = False
        connection.read_only = True
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        self._connection = connection
        self._schema = schema
        self._sessions = sessions_table
        self._messages = messages_table
        self._mem0 = mem0_table
        self._cursors = count()
        self._statements = named_statements(files(__package__).joinpath("sources.sql").read_text("utf-8"))
        self._columns = set(connection.execute(self._statements["columns"].encode(), {"schema": schema}))
        self._with_vectors = with_vectors

    @property
    def has_sessions(self) -> bool:
        return {(self._sessions, "session_id"), (self._messages, "message_data")} <= self._columns

    @property
    def has_checkpoints(self) -> bool:
        return {("checkpoints", "checkpoint"), ("checkpoint_blobs", "blob")} <= self._columns

    @property
    def has_items(self) -> bool:
        return {("store", "prefix"), ("store", "value")} <= self._columns

    @property
    def has_mem0(self) -> bool:
        return {(self._mem0, "id"), (self._mem0, "vector"), (self._mem0, "payload")} <= self._columns

    def count(self, statement: str) -> int:
        row = self._connection.execute(self._bound(statement)).fetchone()
        return 0 if row is None else int(row[0])

    def sessions(self) -> Iterator[Session]:
        return map(Session._make, self._stream("sessions"))

    def messages(self, thread_id: str, *, after: int) -> Iterator[Message]:
        """The messages of a session whose ids are above `after`, in the order of their ids."""
        return map(Message._make, self._stream("messages", {"thread_id": thread_id, "after": after}))

    def threads(self, user_key: str | None) -> Iterator[Thread]:
        """The threads of the checkpoints, with the users whom their metadata names under `user_key`."""
        return map(Thread._make, self._stream("threads", {"user_key": user_key}))

    def checkpoints(self, thread_id: str) -> Iterator[Checkpoint]:
        return map(Checkpoint._make, self._stream("checkpoints", {"thread_id": thread_id}))

    def blobs(self, thread_id: str) -> Iterator[Blob]:
        return map(Blob._make, self._stream("blobs", {"thread_id": thread_id}))

    def writes(self, thread_id: str) -> Iterator[Write]:
        return map(Write._make, self._stream("writes", {"thread_id": thread_id}))

    def prefixes(self) -> Iterator[str]:
        """The namespaces of the store, joined by dots."""
        return (prefix for (prefix,) in self._stream("prefixes"))

    def items(self, prefix: str) -> Iterator[Item]:
        return map(Item._make, self._stream("items", {"prefix": prefix}))

    def mem0_owners(self) -> Iterator[Mem0Owner]:
        return map(Mem0Owner._make, self._stream("mem0_owners"))

    def mem0_memories(self, owner: Mem0Owner) -> Iterator[Mem0Memory]:
        return map(Mem0Memory._make, self._stream("mem0_memories", owner._asdict()))

    def _stream(self, statement: str, parameters: Mapping[str, Any] | None = None) -> Iterator[tuple[Any, ...]]:
        """Rows through a cursor of the server, so that this process holds a few of them at a time."""
        with self._connection.cursor(f"lakemem_import_{next(self._cursors)}") as cursor:
            cursor.itersize = FETCHED_ROWS
            try:
                cursor.execute(self._bound(statement), parameters, binary=True)
            except psycopg.errors.UndefinedColumn as error:
                raise ConfigurationError(
                    f"a table in the schema {self._schema!r} is not what its library makes today: {error}"
                ) from None
            yield from cursor

    def _bound(self, statement: str) -> sql.Composed:
        """A statement on the schema of the source, with NULL for what its older tables do not have."""
        return sql.SQL(self._statements[statement]).format(
            schema=sql.Identifier(self._schema),
            sessions=sql.Identifier(self._sessions),
            messages=sql.Identifier(self._messages),
            task_path=self._column("checkpoint_writes", "task_path", otherwise="''"),
            expires_at=self._column("store", "expires_at", otherwise="NULL::timestamptz"),
            ttl_minutes=self._column("store", "ttl_minutes", otherwise="NULL"),
            mem0=sql.Identifier(self._mem0),
            vector=self._vector(statement),
        )

    def _vector(self, statement: str) -> sql.Composable:
        if self._with_vectors and statement == "items" and ("store_vectors", "embedding") in self._columns:
            return self._bound("vector")
        if self._with_vectors and statement == "mem0_memories":
            return sql.SQL("vector::text")
        return sql.SQL("NULL::text")

    def _column(self, table: str, column: str, *, otherwise: str) -> sql.Composable:
        return sql.Identifier(column) if (table, column) in self._columns else sql.SQL(otherwise)
