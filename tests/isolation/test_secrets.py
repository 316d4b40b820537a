"""No password, token or stored text is told: not in a log, an error, its traceback, a repr, or what an observer sees.

What all other tests print, log and raise is looked through by tests/support/told.py.
"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from lakemem import AsyncMemory, CachedCredentials, Lakebase, LakememError, Memory, StorageError
from lakemem._async.tracing import AsyncTracedStorage
from lakemem.operations import Operation
from tests.isolation.hostile import ARGUMENTS
from tests.isolation.ledger import Ledger, new_mark
from tests.isolation.world import World, admin_of
from tests.support.told import secrets_in

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("lakemem", "psycopg", "psycopg.pool"):
        caplog.set_level(logging.DEBUG, logger=name)


async def test_whatever_is_called_nothing_stored_is_logged_or_seen_by_an_observer(
    target: Lakebase, admin_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    @contextmanager
    def observe(operation: Operation[Any]) -> Iterator[Callable[[Any], None]]:
        seen.append(repr(operation))
        yield lambda result: None

    async with AsyncMemory(target) as memory:
        with Memory(target) as sync:
            observed = memory.through(lambda storage: AsyncTracedStorage(storage, observe))
            world = World(observed, sync, admin_of(admin_dsn, target), Ledger())
            await world.seed(["ada"])
            ada = world.users[0]
            for surface in world.surfaces():
                for names in (ada.names, None):
                    await world.turn(surface, ada, names)
            await world.arguments(ada, ARGUMENTS[:4], world.surfaces()[:2])
            seen += map(repr, (memory, sync, target, memory.for_user("ada").runs, memory._storage))
    assert len(seen) > 100
    assert len(caplog.records) > 100, "the pool's, for example"
    assert secrets_in("".join(seen) + caplog.text) == []


async def test_an_error_that_quotes_a_row_is_told_without_it(target: Lakebase, admin_dsn: str) -> None:
    """Behind row-level security Postgres quotes no row, so a superuser asks."""
    mark = new_mark()
    async with AsyncMemory(Lakebase.dsn(admin_of(admin_dsn, target))) as memory:
        user = memory.for_user("ada")
        await user.save("colour", mark)
        with psycopg.connect(admin_of(admin_dsn, target), autocommit=True) as connection:
            connection.execute("ALTER TABLE lakemem.memories ADD CHECK (key <> 'refused') NOT VALID")
            with pytest.raises(psycopg.Error) as quoting:
                connection.execute("UPDATE lakemem.memories SET key = 'refused' WHERE key = 'colour'")
            assert mark in str(quoting.value.diag.message_detail)
        with pytest.raises(StorageError) as caught:
            await user.save("refused", mark)
    told = "".join(traceback.format_exception(caught.value))
    assert secrets_in(told + repr(caught.value)) == []


@pytest.mark.parametrize("where", ["host=127.0.0.1 port=1", "host=/nowhere"])
async def test_a_login_that_fails_does_not_tell_its_password(
    where: str, target: Lakebase, caplog: pytest.LogCaptureFixture
) -> None:
    password = "password-for-tests-0123456789abcdef"
    for memory in (
        AsyncMemory(Lakebase.dsn(f"{where} user=ada dbname=x password={password} connect_timeout=2"), timeout=1),
        AsyncMemory(Lakebase.dsn(f"{where} user=ada dbname=x"), credentials=CachedCredentials(lambda: password)),  # type: ignore[arg-type, return-value]
    ):
        with pytest.raises(LakememError) as caught:
            await memory.open()
        health = await memory.health()
        told = "".join(traceback.format_exception(caught.value))
        assert secrets_in(re.sub(r"(?m)^ .*", "", told) + repr(health) + repr(memory) + caplog.text) == []


async def test_the_password_that_the_tests_log_in_with_would_be_found(target: Lakebase) -> None:
    assert secrets_in(make_conninfo(**target.parameters)) == ["password-for-tests"]


def test_a_test_that_tells_a_secret_fails(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import logging\n"
        "from lakemem import ConfigurationError\n"
        "def test_prints(): print('the login is password-for-tests-01234567')\n"
        "def test_logs(): logging.getLogger('x').warning('mark-0123456789ab')\n"
        "def test_raises():\n"
        "    try: raise ConfigurationError('emulated-db-0123456789012345678901')\n"
        "    except ConfigurationError: pass\n"
        "def test_fine(): print('fine')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.support.told", "--rootdir", tmp_path, tmp_path],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "3 error" in done.stdout or "3 failed" in done.stdout or "failed" in done.stdout, done.stdout
    for test in ("test_prints", "test_logs", "test_raises"):
        assert f"{test} told a secret" in done.stdout
    assert "test_fine told" not in done.stdout


@pytest.mark.parametrize("name", ["dev", "oldest", "peers", "uv"])
def test_every_requirement_is_pinned_and_hashed(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert lines
    for line in lines:
        assert re.match(r"\S+==\S+( ; .+?)?\s+--hash=sha256:[0-9a-f]{64}", line), line
    assert f"--require-hashes requirements/{name}.txt".replace("requirements/uv.txt", "-r requirements/uv.txt") in (
        (ROOT / "Makefile").read_text().replace("requirements/uv.txt requirements/dev.txt", "requirements/dev.txt")
    )
