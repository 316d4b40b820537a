"""An archive of what an owner has: its memories as records, and records of all kinds back into the tables."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeAlias

from lakemem.errors import InvalidInputError
from lakemem.operations import Operation, Rows, memories, together
from lakemem.operations.store import namespace_array
from lakemem.trust import check_trust
from lakemem.types import Imported
from lakemem.validation import (
    MAX_DIMENSIONS,
    MAX_ITEM_BYTES,
    MAX_VALUE_BYTES,
    check_datetime,
    check_fraction,
    check_identifier,
    check_namespace,
    check_ordinal,
    check_place,
    check_seconds,
    check_title,
    encode_json,
    encode_metadata,
    indexable,
)

EXPORTED_AT_ONCE = 1000
IMPORTED_AT_ONCE = 500
"""Records of one transaction: each memory holds a lock on its key, and a server has room for some thousands."""
BATCH_BYTES = 8 * 1024 * 1024
"""A batch ends with the record that exceeds this."""
LARGEST_HALF = 65504.0
"""Of the numbers of a vector that is stored in half precision."""

Record: TypeAlias = Mapping[str, Any]
"""One line of an archive."""
Check: TypeAlias = Callable[[str, Any], Any]

_MISSING = object()


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


@dataclass(frozen=True, slots=True)
class Row:
    """A record that is checked: the values of its columns, as they are stored.

    Attributes:
        line: the number of its line.
    """

    kind: str
    line: int
    columns: Mapping[str, Any] = field(repr=False)

    @property
    def size(self) -> int:
        return sum(len(value) for value in self.columns.values() if isinstance(value, str))

    def has_expired(self, now: datetime) -> bool:
        expires_at = self.columns.get("expires_at")
        return expires_at is not None and expires_at <= now


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


def rows_of(lines: Iterable[str | Record], now: datetime | None = None) -> Iterator[Row]:
    """Check the lines of an archive one by one. What has expired in the meantime is passed over.

    Raises:
        InvalidInputError: a line is none of an archive. The message has its number, and nothing of what it says.
    """
    now = datetime.now(UTC) if now is None else now
    kept: dict[str, bool] = {}
    for number, line in enumerate(lines, 1):
        if isinstance(line, str) and not line.strip():
            continue
        try:
            row = _row(number, line)
            if row.kind != "memory":
                thread_id = row.columns["thread_id"]
                if row.kind == "thread":
                    kept[thread_id] = not row.has_expired(now)
                if thread_id not in kept:
                    raise InvalidInputError("an item stands behind its thread, and the thread of this one is missing")
                if not kept[thread_id]:
                    continue
        except InvalidInputError as error:
            raise InvalidInputError(f"line {number}: {error}") from None
        if not row.has_expired(now):
            yield row


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows for one transaction each: some hundreds, and of large ones fewer."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += row.size
        if len(batch) >= IMPORTED_AT_ONCE or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


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
                "locks": [
                    memories.key_lock(owner, json.loads(f"[{row.columns['namespace'][1:-1]}]"), row.columns["key"])
                    for row in versions
                ],
            },
            len(versions),
            first="store.lock",
        ),
    ]
    whole = together("archive.write", [part for part in parts if part is not None])
    names = [part.statement.removeprefix("archive.put_") for part in parts if part is not None]
    return Operation(
        statement=whole.statement,
        owner=owner,
        parameters={},
        parse=lambda found: Imported(**{name: count for name, (count,) in zip(names, found, strict=True)}),
        fallback=Imported(),
        writes=True,
        # A later batch rests on this one.
        waits=False,
        parts=whole.parts,
    )


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


def _columns(rows: Sequence[Row], fields: Mapping[str, Check]) -> dict[str, list[Any]]:
    """Parameters of a statement: for each column all its values."""
    return {name if name.endswith("s") else f"{name}s": [row.columns[name] for row in rows] for name in fields}


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


def _row(number: int, line: str | Record) -> Row:
    record = _read(line)
    kind = record.get("kind")
    fields = FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is None:
        raise InvalidInputError(f"its kind is none of {', '.join(FIELDS)}; a newer lakemem may know it")
    unknown = sorted(name for name in record.keys() - fields.keys() - {"kind"} if isinstance(name, str))
    if unknown:
        raise InvalidInputError(f"a {kind} has no field {unknown[0][:40]!r}; a newer lakemem may know it")
    columns = {name: _checked(name, record.get(name, _MISSING), check) for name, check in fields.items()}
    if kind == "memory":
        _check_version(columns)
    return Row(str(kind), number, columns)


def _read(line: str | Record) -> Record:
    if isinstance(line, str):
        try:
            line = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise InvalidInputError("it is not JSON") from None
    if not isinstance(line, Mapping):
        raise InvalidInputError("it is no JSON object")
    return line


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _checked(name: str, given: Any, check: Check) -> Any:
    if given is _MISSING and name not in OPTIONAL:
        raise InvalidInputError(f"the field {name} is missing")
    return check(name, OPTIONAL[name] if given is _MISSING else given)


def _check_version(columns: Mapping[str, Any]) -> None:
    """Check what the fields of a version have to do with each other."""
    if columns["valid_to"] is not None and columns["valid_to"] < columns["valid_from"]:
        raise InvalidInputError("valid_to must not be before valid_from")
    if (columns["embedding"] is None) != (columns["embedding_model"] is None):
        raise InvalidInputError("embedding and embedding_model come together")


def _or_null(check: Check) -> Check:
    return lambda name, given: None if given is None else check(name, given)


def _moment(name: str, given: Any) -> datetime:
    try:
        moment = check_datetime(name, datetime.fromisoformat(given))
    except (TypeError, ValueError):
        moment = None
    if moment is None:
        raise InvalidInputError(f"{name} must be a moment in ISO 8601 with its time zone")
    return moment


def _version(name: str, given: Any) -> int:
    version = check_place(name, given)
    if version == 0:
        raise InvalidInputError(f"{name} must be a whole number from 1")
    return version


def _text(name: str, given: Any) -> str:
    if not isinstance(given, str):
        raise InvalidInputError(f"{name} must be a string, not {type(given).__name__}")
    return indexable(given)


def _memory_kind(name: str, given: Any) -> str:
    if given not in ("fact", "turn"):
        raise InvalidInputError(f"{name} must be fact or turn")
    return str(given)


def _item(name: str, given: Any) -> str:
    if not isinstance(given, dict):
        raise InvalidInputError(f"{name} must be a JSON object")
    return encode_json(name, given, limit=MAX_ITEM_BYTES)


def _keys(name: str, given: Any) -> str:
    if not isinstance(given, list):
        raise InvalidInputError(f"{name} must be a list of keys")
    return namespace_array([check_identifier(name, key) for key in given])


def _vector(name: str, given: Any) -> str:
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_DIMENSIONS:
        raise InvalidInputError(f"{name} must be a list of 1 to {MAX_DIMENSIONS:,} numbers")
    for number in given:
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not is_number or not math.isfinite(number) or abs(number) > LARGEST_HALF:
            raise InvalidInputError(f"{name} must be a list of numbers that half precision can hold")
    return json.dumps(given, separators=(",", ":"))


def _seconds(name: str, given: Any) -> float | None:
    return check_seconds(name, given)


THREAD: Mapping[str, Check] = {
    "thread_id": check_identifier,
    "title": lambda _, given: check_title(given),
    "metadata": lambda name, given: encode_metadata(given, name),
    "created_at": _moment,
    "updated_at": _moment,
    "expires_at": _or_null(_moment),
    "lifetime": _seconds,
    "forked_from": _or_null(check_identifier),
    "forked_position": check_ordinal,
    "last_position": check_place,
}
ITEM: Mapping[str, Check] = {
    "thread_id": check_identifier,
    "position": _version,
    "created_at": _moment,
    "item": _item,
}
MEMORY: Mapping[str, Check] = {
    "namespace": lambda _, given: namespace_array(check_namespace(given)),
    "key": check_identifier,
    "version": _version,
    "memory_kind": _memory_kind,
    "value": lambda name, given: encode_json(name, given, limit=MAX_VALUE_BYTES),
    "text": _text,
    "metadata": lambda name, given: encode_metadata(given, name),
    "importance": lambda name, given: check_fraction(name, given, least=0),
    "said_importance": _or_null(lambda name, given: check_fraction(name, given, least=0)),
    "thread_id": _or_null(check_identifier),
    "position": check_ordinal,
    "occurred_at": _or_null(_moment),
    "sources": _keys,
    "similar_to": _keys,
    "expires_at": _or_null(_moment),
    "lifetime": _seconds,
    "created_at": _moment,
    "valid_from": _moment,
    "valid_to": _or_null(_moment),
    "superseded_by": check_ordinal,
    "trust": lambda _, given: check_trust(given),
    "embedding": _or_null(_vector),
    "embedding_model": _or_null(check_identifier),
}
FIELDS: Mapping[str, Mapping[str, Check]] = {"thread": THREAD, "item": ITEM, "memory": MEMORY}
OPTIONAL: Mapping[str, Any] = {
    "last_position": 0,
    "said_importance": None,
    "trust": "unknown",
    "embedding": None,
    "embedding_model": None,
}
"""What a line may do without, and what that stands for."""
