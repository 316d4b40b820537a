"""What clients wrote and were told, and what is there afterwards, compared; after the manner of Jepsen.

Everything is a log: a conversation, the versions of a memory, the events of a run. A write adds a batch of entries to
one log, all of them or none. The checker knows when each write began and when, if at all, its client was told that it
is done, on one clock for all processes. From that follows what has to be found in the end:

- a write that was acknowledged is there, whole and once;
- one that was not is there whole and once, or not at all;
- of two writes, the one that was acknowledged before the other began stands before it;
- a read found a beginning of what is there in the end, with all that had been acknowledged when it began.

Source: Kingsbury and Alvaro, Elle: Inferring Isolation Anomalies from Experimental Observations, VLDB 2020 (logs of
unique entries show the order in which writes were applied).
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import TypeAlias

Entry: TypeAlias = tuple[str, int]
"""The id of a write, and which part of it."""

EXAMPLES = 5


@dataclass
class Write:
    """A batch of entries for one log.

    Attributes:
        size: how many entries.
        began: when it was first asked for.
        acknowledged: when its client was told that it is done; infinite while it was not.
    """

    write_id: str
    log: str
    size: int
    began: float
    acknowledged: float = inf


@dataclass(frozen=True)
class Read:
    """What a client found in a log, and when it asked."""

    log: str
    began: float
    entries: tuple[Entry, ...]


class History:
    """Notes what clients do.

    Args:
        path: a file that has each note as soon as it is made, so that it outlives its process.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.writes: dict[str, Write] = {}
        self.reads: list[Read] = []
        self._file = None if path is None else os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def begin(self, log: str, size: int = 1) -> Write:
        """Note that a write is about to be asked for."""
        write = Write(uuid.uuid4().hex, log, size, time.monotonic())
        self.writes[write.write_id] = write
        self._keep({"write_id": write.write_id, "log": log, "size": size, "began": write.began})
        return write

    def acknowledge(self, write: Write) -> None:
        """Note that its client was told that a write is done."""
        write.acknowledged = time.monotonic()
        self._keep({"write_id": write.write_id, "acknowledged": write.acknowledged})

    def saw(self, log: str, began: float, entries: Iterable[Entry]) -> None:
        """Note what a read that began then has found."""
        self.reads.append(Read(log, began, tuple(entries)))

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def add(self, path: Path) -> None:
        """Take over what another process noted in its file."""
        for line in path.read_text().splitlines():
            note = json.loads(line)
            if "acknowledged" in note:
                self.writes[note["write_id"]].acknowledged = note["acknowledged"]
            else:
                self.writes[note["write_id"]] = Write(**note)

    def _keep(self, note: Mapping[str, object]) -> None:
        if self._file is not None:
            os.write(self._file, json.dumps(note).encode() + b"\n")


@dataclass(frozen=True)
class Findings:
    """What a comparison found, in numbers of writes; of entries for `strange`, of reads for `stale`.

    Attributes:
        acknowledged: writes whose clients were told that they are done.
        lost: of these, not there.
        doubled: there more than once.
        disordered: before a write that was done when this one began, or with another one in the middle.
        torn: there in part.
        strange: entries that nobody wrote there.
        stale: reads that found something else than a beginning with all that was done.
        whole, absent: writes that were not acknowledged, and what became of them.
        examples: some of what is wrong, in words.
    """

    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    torn: int = 0
    strange: int = 0
    stale: int = 0
    whole: int = 0
    absent: int = 0
    examples: tuple[str, ...] = field(default=())

    @property
    def wrong(self) -> int:
        return self.lost + self.doubled + self.disordered + self.torn + self.strange + self.stale

    def __add__(self, other: Findings) -> Findings:
        return Findings(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})


def check(history: History, found: Mapping[str, Sequence[Entry]]) -> Findings:
    """Compare a history with the logs as they are after it."""
    logs: dict[str, list[Write]] = {log: [] for log in found}
    for write in history.writes.values():
        logs.setdefault(write.log, []).append(write)
    total = Findings()
    for log, writes in logs.items():
        reads = [read for read in history.reads if read.log == log]
        total += _check_log(log, writes, list(found.get(log, ())), reads)
    return total


def _check_log(log: str, writes: Sequence[Write], entries: list[Entry], reads: Sequence[Read]) -> Findings:
    known = {write.write_id: write for write in writes}
    strange = [entry for entry in entries if entry[0] not in known or not 0 <= entry[1] < known[entry[0]].size]
    entries = [entry for entry in entries if entry not in strange]
    counts = Counter(entries)
    parts = Counter(write_id for write_id, _ in counts)
    doubled = {write_id for (write_id, _), count in counts.items() if count > 1}
    torn = [write.write_id for write in writes if 0 < parts[write.write_id] < write.size]
    lost = [write.write_id for write in writes if not parts[write.write_id] and write.acknowledged < inf]
    pending = [write for write in writes if write.acknowledged == inf]
    disordered = _overtaking(known, entries) | _split(known, entries) - doubled - set(torn)
    stale = [read for read in reads if not _is_current(read, writes, entries)]
    wrong = {"lost": lost, "doubled": doubled, "disordered": disordered, "torn": torn, "strange": strange}
    return Findings(
        acknowledged=len(writes) - len(pending),
        **{name: len(each) for name, each in wrong.items()},
        stale=len(stale),
        whole=sum(parts[write.write_id] == write.size for write in pending),
        absent=sum(not parts[write.write_id] for write in pending),
        examples=tuple(f"{log}: {name} {each}" for name, some in wrong.items() for each in list(some)[:EXAMPLES])
        + tuple(f"{log}: stale, {len(read.entries)} entries were read" for read in stale[:EXAMPLES]),
    )


def _overtaking(known: Mapping[str, Write], entries: Sequence[Entry]) -> set[str]:
    """The writes that stand before one that was acknowledged before they began."""
    found, done = set(), inf
    for write_id in reversed(dict.fromkeys(write_id for write_id, _ in entries)):
        write = known[write_id]
        if write.began > done:
            found.add(write_id)
        done = min(done, write.acknowledged)
    return found


def _split(known: Mapping[str, Write], entries: Sequence[Entry]) -> set[str]:
    """The writes whose parts do not follow one on the other."""
    places: dict[str, list[tuple[int, int]]] = {}
    for place, (write_id, part) in enumerate(entries):
        places.setdefault(write_id, []).append((place, part))
    return {
        write_id
        for write_id, at in places.items()
        if any(after != (place + 1, part + 1) for (place, part), after in pairwise(at))
    }


def _is_current(read: Read, writes: Sequence[Write], entries: Sequence[Entry]) -> bool:
    seen = {write_id for write_id, _ in read.entries}
    return list(read.entries) == entries[: len(read.entries)] and all(
        write.write_id in seen for write in writes if write.acknowledged < read.began
    )
