"""The facts that an extractor found, on their way to become memories."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lakemem.extraction import is_subject
from lakemem.extraction_types import Extraction, KnownMemory, Proposal, SourceTurn
from lakemem.memory_types import DuplicatePolicy, MemoryRecord, Trust
from lakemem.operations import Operation, drafting, memories, together
from lakemem.operations.drafting import Draft, Embedded
from lakemem.operations.remembering import StoredTurn
from lakemem.trust import above, least

KNOWN = 12
"""Memories that are shown to an extractor."""
ASKED = 2_000
"""Characters of the newest turns that these are looked for by."""

_DUPLICATES = DuplicatePolicy()


@dataclass(frozen=True, slots=True)
class Found:
    """What an extractor found, and the memories that it is to become."""

    extraction: Extraction
    drafts: list[Draft] = field(default_factory=list)


def question(turns: Sequence[StoredTurn]) -> str:
    """What to search for, so that what is known of the turns is found."""
    return "\n".join(turn.said for turn in turns if turn.is_new)[-ASKED:]


def shown_turns(turns: Sequence[StoredTurn]) -> list[SourceTurn]:
    return [
        SourceTurn(number, turn.speaker, turn.said, turn.occurred_at, turn.is_new) for number, turn in enumerate(turns)
    ]


def shown_memories(records: Sequence[MemoryRecord]) -> list[KnownMemory]:
    return [
        KnownMemory(number, record.text, record.key if is_subject(record.key) else None, record.occurred_at)
        for number, record in enumerate(records)
    ]


def taken_subjects(
    owner: str, namespace: Sequence[str], proposals: Iterable[Proposal]
) -> Operation[list[MemoryRecord | None]] | None:
    """Look up what stands under the proposals' subjects; None where they have none."""
    subjects = dict.fromkeys(proposal.subject for proposal in proposals if proposal.subject is not None)
    return together("facts.subjects", [memories.get(owner, each, namespace) for each in subjects]) if subjects else None


def taken_by(
    records: Iterable[MemoryRecord | None], turns: Sequence[StoredTurn], *, yields: bool
) -> Callable[[Proposal], bool]:
    """Say of which proposals the subject is not theirs to take.

    Under it stands something else than a text, which no extractor has put there; or what was said by somebody who
    counts for more, where facts are to yield to that.
    """
    standing = {record.key: record for record in records if record is not None}

    def is_taken(proposal: Proposal) -> bool:
        record = standing.get(proposal.subject or "")
        if record is None:
            return False
        return not isinstance(record.value, str) or (yields and record.trust in above(_trust(proposal, turns)))

    return is_taken


def drafts(
    namespace: Sequence[str], turns: Sequence[StoredTurn], known: Sequence[MemoryRecord], proposals: Sequence[Proposal]
) -> list[Draft]:
    """The memories that the proposals are to become."""
    return [_draft(namespace, turns, known, proposal) for proposal in proposals]


def save(owner: str, draft: Draft, embedded: Embedded, *, yields: bool) -> Operation[MemoryRecord]:
    return memories.save(owner, draft, embedded, duplicates=_DUPLICATES, yields=yields)


def _trust(proposal: Proposal, turns: Sequence[StoredTurn]) -> Trust:
    """A fact is worth what the least of its sources is."""
    return least(turns[number].trust for number in proposal.sources)


def _draft(
    namespace: Sequence[str], turns: Sequence[StoredTurn], known: Sequence[MemoryRecord], proposal: Proposal
) -> Draft:
    sources = [turns[number] for number in proposal.sources]
    said_at = max((source.occurred_at for source in sources if source.occurred_at is not None), default=None)
    superseded = None if proposal.supersedes is None else known[proposal.supersedes].key
    return drafting.draft(
        None,
        proposal.text,
        # Without a common subject nobody but the model says that one is about the other: both stay, and are linked.
        metadata=None if superseded in (None, proposal.subject) else {"supersedes": superseded},
        namespace=namespace,
        text=None,
        importance=proposal.importance,
        thread_id=sources[-1].thread_id,
        position=sources[-1].position,
        occurred_at=proposal.occurred_at or said_at,
        expires_in=None,
        subject=proposal.subject,
        # What was said earlier holds from then on, also where its job is done later.
        valid_from=said_at if said_at is not None and said_at < datetime.now(UTC) else None,
        sources=[source.key for source in sources],
        trust=_trust(proposal, turns),
    )
