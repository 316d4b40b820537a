"""An archive of what an owner has: its memories as records, and records of all kinds back into the tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from lakemem.operations import Operation, Rows, archive_work, drafting, memories, together
from lakemem.operations.archive_fields import ITEM, MEMORY, THREAD, Check
from lakemem.operations.archive_lines import BATCH_BYTES, Row
from lakemem.work_types import Imported

EXPORTED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """A place among the memories of an owner."""

    key: str
    version: int
    namespace: tuple[str, ...]


BEGINNING = Place("", 0, ())


@dataclass(frozen=True, slots=True)
class Batch:
    """Some records of an export, and after which place the next ones are; None where there are none."""

    records: Sequence[dict[str, Any]] = field(repr=False)
    end: Place | None


def export(owner: str, after: Place, *, with_vectors: bool) -> Operation[Batch]:
    """The versions of memories behind a place."""

    def batch(rows: Rows) -> Batch:
        size = sum(len(row[4].encode()) + len(row[5].encode()) for row in rows)
        has_all = len(rows) < EXPORTED_AT_ONCE and size < BATCH_BYTES
        records = [_record(row, with_vectors) for row in rows]
        return Batch(records, None if has_all else Place(rows[-1][1], rows[-1][2], tuple(rows[-1][0])))

    return Operation(
        statement="archive.memories",
        owner=owner,
        parameters={
            "owner": owner,
            "after_key": after.key,
            "after_version": after.version,
            "after_namespace": list(after.namespace),
            "limit": EXPORTED_AT_ONCE,
            "max_bytes": BATCH_BYTES,
            "with_vectors": with_vectors,
        },
        parse=batch,
        fallback=Batch([], None),
        # Half an export would pass for a whole one.
        waits=False,
    )


def write(owner: str, rows: Sequence[Row]) -> Operation[Imported]:
    """Store what is not there yet; all of it, or nothing where something else is in its place."""
    threads, items, versions = ([row for row in rows if row.kind == kind] for kind in ("thread", "item", "memory"))
    parts = [
        _put("put_threads", owner, _columns(threads, THREAD), len(threads), first="archive.make_room"),
        _put("put_items", owner, _columns(items, ITEM), len(items)),
        _put(
            "put_memories",
            owner,
            {
                **_columns(versions, MEMORY),
                "content_hashes": [drafting.content_hash(row.columns["value"]) for row in versions],
                "locks": [
                    memories.key_lock(owner, json.loads(f"[{row.columns['namespace'][1:-1]}]"), row.columns["key"])
                    for row in versions
                ],
            },
            len(versions),
            first="store.lock",
        ),
    ]
    parts += [
        archive_work.put(owner, kind, [row for row in rows if row.kind == kind.name]) for kind in archive_work.KINDS
    ]
    whole = together("archive.write", [part for part in parts if part is not None])
    names = [part.statement.rpartition("put_")[2] for part in parts if part is not None]
    return Operation(
        statement=whole.statement,
        owner=owner,
        parameters={},
        parse=lambda found: _imported({name: count for name, (count,) in zip(names, found, strict=True)}),
        fallback=Imported(),
        writes=True,
        # A later batch rests on this one.
        waits=False,
        parts=whole.parts,
    )


def _imported(counts: Mapping[str, int]) -> Imported:
    """What is told: the parts of a checkpoint come with it."""
    return Imported(**{part.name: counts[part.name] for part in fields(Imported) if part.name in counts})


def _put(
    statement: str, owner: str, columns: Mapping[str, Any], count: int, *, first: str | None = None
) -> Operation[int] | None:
    if not count:
        return None
    return Operation(
        statement=f"archive.{statement}",
        owner=owner,
        parameters={"owner": owner, **columns},
        parse=lambda rows: int(rows[0][0]),
        fallback=0,
        writes=True,
        first=first,
        waits=False,
    )


def _columns(rows: Sequence[Row], checks: Mapping[str, Check]) -> dict[str, list[Any]]:
    """Parameters of a statement: for each column all its values."""
    return {name if name.endswith("s") else f"{name}s": [row.columns[name] for row in rows] for name in checks}


def _record(row: tuple[Any, ...], with_vectors: bool) -> dict[str, Any]:
    (
        namespace,
        key,
        version,
        kind,
        value,
        text,
        metadata,
        importance,
        said_importance,
        thread_id,
        position,
        occurred_at,
        sources,
        similar_to,
        expires_at,
        lifetime,
        created_at,
        valid_from,
        valid_to,
        superseded_by,
        trust,
        embedding,
        embedding_model,
    ) = row
    vectors = {"embedding": None if embedding is None else json.loads(embedding), "embedding_model": embedding_model}
    return {
        "kind": "memory",
        "namespace": list(namespace),
        "key": key,
        "version": version,
        "memory_kind": kind,
        "value": json.loads(value),
        "text": text,
        "metadata": json.loads(metadata),
        "importance": importance,
        "said_importance": said_importance,
        "thread_id": thread_id,
        "position": position,
        "occurred_at": _iso(occurred_at),
        "sources": list(sources),
        "similar_to": list(similar_to),
        "expires_at": _iso(expires_at),
        "lifetime": lifetime,
        "created_at": _iso(created_at),
        "valid_from": _iso(valid_from),
        "valid_to": _iso(valid_to),
        "superseded_by": superseded_by,
        "trust": trust,
        **(vectors if with_vectors else {}),
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
