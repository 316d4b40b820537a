"""What is asked for, by a program or a model, as a command."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lakemem.errors import InvalidInputError
from lakemem.file_memory.commands import Command, Create, Delete, Insert, Rename, StrReplace, View
from lakemem.file_paths import ROOT, Place, place_of


def view(path: str, view_range: Sequence[int] | None = None) -> View:
    if view_range is not None and not _is_range(view_range):
        raise InvalidInputError("view_range must be two whole numbers: the first line and the last, -1 for the end")
    return View(place_of(path), view_range)


def create(path: str, file_text: str) -> Create:
    return Create(place_of(path, of_file=True), _text("file_text", file_text))


def str_replace(path: str, old_str: str, new_str: str = "") -> StrReplace:
    if not _text("old_str", old_str):
        raise InvalidInputError("old_str must not be empty")
    return StrReplace(place_of(path), old_str, _text("new_str", new_str))


def insert(path: str, insert_line: int, insert_text: str) -> Insert:
    if isinstance(insert_line, bool) or not isinstance(insert_line, int):
        raise InvalidInputError(f"insert_line must be a whole number, not {type(insert_line).__name__}")
    return Insert(place_of(path), insert_line, _text("insert_text", insert_text))


def delete(path: str) -> Delete:
    return Delete(_not_root(place_of(path), "deleted"))


def rename(old_path: str, new_path: str) -> Rename:
    return Rename(_not_root(place_of(old_path, "old_path"), "renamed"), place_of(new_path, "new_path"))


@dataclass(frozen=True, slots=True)
class Signature:
    """What a command takes of a model's input."""

    make: Callable[..., Command]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


SIGNATURES: Mapping[str, Signature] = {
    "view": Signature(view, ("path",), ("view_range",)),
    "create": Signature(create, ("path", "file_text")),
    "str_replace": Signature(str_replace, ("path", "old_str"), ("new_str",)),
    "insert": Signature(insert, ("path", "insert_line", "insert_text")),
    "delete": Signature(delete, ("path",)),
    "rename": Signature(rename, ("old_path", "new_path")),
}


def command_of(given: object) -> Command:
    """Return the command that a model's input asks for. What it gives beyond that, or as null, does not count.

    Raises:
        InvalidInputError: it is none. The message is meant for the model.
    """
    if not isinstance(given, Mapping):
        raise InvalidInputError("the memory tool takes a JSON object")
    name = given.get("command")
    signature = SIGNATURES.get(name) if isinstance(name, str) else None
    if signature is None:
        raise InvalidInputError(f"command must be one of: {', '.join(SIGNATURES)}")
    arguments: dict[str, Any] = {
        argument: given[argument]
        for argument in (*signature.required, *signature.optional)
        if given.get(argument) is not None
    }
    missing = [argument for argument in signature.required if argument not in arguments]
    if missing:
        raise InvalidInputError(f"{name} needs {' and '.join(missing)}")
    return signature.make(**arguments)


def _is_range(given: object) -> bool:
    return (
        isinstance(given, list | tuple)
        and len(given) == 2
        and all(isinstance(line, int) and not isinstance(line, bool) for line in given)
    )


def _text(name: str, given: object) -> str:
    if not isinstance(given, str):
        raise InvalidInputError(f"{name} must be a string, not {type(given).__name__}")
    return given


def _not_root(place: Place, done: str) -> Place:
    if place.is_root:
        raise InvalidInputError(f"the directory {ROOT} itself cannot be {done}")
    return place
