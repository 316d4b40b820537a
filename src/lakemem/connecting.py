"""How to log in: libpq's parameters for each new connection, with the token of that moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from lakemem.embedded import EmbeddedPostgres
from lakemem.lakebase import LakebaseCredentials, LakebaseLocator, Workspace
from lakemem.protocols import CachingCredentialProvider, CredentialProvider
from lakemem.resolving import Resolve, Resolver
from lakemem.target import Lakebase

# A dead peer is noticed within a minute, also where a firewall drops packets without a word.
KEEPALIVE = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "connect_timeout": 10,
}


DEFAULT_MAX_AGE = 3600.0


class Connector(Protocol):
    """Gives the parameters for the next connection to a target. Its methods may block.

    Attributes:
        max_age: seconds after which a connection is better replaced, since its token has run out by then.
    """

    @property
    def max_age(self) -> float: ...

    def parameters(self) -> dict[str, Any]:
        """Return what to connect with now: the server is there, and the token is valid.

        Raises:
            ConfigurationError: the target cannot be connected to.
            CredentialError: there is no valid token.
            StorageUnavailableError: there is no server at the moment.
        """
        ...

    def refused(self, parameters: Mapping[str, Any]) -> bool:
        """Hear that Postgres refused a login with these parameters; return whether to try again with new ones."""
        ...

    def close(self) -> None:
        """Leave the embedded server, if it is one."""
        ...


def connector_for(
    target: Lakebase, credentials: CredentialProvider | None = None, *, resolve: Resolve | None = None
) -> Connector:
    """Return the connector of a target."""
    if target.kind == "embedded":
        return EmbeddedConnector(target)
    if target.is_lakebase:
        return LakebaseConnector(target, credentials or LakebaseCredentials(target), resolve=resolve)
    return FixedConnector(target, credentials)


class EmbeddedConnector:
    """To the embedded server, which it starts."""

    max_age = DEFAULT_MAX_AGE

    def __init__(self, target: Lakebase) -> None:
        self._server = EmbeddedPostgres(target.name or None, version=int(target.parameters["version"]))

    def parameters(self) -> dict[str, Any]:
        return self._server.start()

    def refused(self, parameters: Mapping[str, Any]) -> bool:
        return False

    def close(self) -> None:
        self._server.stop()


class FixedConnector:
    """To a Postgres whose address is known."""

    def __init__(self, target: Lakebase, credentials: CredentialProvider | None) -> None:
        self._login = _Login(credentials)
        self._fixed = dict(target.parameters)
        if target.database is not None:
            self._fixed["dbname"] = target.database

    def parameters(self) -> dict[str, Any]:
        return {**KEEPALIVE, **self._fixed, "client_encoding": "utf8", **self._login.parameters()}

    @property
    def max_age(self) -> float:
        return self._login.max_age

    def refused(self, parameters: Mapping[str, Any]) -> bool:
        return self._login.refused(parameters)

    def close(self) -> None:
        pass


class LakebaseConnector:
    """To a Lakebase: its address is looked up, and each login has a current token.

    Name and address both go to libpq (``host`` and ``hostaddr``), so that TLS verifies the name.
    """

    def __init__(self, target: Lakebase, credentials: CredentialProvider, *, resolve: Resolve | None = None) -> None:
        self._login = _Login(credentials)
        self._locator = (
            credentials.locator
            if isinstance(credentials, LakebaseCredentials)
            else LakebaseLocator(Workspace(), target)
        )
        self._resolver = Resolver(resolve)
        self._fixed = dict(target.parameters)
        self._database = target.database

    def parameters(self) -> dict[str, Any]:
        host = self._locator.ready().host
        addresses = [self._fixed["hostaddr"]] if "hostaddr" in self._fixed else self._resolver.addresses(host)
        return {
            **KEEPALIVE,
            **self._login.parameters(),
            **self._fixed,
            "sslmode": _at_least_require(self._fixed.get("sslmode")),
            "host": ",".join([host] * len(addresses)),
            "hostaddr": ",".join(addresses),
            "dbname": self._database,
            "client_encoding": "utf8",
        }

    @property
    def max_age(self) -> float:
        return self._login.max_age

    def refused(self, parameters: Mapping[str, Any]) -> bool:
        return self._login.refused(parameters)

    def close(self) -> None:
        pass


class _Login:
    """User and password, where something gives them."""

    def __init__(self, credentials: CredentialProvider | None) -> None:
        self._credentials = credentials
        self.max_age = DEFAULT_MAX_AGE

    def parameters(self) -> dict[str, Any]:
        if self._credentials is None:
            return {}
        credential = self._credentials.credential()
        if credential.expires_in is not None:
            self.max_age = min(credential.expires_in, DEFAULT_MAX_AGE)
        login = {"password": credential.token}
        return login if credential.user is None else {**login, "user": credential.user}

    def refused(self, parameters: Mapping[str, Any]) -> bool:
        credentials = self._credentials
        return isinstance(credentials, CachingCredentialProvider) and credentials.invalidate(parameters["password"])


def _at_least_require(sslmode: str | None) -> str:
    return sslmode if sslmode in ("require", "verify-ca", "verify-full") else "require"
