"""One emulator for the session; a test that switches something off for longer has its own."""

from __future__ import annotations

import psycopg
import pytest
from databricks.sdk import WorkspaceClient

from lakemem.testing import LakebaseEmulator


@pytest.fixture
def emulator(lakebase_emulator: LakebaseEmulator) -> LakebaseEmulator:
    return lakebase_emulator


@pytest.fixture
def workspace(emulator: LakebaseEmulator) -> WorkspaceClient:
    """The real SDK, logged in as the app."""
    return emulator.client()


def connect(emulator: LakebaseEmulator, **changed: str) -> psycopg.Connection[tuple[object, ...]]:
    """Log in to the first Lakebase, by default as the app with a new token."""
    return psycopg.connect(**{**emulator.parameters(), **changed}, autocommit=True)  # type: ignore[arg-type]
