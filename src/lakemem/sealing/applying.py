"""The rules applied: an operation with its texts sealed, and its result from what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lakemem.encryption import Cipher, Opener
from lakemem.errors import EncryptionError
from lakemem.operations import Operation, Rows
from lakemem.operations.resealing import Table
from lakemem.sealing.rule import Rule
from lakemem.sealing.rules import RULES


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for an operation, as it was stored."""

    operation: Operation[Any]
    answers: Sequence[Rows]


def concerns(operation: Operation[Any]) -> bool:
    """Whether an operation stores or reads what is sealed."""
    return any(part.statement in RULES for part in leaves(operation)) or (
        operation.repeated is not None and concerns(operation.repeated)
    )


def leaves(operation: Operation[Any]) -> Sequence[Operation[Any]]:
    return operation.parts or (operation,)


def sealing_owners(operation: Operation[Any]) -> list[str]:
    """Whose current keys an operation needs, before it runs."""
    return list(dict.fromkeys(part.owner for part in _all(operation) if _rule(part).seal or _rule(part).copies))


def check(operation: Operation[Any]) -> None:
    """Refuse what cannot be done with encrypted texts.

    Raises:
        EncryptionError: the operation needs Postgres to read them.
    """
    for part in leaves(operation):
        refusal = _rule(part).refusal
        if refusal is not None and (reason := refusal(part.parameters)):
            raise EncryptionError(reason)


def sealed(operation: Operation[Any], ciphers: Mapping[str, Cipher]) -> Operation[Any]:
    """The same operation with its texts sealed; its result is an `Answer`, or its fallback."""
    sent = _sealed_leaf(operation, ciphers)
    if operation.parts:
        sent = replace(
            sent,
            parts=tuple(replace(_sealed_leaf(part, ciphers), parse=list) for part in operation.parts),
            parse=lambda rows: Answer(operation, [answer for (answer,) in rows]),
        )
    else:
        sent = replace(sent, parse=lambda rows: Answer(operation, [rows]))
    if operation.repeated is not None:
        sent = replace(sent, repeated=sealed(operation.repeated, ciphers))
    return sent


def opened(answer: Answer, opener: Opener) -> Any:
    """The result of an operation.

    Raises:
        UnknownKeyError: the keys of an owner have to be loaded first.
        EncryptionError: something does not open.
    """
    operation = answer.operation
    rows = [
        part_rows if (rule := _rule(part)).open is None else rule.open(opener, part, part_rows)
        for part, part_rows in zip(leaves(operation), answer.answers, strict=True)
    ]
    return operation.result(rows)


def copies(operation: Operation[Any]) -> tuple[Table, ...]:
    """What an operation copies to another thread."""
    return _rule(operation).copies


_NO_RULE = Rule()


def _rule(operation: Operation[Any]) -> Rule:
    return RULES.get(operation.statement, _NO_RULE)


def _all(operation: Operation[Any]) -> list[Operation[Any]]:
    found = list(leaves(operation))
    return found if operation.repeated is None else found + _all(operation.repeated)


def _sealed_leaf(operation: Operation[Any], ciphers: Mapping[str, Cipher]) -> Operation[Any]:
    seal = _rule(operation).seal
    if seal is None:
        return operation
    cipher = ciphers[operation.owner]
    return replace(
        operation,
        parameters={**operation.parameters, **seal(cipher, operation.parameters)},
        sealed_with=cipher.key.id if operation.writes else None,
    )
