"""A deployed app on the emulator: its environment, and a schema of its own for each test."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from lakemem import AsyncMemory
from lakemem.testing import LakebaseEmulator

CREDENTIALS = "POST /api/2.0/postgres/credentials"
LOGINS = "CONNECT *"


@pytest.fixture
def app(lakebase_environment: LakebaseEmulator, monkeypatch: pytest.MonkeyPatch) -> LakebaseEmulator:
    """The emulator; the environment names its Lakebase, and a schema that is not there yet."""
    monkeypatch.setenv("LAKEBASE_AGENT_MEMORY_SCHEMA", f"memory_{secrets.token_hex(4)}")
    return lakebase_environment


@pytest.fixture
def short_lived(app: LakebaseEmulator, monkeypatch: pytest.MonkeyPatch) -> LakebaseEmulator:
    """Database tokens that live four seconds."""
    monkeypatch.setattr(app.workspace, "token_lifetime", 4.0)
    return app


@pytest.fixture
async def memory(app: LakebaseEmulator) -> AsyncIterator[AsyncMemory]:
    async with AsyncMemory(migrate=True) as memory:
        yield memory


@pytest.fixture(autouse=True)
def no_token_is_logged(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Every test here: whatever happened, no logger and no stream has seen a token or a secret."""
    with caplog.at_level(logging.DEBUG):
        yield
    printed = capsys.readouterr()
    for text in (caplog.text, printed.out, printed.err):
        for secret in ("emulated-db-", "emulated-oauth-", "dose"):
            assert secret not in text
