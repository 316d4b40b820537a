"""Runs as their owner sees them: how one is begun, read, answered and ended."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from lakemem.errors import (
    ConflictError,
    CursorExpiredError,
    InvalidInputError,
    QueueFullError,
    RunError,
    RunNotFoundError,
    ThreadBusyError,
)
from lakemem.operations import Operation, Rows, together
from lakemem.run_types import BusyPolicy, Run, RunEvent, RunFailure, RunKind, RunStatus
from lakemem.validation import (
    MAX_ITEM_BYTES,
    check_count,
    check_identifier,
    check_seconds,
    encode_json,
    encode_metadata,
)

TAILS = "tails"
"""The owner of whom the policy `tails` speaks; no user's or scope's owner can be named so."""
MAX_ATTEMPTS = 100
_COLUMNS = 24


@dataclass(frozen=True, slots=True)
class RunState:
    """How far a run has come."""

    status: str
    first_sequence: int
    last_sequence: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some events of a run, and how far it had come before they were read."""

    state: RunState
    events: list[RunEvent]


def create(
    owner: str,
    request: Mapping[str, Any],
    *,
    run_id: str | None,
    thread_id: str | None,
    previous_run_id: str | None,
    kind: RunKind,
    background: bool,
    idempotency_key: str | None,
    timeout: float,
    delay: float,
    max_attempts: int,
    on_busy: BusyPolicy,
    max_queued: int | None,
    metadata: Mapping[str, Any] | None,
) -> Operation[Run]:
    if not isinstance(request, Mapping):
        raise InvalidInputError(f"request must be a mapping, not {type(request).__name__}")
    if kind not in get_args(RunKind):
        raise InvalidInputError("kind must be 'invoke' or 'stream'")
    if on_busy not in get_args(BusyPolicy):
        raise InvalidInputError("on_busy must be 'reject', 'queue' or 'interrupt'")
    text = encode_json("request", dict(request), limit=MAX_ITEM_BYTES)

    def created(rows: Rows) -> Run:
        refused, _, *found, is_same = rows[0]
        if found[0] is None:
            raise _refusal(refused)
        run = _run(found)
        if is_same and run.request != json.loads(text):
            raise ConflictError("this idempotency key was used for another request: give each request its own")
        return run

    return Operation(
        statement="runs.create",
        owner=owner,
        parameters={
            "owner": owner,
            "run_id": f"run_{uuid.uuid4().hex}" if run_id is None else check_identifier("run_id", run_id),
            "thread_id": None if thread_id is None else check_identifier("thread_id", thread_id),
            "previous_run_id": None if previous_run_id is None else check_identifier("run_id", previous_run_id),
            "kind": kind,
            "background": background,
            "request": text,
            "metadata": encode_metadata(metadata or {}),
            "idempotency_key": (
                None if idempotency_key is None else check_identifier("idempotency_key", idempotency_key)
            ),
            "timeout": check_timeout("timeout", timeout),
            "delay": _check_delay(delay),
            "max_attempts": check_attempts(max_attempts),
            "on_busy": on_busy,
            "max_queued": None if max_queued is None else check_count("max_queued", max_queued),
        },
        parse=created,
        fallback=None,  # type: ignore[arg-type]
        writes=True,
        waits=False,
        lock=lock_of(owner),
    )


def lock_of(owner: str) -> str:
    """The lock under which an owner's runs are created and claimed."""
    return json.dumps([owner, "runs"])


def mark_of(run_id: str) -> str:
    """What stands for a run in a notification, which anyone may listen to."""
    return hashlib.md5(run_id.encode(), usedforsecurity=False).hexdigest()[:16]


def channel_of(schema: str) -> str:
    """Where the runs in a schema are notified of; a name of Postgres has 63 bytes at the most."""
    return f"lakemem_{hashlib.md5(schema.encode(), usedforsecurity=False).hexdigest()}"


def check_timeout(name: str, seconds: object) -> float:
    checked = check_seconds(name, seconds)
    if checked is None:
        raise InvalidInputError(f"{name} must be a number of seconds, not None")
    return checked


def _check_delay(seconds: object) -> float:
    return 0.0 if seconds == 0 else check_timeout("delay", seconds)


def check_attempts(count: object) -> int:
    attempts = check_count("max_attempts", count)
    if not 1 <= attempts <= MAX_ATTEMPTS:
        raise InvalidInputError(f"max_attempts must be a number from 1 to {MAX_ATTEMPTS}")
    return attempts


def _refusal(reason: str | None) -> RunError:
    if reason == "busy":
        return ThreadBusyError("this thread has a run under way: wait until it has ended, or cancel it")
    return QueueFullError("too many runs are queued: try again in a few seconds")


def get(owner: str, run_id: str) -> Operation[Run | None]:
    return Operation(
        statement="runs.get",
        owner=owner,
        parameters={"owner": owner, "run_id": check_identifier("run_id", run_id)},
        parse=lambda rows: _run(rows[0]) if rows else None,
        fallback=None,
        waits=False,
    )


def owner_of(run_id: str) -> Operation[str | None]:
    """To whom a run belongs, for where nobody verifies that."""
    return Operation(
        statement="runs.owner_of",
        owner=TAILS,
        parameters={"run_id": check_identifier("run_id", run_id)},
        parse=lambda rows: str(rows[0][0]) if rows else None,
        fallback=None,
        waits=False,
    )


def listing(
    owner: str, limit: int, *, status: RunStatus | None, thread_id: str | None, after: str | None
) -> Operation[list[Run]]:
    if status is not None and status not in get_args(RunStatus):
        raise InvalidInputError(f"status must be one of {', '.join(get_args(RunStatus))}")
    return Operation(
        statement="runs.listing",
        owner=owner,
        parameters={
            "owner": owner,
            "status": status,
            "thread_id": None if thread_id is None else check_identifier("thread_id", thread_id),
            "after": None if after is None else check_identifier("after", after),
            "limit": check_count("limit", limit),
        },
        parse=lambda rows: [_run(row) for row in rows],
        fallback=[],
        waits=False,
    )


def page(owner: str, run_id: str, *, after: int, limit: int) -> Operation[Page | None]:
    """Some events behind a number, and the state of the run before; None where there is no such run."""
    check_identifier("run_id", run_id)
    key = {"owner": owner, "run_id": run_id}
    state: Operation[RunState | None] = Operation(
        statement="runs.state",
        owner=owner,
        parameters=key,
        parse=lambda rows: RunState(*rows[0]) if rows else None,
        fallback=None,
        waits=False,
    )
    events: Operation[list[RunEvent]] = Operation(
        statement="runs.events",
        owner=owner,
        parameters={**key, "after": check_after(after), "limit": check_count("limit", limit)},
        parse=lambda rows: [RunEvent(*row) for row in rows],
        fallback=[],
        waits=False,
    )

    def read(rows: Rows) -> Page | None:
        (found,), (some,) = rows
        if found is None:
            return None
        if after + 1 < found.first_sequence:
            raise CursorExpiredError(
                f"the events of this run before number {found.first_sequence} have been swept: ask for what it returned"
            )
        return Page(found, some)

    both = together("runs.events", [state, events])
    return Operation(
        statement="runs.events",
        owner=owner,
        parameters={},
        parse=read,
        fallback=None,
        waits=False,
        parts=both.parts,
    )


def check_after(after: object) -> int:
    """Return the number of the last event that was seen; -1 for none."""
    if isinstance(after, bool) or not isinstance(after, int) or not -1 <= after < 2**63:
        raise InvalidInputError("after must be the number of an event, or -1 for all")
    return after


def cancel(owner: str, run_id: str) -> Operation[Run | None]:
    return Operation(
        statement="runs.cancel",
        owner=owner,
        parameters={"owner": owner, "run_id": check_identifier("run_id", run_id)},
        parse=lambda rows: _run(rows[0]) if rows else None,
        fallback=None,
        writes=True,
        waits=False,
    )


def resume(owner: str, run_id: str, answer: Any, *, delay: float) -> Operation[Run]:
    """Answer a run that waits for a person. The same answer once more changes nothing."""
    text = encode_json("answer", answer, limit=MAX_ITEM_BYTES)

    def resumed(rows: Rows) -> Run:
        if not rows:
            raise RunNotFoundError("there is no such run")
        *found, is_resumed = rows[0]
        run = _run(found)
        if is_resumed is None and not (run.asked_by and run.answer == json.loads(text)):
            raise RunError("this run does not wait for an answer", code="not_waiting")
        return run

    return Operation(
        statement="runs.resume",
        owner=owner,
        parameters={
            "owner": owner,
            "run_id": check_identifier("run_id", run_id),
            "answer": text,
            "delay": _check_delay(delay),
        },
        parse=resumed,
        fallback=None,  # type: ignore[arg-type]
        writes=True,
        waits=False,
    )


def retry(owner: str, run_id: str) -> Operation[Run]:
    """Queue a run that failed once more."""

    def retried(rows: Rows) -> Run:
        if not rows:
            raise RunNotFoundError("there is no such run")
        *found, is_retried = rows[0]
        if is_retried is None:
            raise RunError("only a run that failed can be tried again", code="not_failed")
        return _run(found)

    return Operation(
        statement="runs.retry",
        owner=owner,
        parameters={"owner": owner, "run_id": check_identifier("run_id", run_id)},
        parse=retried,
        fallback=None,  # type: ignore[arg-type]
        writes=True,
        waits=False,
    )


def delete(owner: str, run_ids: Sequence[str]) -> Operation[int]:
    return Operation(
        statement="runs.delete",
        owner=owner,
        parameters={"owner": owner, "run_ids": [check_identifier("run_id", run_id) for run_id in run_ids]},
        parse=lambda rows: int(rows[0][0]),
        fallback=0,
        writes=True,
        waits=False,
        first="runs.hold",
    )


def moved(watched: Sequence[tuple[str, str]]) -> Operation[dict[tuple[str, str], tuple[str, int]]]:
    """Of each run, by its owner and id, its status and last number: one look for all that wait."""
    return Operation(
        statement="runs.moved",
        owner=TAILS,
        parameters={"owners": [owner for owner, _ in watched], "run_ids": [run_id for _, run_id in watched]},
        parse=lambda rows: {(owner, run_id): (status, last) for owner, run_id, status, last in rows},
        fallback={},
        waits=False,
    )


def notify(payload: str) -> Operation[None]:
    """Tell other processes."""
    return Operation(
        statement="runs.notify",
        owner=TAILS,
        parameters={"payload": payload},
        parse=lambda _: None,
        fallback=None,
        waits=False,
    )


def read_run(row: Sequence[Any]) -> tuple[Run, tuple[Any, ...]]:
    """The run that a row begins with, and what stands behind it."""
    return _run(row[:_COLUMNS]), tuple(row[_COLUMNS:])


def _run(row: Sequence[Any]) -> Run:
    (
        run_id, thread_id, owner, status, attempt, request, output, error_code, error_message, metadata, created_at,
        started_at, completed_at, deadline, last_sequence, background, kind, previous_run_id, question, answer,
        cancel_requested, max_attempts, attempts_used, asked_by,
    ) = row[:_COLUMNS]  # fmt: skip
    return Run(
        run_id=run_id,
        thread_id=thread_id,
        owner=owner,
        status=status,
        attempt=attempt,
        request=json.loads(request),
        output=_decoded(output),
        error=None if error_code is None else RunFailure(error_code, error_message),
        metadata=json.loads(metadata),
        created_at=created_at,
        started_at=started_at,
        completed_at=completed_at,
        deadline=deadline,
        last_sequence=last_sequence,
        background=background,
        kind=kind,
        previous_run_id=previous_run_id,
        question=_decoded(question),
        answer=_decoded(answer),
        cancel_requested=cancel_requested,
        max_attempts=max_attempts,
        attempts_used=attempts_used,
        asked_by=asked_by,
    )


def _decoded(text: str | None) -> Any:
    return None if text is None else json.loads(text)
