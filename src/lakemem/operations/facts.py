"""The facts that an extractor found, on their way to become memories."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lakemem.extraction import is_subject
from lakemem.operations import Operation, memories, together
from lakemem.operations.memories import Draft, Embedded
from lakemem.operations.remembering import StoredTurn
from lakemem.types import DuplicatePolicy, Extraction, KnownMemory, MemoryRecord, Proposal, SourceTurn

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

    @property
    def texts(self) -> list[str | None]:
        """What is to be embedded."""
        return [draft.text for draft in self.drafts]


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


def drafts(
    namespace: Sequence[str], turns: Sequence[StoredTurn], known: Sequence[MemoryRecord], proposals: Sequence[Proposal]
) -> list[Draft]:
    """The memories that the proposals are to become."""
    return [_draft(namespace, turns, known, proposal) for proposal in proposals]


def save(owner: str, drafts: Sequence[Draft], embedded: Sequence[Embedded]) -> list[Operation[MemoryRecord]]:
    """A write for each fact."""
    return [
        memories.save(owner, draft, each, duplicates=_DUPLICATES) for draft, each in zip(drafts, embedded, strict=True)
    ]


def _draft(
    namespace: Sequence[str], turns: Sequence[StoredTurn], known: Sequence[MemoryRecord], proposal: Proposal
) -> Draft:
    sources = [turns[number] for number in proposal.sources]
    said_at = max((source.occurred_at for source in sources if source.occurred_at is not None), default=None)
    superseded = None if proposal.supersedes is None else known[proposal.supersedes].key
    return memories.draft(
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
    )
