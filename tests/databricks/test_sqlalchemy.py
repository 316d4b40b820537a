"""SQLAlchemy's engines on a Lakebase whose tokens expire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection, text

from lakemem import Lakebase
from lakemem.integrations.databricks import LakebaseCredentials
from lakemem.testing import LakebaseEmulator
from tests.databricks.conftest import CREDENTIALS, LOGINS
from tests.test_sqlalchemy import Engines, server_process


@pytest.fixture(params=["sync", "async"])
async def engines(request: pytest.FixtureRequest) -> AsyncIterator[Engines]:
    engines = Engines(request.param)
    yield engines
    await engines.close()


def current_user(connection: Connection) -> str:
    return str(connection.scalar(text("SELECT current_user")))


async def test_no_request_fails_while_tokens_rotate(short_lived: LakebaseEmulator, engines: Engines) -> None:
    engine = engines.make(None)
    until = time.monotonic() + 9.0

    async def work() -> set[int]:
        seen = set()
        while time.monotonic() < until:
            seen.add(await engines.run(engine, server_process))
            await asyncio.sleep(0.02)
        return seen

    seen = set().union(*await asyncio.gather(work(), work()))
    assert len(seen) >= 4, "connections older than their token were replaced"
    assert 2 <= short_lived.requests.count(CREDENTIALS) <= 6
    assert short_lived.requests.count(LOGINS, status=401) == 0


async def test_a_revoked_token_costs_one_refresh_and_one_retry(app: LakebaseEmulator, engines: Engines) -> None:
    engine = engines.make(None)
    await engines.run(engine, server_process)
    app.requests.clear()
    assert app.revoke() >= 1
    app.close_connections()
    await engines.run(engine, server_process)
    assert app.requests.count(CREDENTIALS) == 1
    assert app.requests.count(LOGINS, status=401) == 1


async def test_a_lakebase_that_scaled_to_zero_is_woken_without_an_error(
    app: LakebaseEmulator, engines: Engines
) -> None:
    engine = engines.make(None)
    first = await engines.run(engine, server_process)
    assert app.suspend() >= 1
    assert await engines.run(engine, server_process) != first


async def test_each_user_has_an_engine_that_logs_in_as_that_user(app: LakebaseEmulator, engines: Engines) -> None:
    target = Lakebase.from_env()
    for name in ("ada", "bob"):
        user = app.add_user(email := f"{name}.{engines.kind}@orders.example.com")
        app.admit(user)
        credentials = LakebaseCredentials(target, workspace_client=app.client(user))
        assert await engines.run(engines.make(target, credentials=credentials), current_user) == email
