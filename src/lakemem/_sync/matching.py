# Generated from src/lakemem/_async/matching.py by tools/unasync.py: edit that file, then run `make generate`.
"""Asking a matcher which facts say the same, beside all that goes on."""

from __future__ import annotations

from collections.abc import Sequence

from lakemem._sync.database import Storage
from lakemem.consolidation import Answer, MatchPolicy, checked
from lakemem.errors import MatchingError
from lakemem.extraction_types import KnownMemory
from lakemem.operations import consolidating
from lakemem.operations.consolidating import Address, Candidate
from lakemem.waiting import call_blocking


class Matching:
    """Looks for candidates, and shows them to a matcher; checks what it says."""

    def __init__(self, storage: Storage, policy: MatchPolicy) -> None:
        self._storage = storage
        self._policy = policy

    def candidates(self, owner: str) -> list[Candidate]:
        """Return the newest candidates of an owner; the oldest of these first, so that what stays comes before."""
        newest = self._storage.run(consolidating.newest(owner, self._policy.since))
        found: list[Candidate] = []
        for start in range(0, len(newest), consolidating.COMPARED):
            room = self._policy.max_pairs - len(found)
            if not room:
                break
            compared = newest[start : start + consolidating.COMPARED]
            found += self._alike(owner, compared, room)
        return found[::-1]

    def ask(self, question: consolidating.Question) -> Answer:
        """Return what holds of the matcher's answer.

        Raises:
            MatchingError: it failed, was late, or returned no list of pairs.
        """
        return checked(self._said(question.facts), question.twins)

    def _alike(self, owner: str, compared: Sequence[Address], room: int) -> list[Candidate]:
        return self._storage.run(consolidating.candidates(owner, compared, self._policy.similarity, room))

    def _said(self, facts: Sequence[KnownMemory]) -> object:
        deadline = self._policy.deadline
        try:
            return call_blocking(lambda: self._policy.matcher.match(facts), deadline=deadline)
        except MatchingError:
            raise
        except TimeoutError:
            raise MatchingError(f"the matcher gave no answer within {deadline:g} s", error="TimeoutError") from None
        except Exception as error:
            # The words of a foreign error may quote a fact.
            name = type(error).__name__
            raise MatchingError(f"the matcher failed with {name}", error=name) from None
