"""Rows in tables that a memory fills only under conditions of its own: where it is large, or encrypted."""

from __future__ import annotations

from lakemem import Lakebase
from tests.support.rows import Rows


def add_index(target: Lakebase, owner: str) -> None:
    """The index of a scope, as a worker makes it of a large one."""
    rows = Rows(target, owner)
    rows("INSERT INTO lakemem.indexes VALUES (%s, 'model/2', now(), 1, 1)", owner)
    rows("INSERT INTO lakemem.indexed_cells VALUES (%s, 1, 1, 1, '[1,0]')", owner)
    rows("INSERT INTO lakemem.indexed_memories VALUES (%s, 1, '[1,0]', 1, 'key', '{}')", owner)
    rows("INSERT INTO lakemem.indexed_words VALUES (%s, 'word', '{1}')", owner)


def add_data_key(target: Lakebase, owner: str) -> None:
    """The wrapped key with which an app encrypts what it stores of an owner."""
    Rows(target, owner)(
        "INSERT INTO lakemem.data_keys (owner, key_id, wrapped, master_key) VALUES (%s, gen_random_uuid(), '', 'm')",
        owner,
    )
