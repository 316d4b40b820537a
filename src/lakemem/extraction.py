"""What an extractor proposes, and what of it holds. Pure.

A model may err, or be led astray by what it reads. So nothing that it says is taken on trust: a number must be one
that it was shown, a text must be one that can be stored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeGuard

from lakemem.errors import ExtractionError, InvalidInputError
from lakemem.extraction_types import Extraction, KnownMemory, Proposal, SourceTurn
from lakemem.validation import check_datetime, check_fraction, indexable

MAX_FACTS = 20
"""From one job."""
MAX_FACT_CHARACTERS = 1_000
MAX_SUBJECT_CHARACTERS = 100

_SUBJECT = re.compile(r"[a-z0-9_]+(?:\.[a-z0-9_]+)+")


def checked(proposals: object, turns: Sequence[SourceTurn], known: Sequence[KnownMemory]) -> Extraction:
    """Return what holds of an extractor's proposals, and count what does not, by the reason.

    A fact goes as a whole when its text is empty or too long, when it is said twice, when there are too many, or when
    none of the turns that it names was shown. Otherwise only the part goes that does not hold.

    Raises:
        ExtractionError: there is no list of proposals.
    """
    if isinstance(proposals, str | bytes) or not isinstance(proposals, Sequence):
        raise ExtractionError(f"the extractor returned {type(proposals).__name__}, not a list of proposals")
    check = _Check({turn.id for turn in turns}, {memory.id for memory in known})
    facts: dict[str, Proposal] = {}
    for proposal in proposals:
        fact = check.fact(proposal)
        if fact is None:
            continue
        if fact.text.casefold() in facts:
            check.dropped["repeated"] += 1
        elif len(facts) == MAX_FACTS:
            check.dropped["too many"] += 1
        else:
            facts[fact.text.casefold()] = fact
    return Extraction(tuple(facts.values()), dict(check.dropped))


def is_subject(name: object) -> bool:
    """Whether this can name what has one value at a time: words joined by dots, such as ``user.employer``."""
    return isinstance(name, str) and len(name) <= MAX_SUBJECT_CHARACTERS and _SUBJECT.fullmatch(name) is not None


def without_subjects(extraction: Extraction, is_taken: Callable[[Proposal], bool]) -> Extraction:
    """The same, but what may not take the place of its subject stands beside it."""
    taken = [is_taken(proposal) for proposal in extraction.proposals]
    proposals = tuple(
        replace(proposal, subject=None) if is_so else proposal
        for proposal, is_so in zip(extraction.proposals, taken, strict=True)
    )
    number = sum(taken)
    dropped = {**extraction.dropped, "subject is taken": number} if number else extraction.dropped
    return replace(extraction, proposals=proposals, dropped=dropped)


class _Check:
    """Holds each proposal to what was shown, and counts what it drops."""

    def __init__(self, turns: set[int], known: set[int]) -> None:
        self._turns = turns
        self._known = known
        self.dropped: Counter[str] = Counter()

    def fact(self, proposal: object) -> Proposal | None:
        if not isinstance(proposal, Proposal):
            self._drop("not a proposal")
            return None
        text = self._text(proposal.text)
        sources = self._sources(proposal.sources)
        if text is None or not sources:
            return None
        return Proposal(
            text=text,
            sources=sources,
            subject=self._subject(proposal.subject),
            supersedes=self._superseded(proposal.supersedes),
            importance=self._importance(proposal.importance),
            occurred_at=self._moment(proposal.occurred_at),
        )

    def _text(self, text: object) -> str | None:
        stripped = indexable(text).strip() if isinstance(text, str) else ""
        if 0 < len(stripped) <= MAX_FACT_CHARACTERS:
            return stripped
        self._drop("too long" if stripped else "no text")
        return None

    def _sources(self, sources: object) -> tuple[int, ...]:
        named = list(sources) if isinstance(sources, Sequence) and not isinstance(sources, str | bytes) else []
        found = tuple(dict.fromkeys(each for each in named if _is_one_of(each, self._turns)))
        for each in named:
            if not _is_one_of(each, self._turns):
                self._drop("unknown source")
        if not found:
            self._drop("no source")
        return found

    def _subject(self, subject: object) -> str | None:
        if subject is None or (isinstance(subject, str) and is_subject(subject)):
            return subject
        self._drop("not a subject")
        return None

    def _superseded(self, known: object) -> int | None:
        if _is_one_of(known, self._known):
            return known
        if known is not None:
            self._drop("unknown memory")
        return None

    def _importance(self, importance: object) -> float:
        try:
            return check_fraction("importance", importance, least=0)
        except InvalidInputError:
            self._drop("not an importance")
            return 0.5

    def _moment(self, moment: object) -> datetime | None:
        try:
            return check_datetime("occurred_at", moment)
        except InvalidInputError:
            self._drop("not a time")
            return None

    def _drop(self, reason: str) -> None:
        self.dropped[reason] += 1


def _is_one_of(number: object, ids: set[int]) -> TypeGuard[int]:
    # True is 1, and 1.0 is 1; neither is a number that was shown.
    return type(number) is int and number in ids
