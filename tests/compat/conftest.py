from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from lakemem.compat import close_shared_pools


@pytest.fixture(autouse=True)
async def _closed_pools() -> AsyncIterator[None]:
    yield
    await close_shared_pools()
