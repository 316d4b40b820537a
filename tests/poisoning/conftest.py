from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest

from lakemem import AsyncMemory, Lakebase
from lakemem.testing import DatabaseFactory


@pytest.fixture(scope="session")
def figures() -> Iterator[Counter[str]]:
    """How many attempts were made, by what they were; printed at the end where output is shown (`pytest -s`)."""
    counted: Counter[str] = Counter()
    yield counted
    width = max((len(name) for name in counted), default=0)
    print("\n\n" + "\n".join(f"{name:{width}}  {count:>5}" for name, count in counted.items()))
    print(f"{'attempts':{width}}  {counted.total():>5}")


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all attempts: each is on users of its own."""
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture
async def memory(target: Lakebase) -> AsyncIterator[AsyncMemory]:
    async with AsyncMemory(target) as memory:
        yield memory
