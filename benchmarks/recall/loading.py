"""Puts memories into the tables of each contender by COPY, as a superuser: a benchmark need not wait for saves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy
import psycopg
from pgvector import HalfVector, Vector
from pgvector.psycopg import register_vector
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb
from side_by_side.server import Server

from lakemem import Lakebase
from lakemem.embedding import CheckedEmbedder
from recall.corpora import Turn
from recall.embeddings import CachedEmbedder, Vectors
from recall.stores import namespace
from recall.synthetic import Memories

OURS = {
    "owner": "text", "key": "text", "namespace": "text[]", "version": "int8", "valid_from": "timestamptz",
    "occurred_at": "timestamptz", "thread_id": "text", "position": "int8", "metadata": "jsonb", "value": "json",
    "text": "text", "content_hash": "bytea", "embedding_model": "text", "embedding": "halfvec",
    "stored_at": "timestamptz",
}  # fmt: skip
STORE = {"prefix": "text", "key": "text", "value": "jsonb"}
STORE_VECTORS = {"prefix": "text", "key": "text", "field_name": "text", "embedding": "vector"}
FLOOR = {"owner": "text", "embedding": "halfvec", "key": "text", "text": "text"}

FLOOR_TABLE = """
CREATE TABLE floor_memories (owner text COLLATE "C", embedding halfvec, key text, text text);
ALTER TABLE floor_memories ALTER COLUMN embedding SET STORAGE PLAIN;
CREATE INDEX ON floor_memories (owner);
GRANT SELECT ON floor_memories TO PUBLIC;
"""
HNSW = "store_vectors_embedding_idx"
MEMORY = "1GB"
"""To build the index of the peer in."""
SINCE = timedelta(minutes=1)
"""How long ago ours were stored: an index takes up what has been there for some seconds."""


def load_ours(server: Server, target: Lakebase, embedder: CachedEmbedder, scopes: Iterable[Memories]) -> None:
    model, now = CheckedEmbedder(embedder).model, datetime.now(UTC)
    with _superuser(server, target) as connection:
        for turns, vectors in _shuffled(scopes):
            rows = (_our_row(turn, vector, model, now) for turn, vector in zip(turns, vectors, strict=True))
            _copy(connection, "lakemem.memories", OURS, rows)


def load_peer(server: Server, target: Lakebase, scopes: Iterable[Memories]) -> None:
    """Its index is built afterwards, which takes a fraction of the time, and gives a better one."""
    with _superuser(server, target) as connection:
        made: Any = connection.execute("SELECT indexdef FROM pg_indexes WHERE indexname = %s", [HNSW]).fetchone()
        connection.execute(f"DROP INDEX {HNSW}")
        for turns, vectors in _shuffled(scopes):
            places = [(".".join(namespace(turn.scope)), turn.id) for turn in turns]
            items = ((*place, Jsonb({"text": turn.text})) for place, turn in zip(places, turns, strict=True))
            _copy(connection, "store", STORE, items)
            indexed = ((*place, "text", Vector(vector)) for place, vector in zip(places, vectors, strict=True))
            _copy(connection, "store_vectors", STORE_VECTORS, indexed)
        connection.execute("SELECT set_config('maintenance_work_mem', %s, false)", [MEMORY])
        connection.execute(made[0])


def load_floor(server: Server, target: Lakebase, scopes: Iterable[Memories]) -> None:
    with _superuser(server, target) as connection:
        connection.execute(FLOOR_TABLE)
        for turns, vectors in _shuffled(scopes):
            pairs = zip(turns, vectors, strict=True)
            rows = ((turn.scope, HalfVector(vector), turn.id, turn.text) for turn, vector in pairs)
            _copy(connection, "floor_memories", FLOOR, rows)


def _our_row(turn: Turn, vector: Vectors, model: str, now: datetime) -> tuple[Any, ...]:
    value = json.dumps(turn.text)
    return (
        f"user:{turn.scope}", turn.id, [], 1, now, turn.date, turn.thread, turn.position,
        Jsonb({"speaker": turn.speaker}), value, turn.text, hashlib.sha256(value.encode()).digest(), model,
        HalfVector(vector), now - SINCE,
    )  # fmt: skip


AT_ONCE = 50_000


def _shuffled(scopes: Iterable[Memories]) -> Iterator[tuple[list[Turn], Vectors]]:
    """Some tens of thousands at a time, in any order: users come and go, so that none has a part of the table alone."""
    random = numpy.random.default_rng(0)
    waiting: list[Memories] = []
    for scope in scopes:
        waiting.append(scope)
        if sum(len(scope.turns) for scope in waiting) >= AT_ONCE:
            yield _mixed_up(waiting, random)
            waiting = []
    if waiting:
        yield _mixed_up(waiting, random)


def _mixed_up(scopes: list[Memories], random: numpy.random.Generator) -> tuple[list[Turn], Vectors]:
    turns = [turn for scope in scopes for turn in scope.turns]
    places = random.permutation(len(turns))
    vectors = numpy.concatenate([scope.vectors for scope in scopes])
    return [turns[place] for place in places], vectors[places]


def _copy(
    connection: psycopg.Connection[Any], table: str, columns: dict[str, str], rows: Iterable[tuple[Any, ...]]
) -> None:
    with connection.cursor() as cursor:
        statement: Any = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
        with cursor.copy(statement) as copy:
            copy.set_types(list(columns.values()))
            for row in rows:
                copy.write_row(row)


@contextmanager
def _superuser(server: Server, target: Lakebase) -> Iterator[psycopg.Connection[Any]]:
    """Not confined by row-level security, which has no COPY."""
    with psycopg.connect(make_conninfo(server.admin_dsn, dbname=target.database), autocommit=True) as connection:
        register_vector(connection)
        yield connection
