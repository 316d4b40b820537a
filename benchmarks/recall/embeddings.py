"""Vectors that outlive a run: a text is embedded once on a machine."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray

from lakemem.integrations.embedders import LocalEmbedder
from lakemem.protocols import Embedder

Vectors = NDArray[numpy.float32]
TABLE = "CREATE TABLE IF NOT EXISTS vectors (model TEXT, hash BLOB, vector BLOB, PRIMARY KEY (model, hash))"
BATCH = 64


def cache_path() -> Path:
    """Outside the repository: `LAKEMEM_BENCHMARK_CACHE`, else the user's cache folder."""
    named = os.environ.get("LAKEMEM_BENCHMARK_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "lakemem" / "benchmark-vectors.sqlite"


class CachedEmbedder:
    """An embedder of lakemem that keeps its vectors in a file, by model and hash of the text, and in memory.

    What it was told to :meth:`prepare` it returns at once, so that no timing has the embedding in it.
    """

    def __init__(self, embedder: Embedder | None = None, path: Path | None = None) -> None:
        self._embedder = LocalEmbedder() if embedder is None else embedder
        self.model = self._embedder.model
        self.dimensions = self._embedder.dimensions
        path = cache_path() if path is None else path
        path.parent.mkdir(parents=True, exist_ok=True)
        # lakemem calls an embedder in threads.
        self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=60)
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute(TABLE)
        self._lock = threading.Lock()
        self._vectors: dict[str, list[float]] = {}

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        with self._lock:
            for text in dict.fromkeys(text for text in texts if text not in self._vectors):
                self._vectors[text] = self._stored(text) or self._embedded(text)
            return [self._vectors[text] for text in texts]

    def prepare(self, texts: Iterable[str]) -> None:
        """Embed what is not there yet, with a bar that shows how far it is."""
        from rich.console import Console
        from rich.progress import Progress

        wanted = list(dict.fromkeys(texts))
        missing = [text for text in wanted if text not in self._vectors and self._stored(text) is None]
        with Progress(console=Console(file=sys.stderr), transient=True, disable=not missing) as progress:
            for start in progress.track(range(0, len(missing), BATCH), description=f"embedding {len(missing):,} texts"):
                self.embed(missing[start : start + BATCH])
        self.embed(wanted)

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a row."""
        return numpy.array(self.embed(texts), dtype=numpy.float32).reshape(len(texts), self.dimensions)

    def give(self, texts: Sequence[str], vectors: Vectors) -> None:
        """Let these texts have these vectors, in this run."""
        with self._lock:
            self._vectors.update(zip(texts, vectors.tolist(), strict=True))

    def _stored(self, text: str) -> list[float] | None:
        query = "SELECT vector FROM vectors WHERE model = ? AND hash = ?"
        row = self._file.execute(query, [self.model, _hash(text)]).fetchone()
        return _numbers(numpy.frombuffer(row[0], dtype=numpy.float32)) if row else None

    def _embedded(self, text: str) -> list[float]:
        [vector] = self._embedder.embed([text])
        rounded = numpy.array(vector, dtype=numpy.float32)
        row = [self.model, _hash(text), rounded.tobytes()]
        self._file.execute("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", row)
        return _numbers(rounded)


class LangChainEmbeddings(Embeddings):
    """The same embedder as LangGraph's store asks it: without a thread in between."""

    def __init__(self, embedder: CachedEmbedder) -> None:
        self._embedder = embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._embedder.embed(texts)

    def embed_query(self, text: str) -> list[float]:
        return self._embedder.embed([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.embed_documents(texts)

    async def aembed_query(self, text: str) -> list[float]:
        return self.embed_query(text)


def _numbers(vector: Vectors) -> list[float]:
    numbers: list[float] = vector.tolist()
    return numbers


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
