"""A real pgbouncer before a Postgres, which lends its servers by the transaction."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import psycopg
from psycopg.conninfo import make_conninfo

from lakemem import Lakebase

BINARY = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
WHY_NOT = "there is no pgbouncer: `apt-get install pgbouncer`, or run `make test-isolation` as root"

_START_TIMEOUT = 15.0
# Few servers for many clients, so that each transaction meets another one.
_SETTINGS = """
[databases]
* = host={host} port={port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {servers}
max_client_conn = 1000
server_round_robin = 1
ignore_startup_parameters = extra_float_digits
logfile = {folder}/log
"""


class PgBouncer:
    """Connect to :attr:`target` in place of the target that it is given.

    Args:
        servers: connections to Postgres, for all clients together.
    """

    def __init__(self, target: Lakebase, *, servers: int = 3) -> None:
        self._parameters = dict(target.parameters)
        self._servers = servers
        self._folder = TemporaryDirectory(prefix="lakemem-pgbouncer-")
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = int(listener.getsockname()[1])

    @property
    def target(self) -> Lakebase:
        changed = {"host": "127.0.0.1", "port": self._port, "sslmode": "disable", "gssencmode": "disable"}
        return Lakebase.dsn(make_conninfo(**{**self._parameters, **changed}))

    def __enter__(self) -> PgBouncer:
        folder = Path(self._folder.name)
        folder.chmod(0o755)
        settings = _SETTINGS.format(
            host=self._parameters.get("host", "localhost"),
            port=self._parameters.get("port", 5432),
            listen_port=self._port,
            folder=folder,
            servers=self._servers,
        )
        (folder / "settings.ini").write_text(settings)
        (folder / "users").write_text(f'"{self._parameters["user"]}" "{self._parameters["password"]}"\n')
        assert BINARY is not None, WHY_NOT
        as_user: list[str] = []
        if os.geteuid() == 0:
            # It refuses to be root, and nobody but its owner can reach the socket of an embedded server.
            host = Path(str(self._parameters.get("host", "")))
            user = host.owner() if host.is_dir() and host.is_absolute() else "nobody"
            as_user = ["-u", user]
            (folder / "log").touch()
            shutil.chown(folder / "log", user)
        self._process = subprocess.Popen(
            [BINARY, "-q", *as_user, str(folder / "settings.ini")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
        self._folder.cleanup()

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                psycopg.connect(make_conninfo(**self.target.parameters), connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    log = (Path(self._folder.name) / "log").read_text()
                    raise AssertionError(f"pgbouncer did not start: {error}\n{log}") from None
                time.sleep(0.05)
