"""The values that lakemem takes and returns: frozen, and safe to print (no secret is in a repr)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

JSONValue: TypeAlias = Mapping[str, Any] | Sequence[Any] | str | int | float | bool | None
Namespace: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Credential:
    """A password or token to log in to Postgres with.

    Attributes:
        token: the secret; it stays out of the repr.
        expires_in: seconds from its receipt until Postgres refuses it at login; None for never.
        user: the Postgres role it belongs to, where the credential itself decides that.
    """

    token: str = field(repr=False)
    expires_in: float | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Whose request this is, and which conversation it belongs to.

    Attributes:
        thread_id: the conversation.
        user_id: the user; verified where the app is deployed.
    """

    thread_id: str
    user_id: str

    @property
    def custom_outputs(self) -> dict[str, Any]:
        """What to return to the client, so that its next request continues the same thread."""
        return {"thread_id": self.thread_id}


@dataclass(frozen=True, slots=True)
class Health:
    """How memory is at the moment.

    Attributes:
        status: ``ok``; ``degraded`` while answers come without memory; ``down`` when Postgres does not answer.
        detail: what is wrong, in a sentence, and empty when nothing is.
        latency: seconds that one round trip to Postgres took; None when there was none.
        server_version: for example ``"18.4"``; None when unknown.
        schema_version: the number of the newest migration; None when unknown.
        row_level_security: whether Postgres confines this login to one user's rows. A superuser, or a role
            with BYPASSRLS, is not confined; None when unknown.
        pending_writes: accepted writes that wait for the database to come back.
        refused_writes: writes that were not accepted, because the buffer for them was full.
        failed_writes: accepted writes that Postgres refused for good when they were replayed.
    """

    status: Literal["ok", "degraded", "down"]
    detail: str = ""
    latency: float | None = None
    server_version: str | None = None
    schema_version: int | None = None
    row_level_security: bool | None = None
    pending_writes: int = 0
    refused_writes: int = 0
    failed_writes: int = 0

    @property
    def custom_outputs(self) -> dict[str, Any]:
        """A flag to return to the client beside the answer; empty when all is well."""
        return {} if self.status == "ok" else {"memory": self.status}
