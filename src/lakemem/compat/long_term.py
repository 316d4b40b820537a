"""LongTermMemory as Databricks' examples wrap a store: what is known about users, each of whom sees their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Unpack

from lakemem._sync.memory import Memory
from lakemem.compat.arguments import MoreArguments, Settings, embedder_of
from lakemem.compat.memories import memory
from lakemem.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class MemoryItem:
    """A memory that was found."""

    key: str
    value: dict[str, Any]
    score: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class LongTermMemory:
    """What is known about users.

    Every call names its user, whose the memory is: `user` and `scope` are not taken. The namespaces are those that
    the examples use, so that imported memories are found.

    Args:
        instance_name: a provisioned Lakebase instance.
        embedding_endpoint: a serving endpoint for embeddings; without one, search goes by words.
        embedding_dims: the length of its vectors.
        embeddings: LangChain's Embeddings, in place of the endpoint.
        arguments: see :class:`~lakemem.compat.arguments.MoreArguments`.
    """

    def __init__(
        self,
        instance_name: str | None = None,
        embedding_endpoint: str | None = None,
        embedding_dims: int | None = None,
        *,
        embeddings: Any = None,
        **arguments: Unpack[MoreArguments],
    ) -> None:
        for name in ("user", "scope"):
            if arguments.get(name) is not None:
                raise ConfigurationError(f"LongTermMemory does not take {name}=: every call names its user")
        settings = Settings.of(
            type(self).__name__,
            {**arguments, "instance_name": instance_name},
            embeds=embedding_endpoint is not None,
        )
        embedder = embedder_of(
            embedding_endpoint=embedding_endpoint,
            embedding_dims=embedding_dims,
            embeddings=embeddings,
            workspace_client=settings.workspace_client,
        )
        self._memory: Memory = memory(settings, embedder)

    def setup(self) -> None:
        """Create or upgrade lakemem's tables."""
        self._memory.setup()

    def close(self) -> None:
        """Close the pool."""
        self._memory.close()

    def save_memory(self, user_id: str, memory_key: str, memory_data: Mapping[str, Any]) -> str:
        """Remember a JSON object about a user."""
        self._memory.for_user(user_id).save(memory_key, dict(memory_data), namespace=_namespace(user_id))
        return f"Successfully saved memory with key '{memory_key}'"

    def search_memories(self, user_id: str, query: str, limit: int = 5) -> list[MemoryItem]:
        """Return what fits a question best, the best first; without a question, the newest."""
        if not query.strip():
            return [MemoryItem(record.key, record.value) for record in self._records(user_id, limit)]
        hits = self._memory.for_user(user_id).search(query, namespace=_namespace(user_id), limit=limit)
        return [MemoryItem(hit.key, hit.value, hit.score) for hit in hits]

    def get_memory(self, user_id: str, memory_key: str) -> dict[str, Any] | None:
        record = self._memory.for_user(user_id).get(memory_key, namespace=_namespace(user_id))
        return None if record is None else record.value

    def delete_memory(self, user_id: str, memory_key: str) -> str:
        self._memory.for_user(user_id).delete(memory_key, namespace=_namespace(user_id))
        return f"Successfully deleted memory with key '{memory_key}'"

    def list_memories(self, user_id: str, prefix: str | None = None) -> list[str]:
        """Return the keys of a user's memories."""
        return [record.key for record in self._records(user_id, None) if record.key.startswith(prefix or "")]

    def _records(self, user_id: str, limit: int | None) -> list[Any]:
        return self._memory.for_user(user_id).items(namespace=_namespace(user_id), limit=limit)


def _namespace(user_id: str) -> tuple[str, str]:
    """The examples put a user's memories here. Two users whose labels are the same are still two owners."""
    return ("user_memories", user_id.replace(".", "-").replace("@", "-at-").replace("*", "-"))
