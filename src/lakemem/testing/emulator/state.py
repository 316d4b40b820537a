"""What the emulated workspace knows: who there is, which tokens live, and which Lakebases there are."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lakemem.testing.emulator.compute import DATABASE, Compute, Role

DOMAIN = "database.emulator.localhost"

IdentityKind: TypeAlias = Literal["USER", "SERVICE_PRINCIPAL"]


class ApiError(Exception):
    """An answer of the API that is an error."""

    def __init__(self, status: int, error_code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_code = error_code
        self.message = message


def not_found(what: str) -> ApiError:
    return ApiError(404, "NOT_FOUND", f"{what} does not exist")


def exists(what: str) -> ApiError:
    return ApiError(409, "ALREADY_EXISTS", f"{what} already exists")


def invalid(message: str) -> ApiError:
    return ApiError(400, "INVALID_PARAMETER_VALUE", message)


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, whose name is an e-mail, or a service principal, whose name is its application id."""

    name: str
    kind: IdentityKind
    display_name: str
    id: str
    secret: str = field(default="", repr=False)
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token of the API, or where it names computes, a password for Postgres."""

    identity: str
    expires_at: float
    computes: frozenset[Compute] = frozenset()


@dataclass(slots=True)
class Lakebase:
    """An instance, or the endpoints of a branch: a Postgres with an address and a state.

    Attributes:
        stopped: by its owner; it refuses connections until it is started.
        suspended: it scaled to zero; the next connection wakes it.
    """

    uid: str
    compute: Compute
    creator: str
    created_at: float = field(default_factory=time.time)
    ready_at: float = 0.0
    stopped: bool = False
    suspended: bool = False

    @property
    def starting(self) -> bool:
        return time.time() < self.ready_at


@dataclass(slots=True)
class Instance:
    """A provisioned instance, as it was asked for."""

    name: str
    lakebase: Lakebase
    settings: dict[str, Any]

    @property
    def read_write_dns(self) -> str:
        return f"instance-{self.lakebase.uid}.{DOMAIN}"

    @property
    def read_only_dns(self) -> str:
        return f"instance-ro-{self.lakebase.uid}.{DOMAIN}"

    @property
    def state(self) -> str:
        if self.lakebase.stopped:
            return "STOPPED"
        return "STARTING" if self.lakebase.starting else "AVAILABLE"


@dataclass(slots=True)
class Resource:
    """A project, branch or endpoint of the autoscaling API: what was asked for, under its resource name."""

    name: str
    spec: dict[str, Any]
    lakebase: Lakebase | None = None
    owner: str = ""
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: float = field(default_factory=time.time)
    changed_at: float = field(default_factory=time.time)

    @property
    def id(self) -> str:
        return self.name.rpartition("/")[2]

    @property
    def host(self) -> str:
        """The DNS name of an endpoint."""
        return f"ep-{_label(self.id)}-{self.uid[:8]}.{DOMAIN}"

    @property
    def read_only_host(self) -> str:
        return f"ep-{_label(self.id)}-ro-{self.uid[:8]}.{DOMAIN}"


class Workspace:
    """Everything the API shows. Its methods may be called from any thread.

    Args:
        folder: for the data of its Lakebases.
        version: of Postgres.
        token_lifetime: seconds that a database token lives.
        login_lifetime: seconds that an OAuth token lives.
        start_delay: seconds that a new or restarted Lakebase is STARTING.
        wake_delay: seconds that the first connection to a suspended one waits.
    """

    def __init__(
        self,
        folder: Path,
        *,
        version: int,
        token_lifetime: float,
        login_lifetime: float,
        start_delay: float,
        wake_delay: float,
    ) -> None:
        self.token_lifetime = token_lifetime
        self.login_lifetime = login_lifetime
        self.start_delay = start_delay
        self.wake_delay = wake_delay
        self.version = version
        self.workspace_id = "4242424242424242"
        self.lock = threading.RLock()
        self.identities: dict[str, Identity] = {}
        self.instances: dict[str, Instance] = {}
        self.projects: dict[str, Resource] = {}
        self.branches: dict[str, Resource] = {}
        self.endpoints: dict[str, Resource] = {}
        self.catalogs: dict[str, dict[str, Any]] = {}
        self.operations: dict[str, dict[str, Any]] = {}
        self._folder = folder
        self._tokens: dict[str, Token] = {}
        self._computes: list[Compute] = []

    # Identities and tokens

    def add_identity(self, identity: Identity) -> Identity:
        """Register a user or a service principal."""
        with self.lock:
            self.identities[identity.name] = identity
            for compute in self._computes:
                self._introduce(compute)
        return identity

    def _introduce(self, compute: Compute) -> None:
        compute.tell_identities((identity.kind, identity.name) for identity in self.identities.values())

    def issue_login(self, name: str) -> tuple[str, float]:
        """Return a bearer token for the API, and how many seconds it lives."""
        token = _new_token("oauth")
        with self.lock:
            self._tokens[_digest(token)] = Token(name, time.time() + self.login_lifetime)
        return token, self.login_lifetime

    def who(self, token: str) -> Identity | None:
        """Return whose bearer token this is, while it lives."""
        with self.lock:
            found = self._tokens.get(_digest(token))
            if found is None or found.computes or found.expires_at <= time.time():
                return None
            return self.identities.get(found.identity)

    def issue_credential(self, identity: Identity, lakebases: list[Lakebase], lifetime: float) -> tuple[str, float]:
        """Return a password for Postgres, and when it expires."""
        token, expires_at = _new_token("db"), time.time() + lifetime
        computes = frozenset(lakebase.compute for lakebase in lakebases)
        with self.lock:
            self._tokens[_digest(token)] = Token(identity.name, expires_at, computes)
        for compute in computes:
            compute.set_password(identity.name, token, expires_at)
        return token, expires_at

    def credential_expiry(self, token: str, role: str, lakebase: Lakebase) -> float | None:
        """Return when a token of this role for this Postgres expires, or expired; None for anything else."""
        with self.lock:
            found = self._tokens.get(_digest(token))
        return found.expires_at if found and found.identity == role and lakebase.compute in found.computes else None

    def revoke(self, name: str, *, logins: bool = False) -> int:
        """Take all database tokens of an identity back, and its bearer tokens too if `logins`."""
        with self.lock:
            gone = [key for key, token in self._tokens.items() if token.identity == name and (logins or token.computes)]
            for key in gone:
                del self._tokens[key]
            computes = list(self._computes)
        for compute in computes:
            compute.clear_password(name)
        return len(gone)

    # Lakebases

    def new_lakebase(self, creator: Identity, *, source: Lakebase | None = None, folder: str | None = None) -> Lakebase:
        """Start a Postgres that belongs to its creator, or one that begins as a copy, or that is in the folder yet."""
        uid = str(uuid.uuid4())
        compute = Compute(
            self._folder / (folder or uid[:8]),
            version=self.version,
            source=None if source is None else source.compute,
        )
        with self.lock:
            self._computes.append(compute)
            self._introduce(compute)
        if DATABASE not in compute.databases():
            compute.create_role(
                Role(creator.name, creator.kind, superuser=True, createdb=True, createrole=True, bypassrls=True)
            )
            compute.create_database(DATABASE, creator.name)
        return Lakebase(uid, compute, creator.name, ready_at=time.time() + self.start_delay)

    def set_stopped(self, lakebase: Lakebase, stopped: bool) -> None:
        """Stop a Lakebase, or start it, which takes `start_delay`."""
        if lakebase.stopped and not stopped:
            lakebase.ready_at = time.time() + self.start_delay
        lakebase.stopped = stopped
        if stopped:
            lakebase.compute.close_connections()

    def suspend(self, lakebase: Lakebase) -> int:
        """Scale a Lakebase to zero: its connections are closed, and the next one wakes it after `wake_delay`."""
        lakebase.suspended = True
        return lakebase.compute.close_connections()

    def remove_lakebase(self, lakebase: Lakebase) -> None:
        """Stop its Postgres, unless another address shares it."""
        with self.lock:
            if any(other.compute is lakebase.compute for other in self.lakebases()):
                return
            self._computes.remove(lakebase.compute)
        lakebase.compute.close_connections()
        lakebase.compute.close()

    def lakebases(self) -> list[Lakebase]:
        """Return all instances and branches."""
        with self.lock:
            instances = [instance.lakebase for instance in self.instances.values()]
            return instances + [branch.lakebase for branch in self.branches.values() if branch.lakebase]

    def by_host(self, host: str | None) -> Lakebase | None:
        """Return the Lakebase of a DNS name. A client that names none means the first."""
        with self.lock:
            for instance in self.instances.values():
                if host is None or host in (instance.read_write_dns, instance.read_only_dns):
                    return instance.lakebase
            for endpoint in self.endpoints.values():
                if host is None or host in (endpoint.host, endpoint.read_only_host):
                    return endpoint.lakebase
        return None

    def by_name(self, name: str) -> Lakebase:
        """Return the Lakebase of an instance's name, or of the resource name of an endpoint or a branch."""
        with self.lock:
            if name in self.instances:
                return self.instances[name].lakebase
            found = self.endpoints.get(name) or self.branches.get(name)
        if found is None or found.lakebase is None:
            raise not_found(f"Lakebase {name}")
        return found.lakebase

    def hosts(self) -> list[str]:
        """Return all DNS names."""
        with self.lock:
            names = [name for i in self.instances.values() for name in (i.read_write_dns, i.read_only_dns)]
            return names + [name for e in self.endpoints.values() for name in (e.host, e.read_only_host)]

    def close(self) -> None:
        """Stop every Postgres."""
        with self.lock:
            computes, self._computes = self._computes, []
        for compute in computes:
            compute.close()


def timestamp(at: float) -> str:
    """Write a time as the API does."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _new_token(kind: str) -> str:
    # As long as the tokens of the platform, which matters to buffers on the way.
    return f"emulated-{kind}-{secrets.token_urlsafe(600)}"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _label(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:30]
