"""The data keys of owners, as Postgres has them: wrapped by a master key."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from lakemem.forgetting import Erasure
from lakemem.operations import Operation
from lakemem.operations.forgetting import who_and_why
from lakemem.operations.maintenance import MAINTENANCE

AT_ONCE = 100
"""Owners, or keys, of one page."""


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key that only a master key opens."""

    id: uuid.UUID
    wrapped: bytes = field(repr=False)
    master_key: str
    is_current: bool = True


@dataclass(frozen=True, slots=True)
class OwnedKey:
    """A wrapped key, and whose it is."""

    owner: str
    key: WrappedKey


def of_owner(owner: str) -> Operation[list[WrappedKey]]:
    """The keys of an owner: the current one, and those that are to open what they have sealed."""
    return Operation(
        statement="keys.of_owner",
        owner=owner,
        parameters={"owner": owner},
        parse=lambda rows: [
            WrappedKey(key_id, bytes(wrapped), master, current) for key_id, wrapped, master, current in rows
        ],
        fallback=[],
        waits=False,
    )


def make(owner: str, key: WrappedKey) -> Operation[None]:
    """Give an owner a key, unless somebody else has by now."""
    return Operation(
        statement="keys.make",
        owner=owner,
        parameters={"owner": owner, **_columns(key)},
        parse=lambda _: None,
        fallback=None,
        writes=True,
        waits=False,
    )


def rotate(owner: str, old: uuid.UUID, new: WrappedKey) -> Operation[bool]:
    """Let another key seal from now on; False where somebody else has done so."""
    return Operation(
        statement="keys.rotate",
        owner=owner,
        parameters={"owner": owner, "old_key_id": old, **_columns(new)},
        parse=lambda rows: bool(rows[0][0]),
        fallback=False,
        writes=True,
        alone=True,
        waits=False,
    )


def rewrap(owner: str, old: WrappedKey, new: WrappedKey) -> Operation[bool]:
    """Put a key that another master key has wrapped in the place of the one there is, if that is still the same."""
    return Operation(
        statement="keys.rewrap",
        owner=owner,
        parameters={"owner": owner, "old_wrapped": old.wrapped, **_columns(new)},
        parse=bool,
        fallback=False,
        writes=True,
        waits=False,
    )


def forget_retired(owner: str, ids: list[uuid.UUID]) -> Operation[int]:
    """Remove keys with which nothing is sealed any more."""
    return Operation(
        statement="keys.forget_retired",
        owner=owner,
        parameters={"owner": owner, "key_ids": [str(each) for each in ids]},
        parse=lambda rows: int(rows[0][0]),
        fallback=0,
        writes=True,
        waits=False,
    )


def drop(owner: str, *, requested_by: str | None, reason: str | None) -> Operation[Erasure]:
    """Drop all keys of an owner, and return the receipt."""
    return Operation(
        statement="keys.drop",
        owner=owner,
        parameters={"owner": owner, **who_and_why(owner, requested_by, reason)},
        parse=lambda rows: _receipt(rows[0][0]),
        fallback=None,  # type: ignore[arg-type]
        writes=True,
        alone=True,
        waits=False,
    )


def wrapped_by_others(master_key: str, after: OwnedKey | None) -> Operation[list[OwnedKey]]:
    """Keys of everybody that are not wrapped by this master key, behind one of them."""
    return Operation(
        statement="keys.wrapped_by_others",
        owner=MAINTENANCE,
        parameters={
            "master_key": master_key,
            "after_owner": "" if after is None else after.owner,
            "after_key_id": uuid.UUID(int=0) if after is None else after.key.id,
            "limit": AT_ONCE,
        },
        parse=lambda rows: [
            OwnedKey(owner, WrappedKey(key_id, bytes(wrapped), name)) for owner, key_id, wrapped, name in rows
        ],
        fallback=[],
        waits=False,
    )


def counts() -> Operation[Mapping[str, tuple[int, int]]]:
    """Master key -> how many keys it has wrapped, and how many of these are retired."""
    return Operation(
        statement="keys.counts",
        owner=MAINTENANCE,
        parameters={},
        parse=lambda rows: {name: (count, retired) for name, count, retired in rows},
        fallback={},
        waits=False,
    )


def owners(after: str) -> Operation[list[str]]:
    """Owners who have something that can be encrypted, behind one."""
    return Operation(
        statement="keys.owners",
        owner=MAINTENANCE,
        parameters={"after": after, "limit": AT_ONCE},
        parse=lambda rows: [owner for (owner,) in rows],
        fallback=[],
        waits=False,
    )


def _columns(key: WrappedKey) -> dict[str, object]:
    return {"key_id": key.id, "wrapped": key.wrapped, "master_key": key.master_key}


def _receipt(text: str) -> Erasure:
    receipt = json.loads(text)
    return Erasure(**{**receipt, "erased_at": datetime.fromisoformat(receipt["erased_at"])})
