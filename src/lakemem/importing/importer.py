"""Writes into lakemem's tables what the source has."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

from psycopg import Connection

from lakemem.errors import ConfigurationError, InvalidInputError
from lakemem.importing.moving import Moving, batches
from lakemem.importing.owners import Owners
from lakemem.importing.reports import Report, Watcher
from lakemem.importing.source import Item, Message, Session, Source, Thread
from lakemem.importing.vectors import Vectors
from lakemem.operations import drafting
from lakemem.validation import check_identifier

SESSIONS, CHECKPOINTS, STORE = "sessions", "checkpoints", "store"
PARTS = (SESSIONS, CHECKPOINTS, STORE)

THERE_ALREADY = "that are in lakemem already, written by something else than this import"
NO_JSON = "items that are no JSON object"


class Importer:
    """Moves the data of one source.

    Args:
        source: what to read.
        target: a connection in autocommit to the database with lakemem's tables.
        statements: lakemem's, bound to its schema.
        owners: says whose the data becomes.
        watcher: hears how it proceeds.
        vector_model: the model that made the store's vectors, where lakemem's embedder has the same; otherwise
            memories come without vectors.
    """

    def __init__(
        self,
        source: Source,
        target: Connection[Any],
        *,
        statements: Mapping[str, bytes],
        owners: Owners,
        watcher: Watcher,
        vector_model: str | None = None,
    ) -> None:
        self._source = source
        self._moving = Moving(target, statements, watcher)
        self._owners = owners
        self._vectors = Vectors(vector_model)

    def run(self, parts: Iterable[str] = PARTS) -> list[Report]:
        """Import what the source has of these parts.

        Raises:
            ConfigurationError: it has nothing of them.
        """
        source = self._source
        kinds: dict[str, tuple[bool, Callable[[], Report]]] = {
            SESSIONS: (source.has_sessions, self._import_sessions),
            CHECKPOINTS: (source.has_checkpoints, self._import_checkpoints),
            STORE: (source.has_items, self._import_store),
        }
        reports = [run() for is_there, run in map(kinds.__getitem__, parts) if is_there]
        if not reports:
            raise ConfigurationError(
                f"the source has no tables of {' or '.join(parts)} in this schema that this login may read: "
                "name their schema with --source-schema"
            )
        return reports

    def _import_sessions(self) -> Report:
        return self._moving.each(
            Report("threads of the Agents SDK"),
            self._source.count("session_count"),
            self._source.sessions(),
            lambda session: self._owners.owner_of(session.thread_id),
            self._move_session,
        )

    def _import_checkpoints(self) -> Report:
        return self._moving.each(
            Report("threads of LangGraph"),
            self._source.count("thread_count"),
            self._source.threads(self._owners.metadata_key),
            lambda thread: self._owners.owner_of(thread.thread_id, thread.users),
            self._move_checkpoints,
        )

    def _import_store(self) -> Report:
        return self._moving.each(
            Report("namespaces of LangGraph's store"),
            self._source.count("prefix_count"),
            self._source.prefixes(),
            self._owners.owner_of,
            self._move_items,
        )

    def _move_session(self, owner: str, session: Session) -> Report:
        """New messages of a session become items of the thread.

        How far an earlier import came stands in a mark. A thread that has items but no mark is none of ours.
        """
        report = Report("")
        thread = {"owner": owner, "thread_id": check_identifier("thread_id", session.thread_id)}
        times = {"created_at": session.created_at, "updated_at": session.updated_at}
        self._moving.execute("importing.begin_thread", {**thread, **times})
        position = before = int(self._moving.execute("importing.hold_thread", thread)[0][0])
        marks = Marks(session)
        found = self._moving.execute(
            "importing.last_mark", {"owner": owner, "first": marks.at(0), "last": marks.at(marks.LAST)}
        )
        if not found and position > 0:
            report.left[THERE_ALREADY] += 1
            return report
        last_id = after = marks.id_of(found[0][0]) if found else 0
        for batch in batches(self._source.messages(session.thread_id, after=after), lambda message: len(message.item)):
            last_id = batch[-1].id
            readable = [message for message in batch if _is_object(message)]
            if len(readable) < len(batch):
                report.left[NO_JSON] += len(batch) - len(readable)
            items = {"items": [message.item for message in readable]}
            moments = {"moments": [message.created_at for message in readable]}
            self._moving.execute("importing.add_items", {**thread, **items, **moments, "before": position})
            position += len(readable)
        if last_id > after or not found:
            self._moving.execute("importing.mark", {"owner": owner, "write_id": marks.at(last_id)})
        self._moving.execute("importing.end_thread", {**thread, **times, "last_position": position})
        if position > before:
            report.moved["items"] += position - before
        if not found:
            report.moved["threads"] += 1
        return report

    def _move_checkpoints(self, owner: str, thread: Thread) -> Report:
        """Checkpoints, values and writes have keys of their own: what is there already stays."""
        report = Report("")
        address = {"owner": owner, "thread_id": check_identifier("thread_id", thread.thread_id)}
        times = {"created_at": _moment(thread.first_at), "updated_at": _moment(thread.last_at)}
        begun = self._moving.count("importing.begin_thread", {**address, **times})
        for blobs in batches(self._source.blobs(thread.thread_id), lambda blob: len(blob.blob)):
            columns = {
                "checkpoint_nss": [blob.checkpoint_ns for blob in blobs],
                "channels": [blob.channel for blob in blobs],
                "versions": [blob.version for blob in blobs],
                "types": [blob.type for blob in blobs],
                "blobs": [blob.blob for blob in blobs],
            }
            report.moved["values"] += self._moving.count("importing.add_blobs", {**address, **columns})
        for writes in batches(self._source.writes(thread.thread_id), lambda write: len(write.blob)):
            columns = {
                "checkpoint_nss": [write.checkpoint_ns for write in writes],
                "checkpoint_ids": [write.checkpoint_id for write in writes],
                "task_ids": [write.task_id for write in writes],
                "task_paths": [write.task_path for write in writes],
                "idxs": [write.idx for write in writes],
                "channels": [write.channel for write in writes],
                "types": [write.type for write in writes],
                "blobs": [write.blob for write in writes],
            }
            report.moved["writes"] += self._moving.count("importing.add_writes", {**address, **columns})
        for steps in batches(self._source.checkpoints(thread.thread_id), lambda step: len(step.checkpoint)):
            columns = {
                "checkpoint_nss": [step.checkpoint_ns for step in steps],
                "checkpoint_ids": [step.checkpoint_id for step in steps],
                "parent_ids": [step.parent_id for step in steps],
                "checkpoints": [step.checkpoint.encode() for step in steps],
                "versions": [step.versions for step in steps],
                "metadata": [step.metadata for step in steps],
                "moments": [_moment(step.at) for step in steps],
            }
            report.moved["checkpoints"] += self._moving.count("importing.add_checkpoints", {**address, **columns})
        report.moved["threads"] += begun
        report.moved = +report.moved
        return report

    def _move_items(self, owner: str, prefix: str) -> Report:
        """An item becomes a version of a memory, unless that memory was written or deleted since."""
        report = Report("")
        namespace = tuple(prefix.split("."))
        for batch in batches(self._source.items(prefix), lambda item: len(item.value)):
            rows = []
            for item in batch:
                try:
                    rows.append(self._memory(owner, namespace, item, report))
                except InvalidInputError as error:
                    report.left[f"items because {error}"] += 1
            report.moved["memories"] += self._moving.count_many("importing.add_memory", rows)
        report.moved = +report.moved
        return report

    def _memory(self, owner: str, namespace: tuple[str, ...], item: Item, report: Report) -> dict[str, Any]:
        draft = drafting.draft(
            item.key,
            json.loads(item.value),
            namespace=namespace,
            text=None,
            metadata=None,
            importance=0.5,
            thread_id=None,
            position=None,
            occurred_at=None,
            expires_in=None,
        )
        embedded = self._vectors.embedded(item.vector)
        if item.vector is not None and embedded.vector is None:
            report.left["vectors that are no vectors of numbers"] += 1
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
            "expires_at": item.expires_at,
            "ttl": item.ttl_minutes * 60 if item.ttl_minutes and item.ttl_minutes > 0 else None,
            "updated_at": item.updated_at,
            "created_at": item.created_at,
        }


class Marks:
    """How far the import of a session came: ids of writes that were applied.

    The first half of such an id stands for the session, which its name and the moment it began tell from every
    other; the second half is the id of the last message that came over.
    """

    LAST = 2**64 - 1

    def __init__(self, session: Session) -> None:
        name = json.dumps(["lakemem import", session.thread_id, session.created_at.astimezone(UTC).isoformat()])
        self._session = hashlib.sha256(name.encode()).digest()[:8]

    def at(self, message_id: int) -> uuid.UUID:
        return uuid.UUID(bytes=self._session + message_id.to_bytes(8, "big"))

    @staticmethod
    def id_of(mark: uuid.UUID) -> int:
        return int.from_bytes(mark.bytes[8:], "big")


def _is_object(message: Message) -> bool:
    """Whether Postgres takes a message as JSON, and the library as an item."""
    try:
        return isinstance(json.loads(message.item, parse_constant=_refuse_constant), dict)
    except (ValueError, RecursionError):
        return False


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _moment(text: str | None) -> datetime:
    """When a checkpoint says that it was made; now, where it does not."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return datetime.now(UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
