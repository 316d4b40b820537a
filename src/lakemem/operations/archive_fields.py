"""The fields of the records of an archive, by their kinds, and how each is checked."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias, get_args

from lakemem.errors import InvalidInputError
from lakemem.operations.store import namespace_array
from lakemem.run_types import RunStatus
from lakemem.trust import check_trust
from lakemem.validation import (
    MAX_DIMENSIONS,
    MAX_ITEM_BYTES,
    MAX_VALUE_BYTES,
    check_datetime,
    check_fraction,
    check_identifier,
    check_namespace,
    check_ordinal,
    check_place,
    check_seconds,
    check_title,
    encode_json,
    encode_metadata,
    indexable,
)

LARGEST_HALF = 65504.0
"""Of the numbers of a vector that is stored in half precision."""
MAX_NAME_BYTES = 1024
"""Of the names of channels and the like, several of which are in one key."""

Check: TypeAlias = Callable[[str, Any], Any]
"""Takes the name of a field and what a record gives, and returns what is stored."""


def _or_null(check: Check) -> Check:
    return lambda name, given: None if given is None else check(name, given)


def _moment(name: str, given: Any) -> datetime:
    try:
        moment = check_datetime(name, datetime.fromisoformat(given))
    except (TypeError, ValueError):
        moment = None
    if moment is None:
        raise InvalidInputError(f"{name} must be a moment in ISO 8601 with its time zone")
    return moment


def _version(name: str, given: Any) -> int:
    version = check_place(name, given)
    if version == 0:
        raise InvalidInputError(f"{name} must be a whole number from 1")
    return version


def _text(name: str, given: Any) -> str:
    if not isinstance(given, str):
        raise InvalidInputError(f"{name} must be a string, not {type(given).__name__}")
    return indexable(given)


def _memory_kind(name: str, given: Any) -> str:
    if given not in ("fact", "turn"):
        raise InvalidInputError(f"{name} must be fact or turn")
    return str(given)


def _item(name: str, given: Any) -> str:
    if not isinstance(given, dict):
        raise InvalidInputError(f"{name} must be a JSON object")
    return encode_json(name, given, limit=MAX_ITEM_BYTES)


def _keys(name: str, given: Any) -> str:
    if not isinstance(given, list):
        raise InvalidInputError(f"{name} must be a list of keys")
    return namespace_array([check_identifier(name, key) for key in given])


def _vector(name: str, given: Any) -> str:
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_DIMENSIONS:
        raise InvalidInputError(f"{name} must be a list of 1 to {MAX_DIMENSIONS:,} numbers")
    for number in given:
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not is_number or not math.isfinite(number) or abs(number) > LARGEST_HALF:
            raise InvalidInputError(f"{name} must be a list of numbers that half precision can hold")
    return json.dumps(given, separators=(",", ":"))


def _name(name: str, given: Any) -> str:
    """A text that may be empty, and that no index has room for where it is too long."""
    text = _text(name, given)
    if text != given or len(text.encode()) > MAX_NAME_BYTES:
        raise InvalidInputError(f"{name} must be a text of {MAX_NAME_BYTES:,} bytes at the most, without NUL")
    return text


def _bytes(name: str, given: Any) -> str:
    try:
        base64.b64decode(given, validate=True)
    except (TypeError, ValueError):
        raise InvalidInputError(f"{name} must be bytes in base64") from None
    return str(given)


def _json(name: str, given: Any) -> str:
    return encode_json(name, given, limit=MAX_ITEM_BYTES)


def _boolean(name: str, given: Any) -> bool:
    if not isinstance(given, bool):
        raise InvalidInputError(f"{name} must be true or false")
    return given


def _whole(name: str, given: Any, bits: int) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not -(2**bits) <= given < 2**bits:
        raise InvalidInputError(f"{name} must be a whole number")
    return given


def _small(name: str, given: Any) -> int:
    if _whole(name, given, 31) < 0:
        raise InvalidInputError(f"{name} must not be negative")
    return int(given)


def _index(name: str, given: Any) -> int:
    return _whole(name, given, 31)


def _spans(name: str, given: Any) -> list[int]:
    if not isinstance(given, list) or len(given) % 2:
        raise InvalidInputError(f"{name} must be a list of positions: first, last, first, last ...")
    return [check_place(name, position) for position in given]


def _one_of(*allowed: str) -> Check:
    def check(name: str, given: Any) -> str:
        if given not in allowed:
            raise InvalidInputError(f"{name} must be one of {', '.join(allowed)}")
        return str(given)

    return check


def _seconds(name: str, given: Any) -> float | None:
    return check_seconds(name, given)


THREAD: Mapping[str, Check] = {
    "thread_id": check_identifier,
    "title": lambda _, given: check_title(given),
    "metadata": lambda name, given: encode_metadata(given, name),
    "created_at": _moment,
    "updated_at": _moment,
    "expires_at": _or_null(_moment),
    "lifetime": _seconds,
    "forked_from": _or_null(check_identifier),
    "forked_position": check_ordinal,
    "last_position": check_place,
}
ITEM: Mapping[str, Check] = {
    "thread_id": check_identifier,
    "position": _version,
    "created_at": _moment,
    "item": _item,
}
MEMORY: Mapping[str, Check] = {
    "namespace": lambda _, given: namespace_array(check_namespace(given)),
    "key": check_identifier,
    "version": _version,
    "memory_kind": _memory_kind,
    "value": lambda name, given: encode_json(name, given, limit=MAX_VALUE_BYTES),
    "text": _text,
    "metadata": lambda name, given: encode_metadata(given, name),
    "importance": lambda name, given: check_fraction(name, given, least=0),
    "said_importance": _or_null(lambda name, given: check_fraction(name, given, least=0)),
    "thread_id": _or_null(check_identifier),
    "position": check_ordinal,
    "occurred_at": _or_null(_moment),
    "sources": _keys,
    "similar_to": _keys,
    "expires_at": _or_null(_moment),
    "lifetime": _seconds,
    "created_at": _moment,
    "valid_from": _moment,
    "valid_to": _or_null(_moment),
    "superseded_by": check_ordinal,
    "trust": lambda _, given: check_trust(given),
    "embedding": _or_null(_vector),
    "embedding_model": _or_null(check_identifier),
}
USAGE: Mapping[str, Check] = {
    "thread_id": check_identifier,
    "run_id": check_identifier,
    "position": check_place,
    "model": _or_null(_text),
    **dict.fromkeys(
        ("requests", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "total_tokens"), check_place
    ),
    "created_at": _moment,
}
_OF_CHANNEL: Mapping[str, Check] = {
    "thread_id": check_identifier,
    "checkpoint_ns": _name,
    "channel": _name,
}
SEGMENT: Mapping[str, Check] = {
    **_OF_CHANNEL,
    "position": _version,
    "length": _version,
    "type": _name,
    "blob": _bytes,
}
VALUE: Mapping[str, Check] = {
    **_OF_CHANNEL,
    "version": _name,
    "type": _or_null(_name),
    "blob": _or_null(_bytes),
    "elements": _or_null(_name),
    "spans": _or_null(_spans),
}
CHECKPOINT: Mapping[str, Check] = {
    "thread_id": check_identifier,
    "checkpoint_ns": _name,
    "checkpoint_id": check_identifier,
    "parent_checkpoint_id": _or_null(check_identifier),
    "type": _name,
    "checkpoint": _bytes,
    "channel_versions": lambda name, given: encode_metadata(given, name),
    "metadata": lambda name, given: encode_metadata(given, name),
    "created_at": _moment,
}
WRITE: Mapping[str, Check] = {
    **_OF_CHANNEL,
    "checkpoint_id": check_identifier,
    "task_id": check_identifier,
    "idx": _index,
    "task_path": _name,
    "type": _name,
    "blob": _bytes,
}
RUN: Mapping[str, Check] = {
    "run_id": check_identifier,
    "thread_id": _or_null(check_identifier),
    "previous_run_id": _or_null(check_identifier),
    "run_kind": _one_of("invoke", "stream"),
    "background": _boolean,
    "status": _one_of(*get_args(RunStatus)),
    "request": _json,
    "output": _or_null(_json),
    "question": _or_null(_json),
    "answer": _or_null(_json),
    "metadata": lambda name, given: encode_metadata(given, name),
    "error_code": _or_null(_name),
    "error_message": _or_null(_text),
    "idempotency_key": _or_null(check_identifier),
    "attempt": _small,
    "uncounted": _small,
    "max_attempts": _small,
    "asked_by": _small,
    "first_sequence": check_place,
    "last_sequence": lambda name, given: _whole(name, given, 63),
    "cancel_requested_at": _or_null(_moment),
    "waiting_since": _or_null(_moment),
    "deadline": _moment,
    "created_at": _moment,
    "started_at": _or_null(_moment),
    "completed_at": _or_null(_moment),
}
RUN_EVENT: Mapping[str, Check] = {
    "run_id": check_identifier,
    "sequence_number": check_place,
    "attempt": _small,
    "event": _json,
}
FIELDS: Mapping[str, Mapping[str, Check]] = {
    "thread": THREAD,
    "item": ITEM,
    "memory": MEMORY,
    "usage": USAGE,
    "checkpoint_segment": SEGMENT,
    "checkpoint_value": VALUE,
    "checkpoint": CHECKPOINT,
    "checkpoint_write": WRITE,
    "run": RUN,
    "run_event": RUN_EVENT,
}
OF_A_THREAD = {"thread", "item", "usage", "checkpoint_segment", "checkpoint_value", "checkpoint", "checkpoint_write"}
OPTIONAL: Mapping[str, Any] = {
    "last_position": 0,
    "said_importance": None,
    "trust": "unknown",
    "embedding": None,
    "embedding_model": None,
}
"""What a line may do without, and what that stands for."""
