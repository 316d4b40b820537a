"""The emulator where the Databricks packages look for a Lakebase: on port 5432, whatever else runs on this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from lakemem.testing import LakebaseEmulator

# On Linux, every address in 127/8 is this machine's, so a Postgres on 127.0.0.1 is not in the way.
ADDRESS = "127.54.32.1" if sys.platform == "linux" else "127.0.0.1"


@pytest.fixture(scope="session")
def lakebase_emulator_session() -> Iterator[LakebaseEmulator]:
    with LakebaseEmulator(address=ADDRESS, postgres_port=5432) as emulator:
        yield emulator


@pytest.fixture
def emulator(lakebase_environment: LakebaseEmulator) -> LakebaseEmulator:
    """With the environment of an app: these packages resolve names by libpq alone, hence PGHOSTADDR in it."""
    return lakebase_environment
