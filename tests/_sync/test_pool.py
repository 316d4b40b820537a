# Generated from tests/_async/test_pool.py by tools/unasync.py: edit that file, then run `make generate`.
"""The pool of connections: what happens to a caller when the server, the network or the caller itself goes away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from lakemem import (
    ConfigurationError,
    InvalidInputError,
    Lakebase,
    Memory,
    ScopedMemory,
    StorageUnavailableError,
)
from lakemem.testing import DatabaseFactory
from lakemem.testing.concurrency import gather
from lakemem.waiting import call_blocking
from tests.support.locks import wait_until_alone, wait_until_blocked
from tests.support.proxy import Proxy
from tests.support.rows import Rows


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all tests here: each begins a thread of its own."""
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture
def memory(target: Lakebase) -> Iterator[Memory]:
    """A memory with one connection, which each call needs."""
    with Memory(target, max_size=1, timeout=5) as memory:
        yield memory


@pytest.fixture
def server(target: Lakebase) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A look at the server past the pool."""
    with psycopg.connect(make_conninfo(**target.parameters), autocommit=True) as connection:
        yield connection


def terminate_others(server: psycopg.Connection[Any]) -> int:
    """End the server's side of all other connections to this database, and wait until each is gone."""
    ended = server.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    ).fetchall()
    return len(ended)


class Blocker:
    """Holds the row of a thread, so that whoever appends to it waits."""

    def __init__(self, target: Lakebase, user: ScopedMemory, thread_id: str) -> None:
        self._rows = Rows(target, user.owner)
        self._thread_id = thread_id

    def __enter__(self) -> Blocker:
        self._connection = self._rows.connect()
        self._connection.autocommit = False
        self._connection.execute("SELECT set_config('lakemem.owner', %s, true)", [self._rows._owner])
        self._connection.execute("SELECT FROM lakemem.threads WHERE thread_id = %s FOR UPDATE", [self._thread_id])
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def test_connections_that_the_server_ended_while_idle_are_not_noticed(
    target: Lakebase, server: psycopg.Connection[Any]
) -> None:
    with Memory(target, min_size=3, max_size=3) as memory:
        alice = memory.for_user("idle")
        gather([alice.threads] * 3)
        for _ in range(2):
            assert terminate_others(server) >= 1
            gather([lambda: alice.thread("t").append([{}])] * 3)
        assert len(alice.thread("t").items()) == 6


def test_a_network_that_failed_while_idle_is_not_noticed(target: Lakebase) -> None:
    with Proxy(target) as proxy:
        with Memory(proxy.target, max_size=1) as memory:
            alice = memory.for_user("cut")
            alice.thread("t").append([{"n": 1}])
            proxy.cut()
            assert alice.thread("t").append([{"n": 2}]) == range(2, 3)


def test_a_write_whose_connection_ends_in_the_middle_is_a_retryable_error(
    memory: Memory, target: Lakebase, server: psycopg.Connection[Any]
) -> None:
    thread = memory.for_user("middle").thread("t")
    thread.append([{"n": 1}])

    def end_it() -> None:
        wait_until_blocked(server)
        server.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )

    def append() -> StorageUnavailableError:
        with pytest.raises(StorageUnavailableError) as caught:
            thread.append([{"n": 2}])
        return caught.value

    with Blocker(target, memory.for_user("middle"), "t"):
        errors = gather([append, lambda: call_blocking(end_it)])
    assert [error.retryable for error in errors if error is not None] == [True]
    assert thread.append([{"n": 3}]) == range(2, 3), "the call that failed wrote nothing"
    assert thread.items() == [{"n": 1}, {"n": 3}]


def test_a_read_whose_network_fails_is_made_again(target: Lakebase, server: psycopg.Connection[Any]) -> None:
    with Proxy(target) as proxy:
        with Memory(proxy.target, max_size=1) as memory:
            user = memory.for_user("middle of the network")
            user.save("color", "green")
            lock = psycopg.connect(make_conninfo(**target.parameters))
            lock.execute("LOCK TABLE lakemem.memories IN ACCESS EXCLUSIVE MODE")

            def cut() -> None:
                wait_until_blocked(server)
                proxy.cut()
                lock.close()

            records, _ = gather([user.items, lambda: call_blocking(cut)])
            assert [record.value for record in records] == ["green"]


def test_a_network_that_fails_in_the_middle_of_a_call_is_a_retryable_error(
    target: Lakebase, server: psycopg.Connection[Any]
) -> None:
    with Proxy(target) as proxy:
        with Memory(proxy.target, max_size=1) as memory:
            user = memory.for_user("middle of the network")
            user.thread("t").append([{"n": 1}])

            def append() -> None:
                with pytest.raises(StorageUnavailableError) as caught:
                    user.thread("t").append([{"n": 2}])
                assert caught.value.retryable

            def cut() -> None:
                wait_until_blocked(server)
                proxy.cut()

            with Blocker(target, user, "t"):
                gather([append, lambda: call_blocking(cut)])
            assert user.thread("t").items(limit=1) in ([{"n": 1}], [{"n": 2}])


def test_a_pool_that_is_exhausted_is_a_clear_error_in_time(target: Lakebase, server: psycopg.Connection[Any]) -> None:
    with Memory(target, max_size=1, timeout=0.2) as memory:
        user = memory.for_user("exhausted")
        user.thread("t").append([{"n": 1}])
        released = threading.Event()

        def release_later() -> None:
            with Blocker(target, user, "t"):
                held.set()
                released.wait(timeout=30)

        held = threading.Event()

        def read() -> None:
            call_blocking(held.wait)
            call_blocking(lambda: wait_until_blocked(server))
            started = time.monotonic()
            with pytest.raises(StorageUnavailableError, match="max_size") as caught:
                user.threads()
            assert caught.value.retryable
            assert 0.1 < time.monotonic() - started < 8
            released.set()

        def append() -> None:
            call_blocking(held.wait)
            user.thread("t").append([{"n": 2}])

        gather([lambda: call_blocking(release_later), append, read])
        assert len(user.thread("t").items()) == 2


def test_more_calls_than_connections_wait_for_their_turn(target: Lakebase) -> None:
    with Proxy(target) as proxy:
        with Memory(proxy.target, max_size=1) as memory:
            user = memory.for_user("queue")
            user.threads()
            proxy.reset()
            gather([lambda: user.thread("t").append([{}])] * 25)
            assert proxy.connections == 0
            assert [message.position for message in user.thread("t").messages()] == list(range(1, 26))


def test_no_more_connections_are_opened_than_allowed(target: Lakebase) -> None:
    with Proxy(target) as proxy:
        with Memory(proxy.target, min_size=1, max_size=3) as memory:
            proxy.reset()
            user = memory.for_user("many")
            gather([user.threads] * 30)
            assert proxy.connections <= 3


def test_a_memory_that_is_not_open_says_so(target: Lakebase) -> None:
    memory = Memory(target)
    user = memory.for_user("closed")
    for _ in ("before", "after"):
        with pytest.raises(ConfigurationError, match="not open"):
            user.get("key")
        with pytest.raises(ConfigurationError, match="not open"):
            user.thread("t").append([{}])
        memory.open()
        assert user.get("key") is None
        memory.close()
    # What is wrong in itself is said first.
    with pytest.raises(InvalidInputError):
        user.get("")


def test_open_and_close_may_be_called_twice(target: Lakebase, server: psycopg.Connection[Any]) -> None:
    memory = Memory(target)
    memory.close()
    gather([memory.open] * 3)
    memory.open()
    assert (memory.health()).status == "ok"
    gather([memory.close] * 3)
    memory.close()
    wait_until_alone(server)


def test_close_gives_the_connections_back_also_after_an_error(
    target: Lakebase, server: psycopg.Connection[Any]
) -> None:
    memory = Memory(target, min_size=2)

    def work() -> None:
        with memory:
            memory.for_user("error").threads()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    wait_until_alone(server)
    assert (memory.health()).status == "ok", "health needs no open memory"


def test_a_server_that_is_not_there_is_a_retryable_error_without_the_password(target: Lakebase) -> None:
    login = {**target.parameters, "host": "127.0.0.1", "port": "1", "password": "hush"}
    memory = Memory(Lakebase.dsn(make_conninfo(**login)))
    with pytest.raises(StorageUnavailableError) as caught:
        memory.open()
    assert caught.value.retryable
    assert "hush" not in str(caught.value)
    health = memory.health()
    assert health.status == "down"
    assert "hush" not in f"{health} {memory!r}"
    with pytest.raises(ConfigurationError, match="not open"):
        memory.for_user("alice").threads()
