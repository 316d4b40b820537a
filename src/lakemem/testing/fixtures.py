"""Pytest fixtures for suites of your own: ``pytest_plugins = ["lakemem.testing.fixtures"]`` in ``conftest.py``.

``lakebase_emulator`` is one emulator for the whole session, without faults at the beginning of each test that asks
for it. ``lakebase_environment`` also sets the environment variables that a deployed app finds, for one test.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lakemem.testing.emulator import LakebaseEmulator


@pytest.fixture(scope="session")
def lakebase_emulator_session() -> Iterator[LakebaseEmulator]:
    """The emulator that the tests of a session share. Override it to start it with other arguments."""
    from lakemem.testing.emulator import LakebaseEmulator

    with LakebaseEmulator() as emulator:
        yield emulator


@pytest.fixture
def lakebase_emulator(lakebase_emulator_session: LakebaseEmulator) -> Iterator[LakebaseEmulator]:
    """The emulator, with no fault switched on and an empty list of requests."""
    lakebase_emulator_session.reset()
    yield lakebase_emulator_session
    lakebase_emulator_session.reset()


@pytest.fixture
def lakebase_environment(lakebase_emulator: LakebaseEmulator, monkeypatch: pytest.MonkeyPatch) -> LakebaseEmulator:
    """The emulator, with the environment of an app that is deployed beside it."""
    for name in [*lakebase_emulator.environment(), "LAKEMEM_DSN", "DATABRICKS_TOKEN", "DATABRICKS_CONFIG_PROFILE"]:
        monkeypatch.delenv(name, raising=False)
    for name, value in lakebase_emulator.environment().items():
        monkeypatch.setenv(name, value)
    return lakebase_emulator
