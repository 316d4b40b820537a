"""The parts of degradation that wait for nothing, on a clock of their own."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lakemem import (
    ConfigurationError,
    ConflictError,
    CredentialError,
    EmbeddingError,
    IdentityError,
    InvalidInputError,
    Lakebase,
    Memory,
    NotFoundError,
    SchemaOutdatedError,
    StorageError,
    StorageUnavailableError,
    degrading,
)
from lakemem.operations import Operation
from lakemem.resilience import OUTAGES, CircuitBreaker, PendingWrite, WriteBuffer

COOLDOWN = 5.0


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(COOLDOWN, clock)


def test_a_closed_circuit_lets_everybody_through(breaker: CircuitBreaker) -> None:
    assert all(breaker.allows() for _ in range(10))
    assert breaker.detail is None


def test_an_open_circuit_lets_nobody_through_until_its_cooldown_is_over(breaker: CircuitBreaker, clock: Clock) -> None:
    breaker.failed("no answer")
    assert breaker.detail == "no answer"
    assert not breaker.allows()
    clock.now += COOLDOWN - 0.001
    assert not breaker.allows()
    clock.now += 0.001
    assert breaker.allows()


def test_after_a_cooldown_one_prober_goes_and_the_next_a_cooldown_later(breaker: CircuitBreaker, clock: Clock) -> None:
    breaker.failed("no answer")
    for _ in range(3):
        clock.now += COOLDOWN
        assert [breaker.allows() for _ in range(5)] == [True, False, False, False, False]


def test_of_many_threads_that_ask_at_once_one_is_the_prober(breaker: CircuitBreaker, clock: Clock) -> None:
    breaker.failed("no answer")
    clock.now += COOLDOWN
    together = threading.Barrier(16)

    def ask(_: int) -> bool:
        together.wait()
        return breaker.allows()

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(ask, range(16))) == 1


def test_a_prober_that_fails_begins_another_cooldown(breaker: CircuitBreaker, clock: Clock) -> None:
    breaker.failed("first")
    clock.now += COOLDOWN
    assert breaker.allows()
    clock.now += 2.0
    breaker.failed("second")
    assert breaker.detail == "second"
    clock.now += COOLDOWN - 0.001
    assert not breaker.allows()
    clock.now += 0.001
    assert breaker.allows()


def test_a_success_closes_the_circuit(breaker: CircuitBreaker) -> None:
    breaker.failed("no answer")
    breaker.succeeded()
    assert breaker.detail is None
    assert all(breaker.allows() for _ in range(3))


def test_each_change_of_state_is_told_once(breaker: CircuitBreaker, clock: Clock) -> None:
    assert not breaker.succeeded()
    for _ in range(2):
        clock.now += 1
        assert breaker.failed("no answer")
        assert not breaker.failed("still none")
        assert breaker.succeeded()
        assert not breaker.succeeded()


def test_a_failure_that_began_before_the_last_success_is_old_news(breaker: CircuitBreaker, clock: Clock) -> None:
    began = clock.now
    clock.now += 1
    breaker.succeeded()
    clock.now += 1
    assert not breaker.failed("no answer", began=began)
    assert breaker.detail is None
    assert breaker.failed("no answer", began=clock.now)


def write(text: str = "", owner: str = "user:ada") -> PendingWrite:
    operation: Operation[Any] = Operation(
        statement="s", owner=owner, parameters={"text": text}, parse=list, fallback=None, writes=True
    )
    return PendingWrite(operation)


def test_writes_leave_the_buffer_in_the_order_in_which_they_came() -> None:
    buffer = WriteBuffer(10, 1000)
    writes = [write(str(n)) for n in range(10)]
    assert all(buffer.accept(each) for each in writes)
    left = []
    while first := buffer.first():
        assert buffer.first() is first, "to look is not to take"
        left.append(first)
        buffer.done(first)
    assert left == writes
    assert len(buffer) == 0


def test_a_buffer_holds_so_many_writes_and_then_refuses_and_counts() -> None:
    buffer = WriteBuffer(2, 1000)
    first, second = write("a"), write("b")
    assert [buffer.accept(each) for each in (first, second, write("c"), write("d"))] == [True, True, False, False]
    assert (len(buffer), buffer.refused) == (2, 2)
    buffer.done(first)
    assert buffer.accept(write("e")), "there is room again"
    assert buffer.first() is second
    assert buffer.refused == 2


def test_a_buffer_holds_so_many_bytes_and_then_refuses_and_counts() -> None:
    buffer = WriteBuffer(100, 10)
    six = write("x" * 6)
    assert buffer.accept(six)
    assert not buffer.accept(write("x" * 5))
    assert buffer.accept(write("x" * 4))
    assert not buffer.accept(write("x"))
    buffer.done(six)
    assert buffer.accept(write("x" * 6))
    assert buffer.refused == 2


def test_a_write_that_is_refused_for_good_is_counted_and_makes_room() -> None:
    buffer = WriteBuffer(1, 1000)
    only = write()
    buffer.accept(only)
    buffer.done(only, failed=True)
    assert (len(buffer), buffer.failed, buffer.refused) == (0, 1, 0)
    assert buffer.accept(write())


def test_of_writes_from_many_threads_the_buffer_takes_as_many_as_it_holds() -> None:
    buffer = WriteBuffer(100, 10**6)
    with ThreadPoolExecutor(8) as threads:
        accepted = sum(threads.map(lambda n: buffer.accept(write(str(n))), range(150)))
    assert (accepted, len(buffer), buffer.refused) == (100, 100, 50)


def test_the_size_of_a_write_counts_its_texts_and_lists() -> None:
    operation: Operation[None] = Operation(
        statement="s",
        owner="user:ada",
        parameters={"text": "x" * 100, "blobs": [b"y" * 50, b"z" * 50], "number": 7, "none": None},
        parse=lambda rows: None,
        fallback=None,
    )
    assert operation.size == 100 + 100 + 8 + 8


def test_each_write_has_an_id_of_its_own_unless_it_is_given_one() -> None:
    one, two = write(), write()
    assert one.write_id != two.write_id
    given = uuid.uuid4()
    assert PendingWrite(one.operation, given).write_id == given


def test_neither_a_write_nor_its_buffer_shows_what_is_stored() -> None:
    assert "confidential" not in repr(write("confidential"))


@pytest.mark.parametrize(
    "error", [StorageUnavailableError("x"), CredentialError("x"), SchemaOutdatedError("x"), TimeoutError()]
)
def test_an_agent_lives_through_an_outage(error: Exception) -> None:
    assert isinstance(error, OUTAGES)


@pytest.mark.parametrize(
    "error",
    [
        InvalidInputError("x"),
        ConfigurationError("x"),
        IdentityError("x"),
        ConflictError("x"),
        StorageError("x"),
        EmbeddingError("x"),
        NotFoundError("x"),
        TypeError("x"),
        ValueError("x"),
        KeyError("x"),
    ],
)
def test_a_mistake_of_a_program_is_no_outage(error: Exception) -> None:
    assert not isinstance(error, OUTAGES)


@pytest.mark.parametrize("name", ["deadline", "open_deadline", "cooldown", "max_writes", "max_bytes"])
@pytest.mark.parametrize("bad", [None, 0, -1, "2", True, float("nan"), float("inf")])
def test_a_bound_is_a_number_above_zero(name: str, bad: Any) -> None:
    with pytest.raises(InvalidInputError, match=name):
        degrading(Memory(Lakebase.dsn("host=h")), **{name: bad})


@pytest.mark.parametrize("bad", [None, "memory", Memory(Lakebase.dsn("host=h")).for_user("ada")])
def test_only_a_whole_memory_can_be_made_to_degrade(bad: Any) -> None:
    with pytest.raises(InvalidInputError, match=type(bad).__name__):
        degrading(bad)
