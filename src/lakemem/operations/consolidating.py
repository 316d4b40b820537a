"""What a consolidation looks for in the memories of an owner, and what it makes of it, in bounded batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from lakemem.extraction_types import KnownMemory
from lakemem.memory_types import MemoryKind
from lakemem.operations import Operation
from lakemem.operations.maintenance import IN_ORDER, MAINTENANCE
from lakemem.operations.store import namespace_array

BATCH = 500
LEAST_CHANGE = 0.01
"""What importance changes by at the least, so that a consolidation every day does not write every row every day."""

NEWEST = 10_000
"""Facts of an owner for which candidates are looked for."""
COMPARED = 100
"""Of these, how many a statement compares with all others."""
MAX_CHARACTERS = 1_000
"""Of a fact that a matcher is shown: it is shown all of it, or nothing."""
ASKED = 20
"""Candidates of one question to a matcher."""


@dataclass(frozen=True, slots=True)
class Twin:
    """A fact, and another that says the same and is to go."""

    namespace: tuple[str, ...]
    key: str
    version: int
    twin_key: str
    twin_version: int

    @property
    def addresses(self) -> tuple[Address, Address]:
        """Of the one that stays, and of the one that is to go."""
        return (self.namespace, self.key), (self.namespace, self.twin_key)


Address: TypeAlias = tuple[tuple[str, ...], str]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Two facts that may say the same, and what each of them says and when it happened."""

    twin: Twin
    says: tuple[tuple[str, datetime | None], tuple[str, datetime | None]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Question:
    """What a matcher is shown, and what becomes of each pair of numbers that it may name."""

    facts: list[KnownMemory]
    twins: dict[tuple[int, int], Twin]


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


def newest(owner: str, since: datetime | None) -> Operation[list[Address]]:
    """The newest facts that a matcher may say to be the same as an older one, the newest first."""
    return Operation(
        statement="consolidating.newest",
        owner=owner,
        parameters={"owner": owner, "since": since, "limit": NEWEST},
        parse=lambda rows: [(tuple(namespace), key) for namespace, key in rows],
        fallback=[],
        waits=False,
    )


def candidates(owner: str, facts: Sequence[Address], similarity: float, limit: int) -> Operation[list[Candidate]]:
    """Each of these facts with the older ones that are so similar to it, in the order of :func:`newest`."""
    return Operation(
        statement="consolidating.candidates",
        owner=owner,
        parameters={
            "owner": owner,
            "namespaces": [namespace_array(namespace) for namespace, _ in facts],
            "keys": [key for _, key in facts],
            "similarity": similarity,
            "max_characters": MAX_CHARACTERS,
            "limit": limit,
        },
        parse=lambda rows: [_candidate(*row) for row in rows],
        fallback=[],
        waits=False,
    )


def question(asked: Sequence[Candidate]) -> Question:
    """Show each of the facts once, under a small number."""
    said = {
        address: says
        for candidate in asked
        for address, says in zip(candidate.twin.addresses, candidate.says, strict=True)
    }
    ids = {address: number for number, address in enumerate(said)}
    return Question(
        [KnownMemory(ids[address], text, None, occurred_at) for address, (text, occurred_at) in said.items()],
        {_pair(ids, candidate.twin): candidate.twin for candidate in asked},
    )


def into_what_stays(twins: Sequence[Twin]) -> list[Twin]:
    """One pair for each that goes, into one that does not go itself: what is only like a twin stays, for that goes."""
    going = {twin.addresses[1] for twin in twins}
    staying = [twin for twin in twins if twin.addresses[0] not in going]
    return list({twin.addresses[1]: twin for twin in reversed(staying)}.values())


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


def _candidate(
    namespace: Sequence[str],
    key: str,
    version: int,
    twin_key: str,
    twin_version: int,
    text: str,
    occurred_at: datetime | None,
    twin_text: str,
    twin_occurred_at: datetime | None,
) -> Candidate:
    twin = Twin(tuple(namespace), key, version, twin_key, twin_version)
    return Candidate(twin, ((text, occurred_at), (twin_text, twin_occurred_at)))


def _pair(ids: Mapping[Address, int], twin: Twin) -> tuple[int, int]:
    kept, gone = twin.addresses
    return ids[kept], ids[gone]
