"""The emulator as one thing: made, started, asked for its parts, and closed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import tempfile
import threading
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lakemem.errors import ConfigurationError, MissingExtraError

try:
    from lakemem.testing.emulator.app import create_app
    from lakemem.testing.emulator.certificates import Certificates
    from lakemem.testing.emulator.http import HttpServer
except ImportError:
    raise MissingExtraError("emulator", "the Lakebase emulator") from None

from lakemem.testing.emulator.compute import DATABASE, Role
from lakemem.testing.emulator.faults import Faults, RequestLog
from lakemem.testing.emulator.front import Front
from lakemem.testing.emulator.routes.branches import Branches
from lakemem.testing.emulator.routes.control import Control
from lakemem.testing.emulator.routes.instances import Instances
from lakemem.testing.emulator.routes.logins import Logins
from lakemem.testing.emulator.routes.projects import DEFAULT_BRANCH, DEFAULT_ENDPOINT, Projects
from lakemem.testing.emulator.routes.secrets import Secrets
from lakemem.testing.emulator.routes.serving import EMBEDDERS, ChatScript, Serving
from lakemem.testing.emulator.state import DOMAIN, Identity, Instance, Workspace

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

NAME = "agent-memory"
OWNER = "owner@emulator.localhost"


class LakebaseEmulator:
    """A workspace with a Lakebase on this machine: the REST API, and Postgres behind it.

    It begins with one Lakebase that can be reached in both ways, as the instance ``agent-memory`` and as the endpoint
    ``projects/agent-memory/branches/production/endpoints/primary``, and with two identities: its owner, a user who
    may do everything, and the service principal of an app, who may connect to it and create schemas::

        with LakebaseEmulator(token_lifetime=2) as emulator:
            workspace = emulator.client()           # the real databricks-sdk
            workspace.database.get_database_instance("agent-memory")

    Args:
        token_lifetime: seconds that a database token lives; the real ones live 3600.
        login_lifetime: seconds that an OAuth token for the API lives.
        start_delay: seconds that a new or restarted Lakebase is STARTING.
        wake_delay: seconds that the first connection after scale to zero waits.
        postgres_version: 16 or 18.
        address: the loopback address to listen on.
        port: of the API; 0 for any that is free.
        postgres_port: of Postgres; 0 for any that is free. Some clients know 5432 alone.
        folder: for all data; by default a temporary one, removed at the end. In one that is given, the first
            Lakebase and the app last until the next start; what was made through the API does not.

    Attributes:
        faults: the switches for what goes wrong.
        requests: what was asked so far.
        chat: what the chat endpoints answer.
        embedders: the serving endpoints that embed, with their dimensions.
        owner: the user whom the Lakebase belongs to.
        app: the service principal of an app.
    """

    def __init__(
        self,
        *,
        token_lifetime: float = 3600.0,
        login_lifetime: float = 3600.0,
        start_delay: float = 0.0,
        wake_delay: float = 0.0,
        postgres_version: int = 16,
        address: str = "127.0.0.1",
        port: int = 0,
        postgres_port: int = 0,
        folder: Path | None = None,
    ) -> None:
        self.faults = Faults()
        self.requests = RequestLog()
        self.chat = ChatScript()
        self.embedders = dict(EMBEDDERS)
        self.address = address
        self._options: dict[str, Any] = {
            "version": postgres_version,
            "token_lifetime": token_lifetime,
            "login_lifetime": login_lifetime,
            "start_delay": start_delay,
            "wake_delay": wake_delay,
        }
        self._port = port
        self._postgres_port = postgres_port
        self._folder = folder
        self._temporary: Path | None = None
        self._workspace: Workspace | None = None

    # Life

    def start(self) -> LakebaseEmulator:
        """Start, and return once both ports answer."""
        if self._workspace is not None:
            raise ConfigurationError("this emulator runs already")
        folder = self._folder
        if folder is None:
            folder = self._temporary = Path(tempfile.mkdtemp(prefix="lakebase-"))
            # Postgres may run as another user, who has to get in.
            folder.chmod(0o755)
        folder.mkdir(parents=True, exist_ok=True)
        self._certificates = Certificates(folder, DOMAIN)
        self._workspace = Workspace(folder, **self._options)
        try:
            self._populate()
            self._listen()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop everything, and remove the data unless a folder was given."""
        if self._workspace is None:
            return
        if thread := getattr(self, "_thread", None):
            self._http.stop()
            thread.join()
            del self._thread
        self._workspace.close()
        self._workspace = None
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    def __enter__(self) -> LakebaseEmulator:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def workspace(self) -> Workspace:
        """What the API shows, from inside."""
        if self._workspace is None:
            raise ConfigurationError("the emulator does not run: start() it, or use it in a with statement")
        return self._workspace

    # Addresses

    @property
    def url(self) -> str:
        """The workspace: what DATABRICKS_HOST is set to."""
        return f"http://{self.address}:{self._port}"

    @property
    def postgres_port(self) -> int:
        """The port that all DNS names share."""
        return self._postgres_port

    @property
    def certificate_authority(self) -> Path:
        """What to name as ``sslrootcert``."""
        return self._certificates.authority

    @property
    def instance(self) -> str:
        """The name of the first instance."""
        return NAME

    @property
    def endpoint(self) -> str:
        """The resource name of the first project's endpoint."""
        return f"projects/{NAME}/branches/{DEFAULT_BRANCH}/endpoints/{DEFAULT_ENDPOINT}"

    @property
    def host(self) -> str:
        """The DNS name of the first instance."""
        return self.workspace.instances[NAME].read_write_dns

    def resolve(self, name: str) -> Sequence[str]:
        """Resolve one of the emulator's DNS names, as a resolver does.

        Raises:
            socket.gaierror: there is no such name, or a fault hides it.
        """
        if self.faults.take(f"RESOLVE {name}", "unresolvable") or name not in self.workspace.hosts():
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [self.address]

    def parameters(self, identity: Identity | str | None = None) -> dict[str, str]:
        """Return libpq parameters to log in to the first Lakebase, with a new token."""
        identity = self._identity(identity)
        lakebase = self.workspace.instances[NAME].lakebase
        token, _ = self.workspace.issue_credential(identity, [lakebase], self.workspace.token_lifetime)
        return {
            "host": self.host,
            "hostaddr": self.address,
            "port": str(self.postgres_port),
            "dbname": DATABASE,
            "user": identity.name,
            "password": token,
            "sslmode": "verify-full",
            "sslrootcert": str(self.certificate_authority),
        }

    def environment(self, *, instance: bool = False) -> dict[str, str]:
        """Return the environment variables of an app whose Lakebase this is.

        Args:
            instance: name the Lakebase as a provisioned instance, not as an autoscaling endpoint.
        """
        return {
            "DATABRICKS_HOST": self.url,
            "DATABRICKS_AUTH_TYPE": "oauth-m2m",
            "DATABRICKS_CLIENT_ID": self._app.name,
            "DATABRICKS_CLIENT_SECRET": self._app.secret,
            **({"LAKEBASE_INSTANCE_NAME": NAME} if instance else {"LAKEBASE_AUTOSCALING_ENDPOINT": self.endpoint}),
            "LAKEBASE_DATABASE_NAME": DATABASE,
            "DATABRICKS_EMBEDDING_ENDPOINT": next(iter(self.embedders)),
            # Its names are in no DNS.
            "PGHOSTADDR": self.address,
            "PGPORT": str(self.postgres_port),
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(self.certificate_authority),
        }

    # Identities

    @property
    def owner(self) -> Identity:
        return self.workspace.identities[OWNER]

    @property
    def app(self) -> Identity:
        return self._app

    def add_user(self, email: str, *, groups: Sequence[str] = ()) -> Identity:
        """Register a user of the workspace, who has no role in any Postgres yet."""
        return self.workspace.add_identity(
            Identity(email, "USER", email.partition("@")[0], _number(), groups=tuple(groups))
        )

    def add_service_principal(self, display_name: str = "app", *, groups: Sequence[str] = ()) -> Identity:
        """Register a service principal, who has no role in any Postgres yet."""
        return self.workspace.add_identity(
            Identity(
                str(uuid.uuid4()),
                "SERVICE_PRINCIPAL",
                display_name,
                _number(),
                secret=f"dose{uuid.uuid4().hex}",
                groups=tuple(groups),
            )
        )

    def admit(self, identity: Identity, *, create: bool = True) -> None:
        """Give an identity a role in the first Lakebase, and with `create` the right to create schemas."""
        compute = self.workspace.instances[NAME].lakebase.compute
        compute.create_role(Role(identity.name, identity.kind))
        if create:
            compute.grant_on_database(identity.name)

    def login(self, identity: Identity | str | None = None) -> str:
        """Return a bearer token for the API: what an app gets as ``X-Forwarded-Access-Token`` for a user."""
        token, _ = self.workspace.issue_login(self._identity(identity).name)
        return token

    def client(self, identity: Identity | str | None = None) -> WorkspaceClient:
        """Return the SDK's client, logged in; by default as the app."""
        try:
            from databricks.sdk import WorkspaceClient
        except ImportError:
            raise MissingExtraError("databricks", "a WorkspaceClient") from None
        identity = self._identity(identity)
        if identity.secret:
            return WorkspaceClient(
                host=self.url, client_id=identity.name, client_secret=identity.secret, auth_type="oauth-m2m"
            )
        return WorkspaceClient(host=self.url, token=self.login(identity), auth_type="pat")

    def revoke(self, identity: Identity | str | None = None, *, logins: bool = False) -> int:
        """Take back the database tokens of an identity, and with `logins` those for the API; return their number."""
        return self.workspace.revoke(self._identity(identity).name, logins=logins)

    def reset(self) -> None:
        """Switch all faults off, forget the requests and the chat's script, and wake what is suspended or stopped."""
        self.faults.clear()
        self.requests.clear()
        self.chat.clear()
        for lakebase in self.workspace.lakebases():
            lakebase.suspended = lakebase.stopped = False
            lakebase.ready_at = 0.0

    # Postgres

    def suspend(self, name: str = NAME) -> int:
        """Scale to zero what an instance's name or an endpoint's path names; return how many connections it closed."""
        return self.workspace.suspend(self.workspace.by_name(name))

    def close_connections(self, identity: Identity | str | None = None, *, name: str = NAME) -> int:
        """End connections as a failover does, of one identity or of all, and return their number."""
        role = None if identity is None else self._identity(identity).name
        return self.workspace.by_name(name).compute.close_connections(role)

    def _identity(self, identity: Identity | str | None) -> Identity:
        if isinstance(identity, Identity):
            return identity
        return self._app if identity is None else self.workspace.identities[identity]

    def _populate(self) -> None:
        workspace = self.workspace
        owner = self.add_user(OWNER)
        self._app = self._kept_app()
        lakebase = workspace.new_lakebase(owner, folder=NAME)
        workspace.instances[NAME] = Instance(NAME, lakebase, {"capacity": "CU_1"})
        self._projects = Projects(workspace)
        self._projects.add_project(NAME, lakebase)
        if lakebase.compute.role(self._app.name) is None:
            self.admit(self._app)

    def _kept_app(self) -> Identity:
        """The app, which in a folder that is kept has to be the same the next time, since its role is there."""
        path = self.certificate_authority.parent / "app.json"
        if path.exists():
            return self.workspace.add_identity(Identity(**{**json.loads(path.read_text()), "groups": ()}))
        app = self.add_service_principal()
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(app)))
        return app

    def _listen(self) -> None:
        listening = socket.create_server((self.address, self._port))
        self._port = int(listening.getsockname()[1])
        apis = (
            Logins(self.workspace),
            Instances(self.workspace),
            self._projects,
            Branches(self.workspace),
            Serving(self.chat, self.embedders),
            Secrets(),
            Control(self),
        )
        endpoints = [endpoint for api in apis for endpoint in api.endpoints()]
        app = create_app(self.workspace, self.faults, self.requests, endpoints)
        self._http = HttpServer(app, listening)
        started = threading.Event()
        failures: list[BaseException] = []

        async def serve() -> None:
            front = Front(self.workspace, self._certificates, self.faults, self.requests)
            try:
                self._postgres_port = await front.start(self.address, self._postgres_port)
            except BaseException as error:
                failures.append(error)
                listening.close()
                raise
            finally:
                started.set()
            try:
                await self._http.serve()
            finally:
                await front.close()

        self._thread = threading.Thread(target=_run, args=(serve,), name="lakebase-emulator", daemon=True)
        self._thread.start()
        started.wait()
        if failures:
            raise failures[0]


def _run(serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with contextlib.suppress(OSError):  # told to whoever starts the emulator
        asyncio.run(serve())


def _number() -> str:
    return str(uuid.uuid4().int)[:16]
