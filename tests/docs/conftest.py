"""A machine on which pages and examples are tried."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from lakemem.embedded import DATABASE, ROLE
from tests.conftest import embedded_server
from tests.support.folders import server_folder


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """A machine on which nothing is configured, with an embedded server that is running already."""

    environment: dict[str, str]
    folder: Path
    login: dict[str, Any]

    def run(self, *command: str, **environment: str) -> str:
        """Run a command in an empty folder, on a database without tables, and return what it prints."""
        self._drop_tables()
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _drop_tables(self) -> None:
        with psycopg.connect(**self.login, autocommit=True) as connection:
            owned = "SELECT nspname FROM pg_namespace WHERE nspowner = current_user::regrole"
            for (schema,) in connection.execute(owned).fetchall():
                connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    # An example runs pytest, too.
    with server_folder("docs") as folder:
        home, empty, temporary = (Path(folder, name) for name in ("home", "empty", "tmp"))
        for made in (home, empty, temporary):
            made.mkdir()
        environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        environment |= {"HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "TMPDIR": str(temporary)}
        environment["OPENAI_AGENTS_DISABLE_TRACING"] = "1"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", environment["HOME"])
            patch.setenv("XDG_DATA_HOME", environment["XDG_DATA_HOME"])
            data = platformdirs.user_data_path("lakemem") / "postgres-18"
        with contextmanager(embedded_server)(data, 18) as admin_dsn:
            host = conninfo_to_dict(admin_dsn)["host"]
            yield Machine(environment, empty, {"host": host, "user": ROLE, "dbname": DATABASE})
