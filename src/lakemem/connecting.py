"""How to log in: libpq's parameters for each new connection, with the token of that moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lakemem.embedded import EmbeddedPostgres
from lakemem.errors import ConfigurationError
from lakemem.protocols import CredentialProvider
from lakemem.target import Lakebase

# A dead peer is noticed within a minute, also where a firewall drops packets without a word.
KEEPALIVE = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "connect_timeout": 10,
}


class Connector:
    """Gives the parameters for the next connection to a target. Its methods may block."""

    def __init__(self, target: Lakebase, credentials: CredentialProvider | None) -> None:
        self._credentials = credentials
        self._embedded = (
            EmbeddedPostgres(target.name or None, version=int(target.parameters["version"]))
            if target.kind == "embedded"
            else None
        )
        self._fixed = _fixed_parameters(target) if self._embedded is None else dict

    def parameters(self) -> dict[str, Any]:
        """Return what to connect with now: the server is started, and the token is valid.

        Raises:
            ConfigurationError: the target cannot be connected to.
            CredentialError: there is no valid token.
            StorageUnavailableError: the embedded server did not start.
        """
        if self._embedded is not None:
            return self._embedded.start()
        parameters = {**KEEPALIVE, **self._fixed(), "client_encoding": "utf8"}
        if self._credentials is not None:
            credential = self._credentials.credential()
            parameters["password"] = credential.token
            if credential.user is not None:
                parameters["user"] = credential.user
        return parameters

    def close(self) -> None:
        """Leave the embedded server, if it is one."""
        if self._embedded is not None:
            self._embedded.stop()


def _fixed_parameters(target: Lakebase) -> Callable[[], dict[str, Any]]:
    if target.kind not in ("dsn", "environment"):
        raise ConfigurationError(
            f"this version of lakemem cannot look up the address of a {target}: "
            "give its address as LAKEMEM_DSN, and credentials=CachedCredentials(...) for its tokens"
        )
    parameters = dict(target.parameters)
    if target.database is not None:
        parameters["dbname"] = target.database
    return lambda: dict(parameters)
