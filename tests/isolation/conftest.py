from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lakemem import Lakebase
from tests.isolation import pgbouncer


@pytest.fixture
def bouncer(target: Lakebase) -> Iterator[pgbouncer.PgBouncer]:
    """A pgbouncer before the database of a test; skipped where there is none, unless ``LAKEMEM_TEST_PGBOUNCER``."""
    if pgbouncer.BINARY is None:
        if os.environ.get("LAKEMEM_TEST_PGBOUNCER"):
            pytest.fail(pgbouncer.WHY_NOT)
        pytest.skip(pgbouncer.WHY_NOT)
    with pgbouncer.PgBouncer(target) as bouncer:
        yield bouncer
