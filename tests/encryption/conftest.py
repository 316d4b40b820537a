from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from lakemem import AsyncMemory, Encryption, Lakebase, MasterKeys

MASTER = {"2026-11": os.urandom(32)}


@pytest.fixture
def encryption() -> Encryption:
    return Encryption(MasterKeys(MASTER))


@pytest.fixture
async def memory(target: Lakebase, encryption: Encryption) -> AsyncIterator[AsyncMemory]:
    async with AsyncMemory(target, encryption=encryption) as memory:
        yield memory


@pytest.fixture(autouse=True)
def only_keys_that_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fills every table puts a row in that of keys, too, which is none."""
    monkeypatch.setattr("tests._async.belongings.add_data_key", lambda *_: None, raising=False)
