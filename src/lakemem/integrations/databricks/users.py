"""The users behind a deployed app: who they are, and what is theirs."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, overload

from lakemem._async.memory import AsyncMemory
from lakemem._async.on_behalf import AsyncOnBehalfOf
from lakemem._sync.memory import Memory
from lakemem._sync.on_behalf import OnBehalfOf
from lakemem.context import Identify, forwarded_token
from lakemem.credentials import CachedCredentials
from lakemem.errors import ConfigurationError, IdentityError, MissingExtraError
from lakemem.lakebase import HTTP_SECONDS, RETRY_SECONDS, LakebaseLocator, Workspace
from lakemem.target import Lakebase
from lakemem.types import Credential

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

LoginMode = Literal["app", "user"]


def user_client(headers: Mapping[str, str], *, host: str | None = None) -> WorkspaceClient:
    """Return a client that asks the workspace as the user whose token was forwarded with these headers.

    Args:
        host: the workspace; by default ``DATABRICKS_HOST``.

    Raises:
        IdentityError: there is no forwarded token.
    """
    return _client_of(forwarded_token(headers), host)


class TokenIdentity:
    """Turns a forwarded access token into its user by asking the workspace: ``identify=`` of `resolve_context`.

    The user is the workspace's user name (an e-mail address, or a service principal's application id), which is
    also the name of the Postgres role.

    Args:
        host: the workspace; by default ``DATABRICKS_HOST``.
        seconds: how long an answer holds. A token that is revoked meanwhile is taken until then.
        size: how many answers to keep. Of the tokens only digests are kept.
        clock: seconds on a monotonic clock.
    """

    def __init__(
        self,
        *,
        host: str | None = None,
        seconds: float = 60.0,
        size: int = 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._seconds = seconds
        self._size = size
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def __call__(self, token: str) -> str:
        """Return the user's name.

        Raises:
            IdentityError: the workspace does not vouch for the token, or cannot be asked.
        """
        digest = hashlib.sha256(token.encode()).digest()
        with self._lock:
            user, until = self._known.get(digest, ("", float("-inf")))
            if self._clock() < until:
                return user
        user = self._ask(token)
        with self._lock:
            self._known[digest] = (user, self._clock() + self._seconds)
            self._known.move_to_end(digest)
            while len(self._known) > self._size:
                self._known.popitem(last=False)
        return user

    def _ask(self, token: str) -> str:
        try:
            user = _client_of(token, self._host).current_user.me().user_name
        except (ConfigurationError, MissingExtraError):
            raise
        except Exception as error:
            raise IdentityError(
                f"the workspace did not say whose the forwarded access token is ({type(error).__name__}): sign in again"
            ) from None
        if not user:
            raise IdentityError("the workspace knows no user name for the forwarded access token")
        return user


@overload
def on_behalf_of(
    memory: AsyncMemory,
    *,
    login: LoginMode = "app",
    identify: Identify | None = None,
    max_users: int = 64,
    idle: float = 300.0,
) -> AsyncOnBehalfOf: ...


@overload
def on_behalf_of(
    memory: Memory,
    *,
    login: LoginMode = "app",
    identify: Identify | None = None,
    max_users: int = 64,
    idle: float = 300.0,
) -> OnBehalfOf: ...


def on_behalf_of(
    memory: AsyncMemory | Memory,
    *,
    login: LoginMode = "app",
    identify: Identify | None = None,
    max_users: int = 64,
    idle: float = 300.0,
) -> AsyncOnBehalfOf | OnBehalfOf:
    """Serve each request with the memory of its own user.

    Args:
        memory: the app's own.
        login: ``"app"``: the app's pool serves everyone, and row-level security confines each user.
            ``"user"``: each user logs in to Postgres with their own token, in a small pool of their own; they
            need a role and grants there (``lakemem grants --to USER --own-rows``).
        identify: by default :class:`TokenIdentity`.
        max_users, idle: bounds of the users' own pools, see :class:`AsyncOnBehalfOf`.
    """
    identify = TokenIdentity() if identify is None else identify
    if login == "user":
        _check_lakebase(memory.target)
    elif login != "app":
        raise ConfigurationError(f'login is "app" or "user", not {login!r}')
    if isinstance(memory, AsyncMemory):
        async_login = None if login == "app" else lambda token: memory.logged_in_as(_credentials(memory.target, token))
        return AsyncOnBehalfOf(memory, identify=identify, login_as=async_login, max_users=max_users, idle=idle)
    sync_login = None if login == "app" else lambda token: memory.logged_in_as(_credentials(memory.target, token))
    return OnBehalfOf(memory, identify=identify, login_as=sync_login, max_users=max_users, idle=idle)


def _credentials(target: Lakebase, token: Callable[[], str]) -> CachedCredentials:
    """Database tokens of one user, each asked for with the newest token that was forwarded for them."""

    def fetch() -> Credential:
        workspace = Workspace(_client_of(token(), None))
        return workspace.token(LakebaseLocator(workspace, target).located())

    return CachedCredentials(fetch)


def _check_lakebase(target: Lakebase) -> None:
    if not target.is_lakebase:
        raise ConfigurationError(
            f'login="user" needs a Lakebase, whose workspace makes a token for each user, not the {target}'
        )


def _client_of(token: str, host: str | None) -> WorkspaceClient:
    try:
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.core import Config
    except ImportError:
        raise MissingExtraError("databricks", "asking a workspace on behalf of a user") from None
    host = host or os.environ.get("DATABRICKS_HOST")
    if not host:
        raise ConfigurationError("the workspace is not known: set DATABRICKS_HOST, or pass host=")
    # auth_type keeps the SDK from mixing in the app's own login, which is in the environment.
    config = Config(
        host=host,
        token=token,
        auth_type="pat",
        retry_timeout_seconds=RETRY_SECONDS,
        http_timeout_seconds=HTTP_SECONDS,
    )
    return WorkspaceClient(config=config)
