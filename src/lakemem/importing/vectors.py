"""Vectors that are there already, taken over under the name of the model that made them."""

from __future__ import annotations

import json

from lakemem.embedding import CallableEmbedder, CheckedEmbedder
from lakemem.errors import EmbeddingError
from lakemem.operations.drafting import Embedded


class Vectors:
    """Takes over vectors.

    Args:
        model: the model that made them; None to leave them behind.
    """

    def __init__(self, model: str | None) -> None:
        self._model = model
        self._checked: dict[int, CheckedEmbedder] = {}

    def embedded(self, vector: str | None) -> Embedded:
        """A vector in pgvector's text form, checked and normalised as those of an embedder are."""
        if self._model is None or vector is None:
            return Embedded()
        try:
            numbers = json.loads(vector)
            checked = self._of(self._model, len(numbers))
            [unit] = checked.embed([vector])
        except (ValueError, TypeError, EmbeddingError):
            return Embedded()
        return Embedded.of(unit, checked.model)

    def _of(self, model: str, dimensions: int) -> CheckedEmbedder:
        if dimensions not in self._checked:
            reader = CallableEmbedder(
                lambda texts: [json.loads(text) for text in texts], model=model, dimensions=dimensions
            )
            self._checked[dimensions] = CheckedEmbedder(reader, cache_size=0)
        return self._checked[dimensions]
