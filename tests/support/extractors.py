"""Extractors whose facts a reader can work out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from lakemem import KnownMemory, Proposal, SourceTurn


class SentenceExtractor:
    """Every sentence that begins with "I" is a fact; "I live in Rome" is the one of the subject ``user.home``.

    Args:
        spoil: makes something else of the proposals, or raises.
    """

    def __init__(self, spoil: Callable[[list[Proposal]], Any] | None = None) -> None:
        self.spoil = spoil
        self.shown: list[tuple[list[SourceTurn], list[KnownMemory]]] = []

    def extract(self, turns: Sequence[SourceTurn], known: Sequence[KnownMemory]) -> Any:
        self.shown.append((list(turns), list(known)))
        found = [
            Proposal(
                text=f"The {turn.speaker} says: {sentence.strip()}",
                sources=[turn.id],
                subject="user.home" if sentence.strip().startswith("I live in") else None,
            )
            for turn in turns
            if turn.is_new
            for sentence in re.split(r"[.!?]", turn.text)
            if sentence.strip().startswith("I ")
        ]
        return found if self.spoil is None else self.spoil(found)
