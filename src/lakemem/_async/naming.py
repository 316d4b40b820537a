"""The keys of what nobody has named: they are made of the content, and kept as the storage has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from lakemem._async.database import AsyncStorage
from lakemem.operations import drafting, remembering

D = TypeVar("D", drafting.Draft, remembering.Draft)


async def named(
    storage: AsyncStorage, owner: str, checked: Sequence[tuple[D, str | None]]
) -> list[tuple[D, str | None]]:
    """The same drafts under the keys that they are stored by: where they are encrypted, a key tells nothing either."""
    made = [draft.key for draft, _ in checked if not draft.is_named]
    if not made:
        return list(checked)
    stored = iter(await storage.made_up_keys(owner, made))
    return [(draft if draft.is_named else replace(draft, key=next(stored)), reason) for draft, reason in checked]
