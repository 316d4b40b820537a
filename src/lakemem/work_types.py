"""What maintenance is to do, and what it and the workers did: frozen, and safe to print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Which checkpoints of a thread are kept: those that any of these rules keeps, and always the newest.

    Attributes:
        last: the newest ones, so many in each namespace; None for the newest alone.
        turn_ends: the last one of each turn, which has what the conversation had come to.
        younger_than: those stored within so many seconds.
    """

    last: int | None = None
    turn_ends: bool = False
    younger_than: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep removed.

    Attributes:
        threads: threads that had expired, with all that was in them.
        checkpoints: checkpoints that a retention does not keep.
        memories: memories that had expired, with their versions.
        marks: marks of writes that nobody repeats any more.
        runs: runs that ended long ago, with their events.
        run_events: events of runs that ended some time ago.
        quarantined: writes that were held back until their time was over.
    """

    threads: int = 0
    checkpoints: int = 0
    memories: int = 0
    marks: int = 0
    runs: int = 0
    run_events: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reembedded:
    """How far a change of the embedder has come. What is counted are versions of memories that have not expired.

    Attributes:
        model: the model of the embedder, with its dimensions.
        filled: what this call has given a vector of the model.
        moved: where this call has let that vector take the place of the one before.
        without_vector: what the embedder has no vector for, since it is blank or is refused; found by words.
        left: what has no vector of the model yet, the ones above included.
        models: how many have a vector of each model, by its name.
    """

    model: str
    filled: int = 0
    moved: int = 0
    without_vector: int = 0
    left: int = 0
    models: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encrypted:
    """How far an encryption of what is stored has come.

    Attributes:
        owners: whose rows were looked through.
        rows: those that were in clear, or encrypted with an older key, and are encrypted now.
        unreadable: those that do not open, such as what a dropped key has encrypted; they stay as they are.
    """

    owners: int = 0
    rows: int = 0
    unreadable: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import of an archive brought.

    Attributes:
        threads: threads that were not there.
        items: items that were not there.
        memories: versions of memories that were not there, or were still current here and no more in the archive.
        usage: what runs of agents used, where that was not there.
        checkpoints: checkpoints that were not there, with all that they consist of.
        runs: runs that were not there.
        run_events: events of runs that were not there.
    """

    threads: int = 0
    items: int = 0
    memories: int = 0
    usage: int = 0
    checkpoints: int = 0
    runs: int = 0
    run_events: int = 0

    def __add__(self, other: Imported) -> Imported:
        return Imported(
            threads=self.threads + other.threads,
            items=self.items + other.items,
            memories=self.memories + other.memories,
            usage=self.usage + other.usage,
            checkpoints=self.checkpoints + other.checkpoints,
            runs=self.runs + other.runs,
            run_events=self.run_events + other.run_events,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Consolidated:
    """What a consolidation did, or for a dry run, would do.

    Attributes:
        owners: whose memories were gone through: users and shared scopes.
        merged: facts that were closed, since an older one says the same.
        decayed: memories whose importance has followed their age.
        closed: memories that were beyond a cap.
        candidates: pairs of facts that a matcher was asked about.
        dropped: what it said of others, which does not count.
        failed: questions to it that failed, or were not answered in time. After three in a row it is not asked again.
    """

    owners: int = 0
    merged: int = 0
    decayed: int = 0
    closed: int = 0
    candidates: int = 0
    dropped: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A job that was given up after too many attempts. Nothing of what it was about is lost.

    Attributes:
        owner: ``user:ID`` or ``scope:ID``.
        kind: ``extract`` or ``embed``.
        attempts: how often it was tried.
        created_at: when it was queued.
        error: the name of the last error's class.
    """

    owner: str
    job_id: str
    kind: str
    attempts: int
    created_at: datetime
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """What a worker has done.

    Attributes:
        jobs: jobs that were completed.
        facts: facts that they saved.
        dropped: proposals, and parts of them, that did not hold.
        vectors: vectors that were filled in.
        indexed: large scopes that were indexed.
        failed: attempts that failed, and are made again.
        dead: jobs that were given up.
        lost: jobs that another worker had taken over in the meantime.
    """

    jobs: int = 0
    facts: int = 0
    dropped: int = 0
    vectors: int = 0
    indexed: int = 0
    failed: int = 0
    dead: int = 0
    lost: int = 0

    def __add__(self, other: Worked) -> Worked:
        return Worked(
            jobs=self.jobs + other.jobs,
            facts=self.facts + other.facts,
            dropped=self.dropped + other.dropped,
            vectors=self.vectors + other.vectors,
            indexed=self.indexed + other.indexed,
            failed=self.failed + other.failed,
            dead=self.dead + other.dead,
            lost=self.lost + other.lost,
        )
