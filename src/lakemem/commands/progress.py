"""How far a long command has come, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def shown(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield what is to be told how many are done, and of how many.

    It shows a bar on a terminal, where rich is installed; otherwise a line now and then.
    """
    if sys.stderr.isatty():
        try:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        except ImportError:
            pass
        else:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Progress(*columns, console=Console(stderr=True)) as bars:
                task = bars.add_task(what, total=None)
                yield lambda done, total: bars.update(task, completed=done, total=total)
            return
    yield Lines(what)


class Lines:
    """A line at the beginning, one every few seconds, and one at the end."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._last: float | None = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._last is None or now - self._last >= SECONDS_BETWEEN_LINES or done == total:
            self._last = now
            print(f"{self._what}: {done:,} of {total:,}", file=sys.stderr, flush=True)
