"""What every write passes before it is stored, embedded, or kept waiting for the database. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from lakemem.errors import GuardError, InvalidInputError
from lakemem.memory_types import ProposedWrite
from lakemem.protocols import Redactor, WritePolicy
from lakemem.validation import check_seconds, indexable

Draft = TypeVar("Draft")
Redact: TypeAlias = Callable[[str], str]

MAX_REASON = 500
_MONTH = 30 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What may be stored, and what is held back. Without one, everything is stored as it is.

    It stands before every write of memories: `save`, `update`, `remember`, the facts that are extracted, the memory
    tools, files and LangGraph's store; not before threads, checkpoints and imports. Where the redactor or the policy
    fails, the write fails, too.

    Attributes:
        redactor: takes out of texts what is not to be stored.
        policy: says which writes are held back: they go to quarantine instead.
        keep_quarantined: seconds for which they are held.
        overrule: whether what a model or a tool says may take the place of what the user said.
        deadline: seconds to wait for redactor and policy.

    Raises:
        InvalidInputError: a number cannot be.
    """

    redactor: Redactor | None = None
    policy: WritePolicy | None = None
    keep_quarantined: float = _MONTH
    overrule: bool = False
    deadline: float = 10.0

    def __post_init__(self) -> None:
        for name in ("keep_quarantined", "deadline"):
            if check_seconds(name, getattr(self, name)) is None:
                raise InvalidInputError(f"{name} must be a number of seconds, not None")


def passed(
    guard: Guard,
    drafts: Sequence[Draft],
    redacted: Callable[[Sequence[Draft], Redact], Sequence[Draft]],
    proposed: Callable[[Draft], ProposedWrite | None],
) -> list[tuple[Draft, str | None]]:
    """Redact drafts, then ask the policy for each why it is to be held back.

    Args:
        redacted: redacts them all.
        proposed: what the policy is shown of one; None for nothing that it could judge.
    """
    redactor, policy = guard.redactor, guard.policy
    if redactor is not None:
        drafts = redacted(drafts, lambda text: _text("redactor", redactor.redact(text)))
    if policy is None:
        return [(draft, None) for draft in drafts]
    shown = [proposed(draft) for draft in drafts]
    return [(draft, _reason(policy, write)) for draft, write in zip(drafts, shown, strict=True)]


def _reason(policy: WritePolicy, write: ProposedWrite | None) -> str | None:
    reason = None if write is None else policy.flag(write)
    return None if reason is None else indexable(_text("policy", reason))[:MAX_REASON]


def _text(name: str, answer: object) -> str:
    if not isinstance(answer, str):
        raise GuardError(f"the {name} returned {type(answer).__name__}, not a text: nothing was stored")
    return answer


def redacted_json(value: Any, redact: Redact) -> Any:
    """A JSON value whose texts are redacted, the names of its fields and its whole numbers included."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, int) and not isinstance(value, bool):
        # The number of a card may be one.
        return value if redact(str(value)) == str(value) else redact(str(value))
    if isinstance(value, Mapping):
        fields: dict[str, Any] = {}
        for name, part in value.items():
            fields[_free(redact(name), fields)] = _redacted_field(name, part, redact)
        return fields
    if isinstance(value, list):
        return [redacted_json(part, redact) for part in value]
    return value


def _redacted_field(name: str, value: Any, redact: Redact) -> Any:
    """A field is redacted together with its name, which may say that it is a password."""
    if not isinstance(value, str):
        return redacted_json(value, redact)
    head, tail = f'{name}: "', '"'
    both = redact(f"{head}{value}{tail}")
    if both.startswith(head) and both.endswith(tail) and len(both) >= len(head) + len(tail):
        return both[len(head) : -len(tail)]
    return redact(value)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """Two names that differed only in what was taken out still differ."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} {number}"
    return free
