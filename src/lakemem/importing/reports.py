"""What came over and what did not, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True)
class Report:
    """One kind of data.

    Attributes:
        kind: what a unit is called.
        units: how many were looked at: threads, or namespaces of the store.
        moved: what -> how many of it came over in this run.
        left: why -> how many did not come over.
    """

    kind: str
    units: int = 0
    moved: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        moved = ", ".join(f"{count:,} {what}" for what, count in self.moved.items())
        lines = [f"{self.kind}: {self.units:,} looked at; came over: {moved or 'nothing new'}"]
        lines.extend(f"  left behind: {count:,} {reason}" for reason, count in self.left.items())
        return "\n".join(lines)


class Watcher(Protocol):
    """Hears how an import proceeds."""

    def began(self, kind: str, total: int) -> None:
        """A kind of data begins, with so many units."""
        ...

    def advanced(self, report: Report) -> None:
        """One more unit is done."""
        ...

    def ended(self, report: Report) -> None:
        """This kind of data is done."""
        ...
