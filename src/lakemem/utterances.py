"""What was said: read from the items of either framework, or from plain dicts. Pure."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lakemem.errors import InvalidInputError
from lakemem.memory_types import Trust
from lakemem.thread_types import Message
from lakemem.validation import check_datetime, check_identifier, check_ordinal, indexable

_SPEAKERS = {"user": "user", "human": "user", "assistant": "assistant", "ai": "assistant"}
_TRUST: Mapping[str | None, Trust] = {"user": "user", "assistant": "model"}
"""By whom it was said, whatever name that one goes by."""
_UNSPOKEN = {"system", "developer", "tool", "function"}
"""Instructions, and what tools return: nobody said that."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """What somebody said.

    Attributes:
        occurred_at: when, if that is known.
        position: its place in the thread, if that is known.
        trust: who said it, by the role; the name of the speaker has no part in it.
    """

    speaker: str
    said: str = field(repr=False)
    occurred_at: datetime | None = None
    position: int | None = None
    trust: Trust = "unknown"

    @property
    def text(self) -> str:
        """What search reads."""
        return indexable(f"{self.speaker}: {self.said}")


def utterances(items: Sequence[object]) -> list[Utterance]:
    """Return what was said, in its order; calls of tools, their results and instructions are left out.

    Raises:
        InvalidInputError: an item is not one that a framework makes, or has a speaker, time or position that
            cannot be stored.
    """
    if isinstance(items, str | Mapping) or not isinstance(items, Sequence):
        raise InvalidInputError("items must be a list of messages, such as {'role': 'user', 'content': '...'}")
    return [utterance for item in items if (utterance := _utterance(item)) is not None]


def keys_of(spoken: Sequence[Utterance], thread_id: str | None) -> list[str]:
    """A key for each, the same whenever the same is said in the same place.

    Where the positions are not known, the second time that the same words stand in one list is told from the first.
    """
    seen: Counter[str] = Counter()
    keys = []
    for each in spoken:
        time = None if each.occurred_at is None else each.occurred_at.timestamp()
        identity = json.dumps([thread_id, each.position, time, each.speaker, each.said])
        keys.append(_uuid_of(f"{identity} {seen[identity]}"))
        seen[identity] += 1
    return keys


def _uuid_of(text: str) -> str:
    return str(uuid.UUID(bytes=hashlib.sha256(text.encode()).digest()[:16]))


def _utterance(item: object) -> Utterance | None:
    if isinstance(item, Message):
        return _read(item.item, occurred_at=item.created_at, position=item.position)
    return _read(_fields(item))


def _read(
    fields: Mapping[str, Any], *, occurred_at: datetime | None = None, position: int | None = None
) -> Utterance | None:
    role = fields.get("role") or fields.get("type")
    if not isinstance(role, str):
        raise InvalidInputError("an item needs a role, such as 'user' or 'assistant'")
    named = fields.get("speaker") or fields.get("name")
    speaker = _SPEAKERS.get(role.lower().removesuffix("messagechunk"))
    if speaker is None and ("role" not in fields or role in _UNSPOKEN):
        return None
    said = _text_of(fields.get("content"))
    if not said.strip():
        return None
    return Utterance(
        speaker=check_identifier("a speaker", named or speaker or role),
        said=said,
        occurred_at=_moment(fields.get("occurred_at")) or occurred_at,
        position=check_ordinal("position", fields.get("position", position)),
        trust=_TRUST.get(speaker, "unknown"),
    )


def _fields(item: object) -> Mapping[str, Any]:
    """The fields of a dict, or of an object such as LangChain's or the OpenAI SDK's messages."""
    if isinstance(item, Mapping):
        # LangChain's messages as it stores them.
        data = item.get("data")
        return {**data, "type": item.get("type")} if isinstance(data, Mapping) and "content" not in item else item
    names = ("role", "type", "content", "name")
    fields = {name: getattr(item, name) for name in names if hasattr(item, name)}
    if not fields:
        raise InvalidInputError(f"an item must be a message, not {type(item).__name__}")
    return fields


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        return ""
    return "\n".join(text for part in content if (text := _part(part)))


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    fields = part if isinstance(part, Mapping) else {name: getattr(part, name, None) for name in ("text", "refusal")}
    return next((text for name in ("text", "refusal") if isinstance(text := fields.get(name), str)), "")


def _moment(value: object) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidInputError("occurred_at must be a datetime, or its ISO 8601 form") from None
    return check_datetime("occurred_at", value)
