"""Memories, and the files that are kept as such."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lakemem.encryption import Cipher, Opener, Place
from lakemem.operations import Operation, Rows
from lakemem.operations.drafting import id_of_digest
from lakemem.sealing.forms import open_text, open_value, sealed_value, text, value
from lakemem.sealing.rule import Parameters, Row, Rule, with_column


def memory_place(namespace: Sequence[str], key: str, field: str) -> Place:
    return ("memories", *namespace, key, field)


def content_hash(cipher: Cipher, value: str) -> bytes:
    return cipher.digest(b"content", value.encode())


def made_up_key(cipher: Cipher, key: str) -> str:
    """The key of a memory that was made of its content, so that nobody can guess the content by it."""
    return id_of_digest(cipher.digest(b"key", key.encode()))


def _seal_memory(cipher: Cipher, given: Parameters) -> Mapping[str, Any]:
    return sealed_memory(cipher, given["namespace"], given["key"], given["value"], given["text"])


def sealed_memory(
    cipher: Cipher, namespace: Sequence[str], key: str, plain_value: str | None, plain_text: str | None
) -> dict[str, Any]:
    """What is None stays as it is."""
    at_value, at_text = memory_place(namespace, key, "value"), memory_place(namespace, key, "text")
    return {
        "value": None if plain_value is None else value(cipher, at_value, plain_value),
        "text": None if plain_text is None else text(cipher, at_text, plain_text),
        "content_hash": None if plain_value is None else content_hash(cipher, plain_value),
    }


def _seal_memories(namespaces: Callable[[Parameters], Sequence[Sequence[str]]]) -> Callable[..., Mapping[str, Any]]:
    def sealed(cipher: Cipher, given: Parameters) -> Mapping[str, Any]:
        columns = zip(namespaces(given), given["keys"], given["values"], given["texts"], strict=True)
        memories = [sealed_memory(cipher, *each) for each in columns]
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
    opened_value = open_value(opener, owner, memory_place(namespace, key, "value"), stored_value)
    opened_text = open_text(opener, owner, memory_place(namespace, key, "text"), stored_text)
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
                found = open_field(opener, owner, memory_place(namespace, key, field), row[columns[field]])
                row = with_column(row, columns[field], found)
        return row

    return opened


def _open_files(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
    """Sizes are of what was stored; of those that are not read, they are worked out."""
    return [_open_file(opener, operation, row) for row in rows]


def _open_file(opener: Opener, operation: Operation[Any], row: Row) -> Row:
    key, version, size, stored, trust = row
    namespace = operation.parameters["namespace"]
    if stored is not None and sealed_value(stored) is not None:
        stored = open_value(opener, operation.owner, memory_place(namespace, key, "value"), stored)
        found = json.loads(stored)
        size = len(found.encode("utf-8", "surrogatepass")) if isinstance(found, str) else len(stored.encode())
    return key, version, size, stored, trust


def _open_candidates(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
    """Pairs: namespace, key, version, key, version, text, moment, text, moment."""
    return [
        with_column(
            with_column(row, 5, open_text(opener, operation.owner, memory_place(row[0], row[1], "text"), row[5])),
            7,
            open_text(opener, operation.owner, memory_place(row[0], row[3], "text"), row[7]),
        )
        for row in rows
    ]


def _refuse_conditions(given: Parameters) -> str | None:
    conditions = json.loads(given.get("conditions", "[]"))
    if all(condition["operator"] == "is object" for condition in conditions):
        return None
    return "the fields of encrypted values cannot be searched: filter what comes back, or use metadata or namespaces"


_SAVED = Rule(seal=_seal_memory, open=_open_records)
_READ = Rule(open=_open_records)
_STORED = Rule(open=_open_columns(namespace=0, key=1, value=3), refusal=_refuse_conditions)

RULES: Mapping[str, Rule] = {
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
}
