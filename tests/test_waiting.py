"""Waiting with an end, on an event loop and on threads."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NoReturn, TypeVar

import pytest

from lakemem.waiting import AsyncBackground, Background, acall_blocking, asettled, awithin, call_blocking, within

T = TypeVar("T")

SOON = 0.05
SLACK = 5.0
"""What a machine may add that is busy, or stands still for a while."""

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("NAME")


class Elapsed:
    """The seconds spent within it."""

    def __enter__(self) -> Elapsed:
        self._started = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._started


def fail() -> NoReturn:
    raise LookupError("its own error")


async def afail() -> NoReturn:
    raise LookupError("its own error")


@pytest.fixture
def stuck() -> Iterator[Callable[[], bool]]:
    """A function that returns when the test is over."""
    over = threading.Event()
    yield over.wait
    over.set()


# --- within a deadline


async def test_a_result_in_time_is_returned_on_the_loop() -> None:
    assert await awithin(5, lambda: asyncio.sleep(0, "result")) == "result"


def test_a_result_in_time_is_returned_on_a_thread() -> None:
    assert within(5, lambda: "result") == "result"
    assert within(5, lambda: None) is None
    assert call_blocking(lambda: "result", deadline=5) == "result"
    assert call_blocking(threading.current_thread) is threading.current_thread(), "no deadline needs no thread"


async def test_an_error_in_time_is_raised_on_the_loop() -> None:
    with pytest.raises(LookupError, match="its own error"):
        await awithin(5, afail)
    with pytest.raises(LookupError, match="its own error"):
        await acall_blocking(fail, deadline=5)


def test_an_error_in_time_is_raised_on_a_thread() -> None:
    for call in (lambda: within(5, fail), lambda: call_blocking(fail, deadline=5), lambda: call_blocking(fail)):
        with pytest.raises(LookupError, match="its own error"):
            call()


async def test_what_is_late_is_a_timeout_on_the_loop() -> None:
    with Elapsed() as elapsed, pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
        await awithin(SOON, asyncio.Event().wait)
    assert SOON <= elapsed.seconds < SOON + SLACK


def test_what_is_late_is_a_timeout_on_a_thread(stuck: Callable[[], bool]) -> None:
    with Elapsed() as elapsed, pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
        within(SOON, stuck)
    assert SOON <= elapsed.seconds < SOON + SLACK
    with pytest.raises(TimeoutError):
        call_blocking(stuck, deadline=SOON)


async def test_a_blocking_call_that_is_late_is_a_timeout_and_does_not_block_the_loop() -> None:
    release = threading.Event()
    with Elapsed() as elapsed, pytest.raises(TimeoutError):
        await acall_blocking(release.wait, deadline=SOON)
    release.set()
    assert elapsed.seconds < SOON + SLACK


async def test_a_deadline_does_not_wait_for_an_operation_that_takes_its_time_to_be_cancelled() -> None:
    cancelled, ended, release = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            await release.wait()
            ended.set()
            raise LookupError("an error that nobody hears") from None

    with Elapsed() as elapsed, pytest.raises(TimeoutError):
        await awithin(SOON, stubborn)
    assert elapsed.seconds < SOON + SLACK
    await asyncio.wait_for(cancelled.wait(), 5)
    assert not ended.is_set()
    release.set()
    await asyncio.wait_for(ended.wait(), 5)


async def test_cancellation_reaches_the_operation_and_comes_back_at_once() -> None:
    started, cancelled, release = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            await release.wait()

    task = asyncio.create_task(awithin(60, stubborn))
    await started.wait()
    task.cancel()
    with Elapsed() as elapsed, pytest.raises(asyncio.CancelledError):
        await task
    assert elapsed.seconds < SLACK
    await asyncio.wait_for(cancelled.wait(), 5)
    release.set()


async def test_an_operation_that_was_left_behind_complains_to_nobody() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))

    async def late() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise LookupError("too late")

    with pytest.raises(TimeoutError):
        await awithin(0.01, late)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()
    assert complaints == []


async def test_context_variables_reach_what_is_waited_for() -> None:
    NAME.set("ada")

    async def name() -> str:
        return NAME.get()

    assert await awithin(5, name) == "ada"
    assert await acall_blocking(NAME.get) == "ada"
    assert within(5, NAME.get) == "ada"


# --- in the background


async def test_a_step_is_repeated_until_it_says_that_it_is_done_on_the_loop() -> None:
    steps: list[int] = []
    done = asyncio.Event()

    async def step() -> bool:
        steps.append(len(steps))
        if len(steps) == 3:
            done.set()
        return len(steps) >= 3

    background = AsyncBackground(step, 0.001)
    for _ in range(3):
        background.start()
    await asyncio.wait_for(done.wait(), 5)
    await background.stop()
    assert steps == [0, 1, 2]


def test_a_step_is_repeated_until_it_says_that_it_is_done_on_a_thread() -> None:
    steps: list[int] = []
    threads: set[int] = set()
    done = threading.Event()

    def step() -> bool:
        steps.append(len(steps))
        threads.add(threading.get_ident())
        if len(steps) == 3:
            done.set()
        return len(steps) >= 3

    background = Background(step, 0.001)
    for _ in range(3):
        background.start()
    assert done.wait(5)
    background.stop()
    assert steps == [0, 1, 2]
    assert len(threads) == 1


async def test_a_start_while_the_last_step_runs_brings_another_on_the_loop() -> None:
    steps: list[int] = []
    again = asyncio.Event()

    async def step() -> bool:
        steps.append(len(steps))
        if len(steps) == 1:
            background.start()
        else:
            again.set()
        return True

    background = AsyncBackground(step, 0.001)
    background.start()
    await asyncio.wait_for(again.wait(), 5)
    await background.stop()
    assert steps == [0, 1]


def test_a_start_while_the_last_step_runs_brings_another_on_a_thread() -> None:
    steps: list[int] = []
    again = threading.Event()

    def step() -> bool:
        steps.append(len(steps))
        if len(steps) == 1:
            background.start()
        else:
            again.set()
        return True

    background = Background(step, 0.001)
    background.start()
    assert again.wait(5)
    background.stop()
    assert steps == [0, 1]


async def test_it_can_be_started_again_after_it_is_done_and_after_a_stop_on_the_loop() -> None:
    stepped = asyncio.Event()

    async def step() -> bool:
        stepped.set()
        return True

    background = AsyncBackground(step, 0.001)
    await background.stop()
    for _ in range(3):
        background.start()
        await asyncio.wait_for(stepped.wait(), 5)
        await background.stop()
        stepped.clear()


def test_it_can_be_started_again_after_it_is_done_and_after_a_stop_on_a_thread() -> None:
    stepped = threading.Event()

    def step() -> bool:
        stepped.set()
        return True

    background = Background(step, 0.001)
    background.stop()
    for _ in range(3):
        background.start()
        assert stepped.wait(5)
        background.stop()
        stepped.clear()


async def test_stopping_cancels_a_step_that_runs_on_the_loop() -> None:
    running, cancelled = asyncio.Event(), asyncio.Event()

    async def step() -> bool:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return True

    background = AsyncBackground(step, 0.001)
    background.start()
    await asyncio.wait_for(running.wait(), 5)
    await background.stop()
    assert cancelled.is_set()


def test_stopping_does_not_wait_for_the_interval_on_a_thread() -> None:
    background = Background(lambda: True, 60.0)
    background.start()
    with Elapsed() as elapsed:
        background.stop()
    assert elapsed.seconds < SLACK


def test_a_step_may_stop_its_own_background() -> None:
    stopped = threading.Event()

    def step() -> bool:
        background.stop()
        stopped.set()
        return False

    background = Background(step, 0.001)
    background.start()
    assert stopped.wait(5)


async def test_what_is_settled_runs_to_its_end_however_often_its_caller_is_cancelled() -> None:
    gate, done = asyncio.Event(), []

    async def step() -> str:
        await asyncio.sleep(0)
        await gate.wait()
        await asyncio.sleep(0.01)
        done.append(1)
        return "done"

    task = asyncio.create_task(_await(step))
    for _ in range(3):
        await asyncio.sleep(0.01)
        task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [1]
    assert await _await(step) == "done"


async def test_what_is_settled_returns_and_raises_as_it_would() -> None:
    lock = asyncio.Lock()

    async def fine() -> int:
        async with lock:
            return 7

    async def failing() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    assert await asettled(fine()) == 7
    assert await asyncio.gather(*(_await(fine) for _ in range(3))) == [7, 7, 7]
    with pytest.raises(KeyError):
        await asettled(failing())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asettled(asyncio.sleep(0.05))


async def _await(step: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return await asettled(step())
