"""What row-level security costs: the same calls on the same rows, with it and with it switched off.

Both are databases of one server, made alike, with the same role and the same statements. The calls go in turns, a few
on the one and a few on the other, so that both see the machine as it is at the moment. A call's time is the median of
all; the server's CPU is that of the backend which answered.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from side_by_side.server import Server, embedded_server

from lakemem import CallableEmbedder, Memory, ScopedMemory
from lakemem.grants import PRIVATE_TABLES
from lakemem.operations.checkpoints import Address, Blob

RESULTS = Path(__file__).resolve().parent / "results" / "row_security.md"
USERS = 50
"""Each has as much as the one whose calls are measured, but for memories: they have a tenth."""
ITEMS, MEMORIES = 200, 1_000
TURN = 10
"""Calls in a row on one of the two."""
DIMENSIONS = 256

Call = Callable[[ScopedMemory, int], object]
CALLS: dict[str, Call] = {
    "append an item": lambda user, n: user.thread("new").append([{"role": "user", "content": "Hello"}]),
    "read 50 of 200 items": lambda user, n: user.thread("t").items(50),
    "store a checkpoint": lambda user, n: user.checkpoints.put(
        Address("t", "", f"new {n}"),
        parent_checkpoint_id=None,
        checkpoint=Blob("json", b"{}"),
        metadata="{}",
        channel_versions=f'{{"a": "{n}"}}',
        blobs={"a": (str(n), Blob("json", b"1"))},
    ),
    "read a checkpoint": lambda user, n: user.checkpoints.get("t", ""),
    "save a memory": lambda user, n: user.save(f"new {n}", f"The user likes number {n}."),
    "get a memory": lambda user, n: user.get(f"key {n % MEMORIES}"),
    "search among 1,000 memories": lambda user, n: user.search(f"Which number, {n % MEMORIES}?"),
}


@dataclass
class Side:
    """One of the two databases, through one connection."""

    user: ScopedMemory
    backend: psutil.Process
    times: list[float] = field(default_factory=list)
    cpu: float = 0.0

    def make(self, call: Call, numbers: range) -> None:
        before = sum(self.backend.cpu_times()[:2])
        for number in numbers:
            started = time.perf_counter()
            call(self.user, number)
            self.times.append(time.perf_counter() - started)
        self.cpu += sum(self.backend.cpu_times()[:2]) - before


def embed(texts: Sequence[str]) -> list[list[float]]:
    return [[float((hash(text) >> place) % 17) + 0.1 for place in range(DIMENSIONS)] for text in texts]


def load(memory: Memory, users: int) -> None:
    for number in range(users):
        user = memory.for_user(f"user {number}")
        user.thread("t").append([{"role": "user", "content": f"Hello {n}"} for n in range(ITEMS)])
        CALLS["store a checkpoint"](user, -1)
        for n in range(MEMORIES if number == 0 else MEMORIES // 10):
            user.save(f"key {n}", f"The user said that number {n} is one to remember.")


def measure(server: Server, calls: int, users: int) -> list[tuple[str, Side, Side]]:
    with server.database() as with_it, server.database() as without:
        with psycopg.connect(make_conninfo(**without.parameters), autocommit=True) as owner:
            for table in PRIVATE_TABLES:
                owner.execute(
                    sql.SQL("ALTER TABLE {} DISABLE ROW LEVEL SECURITY").format(sql.Identifier("lakemem", table))
                )
        embedder = CallableEmbedder(embed, model="hash", dimensions=DIMENSIONS)
        memories = [Memory(target, embedder=embedder, max_size=1) for target in (with_it, without)]
        found = []
        with memories[0], memories[1]:
            for memory, target in zip(memories, (with_it, without), strict=True):
                load(memory, users)
                server.settle(target)
            for name, call in CALLS.items():
                sides = [Side(memory.for_user("user 0"), backend_of(memory)) for memory in memories]
                for side in sides:
                    side.make(call, range(2 * calls, 2 * calls + 10))
                    side.times.clear()
                    side.cpu = 0.0
                for begin in range(0, calls, TURN):
                    for side in sides if begin // TURN % 2 else reversed(sides):
                        side.make(call, range(begin, begin + TURN))
                found.append((name, sides[0], sides[1]))
                print(line(*found[-1]), flush=True)
        return found


def backend_of(memory: Memory) -> psutil.Process:
    pool = memory._storage._pool  # type: ignore[attr-defined]
    with pool.connection() as connection:
        return psutil.Process(connection.info.backend_pid)


def line(name: str, with_it: Side, without: Side) -> str:
    one, other = (statistics.median(side.times) * 1e3 for side in (with_it, without))
    cpu, other_cpu = (side.cpu / len(side.times) * 1e3 for side in (with_it, without))
    return f"| {name} | {one:.2f} | {other:.2f} | {one - other:+.2f} | {cpu:.2f} | {other_cpu:.2f} |"


HEAD = """\
| call | with it, ms | without, ms | difference, ms | server's CPU with it, ms | without, ms |
|---|---|---|---|---|---|"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=400, help="of each kind, on each side (default: 400)")
    parser.add_argument("--quick", action="store_true", help="see that it works, and write nothing")
    options = parser.parse_args(arguments)
    print(HEAD)
    with embedded_server(filled=not options.quick) as server:
        found = measure(server, *((20, 3) if options.quick else (options.calls, USERS)))
    if not options.quick:
        lines = "\n".join(line(*each) for each in found)
        RESULTS.write_text(f"# The cost of row-level security\n\n{__doc__}\n{HEAD}\n{lines}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
