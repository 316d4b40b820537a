"""Which parameters of which statements are sealed, and which columns are opened: all that encryption knows of SQL.

An operation says what is stored, and this says it again with the texts sealed; the rows that come back are opened
before the operation reads them. So no operation knows whether what it stores is encrypted.
"""

from __future__ import annotations

import json
import re
import uuid
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from lakemem.encryption import Cipher, Opener, Place, key_id_of
from lakemem.errors import EncryptionError
from lakemem.operations import Operation, Rows
from lakemem.operations import resealing as work
from lakemem.operations.drafting import id_of_digest
from lakemem.operations.resealing import Table

T = TypeVar("T")
Row = tuple[Any, ...]
Parameters = Mapping[str, Any]

MARK = "lakemem.sealed"
"""The field of JSON that a sealed text stands in."""
_TYPE = "+lakemem"
"""What the type of a serialised value ends with where that is sealed."""
_SEALED_TEXT = re.compile(r'<sealed v="([\w-]+)"/>')
_SEALED_STRING = re.compile(rf'"{re.escape(MARK)}:([\w-]+)"')
_SHOWN = ("role", "type")
"""The fields of an item that stay readable: SQL tells by them where a turn begins."""
_MAX_SHOWN = 64
_BEGINS = re.compile(r'"role":"(user|system|developer|tool)"|"type":"[a-z_]*_output"')
_STORED_PER_READ = 6
"""Bytes of a sealed item for each of a plain one, at the most, but for very small ones."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done with one statement.

    Attributes:
        seal: returns the parameters that change.
        open: returns the rows as the operation reads them.
        refusal: why the statement cannot be run where texts are encrypted.
        copies: what it copies to another thread, where the copies are to be sealed anew.
    """

    seal: Callable[[Cipher, Parameters], Mapping[str, Any]] | None = None
    open: Callable[[Opener, Operation[Any], Rows], Rows] | None = None
    refusal: Callable[[Parameters], str | None] | None = None
    copies: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for an operation, as it was stored."""

    operation: Operation[Any]
    answers: Sequence[Rows]


def concerns(operation: Operation[Any]) -> bool:
    """Whether an operation stores or reads what is sealed."""
    return any(part.statement in RULES for part in leaves(operation)) or (
        operation.repeated is not None and concerns(operation.repeated)
    )


def leaves(operation: Operation[Any]) -> Sequence[Operation[Any]]:
    return operation.parts or (operation,)


def sealing_owners(operation: Operation[Any]) -> list[str]:
    """Whose current keys an operation needs, before it runs."""
    return list(dict.fromkeys(part.owner for part in _all(operation) if _rule(part).seal or _rule(part).copies))


def check(operation: Operation[Any]) -> None:
    """Refuse what cannot be done with encrypted texts.

    Raises:
        EncryptionError: the operation needs Postgres to read them.
    """
    for part in leaves(operation):
        refusal = _rule(part).refusal
        if refusal is not None and (reason := refusal(part.parameters)):
            raise EncryptionError(reason)


def sealed(operation: Operation[Any], ciphers: Mapping[str, Cipher]) -> Operation[Any]:
    """The same operation with its texts sealed; its result is an `Answer`, or its fallback."""
    sent = _sealed_leaf(operation, ciphers)
    if operation.parts:
        sent = replace(
            sent,
            parts=tuple(replace(_sealed_leaf(part, ciphers), parse=list) for part in operation.parts),
            parse=lambda rows: Answer(operation, [answer for (answer,) in rows]),
        )
    else:
        sent = replace(sent, parse=lambda rows: Answer(operation, [rows]))
    if operation.repeated is not None:
        sent = replace(sent, repeated=sealed(operation.repeated, ciphers))
    return sent


def opened(answer: Answer, opener: Opener) -> Any:
    """The result of an operation.

    Raises:
        UnknownKeyError: the keys of an owner have to be loaded first.
        EncryptionError: something does not open.
    """
    operation = answer.operation
    rows = [
        part_rows if (rule := _rule(part)).open is None else rule.open(opener, part, part_rows)
        for part, part_rows in zip(leaves(operation), answer.answers, strict=True)
    ]
    return operation.result(rows)


def copies(operation: Operation[Any]) -> tuple[Table, ...]:
    """What an operation copies to another thread."""
    return _rule(operation).copies


_NO_RULE = Rule()


def _rule(operation: Operation[Any]) -> Rule:
    return RULES.get(operation.statement, _NO_RULE)


def _all(operation: Operation[Any]) -> list[Operation[Any]]:
    found = list(leaves(operation))
    return found if operation.repeated is None else found + _all(operation.repeated)


def _sealed_leaf(operation: Operation[Any], ciphers: Mapping[str, Cipher]) -> Operation[Any]:
    seal = _rule(operation).seal
    if seal is None:
        return operation
    cipher = ciphers[operation.owner]
    return replace(
        operation,
        parameters={**operation.parameters, **seal(cipher, operation.parameters)},
        sealed_with=cipher.key.id if operation.writes else None,
    )


# What a sealed text looks like in its column.


def _encoded(sealed: bytes) -> str:
    return urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _decoded(text: str) -> bytes | None:
    """What was sealed; None where this only looks like it."""
    try:
        found = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (NotBase64, ValueError):
        return None
    return None if key_id_of(found) is None else found


def item(cipher: Cipher, thread_id: str, text: str, *, repeatable: bool = False) -> str:
    """An item as JSON: who spoke, or what it is, stays readable; it cannot be changed without the key."""
    found = json.loads(text)
    shown = _shown(found)
    place = ("thread_items", thread_id, "item", json.dumps(shown, sort_keys=True))
    body = _encoded(cipher.seal(text.encode(), place, repeatable=repeatable))
    return json.dumps({**shown, MARK: body}, ensure_ascii=False, separators=(",", ":"))


def open_item(opener: Opener, owner: str, thread_id: str, text: str) -> str:
    place = ("thread_items", thread_id, "item")
    if MARK not in text:
        return str(opener.plain(text, place))
    found = json.loads(text)
    body = found.get(MARK)
    shown = {name: value for name, value in found.items() if name != MARK}
    sealed = _decoded(body) if isinstance(body, str) and shown.keys() <= set(_SHOWN) else None
    if sealed is None:
        return str(opener.plain(text, place))
    return opener.open(sealed, owner, (*place, json.dumps(shown, sort_keys=True))).decode()


def _shown(found: Mapping[str, Any]) -> dict[str, str]:
    fields = {name: found.get(name) for name in _SHOWN}
    # Only plain names: anything else is content.
    return {
        name: value for name, value in fields.items() if isinstance(value, str) and re.fullmatch(r"\w{1,64}", value)
    }


def value(cipher: Cipher, place: Place, text: str) -> str:
    """A JSON value: an object stays an object, so that it can be told from other values."""
    body = _encoded(cipher.seal(text.encode(), place))
    return json.dumps({MARK: body} if text.lstrip().startswith("{") else f"{MARK}:{body}", separators=(",", ":"))


def open_value(opener: Opener, owner: str, place: Place, text: str) -> str:
    sealed = _sealed_value(text)
    return str(opener.plain(text, place)) if sealed is None else opener.open(sealed, owner, place).decode()


def _sealed_value(text: str) -> bytes | None:
    if MARK not in text:
        return None
    found = json.loads(text)
    if isinstance(found, dict) and len(found) == 1 and isinstance(found.get(MARK), str):
        return _decoded(found[MARK])
    match = _SEALED_STRING.fullmatch(text)
    return _decoded(match[1]) if match else None


def text(cipher: Cipher, place: Place, plain: str) -> str:
    """What search would read: a tag, of which Postgres makes no words. An empty text says nothing, and stays.

    The same text of the same memory is sealed the same, so that a save that changes nothing is seen to.
    """
    return f'<sealed v="{_encoded(cipher.seal(plain.encode(), place, repeatable=True))}"/>' if plain else plain


def open_text(opener: Opener, owner: str, place: Place, stored: str) -> str:
    match = _SEALED_TEXT.fullmatch(stored)
    sealed = _decoded(match[1]) if match else None
    if sealed is None:
        return str(opener.plain(stored, place)) if stored else stored
    return opener.open(sealed, owner, place).decode()


def blob(cipher: Cipher, place: Place, type_: str, data: bytes, *, repeatable: bool = False) -> tuple[str, bytes]:
    """A serialised value, and its type, which says that it is sealed."""
    return type_ + _TYPE, cipher.seal(data, (*place, type_), repeatable=repeatable)


def open_blob(opener: Opener, owner: str, place: Place, type_: str, data: bytes) -> tuple[str, bytes]:
    if not type_.endswith(_TYPE):
        return type_, opener.plain(data, place)
    plain_type = type_.removesuffix(_TYPE)
    return plain_type, opener.open(bytes(data), owner, (*place, plain_type))


# Threads


def _seal_items(cipher: Cipher, given: Parameters) -> Mapping[str, Any]:
    return {"items": [item(cipher, given["thread_id"], text) for text in given["items"]]}


def _import_items(cipher: Cipher, given: Parameters) -> Mapping[str, Any]:
    pairs = zip(given["thread_ids"], given["items"], strict=True)
    return {"items": [item(cipher, thread_id, text, repeatable=True) for thread_id, text in pairs]}


def _open_items(column: int) -> Callable[[Opener, Operation[Any], Rows], Rows]:
    def opened(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
        thread_id = operation.parameters["thread_id"]
        return [_with(row, column, open_item(opener, operation.owner, thread_id, row[column])) for row in rows]

    return opened


def _widen(cipher: Cipher, given: Parameters) -> Mapping[str, Any]:
    return {"max_bytes": given["max_bytes"] * _STORED_PER_READ}


def _open_window(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
    """The newest items within so many bytes of what they say, as the statement has it for those that are not sealed."""
    thread_id, max_bytes = operation.parameters["thread_id"], operation.parameters["max_bytes"]
    found: list[Row] = []
    size = 0
    for stored, free in reversed(rows):
        if stored is None:
            found.append((None, free))
            break
        plain = open_item(opener, operation.owner, thread_id, stored)
        size += len(plain.encode())
        if size > max_bytes:
            found.append((None, bool(_BEGINS.search(plain))))
            break
        found.append((plain, free))
    return found[::-1]


def _open_exported_items(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
    return [
        row if row[3] is None else _with(row, 3, open_item(opener, operation.owner, row[0], row[3])) for row in rows
    ]


# Checkpoints


def _checkpoint(thread_id: str, checkpoint_ns: str, checkpoint_id: str) -> Place:
    return ("checkpoints", thread_id, checkpoint_ns, checkpoint_id, "checkpoint")


def _channel(thread_id: str, checkpoint_ns: str, channel: str) -> Place:
    """Of a value of a channel, or of some of its elements: which version it is, the checkpoint says."""
    return ("checkpoint_blobs", thread_id, checkpoint_ns, channel)


def _segment(thread_id: str, checkpoint_ns: str, channel: str) -> Place:
    return ("checkpoint_segments", thread_id, checkpoint_ns, channel)


def _write(thread_id: str, checkpoint_ns: str, checkpoint_id: str, task_id: str, channel: str) -> Place:
    return ("checkpoint_writes", thread_id, checkpoint_ns, checkpoint_id, task_id, channel)


def _blobs(
    cipher: Cipher, places: Sequence[Place], types: Sequence[str], blobs: Sequence[bytes]
) -> tuple[list[str], list[bytes]]:
    pairs = [blob(cipher, *each) for each in zip(places, types, blobs, strict=True)]
    return [type_ for type_, _ in pairs], [data for _, data in pairs]


def _seal_checkpoint(cipher: Cipher, given: Parameters) -> Mapping[str, Any]:
    where = given["thread_id"], given["checkpoint_ns"]
    type_, checkpoint = blob(cipher, _checkpoint(*where, given["checkpoint_id"]), given["type"], given["checkpoint"])
    places = [_channel(*where, channel) for channel in given["channels"]]
    types, blobs = _blobs(cipher, places, given["types"], given["blobs"])
    changed = {"type": type_, "checkpoint": checkpoint, "types": types, "blobs": blobs}
    if "added_channels" in given:
        places = [_segment(*where, channel) for channel in given["added_channels"]]
        added_types, added_blobs = _blobs(cipher, places, given["added_types"], given["added_blobs"])
        changed |= {"added_types": added_types, "added_blobs": added_blobs}
    return changed


def _seal_writes(cipher: Cipher, given: Parameters) -> Mapping[str, Any]:
    where = given["thread_id"], given["checkpoint_ns"], given["checkpoint_id"], given["task_id"]
    places = [_write(*where, channel) for channel in given["channels"]]
    types, blobs = _blobs(cipher, places, given["types"], given["blobs"])
    return {"types": types, "blobs": blobs}


def _open_checkpoints(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
    """Rows of `{checkpoint_columns}`."""
    return [_open_checkpoint(opener, operation.owner, row) for row in rows]


def _open_checkpoint(opener: Opener, owner: str, row: Row) -> Row:
    columns = list(row)
    where, checkpoint_id = (row[0], row[1]), row[2]
    columns[4], columns[5] = open_blob(opener, owner, _checkpoint(*where, checkpoint_id), row[4], row[5])
    if row[7]:
        places: list[Place] = [_channel(*where, channel) for channel in row[7]]
        columns[8], columns[9] = _open_blobs(opener, owner, places, row[8], row[9])
    if row[14]:
        places = [_segment(*where, channel) for channel in row[14]]
        columns[16], columns[17] = _open_blobs(opener, owner, places, row[16], row[17])
    if row[18]:
        tasks = zip(row[18], row[19], strict=True)
        places = [_write(*where, checkpoint_id, task_id, channel) for task_id, channel in tasks]
        columns[20], columns[21] = _open_blobs(opener, owner, places, row[20], row[21])
    return tuple(columns)


def _open_blobs(
    opener: Opener, owner: str, places: Sequence[Place], types: Sequence[str], blobs: Sequence[bytes]
) -> tuple[list[str], list[bytes]]:
    pairs = [open_blob(opener, owner, *each) for each in zip(places, types, blobs, strict=True)]
    return [type_ for type_, _ in pairs], [data for _, data in pairs]


def _open_taken(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
    given = operation.parameters
    place = _checkpoint(given["thread_id"], given["checkpoint_ns"], given["checkpoint_id"])
    return [open_blob(opener, operation.owner, place, *row) for row in rows]


def _checkpoint_of(fields: Mapping[str, Any]) -> Place:
    return _checkpoint(fields["thread_id"], fields["checkpoint_ns"], fields["checkpoint_id"])


def _channel_of(fields: Mapping[str, Any]) -> Place:
    return _channel(fields["thread_id"], fields["checkpoint_ns"], fields["channel"])


def _segment_of(fields: Mapping[str, Any]) -> Place:
    return _segment(fields["thread_id"], fields["checkpoint_ns"], fields["channel"])


def _write_of(fields: Mapping[str, Any]) -> Place:
    return _write(*(fields[name] for name in ("thread_id", "checkpoint_ns", "checkpoint_id", "task_id", "channel")))


def _archived(place_of: Callable[[Mapping[str, Any]], Place], content: str = "blob") -> tuple[Rule, Rule]:
    """How records of an archive are opened on their way out, and sealed on their way in."""

    def opened(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
        records = [json.loads(record) for (record,) in rows]
        for record in records:
            if record[content] is not None:
                data = b64decode(record[content])
                type_, data = open_blob(opener, operation.owner, place_of(record), record["type"], data)
                record["type"], record[content] = type_, b64encode(data).decode()
        return [(json.dumps(record),) for record in records]

    def sealed(cipher: Cipher, given: Parameters) -> Mapping[str, Any]:
        records = json.loads(given["records"])
        for record in records:
            if record[content] is not None:
                data = b64decode(record[content])
                type_, data = blob(cipher, place_of(record), record["type"], data, repeatable=True)
                record["type"], record[content] = type_, b64encode(data).decode()
        return {"records": json.dumps(records)}

    return Rule(open=opened), Rule(seal=sealed)


# Memories


def _memory(namespace: Sequence[str], key: str, field: str) -> Place:
    return ("memories", *namespace, key, field)


def content_hash(cipher: Cipher, value: str) -> bytes:
    return cipher.digest(b"content", value.encode())


def _seal_memory(cipher: Cipher, given: Parameters) -> Mapping[str, Any]:
    return _sealed_memory(cipher, given["namespace"], given["key"], given["value"], given["text"])


def _sealed_memory(
    cipher: Cipher, namespace: Sequence[str], key: str, plain_value: str | None, plain_text: str | None
) -> dict[str, Any]:
    """What is None stays as it is."""
    at_value, at_text = _memory(namespace, key, "value"), _memory(namespace, key, "text")
    return {
        "value": None if plain_value is None else value(cipher, at_value, plain_value),
        "text": None if plain_text is None else text(cipher, at_text, plain_text),
        "content_hash": None if plain_value is None else content_hash(cipher, plain_value),
    }


def _seal_memories(namespaces: Callable[[Parameters], Sequence[Sequence[str]]]) -> Callable[..., Mapping[str, Any]]:
    def sealed(cipher: Cipher, given: Parameters) -> Mapping[str, Any]:
        columns = zip(namespaces(given), given["keys"], given["values"], given["texts"], strict=True)
        memories = [_sealed_memory(cipher, *each) for each in columns]
        for each in memories:
            # One that is deleted has none.
            each["content_hash"] = each["content_hash"] or b""
        return {
            f"{name}s" if name != "content_hash" else "content_hashes": [each[name] for each in memories]
            for name in ("value", "text", "content_hash")
        }

    return sealed


def _same_namespace(given: Parameters) -> Sequence[Sequence[str]]:
    return [given["namespace"]] * len(given["keys"])


def _namespace_arrays(given: Parameters) -> Sequence[Sequence[str]]:
    return [json.loads(f"[{array[1:-1]}]") for array in given["namespaces"]]


def _open_memory(opener: Opener, row: Row) -> Row:
    """A row that begins with `{memory_columns}`."""
    namespace, key, stored_value, stored_text, owner = row[0], row[1], row[2], row[3], row[11]
    opened_value = open_value(opener, owner, _memory(namespace, key, "value"), stored_value)
    opened_text = open_text(opener, owner, _memory(namespace, key, "text"), stored_text)
    return (*row[:2], opened_value, opened_text, *row[4:])


def _open_records(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
    return [_open_memory(opener, row) for row in rows]


def _open_hits(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
    """Records with the turns around them, which are rows as JSON."""
    return [_open_turns(opener, _open_memory(opener, row)) for row in rows]


def _open_turns(opener: Opener, row: Row) -> Row:
    if row[-1] is None:
        return row
    turns = [_open_memory(opener, tuple(turn)) for turn in json.loads(row[-1])]
    return (*row[:-1], json.dumps(turns))


def _open_columns(**columns: int) -> Callable[[Opener, Operation[Any], Rows], Rows]:
    """Rows with a value or a text, and what names their memory; what no column names is a parameter, or the owner's."""

    def opened(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
        return [one(opener, operation, row) for row in rows]

    def one(opener: Opener, operation: Operation[Any], row: Row) -> Row:
        owner = row[columns["owner"]] if "owner" in columns else operation.owner
        namespace = row[columns["namespace"]] if "namespace" in columns else operation.parameters["namespace"]
        key = row[columns["key"]]
        for field, open_field in (("value", open_value), ("text", open_text)):
            if field in columns and row[columns[field]] is not None:
                found = open_field(opener, owner, _memory(namespace, key, field), row[columns[field]])
                row = _with(row, columns[field], found)
        return row

    return opened


def _open_files(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
    """Sizes are of what was stored; of those that are not read, they are worked out."""
    return [_open_file(opener, operation, row) for row in rows]


def _open_file(opener: Opener, operation: Operation[Any], row: Row) -> Row:
    key, version, size, stored, trust = row
    namespace = operation.parameters["namespace"]
    if stored is not None and _sealed_value(stored) is not None:
        stored = open_value(opener, operation.owner, _memory(namespace, key, "value"), stored)
        found = json.loads(stored)
        size = len(found.encode("utf-8", "surrogatepass")) if isinstance(found, str) else len(stored.encode())
    return key, version, size, stored, trust


def _open_candidates(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
    """Pairs: namespace, key, version, key, version, text, moment, text, moment."""
    return [
        _with(
            _with(row, 5, open_text(opener, operation.owner, _memory(row[0], row[1], "text"), row[5])),
            7,
            open_text(opener, operation.owner, _memory(row[0], row[3], "text"), row[7]),
        )
        for row in rows
    ]


def _refuse_conditions(given: Parameters) -> str | None:
    conditions = json.loads(given.get("conditions", "[]"))
    if all(condition["operator"] == "is object" for condition in conditions):
        return None
    return "the fields of encrypted values cannot be searched: filter what comes back, or use metadata or namespaces"


def _refuse_search_of_threads(given: Parameters) -> str:
    return "the words of encrypted items cannot be searched: read the thread, or search memories by their meaning"


# Quarantine


def _held(quarantine_id: str) -> Place:
    return ("quarantine", quarantine_id, "draft")


def _seal_held(cipher: Cipher, given: Parameters) -> Mapping[str, Any]:
    # It is made of what is held back: the same write is held once.
    digest = cipher.digest(b"quarantine", given["quarantine_id"].encode())
    quarantine_id = id_of_digest(digest)
    return {"quarantine_id": quarantine_id, "draft": value(cipher, _held(quarantine_id), given["draft"])}


def _open_held(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
    return [_with(row, 7, open_value(opener, row[1], _held(row[0]), row[7])) for row in rows]


def made_up_key(cipher: Cipher, key: str) -> str:
    """The key of a memory that was made of its content, so that nobody can guess the content by it."""
    return id_of_digest(cipher.digest(b"key", key.encode()))


def _with(row: Row, column: int, found: Any) -> Row:
    return (*row[:column], found, *row[column + 1 :])


# What is sealed anew: a row of a table of lakemem.operations.resealing, and what takes its place.


def resealed(
    row: Row, table: Table, owner: str, opener: Opener, cipher: Cipher, *, thread_id: str | None = None
) -> Row:
    """What a row holds, opened and sealed with the current key.

    Args:
        thread_id: of the thread that it was copied to, where that is another.
    """
    fields = dict(zip(table.columns, row, strict=True))
    there = fields if thread_id is None else {**fields, "thread_id": thread_id}
    if table is work.ITEMS:
        plain = open_item(opener, owner, fields["thread_id"], fields["item"])
        return (item(cipher, there["thread_id"], plain),)
    if table is work.MEMORIES:
        places = [_memory(fields["namespace"], fields["key"], field) for field in ("value", "text")]
        plain = open_value(opener, owner, places[0], fields["value"])
        plain_text = open_text(opener, owner, places[1], fields["text"])
        return tuple(_sealed_memory(cipher, fields["namespace"], fields["key"], plain, plain_text).values())
    if table is work.QUARANTINE:
        place = _held(fields["quarantine_id"])
        return (value(cipher, place, open_value(opener, owner, place, fields["draft"])),)
    place_of = _PLACES[table]
    type_, data = open_blob(opener, owner, place_of(fields), *row[-2:])
    return blob(cipher, place_of(there), type_, data)


def sealed_with(row: Row, table: Table) -> set[uuid.UUID | None]:
    """The keys that a row is sealed with; None for what is not."""
    fields = dict(zip(table.columns, row, strict=True))
    if table is work.ITEMS:
        body = json.loads(fields["item"]).get(MARK) if MARK in fields["item"] else None
        return {_id(_decoded(body) if isinstance(body, str) else None)}
    if table is work.MEMORIES:
        match = _SEALED_TEXT.fullmatch(fields["text"])
        found = {_id(_sealed_value(fields["value"]))}
        return found | {_id(_decoded(match[1]) if match else None)} if fields["text"] else found
    if table is work.QUARANTINE:
        return {_id(_sealed_value(fields["draft"]))}
    return {key_id_of(bytes(row[-1])) if row[-2].endswith(_TYPE) else None}


def _id(sealed: bytes | None) -> uuid.UUID | None:
    return None if sealed is None else key_id_of(sealed)


_PLACES: Mapping[Table, Callable[[Mapping[str, Any]], Place]] = {
    work.CHECKPOINTS: _checkpoint_of,
    work.VALUES: _channel_of,
    work.SEGMENTS: _segment_of,
    work.WRITES: _write_of,
}

_EXPORTED_SEGMENTS, _IMPORTED_SEGMENTS = _archived(_segment_of)
_EXPORTED_VALUES, _IMPORTED_VALUES = _archived(_channel_of)
_EXPORTED_CHECKPOINTS, _IMPORTED_CHECKPOINTS = _archived(_checkpoint_of, "checkpoint")
_EXPORTED_WRITES, _IMPORTED_WRITES = _archived(_write_of)

_SAVED = Rule(seal=_seal_memory, open=_open_records)
_READ = Rule(open=_open_records)
_STORED = Rule(open=_open_columns(namespace=0, key=1, value=3), refusal=_refuse_conditions)

RULES: Mapping[str, Rule] = {
    "threads.append": Rule(seal=_seal_items),
    "threads.items": Rule(open=_open_items(0)),
    "threads.messages": Rule(open=_open_items(1)),
    "threads.pop": Rule(open=_open_items(0)),
    "threads.fork": Rule(copies=(work.ITEMS,)),
    "turns.window": Rule(seal=_widen, open=_open_window),
    "turns.oldest": Rule(open=_open_items(1)),
    "turns.list": Rule(open=_open_items(1)),
    "turns.replace_tail": Rule(seal=_seal_items),
    "transcripts.search": Rule(refusal=_refuse_search_of_threads),
    "transcripts.export": Rule(open=_open_exported_items),
    "archive.put_items": Rule(seal=_import_items),
    "checkpoints.put": Rule(seal=_seal_checkpoint),
    "checkpoints.put_composed": Rule(seal=_seal_checkpoint),
    "checkpoints.put_writes": Rule(seal=_seal_writes),
    "checkpoints.get": Rule(open=_open_checkpoints),
    "checkpoints.latest": Rule(open=_open_checkpoints),
    "checkpoints.list": Rule(open=_open_checkpoints),
    "checkpoints.take": Rule(open=_open_taken),
    "pruning.history": Rule(open=_open_checkpoints),
    "pruning.copy": Rule(copies=(work.CHECKPOINTS, work.VALUES, work.SEGMENTS, work.WRITES)),
    "archive_work.segments": _EXPORTED_SEGMENTS,
    "archive_work.values": _EXPORTED_VALUES,
    "archive_work.checkpoints": _EXPORTED_CHECKPOINTS,
    "archive_work.writes": _EXPORTED_WRITES,
    "archive_work.put_segments": _IMPORTED_SEGMENTS,
    "archive_work.put_values": _IMPORTED_VALUES,
    "archive_work.put_checkpoints": _IMPORTED_CHECKPOINTS,
    "archive_work.put_writes": _IMPORTED_WRITES,
    "memories.save": _SAVED,
    "memories.save_unless_near": _SAVED,
    "memories.saved": _SAVED,
    "memories.update": _SAVED,
    "memories.revert": _READ,
    "memories.get": _READ,
    "memories.get_then": _READ,
    "memories.items": Rule(open=_open_records, refusal=_refuse_conditions),
    "memories.items_then": Rule(open=_open_records, refusal=_refuse_conditions),
    "memories.history": _READ,
    "recall.search": Rule(open=_open_hits, refusal=_refuse_conditions),
    "recall.nearest": Rule(open=_open_hits, refusal=_refuse_conditions),
    "indexed.search": Rule(open=_open_hits, refusal=_refuse_conditions),
    "indexed.nearest": Rule(open=_open_hits, refusal=_refuse_conditions),
    "store.get": _STORED,
    "store.items": _STORED,
    "store.search": _STORED,
    "store.refreshing_get": _STORED,
    "store.refreshing_items": _STORED,
    "store.refreshing_search": _STORED,
    "store.write": Rule(seal=_seal_memories(_namespace_arrays)),
    "files.read": Rule(open=_open_files),
    "files.write": Rule(seal=_seal_memories(_same_namespace)),
    "remembering.store": Rule(seal=_seal_memories(_same_namespace)),
    "remembering.turns": Rule(open=_open_columns(key=0, value=1)),
    "archive.memories": Rule(open=_open_columns(namespace=0, key=1, value=4, text=5)),
    "archive.put_memories": Rule(seal=_seal_memories(_namespace_arrays)),
    "jobs.unembedded": Rule(open=_open_columns(namespace=0, key=1, text=3)),
    "reembedding.unfilled": Rule(open=_open_columns(owner=0, key=1, namespace=3, text=4)),
    "consolidating.candidates": Rule(open=_open_candidates),
    "quarantine.hold": Rule(seal=_seal_held),
    "quarantine.get": Rule(open=_open_held),
    "quarantine.listing": Rule(open=_open_held),
    "quarantine.of_everybody": Rule(open=_open_held),
}
