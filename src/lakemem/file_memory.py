"""The commands of Anthropic's memory tool, type ``memory_20250818``: what each does to the files, and what a model is
told. Pure.

The answers are those that the models know, also where a command is refused.
Source: https://docs.claude.com/en/docs/agents-and-tools/tool-use/memory-tool
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lakemem.errors import ConflictError, InvalidInputError, LakememError, MemoryNotFoundError
from lakemem.fencing import as_stored, shown
from lakemem.file_paths import ROOT, Place, place_of
from lakemem.memory_types import Trust
from lakemem.validation import check_identifier

MAX_LINES = 999_999
MAX_FILES_AT_ONCE = 500
"""That one command deletes or renames: each holds a lock on its key, and a server has room for some thousands."""
LISTED_DEPTH = 2
MAX_SHOWN = 50_000
"""Characters of a file that one view shows: what is stored may be a megabyte, and a model would have to read it all."""
MAX_ENTRIES = 1_000
"""Of a listing."""

HELD_BACK = "This was not stored: it is held back until a person has looked at it. Go on without it."
REDACTED = "\n(A part of it was taken out before it was stored: view the file.)"

_BEFORE_ANY_CHARACTER = "\x01"
_PAST_ANY_CHARACTER = "\U0010ffff" * 151


class Refusal(Exception):
    """A command that cannot be carried out.

    Attributes:
        answer: what the model is told.
        error: what a program gets; unlike the answer it quotes no text.
    """

    def __init__(self, answer: str, error: LakememError) -> None:
        super().__init__(str(error))
        self.answer = answer
        self.error = error


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the model is told, once the changes are made."""

    answer: str = field(repr=False)
    changes: Sequence[Change] = ()


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """What a model is told.

    Attributes:
        text: in the words that models know from the memory tool.
        is_error: whether the command was refused, or failed.
    """

    text: str = field(repr=False)
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """Shows a file with line numbers, or what is in a directory."""

    place: Place
    view_range: Sequence[int] | None = None

    @property
    def parts(self) -> list[Part]:
        file = [] if self.place.is_root else [Part.at(self.place.key, with_text=True)]
        return [*file, Part.beneath(self.place)]

    def on(self, files: Files) -> Outcome:
        file = files.get(self.place.key)
        if file is not None:
            return Outcome(self._numbered(file.text or ""))
        if files or self.place.is_root:
            return Outcome(self._listing(files))
        raise _missing(f"The path {self.place.path} does not exist. Please provide a valid path.")

    def _numbered(self, text: str) -> str:
        lines = text.split("\n")
        if len(lines) > MAX_LINES:
            raise _invalid(f"File {self.place.path} exceeds maximum line limit of 999,999 lines.")
        first, last = _checked_range(self.view_range, len(lines))
        content = numbered(lines[first - 1 : last], first)
        if len(content) > MAX_SHOWN:
            content = f"{content[:MAX_SHOWN]}\n(The rest is cut: view_range shows other lines, up to {len(lines)}.)"
        return f"Here's the content of {self.place.path} with line numbers:\n{content}"

    def _listing(self, files: Files) -> str:
        sizes: dict[str, int] = {}
        for key, file in files.items():
            for entry in self._entries(key.removeprefix(self.place.beneath)):
                sizes[entry] = sizes.get(entry, 0) + file.size
        total = sum(file.size for file in files.values())
        entries = sorted(sizes, key=lambda entry: entry.removesuffix("/").split("/"))
        lines = [f"{readable_size(total)}\t{self.place.path}"]
        lines.extend(f"{readable_size(sizes[entry])}\t{self.place.path}/{entry}" for entry in entries[:MAX_ENTRIES])
        if len(entries) > MAX_ENTRIES:
            lines.append(f"({len(entries) - MAX_ENTRIES} more are not shown: view a directory in it.)")
        return (
            f"Here're the files and directories up to {LISTED_DEPTH} levels deep in {self.place.path}, "
            "excluding hidden items and node_modules:\n" + "\n".join(lines)
        )

    @staticmethod
    def _entries(path: str) -> Iterator[str]:
        """The entries of a listing that a file is counted in: directories, with a slash at the end, and itself."""
        names = path.split("/")
        for depth in range(1, min(len(names), LISTED_DEPTH) + 1):
            if names[depth - 1].startswith(".") or names[depth - 1] == "node_modules":
                return
            yield "/".join(names[:depth]) + ("/" if depth < len(names) else "")


@dataclass(frozen=True, slots=True)
class Create:
    """Makes a file that is not there yet, and with it the directories above it."""

    place: Place
    file_text: str = field(repr=False)

    @property
    def parts(self) -> list[Part]:
        return [*_above(self.place), Part.at(self.place.key), Part.beneath(self.place)]

    def on(self, files: Files) -> Outcome:
        _check_free(self.place, files, f"Error: File {self.place.path} already exists")
        answer = f"File created successfully at: {self.place.path}"
        return Outcome(answer, [Change(self.place.key, None, self.file_text)])


@dataclass(frozen=True, slots=True)
class StrReplace:
    """Replaces a text that stands in a file exactly once."""

    place: Place
    old_str: str = field(repr=False)
    new_str: str = field(repr=False)

    @property
    def parts(self) -> list[Part]:
        return [Part.at(self.place.key, with_text=True)]

    def on(self, files: Files) -> Outcome:
        path = self.place.path
        file = _file(self.place, files, f"Error: The path {path} does not exist. Please provide a valid path.")
        before, old_str, new_str = file.text or "", self.old_str, self.new_str
        if old_str not in before:
            # A model repeats what it was shown, in which characters that are not seen are escapes.
            old_str, new_str = as_stored(old_str), as_stored(new_str)
        found = list(_occurrences(before, old_str))
        if not found:
            error = InvalidInputError(f"no replacement was performed: old_str does not appear verbatim in {path}")
            raise Refusal(
                f"No replacement was performed, old_str `{self.old_str}` did not appear verbatim in {path}.", error
            )
        if len(found) > 1:
            lines = ", ".join(str(before.count("\n", 0, start) + 1) for start in found)
            error = InvalidInputError(f"no replacement was performed: old_str appears in {path} in lines {lines}")
            raise Refusal(
                f"No replacement was performed. Multiple occurrences of old_str `{self.old_str}` in lines: {lines}. "
                "Please ensure it is unique",
                error,
            )
        [start] = found
        after = before[:start] + new_str + before[start + len(old_str) :]
        answer = (
            "The memory file has been edited. Here is the snippet showing the change (with line numbers):\n"
            + _snippet(after, after.count("\n", 0, start))
        )
        return Outcome(answer, [Change(self.place.key, file.version, after, self.place.key)])


@dataclass(frozen=True, slots=True)
class Insert:
    """Puts text behind a line of a file; 0 puts it before the first."""

    place: Place
    insert_line: int
    insert_text: str = field(repr=False)

    @property
    def parts(self) -> list[Part]:
        return [Part.at(self.place.key, with_text=True)]

    def on(self, files: Files) -> Outcome:
        path = self.place.path
        file = _file(self.place, files, f"Error: The path {path} does not exist")
        lines = (file.text or "").split("\n")
        if not lines[-1]:
            lines.pop()
        if not 0 <= self.insert_line <= len(lines):
            raise _invalid(
                f"Error: Invalid `insert_line` parameter: {self.insert_line}. "
                f"It should be within the range of lines of the file: [0, {len(lines)}]"
            )
        lines.insert(self.insert_line, self.insert_text.rstrip("\n"))
        after = "\n".join([*lines, ""])
        return Outcome(
            f"The file {path} has been edited.", [Change(self.place.key, file.version, after, self.place.key)]
        )


@dataclass(frozen=True, slots=True)
class Delete:
    """Removes a file, or a directory with all that is in it."""

    place: Place

    @property
    def parts(self) -> list[Part]:
        return [Part.at(self.place.key), Part.beneath(self.place)]

    def on(self, files: Files) -> Outcome:
        there = _there(self.place, files)
        changes = [Change(key, file.version) for key, file in there.items()]
        return Outcome(f"Successfully deleted {self.place.path}", changes)


@dataclass(frozen=True, slots=True)
class Rename:
    """Moves a file, or a directory with all that is in it, to where nothing is yet."""

    old: Place
    new: Place

    @property
    def parts(self) -> list[Part]:
        here = [Part.at(self.old.key, with_text=True), Part.beneath(self.old, with_text=True)]
        return [*here, *_above(self.new), Part.at(self.new.key), Part.beneath(self.new)]

    def on(self, files: Files) -> Outcome:
        moved = _there(self.old, files)
        if self.new.key.startswith(self.old.beneath):
            raise _invalid(f"Error: {self.old.path} cannot be moved into itself")
        _check_free(self.new, files, f"Error: The destination {self.new.path} already exists")
        changes = []
        for key, file in moved.items():
            to = check_identifier("a path", self.new.key + key.removeprefix(self.old.key))
            changes += [Change(key, file.version), Change(to, None, file.text, key)]
        return Outcome(f"Successfully renamed {self.old.path} to {self.new.path}", changes)


Command: TypeAlias = View | Create | StrReplace | Insert | Delete | Rename


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


def check_may_change(files: Files, changes: Sequence[Change], more_trusted: Sequence[str]) -> None:
    """Refuse a new text for a file that somebody has written who counts for more.

    Raises:
        Refusal: one of the changes is such.
    """
    for change in changes:
        file = files.get(change.key)
        if change.text is not None and file is not None and file.trust in more_trusted:
            raise _invalid(f"Error: {ROOT}/{change.key} holds what the user said: write to another file")


def numbered(lines: Sequence[str], first: int) -> str:
    """Lines as a model is shown them: nothing in one can pass for another line, or for the end of the answer."""
    return "\n".join(f"{number:6}\t{_shown_line(line)}" for number, line in enumerate(lines, first))


def _shown_line(line: str) -> str:
    # The carriage return of a line's end ends nothing else.
    return f"{shown(line[:-1])}\r" if line.endswith("\r") else shown(line)


def readable_size(size: int) -> str:
    """Bytes as ``du -h`` shows them."""
    if size < 1024:
        return f"{size}B"
    number, unit = size / 1024, "K"
    if number >= 1024:
        number, unit = number / 1024, "M"
    return f"{number:.1f}{unit}"


def _snippet(text: str, line: int) -> str:
    lines = text.split("\n")
    first = max(0, line - 2)
    return numbered(lines[first : line + 3], first + 1)


def _occurrences(text: str, wanted: str) -> Iterator[int]:
    """Where a text stands in another, also where one occurrence begins before the last has ended."""
    start = text.find(wanted)
    while start >= 0:
        yield start
        start = text.find(wanted, start + 1)


def _above(place: Place) -> list[Part]:
    return [Part.at(folder) for folder in place.folders]


def _file(place: Place, files: Files, answer: str) -> File:
    file = files.get(place.key)
    if file is None:
        raise _missing(answer)
    return file


def _there(place: Place, files: Files) -> dict[str, File]:
    """The file at a place, or the files in a directory."""
    there = {key: file for key, file in files.items() if key == place.key or key.startswith(place.beneath)}
    if not there:
        raise _missing(f"Error: The path {place.path} does not exist")
    if len(there) > MAX_FILES_AT_ONCE:
        raise _invalid(
            f"Error: {place.path} has more than {MAX_FILES_AT_ONCE} files: take the directories in it one by one"
        )
    return there


def _check_free(place: Place, files: Files, answer: str) -> None:
    """Refuse a place at which something is, or above which a file is."""
    if place.is_root or any(key == place.key or key.startswith(place.beneath) for key in files):
        raise _taken(answer)
    for folder in place.folders:
        if folder in files:
            answer = f"Error: {ROOT}/{folder} is a file, not a directory"
            raise _taken(answer)


def _checked_range(view_range: Sequence[int] | None, lines: int) -> tuple[int, int]:
    if view_range is None:
        return 1, lines
    first, last = view_range
    end = lines if last == -1 else min(last, lines)
    if not 1 <= first <= end:
        raise _invalid(
            f"Error: Invalid `view_range` parameter: [{first}, {last}]. "
            f"It should be within the range of lines of the file: [1, {lines}]"
        )
    return first, end


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


def _missing(answer: str) -> Refusal:
    return Refusal(answer, MemoryNotFoundError(_said(answer)))


def _taken(answer: str) -> Refusal:
    return Refusal(answer, ConflictError(_said(answer)))


def _invalid(answer: str) -> Refusal:
    return Refusal(answer, InvalidInputError(_said(answer)))


def _said(answer: str) -> str:
    """An answer that quotes no text, as the message of an error."""
    return answer.removeprefix("Error: ")
