# Generated from src/lakemem/_async/guarding.py by tools/unasync.py: edit that file, then run `make generate`.
"""Asking the redactor and the policy, before anything of a write goes anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from lakemem import guarding
from lakemem.errors import GuardError, InvalidInputError
from lakemem.file_memory.files import Change
from lakemem.guarding import Guard, Redact
from lakemem.memory_types import ProposedWrite, Trust
from lakemem.operations import drafting, files, remembering
from lakemem.waiting import call_blocking

D = TypeVar("D")


class Guarding:
    """Passes drafts through a guard, off the event loop and in time; fails where the guard fails."""

    def __init__(self, guard: Guard | None = None) -> None:
        self._guard = Guard() if guard is None else guard

    @property
    def keep_quarantined(self) -> float:
        return self._guard.keep_quarantined

    def yields(self, trust: Trust | None) -> bool:
        """Whether a write leaves what counts for more in its place.

        An application that does not say whose words it saves has decided to save them.
        """
        return trust not in (None, "unknown") and not self._guard.overrule

    @property
    def facts_yield(self) -> bool:
        """The same for facts, of which nobody has decided anything."""
        return not self._guard.overrule

    def drafts(self, owner: str, drafts: Sequence[drafting.Draft]) -> list[tuple[drafting.Draft, str | None]]:
        """Redact memories, and say of each why it is held back, if it is.

        Raises:
            GuardError: the redactor or the policy failed, or was late.
            InvalidInputError: a key holds what is not to be stored.
        """
        return self._passed(
            drafts,
            lambda some, redact: [drafting.redacted(draft, redact) for draft in some],
            lambda draft: drafting.proposed(owner, draft),
        )

    def turns(
        self, owner: str, place: remembering.Place, drafts: Sequence[remembering.Draft]
    ) -> list[tuple[remembering.Draft, str | None]]:
        """The same for turns of a conversation."""
        return self._passed(
            drafts,
            lambda some, redact: remembering.redacted(place, some, redact),
            lambda draft: remembering.proposed(owner, place, draft),
        )

    def changes(
        self, owner: str, namespace: Sequence[str], changes: Sequence[Change]
    ) -> list[tuple[Change, str | None]]:
        """The same for files. What is only moved was looked at when it was written."""
        return self._passed(
            changes,
            lambda some, redact: [files.redacted(change, redact) for change in some],
            lambda change: files.proposed(owner, namespace, change),
        )

    def _passed(
        self,
        drafts: Sequence[D],
        redacted: Callable[[Sequence[D], Redact], Sequence[D]],
        proposed: Callable[[D], ProposedWrite | None],
    ) -> list[tuple[D, str | None]]:
        guard = self._guard
        if not drafts or (guard.redactor is None and guard.policy is None):
            return [(draft, None) for draft in drafts]
        try:
            return call_blocking(lambda: guarding.passed(guard, drafts, redacted, proposed), deadline=guard.deadline)
        except (InvalidInputError, GuardError):
            raise
        except TimeoutError:
            raise GuardError(f"redactor and policy took over {guard.deadline:g} s: nothing was stored") from None
        except Exception as error:
            # The words of a foreign error may quote what was to be stored.
            name = type(error).__name__
            raise GuardError(f"the redactor or the policy failed with {name}: nothing was stored") from None


UNGUARDED = Guarding()
