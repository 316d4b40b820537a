"""Around any embedder: batches, a cache, and a check of every vector before it is used."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from pgvector import HalfVector

from lakemem import caches
from lakemem.errors import (
    DimensionMismatchError,
    EmbedderUnavailableError,
    EmbeddingError,
    InvalidInputError,
)
from lakemem.protocols import Embedder
from lakemem.validation import MAX_DIMENSIONS as MAX_DIMENSIONS


class CallableEmbedder:
    """Makes an embedder of any function.

    Args:
        function: takes a list of texts and returns one vector a text.
        model: a name for it; change it whenever the vectors change.
        dimensions: the length of the vectors.
    """

    def __init__(
        self,
        function: Callable[[list[str]], Sequence[Sequence[float]]],
        *,
        model: str,
        dimensions: int,
    ) -> None:
        self._function = function
        self.model = model
        self.dimensions = dimensions

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return what the function returns: one vector a text."""
        return self._function(list(texts))


def _unit_text(numbers: Sequence[float]) -> str | None:
    length = math.hypot(*numbers)
    return None if length == 0 else HalfVector([number / length for number in numbers]).to_text()


class CheckedEmbedder:
    """Batches and caches the calls of another embedder, and checks and normalises what it returns.

    Args:
        embedder: the one that does the work.
        batch_size: texts in one call at the most.
        cache_size: how many vectors to keep, the least recently used leaving first.
    """

    def __init__(self, embedder: Embedder, *, batch_size: int = 64, cache_size: int = 1024) -> None:
        if not 1 <= embedder.dimensions <= MAX_DIMENSIONS:
            raise InvalidInputError(f"an embedder has 1 to {MAX_DIMENSIONS:,} dimensions, not {embedder.dimensions:,}")
        self._embedder = embedder
        self._batch_size = batch_size
        self._cache_size = cache_size
        self._cache: OrderedDict[str, str | None] = OrderedDict()
        self._lock = threading.Lock()
        caches.register(self)

    @property
    def model(self) -> str:
        """The name under which rows remember their vectors: it holds the dimensions, for these may change."""
        return f"{self._embedder.model}/{self._embedder.dimensions}"

    def embed(self, texts: Sequence[str]) -> list[str | None]:
        """Return for each text its unit vector in pgvector's text form; None for one without a direction, or blank.

        Raises:
            DimensionMismatchError: a vector is not as long as the embedder announces.
            EmbedderUnavailableError: the embedder failed.
            EmbeddingError: it returned something else than finite numbers.
        """
        known: dict[str, str | None] = {text: None for text in texts if not text.strip()}
        known.update({text: vector for text in texts for vector in self._lookup(text)})
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        for start in range(0, len(missing), self._batch_size):
            batch = missing[start : start + self._batch_size]
            known.update(zip(batch, self._embed_batch(batch), strict=True))
        self._remember(known)
        return [known[text] for text in texts]

    def remembered(self, texts: Sequence[str]) -> list[str | None] | None:
        """The same of texts that were all embedded before, and are still known; None where one has to be asked for."""
        found = [self._lookup(text) for text in texts]
        return [vector for (vector,) in found] if all(found) else None

    def forget_owner(self, owner: str) -> None:
        """Drop all texts: whose they are is not known."""
        with self._lock:
            self._cache.clear()

    def _embed_batch(self, texts: list[str]) -> list[str | None]:
        try:
            vectors = list(self._embedder.embed(texts))
        except EmbeddingError:
            raise
        except Exception as error:
            # The words of a foreign error may quote the text.
            raise EmbedderUnavailableError(
                f"the embedder {self._embedder.model} failed with {type(error).__name__}"
            ) from None
        if len(vectors) != len(texts):
            raise EmbeddingError(
                f"the embedder {self._embedder.model} returned {len(vectors)} vectors for {len(texts)} texts"
            )
        return [self._unit(vector) for vector in vectors]

    def _unit(self, vector: Sequence[float]) -> str | None:
        try:
            numbers = [float(number) for number in vector]
        except (TypeError, ValueError, OverflowError):
            raise EmbeddingError(
                f"the embedder {self._embedder.model} returned something that is not a list of numbers"
            ) from None
        if len(numbers) != self._embedder.dimensions:
            raise DimensionMismatchError(
                f"the embedder {self._embedder.model} announces {self._embedder.dimensions} dimensions, "
                f"but returned {len(numbers)}"
            )
        if not math.isfinite(math.hypot(*numbers)):
            raise EmbeddingError(f"the embedder {self._embedder.model} returned NaN or infinity")
        return _unit_text(numbers)

    def _lookup(self, text: str) -> list[str | None]:
        with self._lock:
            if text not in self._cache:
                return []
            self._cache.move_to_end(text)
            return [self._cache[text]]

    def _remember(self, vectors: dict[str, str | None]) -> None:
        with self._lock:
            self._cache.update(vectors)
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
