"""What a consolidation looks for in the memories of an owner, and what it makes of it, in bounded batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lakemem.errors import InvalidInputError
from lakemem.operations import Operation
from lakemem.operations.maintenance import IN_ORDER, MAINTENANCE
from lakemem.operations.store import namespace_array
from lakemem.types import Consolidation, MemoryKind
from lakemem.validation import check_count, check_fraction, check_seconds

BATCH = 500
LEAST_CHANGE = 0.01
"""What importance changes by at the least, so that a consolidation every day does not write every row every day."""


@dataclass(frozen=True, slots=True)
class Twin:
    """A fact, and another that says the same and is to go."""

    namespace: tuple[str, ...]
    key: str
    version: int
    twin_key: str
    twin_version: int


def check(policy: Consolidation) -> Consolidation:
    """Return a policy that can be followed.

    Raises:
        InvalidInputError: one of its numbers cannot be.
    """
    if not isinstance(policy, Consolidation):
        raise InvalidInputError(f"policy must be a Consolidation, not {type(policy).__name__}")
    check_seconds("half_life", policy.half_life)
    for name, cap in (("max_facts", policy.max_facts), ("max_turns", policy.max_turns)):
        if cap is not None:
            check_count(name, cap)
    if policy.duplicates is not None:
        check_fraction("merge", policy.duplicates.merge, least=0)
    return policy


def next_owner(after: str) -> Operation[str | None]:
    """The next owner, in their order, who has memories."""
    return Operation(
        statement="consolidating.next_owner",
        owner=MAINTENANCE,
        parameters={"after_owner": after},
        parse=lambda rows: str(rows[0][0]) if rows else None,
        fallback=None,
        first=IN_ORDER,
        waits=False,
    )


def twins(owner: str, merge: float, limit: int | None = BATCH) -> Operation[list[Twin]]:
    """Facts that say the same as another, with a similarity of `merge` where other forms of words say it."""
    return Operation(
        statement="consolidating.twins",
        owner=owner,
        parameters={"owner": owner, "merge": merge, "limit": limit},
        parse=lambda rows: [Twin(tuple(namespace), *rest) for namespace, *rest in rows],
        fallback=[],
        waits=False,
    )


def merge(owner: str, pairs: Sequence[Twin]) -> Operation[int]:
    """Close the twins, where both are still as they were found, and say of how many."""
    return _change(
        "consolidating.merge",
        owner,
        {
            "namespaces": [namespace_array(pair.namespace) for pair in pairs],
            "keys": [pair.key for pair in pairs],
            "versions": [pair.version for pair in pairs],
            "twin_keys": [pair.twin_key for pair in pairs],
            "twin_versions": [pair.twin_version for pair in pairs],
        },
    )


def decay(owner: str, half_life: float, *, dry_run: bool) -> Operation[int]:
    """Let the importance of some memories fall as their age asks for, and say of how many."""
    return _change(
        "consolidating.decay",
        owner,
        {
            "half_life": half_life,
            "least_change": LEAST_CHANGE,
            "limit": None if dry_run else BATCH,
            "dry_run": dry_run,
        },
    )


def beyond_cap(owner: str, kind: MemoryKind, cap: int) -> Operation[int]:
    """How many memories of a kind there are beyond a cap."""
    return Operation(
        statement="consolidating.beyond_cap",
        owner=owner,
        parameters={"owner": owner, "kind": kind, "cap": cap},
        parse=lambda rows: int(rows[0][0]),
        fallback=0,
        waits=False,
    )


def cut(owner: str, kind: MemoryKind, cap: int, *, erase: bool) -> Operation[int]:
    """Close, or erase, some of the memories beyond a cap, and say how many."""
    return _change(
        "consolidating.erase_beyond_cap" if erase else "consolidating.close_beyond_cap",
        owner,
        {"kind": kind, "cap": cap, "limit": BATCH},
    )


def _change(statement: str, owner: str, parameters: dict[str, object]) -> Operation[int]:
    return Operation(
        statement=statement,
        owner=owner,
        parameters={"owner": owner, **parameters},
        parse=lambda rows: int(rows[0][0]),
        fallback=0,
        writes=True,
        waits=False,
    )
