"""What the arguments of the Databricks packages mean here."""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

from lakemem.embedding import CallableEmbedder
from lakemem.errors import ConfigurationError
from lakemem.lakebase import LakebaseCredentials
from lakemem.protocols import Embedder
from lakemem.schema import schema_name
from lakemem.scopes import scope_owner, user_owner
from lakemem.target import DEFAULT_LAKEBASE_DATABASE, Lakebase

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

DEFAULT_SCOPE = "shared"
"""Whose the data is that nobody says the owner of."""

DEFAULT_TOKEN_SECONDS = 900

_POOL = ("min_size", "max_size", "timeout", "max_idle")
_WITHOUT_EFFECT = {
    # of psycopg_pool
    "max_lifetime": "connections live as long as their token",
    "max_waiting": "who waits for a connection is told after `timeout`",
    "reconnect_timeout": "a lost connection is replaced when it is next asked for",
    "num_workers": "the pool decides it",
    "name": "the pool is called lakemem",
    "open": "the pool opens with its first use, or as a context manager",
    "check": "every connection is checked before it is used",
    # of SQLAlchemy's engines
    "pool_recycle": "connections live as long as their token",
    "pool_pre_ping": "every connection is checked before it is used",
    "pool_use_lifo": "the pool decides it",
    "pool_logging_name": "there is no SQLAlchemy engine",
    "logging_name": "there is no SQLAlchemy engine",
    "echo": "there is no SQLAlchemy engine; see the logger lakemem",
    "echo_pool": "there is no SQLAlchemy engine; see the logger lakemem",
    "hide_parameters": "parameters are never logged",
    "future": "there is no SQLAlchemy engine",
    "query_cache_size": "there is no SQLAlchemy engine",
}
_REFUSED = {
    "configure": "lakemem keeps no state in connections",
    "reset": "lakemem keeps no state in connections",
    "kwargs": 'give target=Lakebase.instance(name, sslmode="verify-full", ...) for parameters of the connection',
    "connect_args": 'give target=Lakebase.instance(name, sslmode="verify-full", ...) for parameters of the connection',
    "connection_class": "lakemem's own logs in with current tokens",
    "reconnect_failed": "failures are raised where a connection is asked for",
    "creator": "lakemem's pool logs in by itself",
    "poolclass": "lakemem has a pool of its own",
    "pool": "lakemem has a pool of its own",
    "isolation_level": "every call is one statement in a transaction of its own",
    "execution_options": "there is no SQLAlchemy engine",
    "json_serializer": "items are stored as JSON, byte for byte",
    "json_deserializer": "items are stored as JSON, byte for byte",
}


class CompatWarning(UserWarning):
    """An argument of a Databricks package that has no effect here."""


class MoreArguments(TypedDict, total=False):
    """What every class takes beside `instance_name`.

    Attributes:
        autoscaling_endpoint: ``projects/P/branches/B/endpoints/E``.
        project, branch: a branch of a project; `branch` alone may be ``projects/P/branches/B``.
        workspace_client: asks for the database tokens, and so decides who logs in.
        schema: of lakemem's tables; by default ``LAKEBASE_AGENT_MEMORY_SCHEMA``, else ``lakemem``.
        database: the Postgres database.
        username: the Postgres role, where it is not the token's.
        target: in place of all names.
        user, scope: whose the data is; by default the scope ``shared``.
        min_size, max_size, timeout, max_idle: of the pool.
    """

    autoscaling_endpoint: str | None
    project: str | None
    branch: str | None
    workspace_client: WorkspaceClient | None
    token_cache_duration_seconds: int
    schema: str | None
    database: str | None
    username: str | None
    target: Lakebase | None
    user: str | None
    scope: str | None
    min_size: int
    max_size: int
    timeout: float
    max_idle: float


class LakebaseArguments(MoreArguments, total=False):
    """What every class takes: :class:`MoreArguments`, and a provisioned instance by its name or its DNS name."""

    instance_name: str | None


@dataclass(frozen=True)
class Settings:
    """What the arguments come to.

    Attributes:
        owner: ``user:ID`` or ``scope:ID``.
        pool: options of the pool.
    """

    target: Lakebase
    workspace_client: WorkspaceClient | None
    schema: str
    owner: str
    pool: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, class_name: str, arguments: Mapping[str, Any], *, embeds: bool = False) -> Settings:
        """Make sense of arguments.

        Args:
            embeds: whether the workspace's client has embeddings to ask for, too.

        Raises:
            ConfigurationError: they contradict each other, or one has a meaning that lakemem does not have.
            TypeError: there is no such argument.
        """
        left = dict(arguments)
        target = _target(left)
        workspace_client = left.pop("workspace_client", None)
        if workspace_client is not None and not target.is_lakebase and not embeds:
            raise ConfigurationError(f"workspace_client= logs in to a Lakebase, and {target} is none: leave it out")
        _warn_about_tokens(left.pop("token_cache_duration_seconds", DEFAULT_TOKEN_SECONDS))
        return cls(
            target=target,
            workspace_client=workspace_client,
            schema=schema_name(left.pop("schema", None)),
            owner=_owner(left.pop("user", None), left.pop("scope", None)),
            pool=_pool(class_name, left),
        )

    @property
    def credentials(self) -> LakebaseCredentials | None:
        """Tokens of whoever the workspace's client is."""
        if not self.target.is_lakebase:
            return None
        return LakebaseCredentials(self.target, workspace_client=self.workspace_client)

    @property
    def pool_key(self) -> Hashable:
        """What two users of a pool must have in common: the database, the login, and the pool's options."""
        target = self.target
        return (
            (target.kind, target.name, target.database, tuple(sorted(target.parameters.items()))),
            login_of(self.workspace_client),
            self.schema,
            tuple(sorted(self.pool.items())),
        )


class Same:
    """Equal to itself alone."""

    def __init__(self, thing: object) -> None:
        self._thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self._thing is other._thing

    def __hash__(self) -> int:
        return id(self._thing)


def login_of(client: WorkspaceClient | None) -> Hashable:
    """What two clients of the workspace must have in common to be one identity: the very secret they log in with.

    Where a client has none of its own, however alike another one looks, it is an identity for itself.
    """
    config = getattr(client, "config", None)
    if config is None:
        return Same(client)
    if config.auth_type == "pat" and config.token:
        return ("pat", config.host, _digest(config.token))
    if config.auth_type == "oauth-m2m" and config.client_id and config.client_secret:
        return ("oauth-m2m", config.host, config.client_id, _digest(config.client_secret))
    return Same(client)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def embedder_of(
    *,
    embedding_endpoint: str | None,
    embedding_dims: int | None,
    embeddings: Any,
    workspace_client: WorkspaceClient | None,
) -> Embedder | None:
    """Return what makes the vectors of a store; None for none.

    Args:
        embeddings: LangChain's Embeddings.
    """
    if embeddings is None and embedding_endpoint is None:
        if embedding_dims is not None:
            raise ConfigurationError("embedding_dims= needs embedding_endpoint= or embeddings=")
        return None
    if embedding_dims is None:
        raise ConfigurationError("embedding_dims= is missing: the length of the endpoint's vectors, such as 1024")
    if embeddings is None:
        from lakemem.integrations.databricks import DatabricksEmbedder

        return DatabricksEmbedder(embedding_endpoint, dimensions=embedding_dims, workspace_client=workspace_client)
    if embedding_endpoint is not None:
        warn("embedding_endpoint= has no effect beside embeddings=")
    return CallableEmbedder(embeddings.embed_documents, model=_model_of(embeddings), dimensions=embedding_dims)


def warn(message: str) -> None:
    """Warn at the line of the caller, which is the first outside of lakemem."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("lakemem."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, CompatWarning, stacklevel=level)


def _target(left: dict[str, Any]) -> Lakebase:
    """Take out what names the database."""
    names = {
        name: left.pop(name, None) for name in ("target", "instance_name", "autoscaling_endpoint", "project", "branch")
    }
    given = {name: value for name, value in names.items() if value is not None}
    database, username = left.pop("database", None), left.pop("username", None)
    ways = {"project and branch" if name in ("project", "branch") else name for name in given}
    if len(ways) > 1:
        raise ConfigurationError(f"name one Lakebase, not {' and '.join(sorted(ways))}")
    if not given:
        if username is not None:
            raise ConfigurationError("username= needs the name of a Lakebase")
        return Lakebase.from_env(database=database)
    if "target" in given:
        if database is not None or username is not None:
            raise ConfigurationError("target= says the database and the user itself: leave database= and username= out")
        return names["target"]  # type: ignore[no-any-return]
    more = {} if username is None else {"user": username}
    database = database or DEFAULT_LAKEBASE_DATABASE
    if "instance_name" in given:
        return Lakebase.instance(names["instance_name"], database=database, **more)
    if "autoscaling_endpoint" in given:
        return Lakebase.endpoint(names["autoscaling_endpoint"], database=database, **more)
    return Lakebase.branch(*_project_and_branch(names["project"], names["branch"]), database=database, **more)


def _project_and_branch(project: str | None, branch: str | None) -> tuple[str, str]:
    if project is None and branch is not None and branch.startswith("projects/") and branch.count("/") == 3:
        _, project, _, branch = branch.split("/")
    if project is None or branch is None:
        missing = "project" if project is None else "branch"
        raise ConfigurationError(f"project= and branch= go together: {missing}= is missing")
    return project, branch


def _owner(user: str | None, scope: str | None) -> str:
    if user is not None and scope is not None:
        raise ConfigurationError("the data is one user's or one scope's: give user= or scope=")
    if user is not None:
        return user_owner(user, "user")
    return scope_owner(DEFAULT_SCOPE if scope is None else scope)


def _pool(class_name: str, left: dict[str, Any]) -> dict[str, Any]:
    """The options of the pool; what else is left has no effect, or is refused."""
    options = {name: left.pop(name) for name in _POOL if name in left}
    if "pool_timeout" in left:
        options["timeout"] = left.pop("pool_timeout")
    if "pool_size" in left or "max_overflow" in left:
        size, overflow = left.pop("pool_size", 5), left.pop("max_overflow", 10)
        if size < 1 or overflow < 0:
            raise ConfigurationError("a pool without bound is not to be had: give max_size=")
        options["max_size"] = size + overflow
    for name in list(left):
        if name in _REFUSED:
            raise ConfigurationError(f"{class_name} does not take {name}=: {_REFUSED[name]}")
        if name not in _WITHOUT_EFFECT:
            raise TypeError(f"{class_name}() got an unexpected keyword argument {name!r}")
        warn(f"{name}= has no effect: {_WITHOUT_EFFECT[name]}")
    return options


def _warn_about_tokens(seconds: float) -> None:
    if seconds != DEFAULT_TOKEN_SECONDS:
        warn("token_cache_duration_seconds= has no effect: a token is refreshed ahead of its own expiry")


def _model_of(embeddings: Any) -> str:
    """A name that changes with the vectors, as well as it can be told."""
    for name in ("endpoint", "model", "model_name"):
        if isinstance(found := getattr(embeddings, name, None), str):
            return found
    return type(embeddings).__name__
