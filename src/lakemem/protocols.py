"""What can be plugged in. Each Protocol is small, and lakemem calls nothing beyond it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from lakemem.extraction_types import KnownMemory, Proposal, SourceTurn
from lakemem.memory_types import Hit, MemoryRecord, ProposedWrite, Trust
from lakemem.types import Credential


@runtime_checkable
class CredentialProvider(Protocol):
    """Gives the secret for the next login to Postgres.

    It may block, for instance on a request over the network; lakemem never calls it on an event loop.
    """

    def credential(self) -> Credential:
        """Return a secret that is valid now."""
        ...


@runtime_checkable
class CachingCredentialProvider(CredentialProvider, Protocol):
    """One that keeps a secret, and can be told that Postgres refused it."""

    def invalidate(self, token: str | None = None) -> bool:
        """Drop this secret, and return whether another login makes sense."""
        ...


@runtime_checkable
class KeyWrapper(Protocol):
    """Wraps the data keys of users: master keys in this process, or a key management service.

    Its methods may block, for instance on a request over the network; lakemem never calls them on an event loop.
    """

    @property
    def current(self) -> str:
        """The id of the master key that wraps now. It is stored beside what that has wrapped."""
        ...

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Encrypt a data key, bound to its context: it must not unwrap with another."""
        ...

    def unwrap(self, wrapped: bytes, master_key: str, context: bytes) -> bytes:
        """Return the data key that was wrapped under the master key of this id, with this context.

        Raises:
            EncryptionError: this is not possible.
        """
        ...


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors.

    Attributes:
        model: a name that changes whenever the vectors do. Rows remember it, and vectors of two models are
            never compared.
        dimensions: the length of every vector.
    """

    @property
    def model(self) -> str:
        """A name for what makes the vectors."""
        ...

    @property
    def dimensions(self) -> int:
        """The length of every vector."""
        ...

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one vector a text, in their order. It may block; lakemem never calls it on an event loop."""
        ...


@runtime_checkable
class Extractor(Protocol):
    """Finds the facts in what was said.

    It names turns and memories by the small numbers that it was shown. What it proposes is checked before anything is
    saved, so it may be a model that errs.
    """

    def extract(self, turns: Sequence[SourceTurn], known: Sequence[KnownMemory]) -> Sequence[Proposal]:
        """Return the facts to remember. It may block; lakemem never calls it on an event loop.

        Args:
            turns: what was said, in its order.
            known: what is remembered already and is near to it.
        """
        ...


@runtime_checkable
class Matcher(Protocol):
    """Finds the facts that say the same in other words.

    It names facts by the small numbers that it was shown. What it says only counts for pairs that are alike to begin
    with, so it may be a model that errs.
    """

    def match(self, facts: Sequence[KnownMemory]) -> Sequence[tuple[int, int]]:
        """Return the pairs of ids that say the same. It may block; lakemem never calls it on an event loop."""
        ...


@runtime_checkable
class Reranker(Protocol):
    """Looks once more at what a search found, such as a cross-encoder does."""

    def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """Return how well each text fits the query, the more the better. It may block; lakemem calls it in a thread."""
        ...


@runtime_checkable
class Redactor(Protocol):
    """Takes out of texts what is not to be stored, such as :class:`lakemem.PatternRedactor`."""

    def redact(self, text: str) -> str:
        """Return the text without it. It may block; lakemem never calls it on an event loop."""
        ...


@runtime_checkable
class WritePolicy(Protocol):
    """Says which writes are held back for a person to look at."""

    def flag(self, write: ProposedWrite) -> str | None:
        """Return why this is held back, in a few words that quote nothing of it; None to let it through.

        It may block; lakemem never calls it on an event loop.
        """
        ...


@runtime_checkable
class AsyncShortTermMemory(Protocol):
    """One conversation, as a session adapter needs it; :class:`lakemem.AsyncThread` is one."""

    @property
    def thread_id(self) -> str:
        """The id of the conversation."""
        ...

    async def append(self, items: Sequence[Mapping[str, Any]]) -> range:
        """Add JSON objects at the end, all or none of them, and return their positions."""
        ...

    async def items(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Return the newest `limit` items (None for all), the oldest of them first."""
        ...

    async def pop(self) -> dict[str, Any] | None:
        """Remove the last item and return it; None where there is none."""
        ...

    async def clear(self) -> None:
        """Remove all items."""
        ...


@runtime_checkable
class AsyncLongTermMemory(Protocol):
    """What is known about one user, as the memory tools need it; :class:`lakemem.AsyncScopedMemory` is one."""

    async def save(
        self, key: str | None, value: Any, *, namespace: Sequence[str] = (), trust: Trust = "unknown"
    ) -> MemoryRecord:
        """Remember a JSON value; a value that is there already becomes an earlier version."""
        ...

    async def get(self, key: str, *, namespace: Sequence[str] = ()) -> MemoryRecord | None:
        """Return a memory; None where there is none."""
        ...

    async def items(self, *, namespace: Sequence[str] = (), limit: int | None = 100) -> list[MemoryRecord]:
        """Return memories, the newest first."""
        ...

    async def update(
        self, key: str, value: Any, *, namespace: Sequence[str] = (), trust: Trust | None = None
    ) -> MemoryRecord:
        """Change a memory; raise MemoryNotFoundError where there is none."""
        ...

    async def delete(self, key: str, *, namespace: Sequence[str] = ()) -> bool:
        """Forget a memory; False where there is none."""
        ...

    async def search(self, query: str, *, namespace: Sequence[str] = (), limit: int | None = 10) -> list[Hit]:
        """Return the memories that fit a question best, the best first."""
        ...


@runtime_checkable
class ShortTermMemory(Protocol):
    """One conversation, as a session adapter needs it; :class:`lakemem.Thread` is one."""

    @property
    def thread_id(self) -> str:
        """The id of the conversation."""
        ...

    def append(self, items: Sequence[Mapping[str, Any]]) -> range:
        """Add JSON objects at the end, all or none of them, and return their positions."""
        ...

    def items(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Return the newest `limit` items (None for all), the oldest of them first."""
        ...

    def pop(self) -> dict[str, Any] | None:
        """Remove the last item and return it; None where there is none."""
        ...

    def clear(self) -> None:
        """Remove all items."""
        ...


@runtime_checkable
class LongTermMemory(Protocol):
    """What is known about one user, as the memory tools need it; :class:`lakemem.ScopedMemory` is one."""

    def save(
        self, key: str | None, value: Any, *, namespace: Sequence[str] = (), trust: Trust = "unknown"
    ) -> MemoryRecord:
        """Remember a JSON value; a value that is there already becomes an earlier version."""
        ...

    def get(self, key: str, *, namespace: Sequence[str] = ()) -> MemoryRecord | None:
        """Return a memory; None where there is none."""
        ...

    def items(self, *, namespace: Sequence[str] = (), limit: int | None = 100) -> list[MemoryRecord]:
        """Return memories, the newest first."""
        ...

    def update(
        self, key: str, value: Any, *, namespace: Sequence[str] = (), trust: Trust | None = None
    ) -> MemoryRecord:
        """Change a memory; raise MemoryNotFoundError where there is none."""
        ...

    def delete(self, key: str, *, namespace: Sequence[str] = ()) -> bool:
        """Forget a memory; False where there is none."""
        ...

    def search(self, query: str, *, namespace: Sequence[str] = (), limit: int | None = 10) -> list[Hit]:
        """Return the memories that fit a question best, the best first."""
        ...
