"""The items of threads."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from lakemem.encryption import Cipher, Opener
from lakemem.operations import Operation, Rows
from lakemem.operations import resealing as work
from lakemem.sealing.forms import item, open_item
from lakemem.sealing.rule import Parameters, Row, Rule, with_column

_BEGINS = re.compile(r'"role":"(user|system|developer|tool)"|"type":"[a-z_]*_output"')
_STORED_PER_READ = 6
"""Bytes of a sealed item for each of a plain one, at the most, but for very small ones."""


def _seal_items(cipher: Cipher, given: Parameters) -> Mapping[str, Any]:
    return {"items": [item(cipher, given["thread_id"], text) for text in given["items"]]}


def _import_items(cipher: Cipher, given: Parameters) -> Mapping[str, Any]:
    pairs = zip(given["thread_ids"], given["items"], strict=True)
    return {"items": [item(cipher, thread_id, text, repeatable=True) for thread_id, text in pairs]}


def _open_items(column: int) -> Callable[[Opener, Operation[Any], Rows], Rows]:
    def opened(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
        thread_id = operation.parameters["thread_id"]
        return [with_column(row, column, open_item(opener, operation.owner, thread_id, row[column])) for row in rows]

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
        row if row[3] is None else with_column(row, 3, open_item(opener, operation.owner, row[0], row[3]))
        for row in rows
    ]


def _refuse_search_of_threads(given: Parameters) -> str:
    return "the words of encrypted items cannot be searched: read the thread, or search memories by their meaning"


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
}
