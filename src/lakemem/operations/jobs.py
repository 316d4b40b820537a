"""Jobs: who has some that are due, how one is taken, and how it ends."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from lakemem.operations import Operation, Rows, together
from lakemem.operations.drafting import Embedded
from lakemem.operations.store import namespace_array
from lakemem.work_types import DeadJob

T = TypeVar("T")

JOBS = "jobs"
"""The owner of whom the policy `jobs` speaks; no user's or scope's owner can be named so."""
OWNERS_AT_ONCE = 100
DEAD_AT_ONCE = 1_000
EMBEDDED_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Lease:
    """A job that a worker has taken. Without the lease nothing can be done to it.

    Attributes:
        attempts: how often it was taken, this time included.
    """

    owner: str
    job_id: str
    kind: str
    attempts: int
    payload: Mapping[str, Any] = field(repr=False)
    lease: uuid.UUID = field(repr=False)

    @property
    def key(self) -> dict[str, Any]:
        return {"owner": self.owner, "job_id": self.job_id, "lease_id": self.lease}


@dataclass(frozen=True, slots=True)
class Unembedded:
    """A version of a memory that has no vector."""

    namespace: list[str]
    key: str
    version: int
    text: str = field(repr=False)


def owners(kinds: Sequence[str]) -> Operation[list[str]]:
    """Some of those who have jobs that are due, the longest waiting first."""
    return Operation(
        statement="jobs.owners",
        owner=JOBS,
        parameters={"kinds": list(kinds), "limit": OWNERS_AT_ONCE},
        parse=lambda rows: [owner for (owner,) in rows],
        fallback=[],
        waits=False,
    )


def claim(owner: str, kinds: Sequence[str], *, lease_for: float) -> Operation[Lease | None]:
    """Take the next job of an owner; None where there is none, or another of its jobs is under way."""

    def taken(rows: Rows) -> Lease | None:
        if not rows:
            return None
        owner, job_id, kind, attempts, _, _, payload, lease = rows[0]
        return Lease(owner, job_id, kind, attempts, json.loads(payload), lease)

    return Operation(
        statement="jobs.claim",
        owner=owner,
        parameters={"owner": owner, "kinds": list(kinds), "lease_for": lease_for},
        parse=taken,
        fallback=None,
        writes=True,
        waits=False,
        lock=json.dumps([owner, "jobs"]),
    )


def complete(job: Lease, results: Sequence[Operation[Any]]) -> Operation[list[Any]]:
    """End a job and write its results, both or neither. LeaseLostError where somebody else has taken it."""
    end: Operation[Any] = Operation(
        statement="jobs.complete",
        owner=job.owner,
        parameters=job.key,
        parse=bool,
        fallback=False,
        writes=True,
        waits=False,
    )
    both = together("jobs.complete", [end, *results])
    return replace(both, parse=lambda rows: both.parse(rows)[1:], fallback=both.fallback[1:], waits=False)


def finish(job: Lease) -> Operation[bool]:
    """End a job whose results are written; False where more of it is asked for, or the lease was lost."""
    return _ending("jobs.finish", job)


def release(job: Lease) -> Operation[bool]:
    """Give a job back as it was."""
    return _ending("jobs.release", job)


def _ending(statement: str, job: Lease) -> Operation[bool]:
    return Operation(
        statement=statement,
        owner=job.owner,
        parameters=job.key,
        parse=bool,
        fallback=False,
        writes=True,
        waits=False,
    )


def fail(job: Lease, error: str, *, max_attempts: int, pause: float, max_pause: float) -> Operation[str | None]:
    """Put a job off to its next attempt, or give it up. Returns its status; None where the lease was lost."""
    return Operation(
        statement="jobs.fail",
        owner=job.owner,
        parameters={
            **job.key,
            "error": error,
            "max_attempts": max_attempts,
            "pause": pause,
            "max_pause": max_pause,
        },
        parse=lambda rows: rows[0][0] if rows else None,
        fallback=None,
        writes=True,
        waits=False,
    )


def dead() -> Operation[list[DeadJob]]:
    """The jobs of everybody that were given up, the oldest first."""
    return Operation(
        statement="jobs.dead",
        owner=JOBS,
        parameters={"limit": DEAD_AT_ONCE},
        parse=lambda rows: [DeadJob(*row) for row in rows],
        fallback=[],
        waits=False,
    )


def revive(owner: str) -> Operation[int]:
    """Queue the dead jobs of an owner again, and say how many."""
    return Operation(
        statement="jobs.revive",
        owner=owner,
        parameters={"owner": owner},
        parse=len,
        fallback=0,
        writes=True,
        waits=False,
    )


def with_late_vectors(write: Operation[T], embedded: Sequence[Embedded]) -> Operation[T]:
    """A write of memories, and a job for their vectors where the embedder owes one."""
    if not any(each.is_late for each in embedded):
        return write
    return Operation(
        statement=write.statement,
        owner=write.owner,
        parameters={},
        parse=lambda rows: rows[0][0],
        fallback=write.fallback,
        writes=True,
        waits=write.waits,
        repeated=write.repeated,
        parts=(write, queue_embedding(write.owner)),
    )


def queue_embedding(owner: str) -> Operation[None]:
    """Ask for the vectors of the owner's memories that have none."""
    return Operation(
        statement="jobs.queue_embedding",
        owner=owner,
        parameters={"owner": owner},
        parse=lambda _: None,
        fallback=None,
        writes=True,
    )


def unembedded(owner: str, after: Unembedded | None) -> Operation[list[Unembedded]]:
    """The memories without a vector behind a place. Fewer than `EMBEDDED_AT_ONCE` are the last."""
    return Operation(
        statement="jobs.unembedded",
        owner=owner,
        parameters={
            "owner": owner,
            "after_key": None if after is None else after.key,
            "after_version": None if after is None else after.version,
            "after_namespace": None if after is None else after.namespace,
            "limit": EMBEDDED_AT_ONCE,
        },
        parse=lambda rows: [Unembedded(*row) for row in rows],
        fallback=[],
        waits=False,
    )


def embed(owner: str, memories: Sequence[Unembedded], embedded: Sequence[Embedded]) -> Operation[int]:
    """Give memories their vectors, where they are still at that version. Returns how many were."""
    found = [(memory, each) for memory, each in zip(memories, embedded, strict=True) if each.vector is not None]
    return Operation(
        statement="jobs.embed",
        owner=owner,
        parameters={
            "owner": owner,
            "namespaces": [namespace_array(memory.namespace) for memory, _ in found],
            "keys": [memory.key for memory, _ in found],
            "versions": [memory.version for memory, _ in found],
            "embeddings": [each.vector for _, each in found],
            "embedding_model": found[0][1].model if found else None,
        },
        parse=lambda rows: int(rows[0][0]),
        fallback=0,
        writes=True,
        waits=False,
    )
