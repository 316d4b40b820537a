"""What a consolidation goes by, and what holds of a matcher's answer. Pure.

A model may err, or be led astray by what it reads. So it is only asked which of the facts that it is shown say the
same, and only pairs that were candidates before it was asked are taken from its answer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from lakemem.errors import InvalidInputError, MatchingError
from lakemem.memory_types import DuplicatePolicy
from lakemem.protocols import Matcher
from lakemem.validation import check_count, check_datetime, check_fraction, check_seconds

_DUPLICATES = DuplicatePolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchPolicy:
    """How a matcher is asked which facts say the same in other words.

    Attributes:
        matcher: what says so, such as a model.
        similarity: 0 to 1, from which two facts are candidates; by default that from which a save links them. Facts
            without a vector have none.
        max_pairs: how many candidates of each owner it is asked about in a run, the newest first.
        since: only candidates of which one holds since then or later (`valid_from`), such as the last run; None for
            all. What a matcher has denied is not kept: without this, each run asks again.
        deadline: seconds to wait for each answer.
    """

    matcher: Matcher
    similarity: float = 0.8
    max_pairs: int = 200
    since: datetime | None = None
    deadline: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Consolidation:
    """How memories are made fewer that say as much, and which count for less. Only `matches` may ask a model.

    Attributes:
        duplicates: what counts as the same; facts whose keys were made of their content are merged into the oldest of
            those that say it. None to merge nothing by this rule.
        matches: a matcher, and which facts it is asked about: what it confirms is merged in the same way. None to ask
            nobody.
        half_life: seconds after which a memory is half as important; None for memories that stay as important as they
            are. Age is counted from when it happened, or where it was changed since, from when it was saved.
        max_facts: how many facts an owner keeps: beyond it, the least important and then the oldest are closed, as if
            they were deleted; None for all.
        max_turns: the same for the turns of conversations.
        erase: remove what is beyond a cap with all its versions, for good.
    """

    duplicates: DuplicatePolicy | None = _DUPLICATES
    matches: MatchPolicy | None = None
    half_life: float | None = None
    max_facts: int | None = None
    max_turns: int | None = None
    erase: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What holds of an answer.

    Attributes:
        matches: pairs of ids, each of which is a candidate as it was given.
        dropped: how much of the answer does not hold.
    """

    matches: frozenset[tuple[int, int]]
    dropped: int = 0


def checked_policy(policy: object) -> Consolidation:
    """Return a policy that can be followed.

    Raises:
        InvalidInputError: it is none, or one of its numbers cannot be.
    """
    if not isinstance(policy, Consolidation):
        raise InvalidInputError(f"policy must be a Consolidation, not {type(policy).__name__}")
    check_seconds("half_life", policy.half_life)
    for name, cap in (("max_facts", policy.max_facts), ("max_turns", policy.max_turns)):
        if cap is not None:
            check_count(name, cap)
    if policy.duplicates is not None:
        check_fraction("merge", policy.duplicates.merge, least=0)
    if policy.matches is not None:
        _check_matches(policy.matches)
    return policy


def checked(answer: object, candidates: Collection[tuple[int, int]]) -> Answer:
    """Return what holds of a matcher's answer, and count what does not: all but pairs that are candidates.

    Raises:
        MatchingError: there is no list of pairs.
    """
    if isinstance(answer, str | bytes) or not isinstance(answer, Sequence):
        raise MatchingError(f"the matcher returned {type(answer).__name__}, not a list of pairs")
    named = [_candidate(each, candidates) for each in answer]
    return Answer(frozenset(pair for pair in named if pair is not None), named.count(None))


def _candidate(given: object, candidates: Collection[tuple[int, int]]) -> tuple[int, int] | None:
    """The candidate that is meant, whichever of the two is named first."""
    match given:
        # True is 1, and 1.0 is 1; neither is a number that was shown.
        case [one, other] if type(one) is int and type(other) is int:
            return next((pair for pair in ((one, other), (other, one)) if pair in candidates), None)
    return None


def _check_matches(policy: object) -> None:
    if not isinstance(policy, MatchPolicy):
        raise InvalidInputError(f"matches must be a MatchPolicy, not {type(policy).__name__}")
    if not isinstance(policy.matcher, Matcher):
        raise InvalidInputError(f"matcher must have match(facts); {type(policy.matcher).__name__} does not")
    check_fraction("similarity", policy.similarity, least=0)
    check_count("max_pairs", policy.max_pairs)
    check_datetime("since", policy.since)
    if check_seconds("deadline", policy.deadline) is None:
        raise InvalidInputError("deadline must be a number of seconds, not None")
