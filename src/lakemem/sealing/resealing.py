"""What is sealed anew: a row of a table of lakemem.operations.resealing, and what takes its place."""

from __future__ import annotations

import uuid

from lakemem.encryption import Cipher, Opener, key_id_of
from lakemem.operations import resealing as work
from lakemem.operations.resealing import Table
from lakemem.sealing.checkpoints import PLACES
from lakemem.sealing.forms import (
    blob,
    item,
    open_blob,
    open_item,
    open_text,
    open_value,
    sealed_blob,
    sealed_item,
    sealed_text,
    sealed_value,
    value,
)
from lakemem.sealing.memories import memory_place, sealed_memory
from lakemem.sealing.quarantine import held_place
from lakemem.sealing.rule import Row


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
        places = [memory_place(fields["namespace"], fields["key"], field) for field in ("value", "text")]
        plain = open_value(opener, owner, places[0], fields["value"])
        plain_text = open_text(opener, owner, places[1], fields["text"])
        return tuple(sealed_memory(cipher, fields["namespace"], fields["key"], plain, plain_text).values())
    if table is work.QUARANTINE:
        place = held_place(fields["quarantine_id"])
        return (value(cipher, place, open_value(opener, owner, place, fields["draft"])),)
    place_of = PLACES[table]
    type_, data = open_blob(opener, owner, place_of(fields), *row[-2:])
    return blob(cipher, place_of(there), type_, data)


def sealed_with(row: Row, table: Table) -> set[uuid.UUID | None]:
    """The keys that a row is sealed with; None for what is not."""
    fields = dict(zip(table.columns, row, strict=True))
    if table is work.ITEMS:
        return {_id(sealed_item(fields["item"]))}
    if table is work.MEMORIES:
        found = {_id(sealed_value(fields["value"]))}
        return found | {_id(sealed_text(fields["text"]))} if fields["text"] else found
    if table is work.QUARANTINE:
        return {_id(sealed_value(fields["draft"]))}
    return {_id(sealed_blob(*row[-2:]))}


def _id(sealed: bytes | None) -> uuid.UUID | None:
    return None if sealed is None else key_id_of(sealed)
