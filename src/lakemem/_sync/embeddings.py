# Generated from src/lakemem/_async/embeddings.py by tools/unasync.py: edit that file, then run `make generate`.
"""The vectors of texts, asked for in time, and done without where there are none."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from lakemem.embedding import CheckedEmbedder
from lakemem.errors import EmbedderUnavailableError
from lakemem.large_scopes import LargeScopes
from lakemem.operations.drafting import Embedded
from lakemem.protocols import Embedder
from lakemem.questions import CommonWords
from lakemem.waiting import call_blocking

logger = logging.getLogger("lakemem")


class Embeddings:
    """Asks the embedder off the event loop and in time, and does without it where it fails."""

    def __init__(self, embedder: Embedder | None, deadline: float) -> None:
        self._embedder = None if embedder is None else CheckedEmbedder(embedder)
        self._deadline = deadline
        self._failing = False
        self.common_words = CommonWords()
        self.large_scopes = LargeScopes()

    def by(self, embedder: Embedder) -> Embeddings:
        """The same, of another embedder."""
        return Embeddings(embedder, self._deadline)

    @property
    def is_configured(self) -> bool:
        """Whether there is an embedder, up or down."""
        return self._embedder is not None

    @property
    def model(self) -> str | None:
        """The name under which rows remember their vectors."""
        return None if self._embedder is None else self._embedder.model

    def embed(self, text: str | None) -> Embedded:
        """Return the vector of a text; an empty one without a text, without an embedder, or while it is down.

        Raises:
            EmbeddingError: the embedder returned something that is not a vector.
        """
        return (self.embed_all([text]))[0]

    def embed_all(self, texts: Sequence[str | None]) -> list[Embedded]:
        """Return the vectors of several texts, asked for at once; see :meth:`embed`."""
        embedder = self._embedder
        wanted = list(dict.fromkeys(text for text in texts if text is not None))
        if embedder is None or not wanted:
            return [Embedded()] * len(texts)
        vectors = embedder.remembered(wanted)
        if vectors is None:
            try:
                vectors = call_blocking(lambda: embedder.embed(wanted), deadline=self._deadline)
            except (EmbedderUnavailableError, TimeoutError) as error:
                self._note(failing=True, detail=str(error) or f"no answer within {self._deadline:g} s")
                return [Embedded(is_late=text is not None and bool(text.strip())) for text in texts]
            self._note(failing=False)
        found: dict[str | None, Embedded] = {
            text: Embedded.of(vector, embedder.model) for text, vector in zip(wanted, vectors, strict=True)
        }
        return [found.get(text, Embedded()) for text in texts]

    def _note(self, *, failing: bool, detail: str = "") -> None:
        if failing != self._failing:
            self._failing = failing
            if failing:
                logger.warning("the embedder is down, search goes by words alone: %s", detail)
            else:
                logger.warning("the embedder is back")
