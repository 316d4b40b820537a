# Generated from tests/_async/conftest.py by tools/unasync.py: edit that file, then run `make generate`.
from __future__ import annotations

from collections.abc import Iterator

import pytest

from lakemem import Lakebase, Memory, ScopedMemory


@pytest.fixture
def memory(target: Lakebase) -> Iterator[Memory]:
    with Memory(target) as memory:
        yield memory


@pytest.fixture
def alice(memory: Memory) -> ScopedMemory:
    return memory.for_user("alice")


@pytest.fixture
def bob(memory: Memory) -> ScopedMemory:
    return memory.for_user("bob")
