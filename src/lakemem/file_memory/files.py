"""Files as they are read, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from lakemem.file_paths import Place
from lakemem.memory_types import Trust

_BEFORE_ANY_CHARACTER = "\x01"
_PAST_ANY_CHARACTER = "\U0010ffff" * 151


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was read.

    Attributes:
        version: that of its memory.
        size: bytes of its text.
        text: None where it was not asked for.
        trust: who says what stands in it.
    """

    version: int
    size: int
    text: str | None = field(default=None, repr=False)
    trust: Trust = "unknown"


Files: TypeAlias = Mapping[str, File]
"""By their keys."""


@dataclass(frozen=True, slots=True)
class Part:
    """A range of keys, from `low` to before `high`; `with_text` where the texts of their files are needed."""

    low: str
    high: str
    with_text: bool = False

    @classmethod
    def at(cls, key: str, *, with_text: bool = False) -> Part:
        # No key has a control character, so none but this one is in between.
        return cls(key, key + _BEFORE_ANY_CHARACTER, with_text)

    @classmethod
    def beneath(cls, place: Place, *, with_text: bool = False) -> Part:
        return cls(place.beneath, place.beneath + _PAST_ANY_CHARACTER, with_text)


@dataclass(frozen=True, slots=True)
class Change:
    """A new version of a file, or its end.

    Attributes:
        key: that of the file.
        version: the version it has now; None where there is no such file.
        text: its new text; None where there is no such file any more.
        origin: the key of the file that it goes on from; None for one that begins anew.
    """

    key: str
    version: int | None
    text: str | None = field(default=None, repr=False)
    origin: str | None = None

    @property
    def is_move(self) -> bool:
        """Whether it brings a text that stood elsewhere."""
        return self.origin not in (None, self.key)
