"""What can be plugged in. Each Protocol is small, and lakemem calls nothing beyond it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from lakemem.types import Credential


@runtime_checkable
class CredentialProvider(Protocol):
    """Gives the secret for the next login to Postgres.

    It may block, for instance on a request over the network; lakemem never calls it on an event loop.
    """

    def credential(self) -> Credential: ...


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors.

    Attributes:
        model: a name that changes whenever the vectors do. Rows remember it, and vectors of two models are
            never compared.
        dimensions: the length of every vector.
    """

    @property
    def model(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one vector a text, in their order. It may block; lakemem never calls it on an event loop."""
        ...
