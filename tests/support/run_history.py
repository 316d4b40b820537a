"""What was emitted, stored and received of runs, compared."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lakemem import RunEvent


@dataclass
class History:
    """The events of one run.

    Attributes:
        emitted: of each attempt, what its handler emitted, in its order.
        acknowledged: of each attempt, how many of these it was told are stored.
    """

    emitted: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    acknowledged: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def check(self, stored: Sequence[RunEvent], received: Sequence[RunEvent]) -> None:
        """Fail where an event was lost, doubled, out of order, or written by who had no right to."""
        assert [event.sequence_number for event in stored] == list(range(len(stored)))
        assert list(received) == list(stored)
        attempts = [event.attempt for event in stored]
        assert attempts == sorted(attempts), "an attempt wrote after a later one had begun"
        found: dict[int, list[int]] = defaultdict(list)
        for event in stored:
            assert event.event["attempt"] == event.attempt
            found[event.attempt].append(event.event["n"])
        for attempt, numbers in found.items():
            assert numbers == self.emitted[attempt][: len(numbers)], f"attempt {attempt} is not as it was emitted"
        for attempt, count in self.acknowledged.items():
            assert len(found[attempt]) >= count, f"attempt {attempt} lost what it was told is stored"


def read(*logs: Path) -> dict[str, History]:
    """Read what workers wrote down: lines of run, attempt, number, and what is said of it."""
    histories: dict[str, History] = defaultdict(History)
    for log in logs:
        for line in log.read_text().splitlines():
            run_id, attempt, number, what = json.loads(line)
            if what == "emits":
                histories[run_id].emitted[attempt].append(number)
            elif what == "stored":
                histories[run_id].acknowledged[attempt] = number + 1
    return histories
