"""The paths of files in memory: all stand under /memories, and each file has one way to write its path. Pure."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass

from lakemem.errors import InvalidInputError
from lakemem.validation import check_identifier

ROOT = "/memories"

_ESCAPE = re.compile(r"%[0-9a-fA-F]{2}")
# Controls, invisible characters, surrogates, private and unassigned ones, and the separators of lines.
_UNWRITABLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# They look like a slash or a backslash, and no normal form says so.
_LOOKALIKES = frozenset("\u2044\u2215\u29f8\u2571\u2216\u29f5\u29f9\u2572")
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file or a directory stands.

    Attributes:
        key: the path from /memories on, which is the key of its memory; empty for /memories itself.
    """

    key: str

    @property
    def path(self) -> str:
        return f"{ROOT}/{self.key}" if self.key else ROOT

    @property
    def is_root(self) -> bool:
        return not self.key

    @property
    def beneath(self) -> str:
        """What the keys of all files in this directory begin with."""
        return f"{self.key}/" if self.key else ""

    @property
    def folders(self) -> list[str]:
        """The keys of the directories above, the outermost first, without /memories."""
        names = self.key.split("/")
        return ["/".join(names[:depth]) for depth in range(1, len(names))]


def place_of(path: object, name: str = "path", *, of_file: bool = False) -> Place:
    """Return where a path leads.

    What another reader could take for another path is refused: parts that lead elsewhere or are empty, escapes,
    backslashes, characters that are invisible or that look like others, and more than one way to write a
    character. A directory may end with a slash.

    Args:
        name: what to call it in an error.
        of_file: whether it cannot be that of a directory.

    Raises:
        InvalidInputError: it is no such path.
    """
    if not isinstance(path, str):
        raise InvalidInputError(f"{name} must be a string, not {type(path).__name__}")
    if path in (ROOT, f"{ROOT}/"):
        if of_file:
            raise InvalidInputError(f"{ROOT} is a directory")
        return Place("")
    if not path.startswith(f"{ROOT}/"):
        raise _refused(name, path, f"it must start with {ROOT}/")
    key = path.removeprefix(f"{ROOT}/")
    if not of_file:
        key = key.removesuffix("/")
    if reason := _fault(key):
        raise _refused(name, path, reason)
    check_identifier(name, key)
    return Place(key)


def is_key(key: str) -> bool:
    """Whether a key is that of a file which a path leads to."""
    return not _fault(key)


def _fault(key: str) -> str | None:
    """Say why no file has this key."""
    for part in key.split("/"):
        if not part:
            return "a part of it is empty"
        if not part.strip("."):
            return "a part of it is made of dots"
        if part != part.strip():
            return "a part of it begins or ends with a space"
    if "\\" in key:
        return "it has a backslash"
    if _ESCAPE.search(key):
        return "it has an escape such as %2e"
    if key.isascii() and key.isprintable():
        return None
    if any(_is_unwritable(character) for character in key):
        return "it has a character that is invisible, or looks like another"
    if unicodedata.normalize("NFKC", key) != key:
        return "it has a character that can be written in another way"
    return None


def _is_unwritable(character: str) -> bool:
    category = unicodedata.category(character)
    return category in _UNWRITABLE or (category == "Zs" and character != " ") or character in _LOOKALIKES


def _refused(name: str, path: str, reason: str) -> InvalidInputError:
    # In ASCII, and cut: what is refused may be meant to confuse who reads it.
    shown = json.dumps(path if len(path) <= _SHOWN else f"{path[:_SHOWN]}...")
    return InvalidInputError(f"{name} {shown} is not allowed: {reason}")
