"""Writes that are held back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lakemem.encryption import Cipher, Opener, Place
from lakemem.operations import Operation, Rows
from lakemem.operations.drafting import id_of_digest
from lakemem.sealing.forms import open_value, value
from lakemem.sealing.rule import Parameters, Rule, with_column


def held_place(quarantine_id: str) -> Place:
    return ("quarantine", quarantine_id, "draft")


def _seal_held(cipher: Cipher, given: Parameters) -> Mapping[str, Any]:
    # It is made of what is held back: the same write is held once.
    digest = cipher.digest(b"quarantine", given["quarantine_id"].encode())
    quarantine_id = id_of_digest(digest)
    return {"quarantine_id": quarantine_id, "draft": value(cipher, held_place(quarantine_id), given["draft"])}


def _open_held(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
    return [with_column(row, 7, open_value(opener, row[1], held_place(row[0]), row[7])) for row in rows]


RULES: Mapping[str, Rule] = {
    "quarantine.hold": Rule(seal=_seal_held),
    "quarantine.get": Rule(open=_open_held),
    "quarantine.listing": Rule(open=_open_held),
    "quarantine.of_everybody": Rule(open=_open_held),
}
