"""A row of the table of memories as a record: what `_sql/fragments/memory_columns.sql` selects."""

from __future__ import annotations

import json
from typing import Any

from lakemem.memory_types import MemoryRecord, SaveOutcome

COLUMNS = 21
"""How many columns of a row the record takes."""


def record(row: tuple[Any, ...], outcome: SaveOutcome | None = None) -> MemoryRecord:
    """Read a memory from the first columns of a row; `outcome` is what saving it has done."""
    (
        namespace,
        key,
        value,
        text,
        metadata,
        version,
        valid_from,
        valid_to,
        occurred_at,
        expires_at,
        embedded,
        owner,
        kind,
        thread_id,
        position,
        importance,
        sources,
        similar_to,
        created_at,
        superseded_by,
        trust,
    ) = row[:COLUMNS]
    return MemoryRecord(
        namespace=tuple(namespace),
        key=key,
        value=json.loads(value),
        text=text,
        metadata=json.loads(metadata),
        version=version,
        valid_from=valid_from,
        valid_to=valid_to,
        occurred_at=occurred_at,
        expires_at=expires_at,
        embedded=embedded,
        owner=owner,
        kind=kind,
        thread_id=thread_id,
        position=position,
        # A real number of four bytes, to the digits that it holds.
        importance=round(importance, 6),
        sources=tuple(sources),
        similar_to=tuple(similar_to),
        created_at=created_at,
        superseded_by=superseded_by,
        trust=trust,
        outcome=outcome,
    )
