"""Tests of an agent, on a real Postgres that starts with them.

pip install "lakemem[local]" pytest
pytest testing_your_agent.py
"""

from collections.abc import Iterator
from itertools import count

import pytest

from lakemem import Lakebase, Memory, degrading

numbers = count()


def greet(memory: Memory, user_id: str) -> str:
    """The code under test."""
    name = memory.for_user(user_id).get("name")
    return "Hello!" if name is None else f"Hello, {name.value}!"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lakebase]:
    """One server for all tests; it runs as long as this memory is open."""
    target = Lakebase.embedded(tmp_path_factory.mktemp("pg"))
    with Memory(target):
        yield target


@pytest.fixture
def memory(server: Lakebase) -> Iterator[Memory]:
    """Fresh tables for each test, in a schema of their own."""
    with Memory(server, schema=f"test_{next(numbers)}") as memory:
        yield memory


def test_a_user_is_greeted_by_name(memory: Memory) -> None:
    memory.for_user("ada").save("name", "Ada")
    assert greet(memory, "ada") == "Hello, Ada!"


def test_a_user_is_not_greeted_by_the_name_of_another(memory: Memory) -> None:
    memory.for_user("ada").save("name", "Ada")
    assert greet(memory, "bob") == "Hello!"


def test_a_user_is_greeted_while_the_database_is_down() -> None:
    nobody_listens = Lakebase.dsn("postgresql://agent@127.0.0.1:1/agents")
    with degrading(Memory(nobody_listens)) as memory:
        assert greet(memory, "ada") == "Hello!"
