"""LangGraph's IndexConfig as an embedder of lakemem's."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from langgraph.store.base import IndexConfig, ensure_embeddings

from lakemem.embedding import CallableEmbedder
from lakemem.errors import ConfigurationError

_KNOWN = {"dims", "embed", "fields"}


def checked_fields(fields: Sequence[str] | None, index: IndexConfig | None) -> list[str]:
    """The paths that search reads unless a put says otherwise; ``"$"`` is all of a value."""
    configured = None if index is None else index.get("fields")
    if fields is not None and configured is not None:
        raise ConfigurationError("fields= and index['fields'] say the same thing: give one of them")
    found = fields if fields is not None else configured if configured is not None else ["$"]
    if isinstance(found, str) or not found or not all(isinstance(path, str) for path in found):
        raise ConfigurationError('fields is a list of paths into values, such as ["text", "tags[*]"], or ["$"]')
    return list(found)


def index_embedder(index: IndexConfig) -> CallableEmbedder:
    """The embedder that an index describes.

    Raises:
        ConfigurationError: the index is not complete, or asks for what lakemem has not.
    """
    if left := sorted(index.keys() - _KNOWN):
        raise ConfigurationError(
            f"index takes dims, embed and fields, not {', '.join(left)}: lakemem compares unit vectors exactly, "
            "without an index of its own"
        )
    embed, dims = index.get("embed"), index.get("dims")
    if embed is None or isinstance(dims, bool) or not isinstance(dims, int):
        raise ConfigurationError(
            "index needs embed and dims; for the memory's own embedder, give fields= in place of index="
        )
    if inspect.iscoroutinefunction(embed) or inspect.iscoroutinefunction(getattr(embed, "__call__", None)):  # noqa: B004
        raise ConfigurationError(
            "index['embed'] is an async function: give one that is not, or LangChain's Embeddings. It is called on a "
            "thread, and never blocks the event loop"
        )
    try:
        embeddings = ensure_embeddings(embed)
    except (ValueError, ImportError) as error:
        raise ConfigurationError(f"index['embed'] cannot be used: {error}") from None
    return CallableEmbedder(embeddings.embed_documents, model=_model_of(embed), dimensions=dims)


def _model_of(embed: Any) -> str:
    """A name that changes with the vectors, as well as it can be told."""
    if isinstance(embed, str):
        return embed
    for name in ("model", "model_name", "endpoint"):
        if isinstance(found := getattr(embed, name, None), str):
            return found
    kind = embed if hasattr(embed, "__qualname__") else type(embed)
    return f"{kind.__module__}.{kind.__qualname__}"
