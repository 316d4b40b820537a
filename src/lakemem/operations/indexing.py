"""The index of a large scope: when it is wanted, and how it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lakemem.operations import Operation, together

LARGE = 10_000
"""Memories that a search goes through one by one before an index is made: 25 ms on one core."""
FINENESS = 4
"""Cells for each root of the number of memories. To find the same ten among 20,000, half as many vectors are compared
as with one; to make them takes four times as long."""
MAX_CELLS = 2_000
SAMPLE = 16
"""Memories for each cell that k-means looks at."""
STEPS = 3
"""Of k-means: more of them changed what was found by less than a thousandth."""


@dataclass(frozen=True, slots=True)
class Unindexed:
    """What is in no index.

    Attributes:
        since: what was stored before this moment can be seen by whoever looks now.
        memories: how many were stored since the index was made; all where there is none.
    """

    since: datetime
    memories: int


def queue(owner: str) -> Operation[None]:
    """Ask a worker for an index."""
    return _write("indexing.queue", owner, {"owner": owner})


def unindexed(owner: str, model: str) -> Operation[Unindexed]:
    """What an index of the vectors of a model would have to take up."""
    return Operation(
        statement="indexing.begin",
        owner=owner,
        parameters={"owner": owner, "model": model},
        parse=lambda rows: Unindexed(*rows[0]),
        fallback=Unindexed(datetime.max, 0),
        writes=True,
        alone=True,
        waits=False,
    )


def make(owner: str, model: str, since: datetime) -> Operation[Any]:
    """Make the index anew, in one transaction. It takes seconds to minutes; searches and saves go on."""
    parameters = {
        "owner": owner,
        "model": model,
        "indexed_until": since,
        "fineness": FINENESS,
        "max_cells": MAX_CELLS,
        "sample": SAMPLE,
    }
    steps = ["settings", "clear", "scope", "cells", *["refine"] * STEPS, "members", "words"]
    return together("indexing.make", [_write(f"indexing.{step}", owner, parameters) for step in steps])


def purge(owner: str) -> Operation[None]:
    """Take out of a new index what was erased while it was made."""
    return _write("indexing.purge", owner, {"owner": owner}, alone=True)


def _write(statement: str, owner: str, parameters: Mapping[str, Any], *, alone: bool = False) -> Operation[None]:
    return Operation(
        statement=statement,
        owner=owner,
        parameters=parameters,
        parse=lambda _: None,
        fallback=None,
        writes=True,
        alone=alone,
        waits=False,
    )
