"""Memories of mem0, as its store for pgvector keeps them: a table of id, vector and payload.

Source: https://github.com/mem0ai/mem0/blob/main/mem0/vector_stores/pgvector.py, and memory/main.py for the payload.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from psycopg import Connection

from lakemem.embedding import CheckedEmbedder
from lakemem.errors import ConfigurationError, InvalidInputError
from lakemem.importing.moving import Moving, batches
from lakemem.importing.reports import Report, Watcher
from lakemem.importing.source import Mem0Memory, Mem0Owner, Source
from lakemem.importing.vectors import Vectors
from lakemem.operations import drafting, jobs
from lakemem.operations.drafting import Embedded
from lakemem.operations.jobs import Unembedded
from lakemem.protocols import Embedder
from lakemem.scopes import scope_owner, user_owner

NO_TEXT = "that have no text"
NO_VECTORS = "vectors that are no vectors of numbers"
EPOCH = datetime.fromtimestamp(0, UTC)

_NOT_METADATA = ("data", "hash", "created_at", "updated_at", "text_lemmatized", "expiration_date")
"""What a payload has beside metadata: it becomes columns, or is derived from the text."""


class Mem0Importer:
    """Moves the memories of one collection.

    A memory becomes that of its ``user_id``; without one, that of the shared scope named as its ``agent_id``.

    Args:
        source: what to read.
        target: a connection in autocommit to the database with lakemem's tables.
        statements: lakemem's, bound to its schema.
        watcher: hears how it proceeds.
        namespace: where in the owner's memory they go.
        everything: ``user:ID`` or ``scope:ID``, whose all of it becomes in place of that.
        users: mem0's user id -> user id; who is not in it is not known.
        vector_model: the model that made the vectors, where lakemem's embedder has the same; otherwise they stay
            behind.
        embedder: gives vectors to memories that have none.
    """

    def __init__(
        self,
        source: Source,
        target: Connection[Any],
        *,
        statements: Mapping[str, bytes],
        watcher: Watcher,
        namespace: Sequence[str],
        everything: str | None = None,
        users: Mapping[str, str] | None = None,
        vector_model: str | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        self._source = source
        self._moving = Moving(target, statements, watcher)
        self._namespace = tuple(namespace)
        self._everything = everything
        self._users = users
        self._vectors = Vectors(vector_model)
        self._embedder = None if embedder is None else CheckedEmbedder(embedder, cache_size=0)
        self._owners: set[str] = set()

    def run(self) -> Report:
        """Import what the source has.

        Raises:
            ConfigurationError: it has no such table.
            EmbeddingError: the embedder fails, or returns something that is not a vector. What came over stays, and
                gets its vectors when the import is run again.
        """
        if not self._source.has_mem0:
            raise ConfigurationError(
                "the source has no table of mem0 by this name in this schema that this login may read: "
                "name them with --table and --source-schema"
            )
        report = self._moving.each(
            Report("owners of mem0's memories"),
            self._source.count("mem0_owner_count"),
            self._source.mem0_owners(),
            self._owner_of,
            self._move,
        )
        if self._embedder is not None:
            for owner in sorted(self._owners):
                report.moved["vectors"] += self._embed(owner, self._embedder)
            report.moved = +report.moved
        return report

    def _owner_of(self, named: Mem0Owner) -> str | None:
        if self._everything is not None:
            return self._everything
        if named.user_id is not None:
            user = named.user_id if self._users is None else self._users.get(named.user_id)
            return None if user is None else user_owner(user)
        return None if named.agent_id is None else scope_owner(named.agent_id, "agent_id")

    def _move(self, owner: str, named: Mem0Owner) -> Report:
        """A memory becomes a version, unless it was written or deleted here since."""
        report = Report("")
        for batch in batches(self._source.mem0_memories(named), lambda memory: len(memory.payload)):
            rows = []
            for memory in batch:
                try:
                    rows.append(self._row(owner, memory, report))
                except InvalidInputError as error:
                    report.left[f"memories because {error}"] += 1
            report.moved["memories"] += self._moving.count_many(
                "importing.add_memory", [row for row in rows if row is not None]
            )
        report.moved = +report.moved
        self._owners.add(owner)
        return report

    def _row(self, owner: str, memory: Mem0Memory, report: Report) -> dict[str, Any] | None:
        payload = json.loads(memory.payload)
        text = payload.get("data") if isinstance(payload, dict) else None
        if not isinstance(text, str) or not text.strip():
            report.left[f"memories {NO_TEXT}"] += 1
            return None
        metadata = {name: value for name, value in payload.items() if name not in _NOT_METADATA}
        if owner == f"user:{metadata.get('user_id')}":
            del metadata["user_id"]
        draft = drafting.draft(
            memory.id,
            text,
            namespace=self._namespace,
            text=None,
            metadata=metadata,
            importance=0.5,
            thread_id=None,
            position=None,
            occurred_at=None,
            expires_in=None,
        )
        embedded = self._vectors.embedded(memory.vector)
        if memory.vector is not None and embedded.vector is None:
            report.left[NO_VECTORS] += 1
        created_at, updated_at = _moment(payload.get("created_at")), _moment(payload.get("updated_at"))
        return {
            "owner": owner,
            "namespace": draft.namespace,
            "key": draft.key,
            "value": draft.value,
            "text": draft.text,
            "metadata": draft.metadata,
            "embedding": embedded.vector,
            "embedding_model": embedded.model,
            "content_hash": draft.content_hash,
            "expires_at": _end(payload.get("expiration_date")),
            "ttl": None,
            # Always the same for the same payload, so that nothing comes over twice.
            "updated_at": updated_at or created_at or EPOCH,
            "created_at": created_at or updated_at or EPOCH,
        }

    def _embed(self, owner: str, embedder: CheckedEmbedder) -> int:
        """Give the owner's memories the vectors that they lack, page by page."""
        filled, after = 0, None
        while True:
            with self._moving.transaction(owner):
                found = self._moving.execute("jobs.unembedded", jobs.unembedded(owner, after).parameters)
            if not found:
                return filled
            page = [Unembedded(*row) for row in found]
            vectors = embedder.embed([memory.text for memory in page])
            embedded = [Embedded.of(vector, embedder.model) for vector in vectors]
            if any(vector is not None for vector in vectors):
                with self._moving.transaction(owner):
                    [(count,)] = self._moving.execute("jobs.embed", jobs.embed(owner, page, embedded).parameters)
                filled += count
            after = page[-1]


def _moment(given: object) -> datetime | None:
    """When a payload says that something was; None where it says nothing that can be read."""
    try:
        moment = datetime.fromisoformat(given) if isinstance(given, str) else None
    except ValueError:
        return None
    if moment is None or not 1 < moment.year < 9999:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _end(given: object) -> datetime | None:
    """When a memory with an expiration date is gone: when that day is over, in UTC."""
    try:
        day = date.fromisoformat(given) if isinstance(given, str) else None
    except ValueError:
        return None
    if day is None or not 1 < day.year < 9998:
        return None
    return datetime.combine(day, time(), UTC) + timedelta(days=1)
