"""A change of the embedder, in bounded batches through the memories of all owners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lakemem.operations import Operation
from lakemem.operations.maintenance import IN_ORDER, MAINTENANCE
from lakemem.operations.store import namespace_array

BATCH = 64
"""Versions that are filled in one go: as many texts as an embedder is given at the most."""
MOVED = 500
"""Versions that are moved in one go."""


@dataclass(frozen=True, slots=True)
class Place:
    """A version among the versions of all owners, in the order of the primary key."""

    owner: str = ""
    key: str = ""
    version: int = 0
    namespace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unfilled:
    """A version, what it says, and the hash of that as it is stored."""

    place: Place
    text: str = field(repr=False)
    text_hash: bytes


@dataclass(frozen=True, slots=True)
class Filling:
    """A version, and the vector of what it says; None where the embedder has none."""

    version: Unfilled
    vector: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Count:
    """How many versions have their vectors of these models; None where they have none."""

    model: str | None
    next_model: str | None
    versions: int

    def has(self, model: str) -> bool:
        return model in (self.model, self.next_model)


def counts() -> Operation[list[Count]]:
    """How many versions there are of each pair of models."""
    return Operation(
        statement="reembedding.counts",
        owner=MAINTENANCE,
        parameters={},
        parse=lambda rows: [Count(*row) for row in rows],
        fallback=[],
        waits=False,
    )


def unfilled(model: str, after: Place, *, current: bool, replace: bool) -> Operation[list[Unfilled]]:
    """Versions behind a place that have no vector of a model, with their texts.

    Args:
        current: whether to look at the current versions, or at those that are not.
        replace: whether the next vector of another model counts as room.
    """
    return Operation(
        statement="reembedding.unfilled",
        owner=MAINTENANCE,
        parameters={
            "model": model,
            "current": current,
            "replace": replace,
            "limit": BATCH,
            **_behind(after),
        },
        parse=lambda rows: [Unfilled(_place(*place), text, bytes(text_hash)) for *place, text, text_hash in rows],
        fallback=[],
        first=IN_ORDER,
        waits=False,
    )


def fill(owner: str, model: str, fillings: Sequence[Filling], *, replace: bool) -> Operation[int]:
    """Give versions of one owner their next vectors, and say how many took them."""
    return Operation(
        statement="reembedding.fill",
        owner=owner,
        parameters={
            "owner": owner,
            "model": model,
            "replace": replace,
            "text_hashes": [filling.version.text_hash for filling in fillings],
            "embeddings": [filling.vector for filling in fillings],
            **_addresses([filling.version.place for filling in fillings]),
        },
        parse=lambda rows: int(rows[0][0]),
        fallback=0,
        writes=True,
        waits=False,
    )


def unmoved(model: str, after: Place) -> Operation[list[Place]]:
    """Versions behind a place whose next vector is to be moved, or of no use any more."""
    return Operation(
        statement="reembedding.unmoved",
        owner=MAINTENANCE,
        parameters={"model": model, "limit": MOVED, **_behind(after)},
        parse=lambda rows: [_place(*row) for row in rows],
        fallback=[],
        first=IN_ORDER,
        waits=False,
    )


def move(owner: str, model: str, places: Sequence[Place]) -> Operation[int]:
    """Put the next vectors of one owner's versions in place of the ones there are, and say of how many."""
    return Operation(
        statement="reembedding.move",
        owner=owner,
        parameters={"owner": owner, "model": model, **_addresses(places)},
        parse=lambda rows: int(rows[0][0]),
        fallback=0,
        writes=True,
        waits=False,
    )


def _behind(place: Place) -> dict[str, object]:
    return {
        "after_owner": place.owner,
        "after_key": place.key,
        "after_version": place.version,
        "after_namespace": list(place.namespace),
    }


def _addresses(places: Sequence[Place]) -> dict[str, object]:
    return {
        "namespaces": [namespace_array(place.namespace) for place in places],
        "keys": [place.key for place in places],
        "versions": [place.version for place in places],
    }


def _place(owner: str, key: str, version: int, namespace: Sequence[str]) -> Place:
    return Place(owner, key, version, tuple(namespace))
