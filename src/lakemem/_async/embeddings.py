"""The vectors of texts, asked for in time, and done without where there are none."""

from __future__ import annotations

import logging

from lakemem.embedding import CheckedEmbedder
from lakemem.errors import EmbedderUnavailableError
from lakemem.operations.memories import Embedded
from lakemem.protocols import Embedder
from lakemem.waiting import acall_blocking

logger = logging.getLogger("lakemem")


class AsyncEmbeddings:
    """Asks the embedder off the event loop and in time, and does without it where it fails."""

    def __init__(self, embedder: Embedder | None, deadline: float) -> None:
        self._embedder = None if embedder is None else CheckedEmbedder(embedder)
        self._deadline = deadline
        self._failing = False

    async def embed(self, text: str | None) -> Embedded:
        """Return the vector of a text; an empty one without a text, without an embedder, or while it is down.

        Raises:
            EmbeddingError: the embedder returned something that is not a vector.
        """
        embedder = self._embedder
        if embedder is None or text is None:
            return Embedded()
        try:
            [vector] = await acall_blocking(lambda: embedder.embed([text]), deadline=self._deadline)
        except (EmbedderUnavailableError, TimeoutError) as error:
            self._note(failing=True, detail=str(error) or f"no answer within {self._deadline:g} s")
            return Embedded()
        self._note(failing=False)
        return Embedded.of(vector, embedder.model)

    def _note(self, *, failing: bool, detail: str = "") -> None:
        if failing != self._failing:
            self._failing = failing
            if failing:
                logger.warning("the embedder is down, search goes by words alone: %s", detail)
            else:
                logger.warning("the embedder is back")
