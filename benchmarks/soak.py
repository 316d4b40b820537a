"""Short-lived tokens, 32 tasks: does anything fail, or stand still?

Database tokens live two seconds. Meanwhile 32 tasks append to sessions, write and read checkpoints, and search: async
in one process and sync in another, at the same time. The pool of databricks-ai-bridge does single statements under the
same conditions, told to fetch a token each second (where `make test-peers` has made its environment). In a second part
all connections are closed every two seconds besides, as scale to zero and failover do, in the middle of what they are
at; there lakemem is wrapped in `degrading`.

A stall is a time of more than 50 ms in which the event loop did not get round to a waiting task. It is put down to the
library when one of its files is on the loop's stack meanwhile, and the thread worked for more than half of that time:
on a busy machine it may just not have been given a core.

What a process holds is flat where its memory, its open files and its connections are in the last quarter of the time
what they were in the second; the medians of both are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lakemem.testing import LakebaseEmulator

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent / ".venv-peers" / "bin" / "python"
ADDRESS = "127.54.32.2" if sys.platform == "linux" else "127.0.0.1"
TOKEN_LIFETIME = 2.0
PEER_SECONDS = 6.0
SAMPLES = 30
"""Below so many seconds, nothing is said of what grows."""
MEMORY, FILES, CONNECTIONS = 12.0, 8, 4
"""MiB, open files and connections by which these may differ: what a pool that is at work has more or less."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=110.0, help="of the first part (default: 110)")
    parser.add_argument(
        "--hour", dest="seconds", action="store_const", const=3600.0, help="let the first part take an hour"
    )
    parser.add_argument("--closing-seconds", type=float, default=10.0, help="of the second part (default: 10)")
    parser.add_argument("--min-rotations", type=int, default=25, help="tokens that each process must have used")
    options = parser.parse_args(arguments)

    from lakemem import Memory
    from lakemem.testing import LakebaseEmulator

    with LakebaseEmulator(address=ADDRESS, postgres_port=5432) as emulator:
        os.environ.update({**emulator.environment(), "LAKEBASE_AGENT_MEMORY_SCHEMA": "soak"})
        memory = Memory()
        memory.setup()
        memory.close()
        emulator.workspace.token_lifetime = TOKEN_LIFETIME
        rotating = run_together(emulator, options.seconds, closing=False)
        # At once: an hour's work is not to be lost with what comes after it.
        print(parts := f"Tokens of two seconds:\n\n{as_table(rotating)}", flush=True)
        closing = run_together(emulator, options.closing_seconds, closing=True)
    more = f"\nTokens of two seconds, and all connections closed every two seconds:\n\n{as_table(closing)}"
    print(more)
    table = f"{parts}\n{more}"
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "soak.md").write_text(f"# Soak\n\n{__doc__}\n{table}\n", "utf-8")
    ours = [row for row in [*rotating, *closing] if row["who"] != "peer"]
    good = all(row["failed"] == row["lost"] == row["stalls"] == 0 for row in ours) and all(
        row["rotations"] >= options.min_rotations for row in rotating if row["who"] != "peer"
    )
    good = good and all(is_flat(row) for row in ours)
    print("held" if good else "NOT HELD")
    return 0 if good else 1


def is_flat(row: dict[str, Any]) -> bool:
    """Whether a process holds no more at the end than it did when it was warm."""
    return row["samples"] < SAMPLES or all(
        row[column][1] - row[column][0] <= most
        for column, most in {"memory": MEMORY, "files": FILES, "connections": CONNECTIONS}.items()
    )


def run_together(emulator: LakebaseEmulator, seconds: float, *, closing: bool) -> list[dict[str, Any]]:
    """Run ours side by side and then the peer, and close all connections every two seconds meanwhile if `closing`."""
    rows = run_workers(emulator, ["async", "sync"], sys.executable, seconds, closing=closing)
    if PEERS.exists():
        rows += run_workers(emulator, ["peer"], str(PEERS), min(seconds, PEER_SECONDS), closing=closing)
    else:
        print("the peer is left out: `make test-peers` makes its environment", file=sys.stderr)
    return rows


def run_workers(
    emulator: LakebaseEmulator, workers: list[str], python: str, seconds: float, *, closing: bool
) -> list[dict[str, Any]]:
    command = [str(HERE / "soak_worker.py"), str(seconds), "degrading" if closing else "plain"]
    running = [subprocess.Popen([python, *command, worker], stdout=subprocess.PIPE, text=True) for worker in workers]
    over = threading.Event()

    def tick() -> None:
        began = time.monotonic()
        while not over.wait(TOKEN_LIFETIME):
            if closing and time.monotonic() - began < seconds:
                emulator.close_connections()
            print(f"{' and '.join(workers)}: {time.monotonic() - began:.0f} of {seconds:g} s", file=sys.stderr)

    ticking = threading.Thread(target=tick)
    ticking.start()
    outputs = [process.communicate()[0] for process in running]
    over.set()
    ticking.join()
    return [json.loads(output.splitlines()[-1]) for output in outputs]


COLUMNS = {
    "who": "who",
    "operations": "operations",
    "failed": "failed",
    "lost": "lost writes",
    "rotations": "tokens used",
    "stalls": "stalls > 50 ms by the library",
    "longest": "longest of any stall, ms",
    "median": "median, ms",
    "p99": "99th percentile, ms",
    "memory": "memory, MiB",
    "files": "open files",
    "connections": "connections",
    "errors": "errors",
}


def as_table(rows: list[dict[str, Any]]) -> str:
    lines = ["| " + " | ".join(COLUMNS.values()) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(shown(row.get(name, "")) for name in COLUMNS) + " |" for row in rows]
    return "\n".join(lines)


def shown(cell: Any) -> str:
    return " → ".join(f"{value:g}" for value in cell) if isinstance(cell, list) else str(cell)


if __name__ == "__main__":
    sys.exit(main())
