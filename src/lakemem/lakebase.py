"""What a Databricks workspace knows of a Lakebase: its address, its state, and tokens to log in with.

Every call blocks. Source of the API: https://docs.databricks.com/api/workspace/database and .../postgres.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

from lakemem.credentials import CachedCredentials
from lakemem.errors import ConfigurationError, CredentialError, LakememError, MissingExtraError, StorageUnavailableError
from lakemem.target import Lakebase
from lakemem.types import Credential

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.database import DatabaseInstance
    from databricks.sdk.service.postgres import Endpoint

T = TypeVar("T")

# The SDK alone would retry for 300 s, and the agent waits.
RETRY_SECONDS = 30
HTTP_SECONDS = 15

PROVISIONED_MAX_CONNECTIONS = 1_000
CONNECTIONS_PER_CU = 210
"""Of an autoscaling endpoint: 104 at 0.5 CU, 209 at 1, 419 at 2, 629 at 3."""


@dataclass(frozen=True, slots=True)
class Located:
    """A Lakebase as the workspace describes it.

    Attributes:
        issuer: what tokens are asked for: an instance's name, or an endpoint's path.
        host: the DNS name of its read-write Postgres; empty while there is none.
        autoscaling: whether it belongs to a project; otherwise it is a provisioned instance.
        state: in the API's own words.
        ready: whether a connection can be made; one to a suspended endpoint wakes it.
        max_connections: how many Postgres takes at its present size; None where that is not known.
    """

    issuer: str
    host: str
    autoscaling: bool
    state: str
    ready: bool
    max_connections: int | None = None


class Workspace:
    """The calls that lakemem makes to a workspace.

    Args:
        client: asks as whoever it is configured for; by default as this process (`databricks.sdk` finds out).
    """

    def __init__(self, client: WorkspaceClient | None = None) -> None:
        self._client = client
        self._making = threading.Lock()
        self._login_name: str | None = None

    @property
    def client(self) -> WorkspaceClient:
        """The SDK's client, made at the first use since that reads files and asks the workspace."""
        with self._making:
            if self._client is None:
                self._client = _default_client()
            logging.getLogger("databricks.sdk").addFilter(_BODIES_STAY_OUT)
            return self._client

    def login_name(self) -> str:
        """Return the Postgres role of whoever asks: a user's e-mail, or a service principal's application id."""
        if self._login_name is None:
            self._login_name = self._ask("who is logged in", lambda client: _login_name(client))
        return self._login_name

    def locate(self, target: Lakebase) -> Located:
        """Find a Lakebase by what the target names: an instance, an endpoint, a branch, or a DNS name.

        Raises:
            StorageUnavailableError: there is none.
            CredentialError: the workspace does not answer, or not to this identity.
        """
        return self._ask(f"the address of the {target}", lambda client: _locate(client, target))

    def token(
        self, located: Located, *, ttl: float | None = None, claims: Sequence[Mapping[str, Any]] | None = None
    ) -> Credential:
        """Have the workspace make a database token. `ttl` and `claims`: see :class:`LakebaseCredentials`."""
        make = _endpoint_token if located.autoscaling else _instance_token
        token, expires_at = self._ask(
            f"a token for {located.issuer}", lambda client: make(client, located.issuer, ttl, claims)
        )
        # A clock that runs ahead would make each token look expired: it still serves one login.
        lifetime = max((expires_at - datetime.now(UTC)).total_seconds(), 1.0)
        return Credential(token, expires_in=lifetime, user=self.login_name())

    def _ask(self, what: str, question: Callable[[WorkspaceClient], T]) -> T:
        with asking(what):
            return question(self.client)


class LakebaseLocator:
    """Keeps the address of a Lakebase, and waits for one that starts or wakes.

    Args:
        wait: seconds to wait at the most.
        poll: seconds between two looks.
    """

    def __init__(self, workspace: Workspace, target: Lakebase, *, wait: float = 60.0, poll: float = 1.0) -> None:
        self._workspace = workspace
        self._target = target
        self._wait = wait
        self._poll = poll
        self._looking = threading.Lock()
        self._located: Located | None = None

    def located(self) -> Located:
        """Return the address, whatever the state."""
        with self._looking:
            if self._located is None:
                self._located = self._workspace.locate(self._target)
            return self._located

    def ready(self) -> Located:
        """Return the address of a Lakebase that takes connections.

        Raises:
            StorageUnavailableError: it does not within `wait` seconds.
        """
        deadline = time.monotonic() + self._wait
        while not (located := self.located()).ready:
            self.forget()
            if time.monotonic() >= deadline or located.state == "DELETING":
                raise StorageUnavailableError(
                    f"the {self._target} is {located.state or 'not there yet'}, also after {self._wait:g} s: "
                    "start it in the workspace, or with `lakemem provision`"
                )
            time.sleep(self._poll)
        return located

    def forget(self) -> None:
        """Ask anew the next time, for instance because the address did not answer."""
        with self._looking:
            self._located = None


class LakebaseCredentials(CachedCredentials):
    """Database tokens of a Lakebase, refreshed ahead of their expiry.

    Args:
        target: the Lakebase; by default what :meth:`Lakebase.from_env` finds.
        workspace_client: asks for the tokens, and so decides whose they are.
        ttl: seconds a token shall live, 300 to 3600; autoscaling endpoints only.
        claims: what a token may read, in the API's words, such as
            ``[{"permission_set": "READ_ONLY", "resources": [{"table_name": "c.s.t"}]}]``.
        options: see :class:`CachedCredentials`.

    Raises:
        ConfigurationError: the target is not a Lakebase, or the ttl is out of range.
    """

    def __init__(
        self,
        target: Lakebase | None = None,
        *,
        workspace_client: WorkspaceClient | None = None,
        ttl: float | None = None,
        claims: Sequence[Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        target = Lakebase.from_env() if target is None else target
        if not target.is_lakebase:
            raise ConfigurationError(f"the {target} is not a Lakebase: a workspace gives no tokens for it")
        if ttl is not None and not 300 <= ttl <= 3600:
            raise ConfigurationError(f"a Lakebase token lives 300 to 3600 seconds, not ttl={ttl:g}")
        super().__init__(self._token, **options)
        self._ttl = ttl
        self._claims = claims
        self.workspace = Workspace(workspace_client)
        self.locator = LakebaseLocator(self.workspace, target)

    def _token(self) -> Credential:
        return self.workspace.token(self.locator.located(), ttl=self._ttl, claims=self._claims)


class _BodiesStayOut(logging.Filter):
    """Takes the bodies out of what the SDK logs at DEBUG, where they hold database tokens or memory texts."""

    def filter(self, record: logging.LogRecord) -> bool:
        first, *rest = record.getMessage().split("\n")
        if "/credentials" in first or "/serving-endpoints/" in first:
            status = [line for line in rest if re.match(r"< \d{3} ", line)]
            record.msg, record.args = " ".join([first, *status]), ()
        return True


_BODIES_STAY_OUT = _BodiesStayOut()


def _default_client() -> WorkspaceClient:
    try:
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.core import Config
    except ImportError:
        raise MissingExtraError("databricks", "a Lakebase target") from None
    try:
        return WorkspaceClient(
            config=Config(
                retry_timeout_seconds=RETRY_SECONDS,
                http_timeout_seconds=HTTP_SECONDS,
                product="lakemem",
                product_version=version("lakemem"),
            )
        )
    except ValueError as error:
        raise ConfigurationError(
            "no login to a Databricks workspace is configured: set DATABRICKS_HOST and either DATABRICKS_TOKEN, or "
            "DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET, or run `databricks auth login`"
        ) from error


def _login_name(client: WorkspaceClient) -> str:
    if client.config.auth_type == "oauth-m2m" and client.config.client_id:
        return client.config.client_id
    return client.current_user.me().user_name or ""


def _locate(client: WorkspaceClient, target: Lakebase) -> Located:
    if target.kind == "endpoint":
        return _located_endpoint(client.postgres.get_endpoint(target.name))
    if target.kind == "branch":
        return _located_endpoint(_read_write_endpoint(client, target.name))
    if "." in target.name:
        return _located_by_host(client, target.name)
    return _located_instance(client.database.get_database_instance(target.name))


def is_read_write(endpoint: Endpoint) -> bool:
    """Whether an endpoint takes writes; a branch has one such at the most."""
    kind = endpoint.status.endpoint_type if endpoint.status else None
    return kind is not None and "READ_WRITE" in kind.value


def _read_write_endpoint(client: WorkspaceClient, branch: str) -> Endpoint:
    for endpoint in client.postgres.list_endpoints(branch):
        if is_read_write(endpoint):
            return endpoint
    raise StorageUnavailableError(f"the branch {branch} has no read-write endpoint: create one", retryable=False)


def _located_by_host(client: WorkspaceClient, host: str) -> Located:
    for instance in client.database.list_database_instances():
        if host in (instance.read_write_dns, instance.read_only_dns):
            return _located_instance(instance, host)
    for project in client.postgres.list_projects():
        for branch in client.postgres.list_branches(project.name or ""):
            for endpoint in client.postgres.list_endpoints(branch.name or ""):
                hosts = endpoint.status.hosts if endpoint.status else None
                if hosts is not None and host in (hosts.host, hosts.read_only_host):
                    return _located_endpoint(endpoint, host)
    raise StorageUnavailableError(
        f"this workspace shows no Lakebase whose host is {host}: check the name, and the right to see it",
        retryable=False,
    )


def _located_instance(instance: DatabaseInstance, host: str | None = None) -> Located:
    state = instance.state.value if instance.state else ""
    return Located(
        issuer=instance.name,
        host=host or instance.read_write_dns or "",
        autoscaling=False,
        state=state,
        ready=state in ("AVAILABLE", "UPDATING") and bool(instance.read_write_dns),
        max_connections=PROVISIONED_MAX_CONNECTIONS,
    )


def _located_endpoint(endpoint: Endpoint, host: str | None = None) -> Located:
    status = endpoint.status
    state = status.current_state.value if status and status.current_state else ""
    found = host or (status.hosts.host if status and status.hosts else None) or ""
    size = status.autoscaling_limit_min_cu if status else None
    return Located(
        issuer=endpoint.name or "",
        host=found,
        autoscaling=True,
        state=state,
        ready=state in ("ACTIVE", "IDLE", "DEGRADED") and bool(found),
        max_connections=None if not size else int(size * CONNECTIONS_PER_CU) - 1,
    )


def _instance_token(
    client: WorkspaceClient, name: str, ttl: float | None, claims: Sequence[Mapping[str, Any]] | None
) -> tuple[str, datetime]:
    from databricks.sdk.service.database import RequestedClaims

    if ttl is not None:
        raise ConfigurationError("ttl= is for autoscaling endpoints: a provisioned instance decides by itself")
    made = client.database.generate_database_credential(
        request_id=str(uuid.uuid4()),
        instance_names=[name],
        claims=[RequestedClaims.from_dict(dict(claim)) for claim in claims] if claims else None,
    )
    return made.token or "", datetime.fromisoformat(made.expiration_time or "")


def _endpoint_token(
    client: WorkspaceClient, path: str, ttl: float | None, claims: Sequence[Mapping[str, Any]] | None
) -> tuple[str, datetime]:
    from databricks.sdk.service.postgres import RequestedClaims
    from google.protobuf.duration_pb2 import Duration

    made = client.postgres.generate_database_credential(
        path,
        ttl=None if ttl is None else Duration(seconds=int(ttl)),
        claims=[RequestedClaims.from_dict(dict(claim)) for claim in claims] if claims else None,
    )
    if made.expire_time is None:
        raise CredentialError(f"the workspace gave a token for {path} without its expiry")
    return made.token or "", made.expire_time.ToDatetime(tzinfo=UTC)


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Errors of the SDK become ours. Their words stay out: they may quote what was sent."""
    try:
        yield
    except LakememError:
        raise
    except Exception as error:
        raise _translate(error, what) from None


def _translate(error: Exception, what: str) -> LakememError:
    from databricks.sdk import errors

    if isinstance(error, errors.NotFound):
        return StorageUnavailableError(
            f"the workspace does not know {what}: check the name, and that DATABRICKS_HOST is the right workspace",
            retryable=False,
        )
    # The SDK's own login, by OAuth, fails with a ValueError.
    if isinstance(error, errors.Unauthenticated | ValueError):
        return CredentialError(
            f"the workspace did not accept this process's login when asked for {what}: check DATABRICKS_CLIENT_ID "
            "and DATABRICKS_CLIENT_SECRET, or DATABRICKS_TOKEN",
            retryable=False,
        )
    if isinstance(error, errors.PermissionDenied):
        return CredentialError(
            f"this identity may not have {what}: give it access to the Lakebase in the workspace, "
            "for a deployed app as its database resource",
            retryable=False,
        )
    reason = getattr(error, "error_code", None) or type(error).__name__
    return CredentialError(f"the workspace did not give {what} ({reason}): it is asked again")
