"""How texts and sizes are shown to a model."""

from __future__ import annotations

from collections.abc import Sequence

from lakemem.fencing import shown


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


def snippet(text: str, line: int) -> str:
    lines = text.split("\n")
    first = max(0, line - 2)
    return numbered(lines[first : line + 3], first + 1)
