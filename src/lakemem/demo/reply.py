"""What the demo's agents answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and the memory tools that were called for it: (name, arguments as JSON)."""

    text: str
    tool_calls: list[tuple[str, str]]
