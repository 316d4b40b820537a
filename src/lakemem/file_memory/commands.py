"""What each command does to the files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from lakemem.errors import InvalidInputError
from lakemem.fencing import as_stored
from lakemem.file_memory.answers import Outcome, Refusal, invalid, missing, taken
from lakemem.file_memory.display import numbered, readable_size, snippet
from lakemem.file_memory.files import Change, File, Files, Part
from lakemem.file_paths import ROOT, Place
from lakemem.validation import check_identifier

MAX_LINES = 999_999
MAX_FILES_AT_ONCE = 500
"""That one command deletes or renames: each holds a lock on its key, and a server has room for some thousands."""
LISTED_DEPTH = 2
MAX_SHOWN = 50_000
"""Characters of a file that one view shows: what is stored may be a megabyte, and a model would have to read it all."""
MAX_ENTRIES = 1_000
"""Of a listing."""


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
        raise missing(f"The path {self.place.path} does not exist. Please provide a valid path.")

    def _numbered(self, text: str) -> str:
        lines = text.split("\n")
        if len(lines) > MAX_LINES:
            raise invalid(f"File {self.place.path} exceeds maximum line limit of 999,999 lines.")
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
            + snippet(after, after.count("\n", 0, start))
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
            raise invalid(
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
            raise invalid(f"Error: {self.old.path} cannot be moved into itself")
        _check_free(self.new, files, f"Error: The destination {self.new.path} already exists")
        changes = []
        for key, file in moved.items():
            to = check_identifier("a path", self.new.key + key.removeprefix(self.old.key))
            changes += [Change(key, file.version), Change(to, None, file.text, key)]
        return Outcome(f"Successfully renamed {self.old.path} to {self.new.path}", changes)


Command: TypeAlias = View | Create | StrReplace | Insert | Delete | Rename


def check_may_change(files: Files, changes: Sequence[Change], more_trusted: Sequence[str]) -> None:
    """Refuse a new text for a file that somebody has written who counts for more.

    Raises:
        Refusal: one of the changes is such.
    """
    for change in changes:
        file = files.get(change.key)
        if change.text is not None and file is not None and file.trust in more_trusted:
            raise invalid(f"Error: {ROOT}/{change.key} holds what the user said: write to another file")


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
        raise missing(answer)
    return file


def _there(place: Place, files: Files) -> dict[str, File]:
    """The file at a place, or the files in a directory."""
    there = {key: file for key, file in files.items() if key == place.key or key.startswith(place.beneath)}
    if not there:
        raise missing(f"Error: The path {place.path} does not exist")
    if len(there) > MAX_FILES_AT_ONCE:
        raise invalid(
            f"Error: {place.path} has more than {MAX_FILES_AT_ONCE} files: take the directories in it one by one"
        )
    return there


def _check_free(place: Place, files: Files, answer: str) -> None:
    """Refuse a place at which something is, or above which a file is."""
    if place.is_root or any(key == place.key or key.startswith(place.beneath) for key in files):
        raise taken(answer)
    for folder in place.folders:
        if folder in files:
            answer = f"Error: {ROOT}/{folder} is a file, not a directory"
            raise taken(answer)


def _checked_range(view_range: Sequence[int] | None, lines: int) -> tuple[int, int]:
    if view_range is None:
        return 1, lines
    first, last = view_range
    end = lines if last == -1 else min(last, lines)
    if not 1 <= first <= end:
        raise invalid(
            f"Error: Invalid `view_range` parameter: [{first}, {last}]. "
            f"It should be within the range of lines of the file: [1, {lines}]"
        )
    return first, end
