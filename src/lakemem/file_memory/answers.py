"""What a model is told, and a program where a command is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lakemem.errors import ConflictError, InvalidInputError, LakememError, MemoryNotFoundError
from lakemem.file_memory.files import Change

HELD_BACK = "This was not stored: it is held back until a person has looked at it. Go on without it."
REDACTED = "\n(A part of it was taken out before it was stored: view the file.)"


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


def missing(answer: str) -> Refusal:
    return Refusal(answer, MemoryNotFoundError(_said(answer)))


def taken(answer: str) -> Refusal:
    return Refusal(answer, ConflictError(_said(answer)))


def invalid(answer: str) -> Refusal:
    return Refusal(answer, InvalidInputError(_said(answer)))


def _said(answer: str) -> str:
    """An answer that quotes no text, as the message of an error."""
    return answer.removeprefix("Error: ")
