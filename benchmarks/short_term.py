"""Short-term memory side by side: lakemem, the libraries that do the same, and a floor written by hand.

All share one embedded Postgres as it comes, with ten connections each. In each case they work in turn, so that what
else happens on the machine meets all of them; a figure is the median of its rounds.

- ours: `LakebaseSession` and `AsyncLakebaseSaver`, logged in as an ordinary role, with row-level security.
- peer: `SQLAlchemySession` of openai-agents and `AsyncPostgresSaver` of langgraph-checkpoint-postgres; for the cases
  `session-turn-vendor-16` and `import-seconds`, `AsyncDatabricksSession` of databricks-openai, in the environment that
  `make test-peers` makes.
- floor: the least that does the work, one prepared statement a call, without row-level security.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from psycopg_pool import AsyncConnectionPool
from side_by_side import report
from side_by_side.bench import Bench
from side_by_side.checkpoint_cases import checkpoint_put, checkpoint_step, thread_read
from side_by_side.goals import Goal, faster, smaller
from side_by_side.import_case import import_seconds
from side_by_side.link import link
from side_by_side.server import Server, embedded_server
from side_by_side.session_cases import session_turn, session_turn_vendor
from side_by_side.storage_case import thread_bytes
from side_by_side.wire_case import round_trips

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "explanation" / "short-term-benchmarks.md"

PACKAGES = (
    "openai-agents", "langgraph", "langgraph-checkpoint", "langgraph-checkpoint-postgres",
    "psycopg", "psycopg-pool", "SQLAlchemy", "orjson",
)  # fmt: skip

P99 = smaller("p99 ms", 1 / 3)
ONE_ROUND_TRIP = [Goal("round trips", None, "at most", 1)]

Case = Callable[[Bench, str], Awaitable[None]]
CASES: dict[str, tuple[Case, list[Goal]]] = {
    "session-turn-1": (partial(session_turn, workers=1), [faster("turns/s", 3.5), P99]),
    "session-turn-16": (
        partial(session_turn, workers=16),
        [faster("turns/s", 4.5), Goal("turns/s", "floor", "at least", 0.75), P99],
    ),
    "session-turn-64": (partial(session_turn, workers=64), [faster("turns/s", 7), P99]),
    "session-turn-vendor-16": (partial(session_turn_vendor, workers=16), [faster("turns/s", 10)]),
    "session-turn-link-16": (partial(session_turn, workers=16, over_link=True), [faster("turns/s", 4.5)]),
    "checkpoint-step-1": (partial(checkpoint_step, workers=1), [faster("steps/s", 1.3)]),
    "checkpoint-step-16": (partial(checkpoint_step, workers=16), [faster("steps/s", 1.8)]),
    "checkpoint-step-64": (partial(checkpoint_step, workers=64), [faster("steps/s", 1.8)]),
    "checkpoint-link-16": (partial(checkpoint_step, workers=16, over_link=True), [faster("steps/s", 4)]),
    "checkpoint-link-64": (partial(checkpoint_step, workers=64, over_link=True), [faster("steps/s", 5)]),
    "checkpoint-put-400-ms": (checkpoint_put, [smaller("ms", 0.1), smaller("ms after load", 0.1)]),
    "thread-500-bytes": (thread_bytes, [smaller("bytes", 0.05), Goal("growth exponent", None, "at most", 1.1)]),
    "thread-5000-read-ms": (thread_read, [smaller("ms", 0.2)]),
    "round-trips-add": (round_trips, ONE_ROUND_TRIP),
    "round-trips-get": (round_trips, ONE_ROUND_TRIP),
    "round-trips-get-tuple": (round_trips, ONE_ROUND_TRIP),
    "round-trips-put": (round_trips, ONE_ROUND_TRIP),
    "import-seconds": (import_seconds, [Goal("s", None, "at most", 0.5)]),
}
GOALS = {name: goals for name, (_, goals) in CASES.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="see that everything works, in less than a minute")
    parser.add_argument("--only", action="append", metavar="CASE", choices=CASES, help="this case; may be repeated")
    parser.add_argument("--rounds", type=int, help="of each contender in each case (default: 5; quick: 1)")
    parser.add_argument("--seconds", type=float, help="of a round (default: 2; quick: 0.2)")
    parser.add_argument("--results", type=Path, help="folder to write to (default: of a whole run, results/)")
    options = parser.parse_args(arguments)
    whole = not options.quick and not options.only
    with embedded_server() as server:
        bench = Bench(
            server,
            rounds=options.rounds or (1 if options.quick else 5),
            seconds=options.seconds or (0.2 if options.quick else 2.0),
            warm_up=0.1 if options.quick else 0.5,
            scale=0.04 if options.quick else 1.0,
        )
        link_ms = asyncio.run(run(bench, options.only or list(CASES)))
    text = report.tables(bench, GOALS, PACKAGES, [f"the link: `SELECT 1` takes {link_ms:.2f} ms by way of it"])
    print(text)
    if folder := options.results or (HERE / "results" if whole else None):
        report.write(folder, "short_term", "Short-term memory, side by side", bench.results, text)
        report.plot(folder / "short_term.png", bench.results, GOALS)
    if whole and options.results is None:
        report.write_into(PAGE, text)
    return 0


async def run(bench: Bench, names: list[str]) -> float:
    link_ms = await measured_link(bench.server)
    for name in names:
        bench.say(name)
        case, _ = CASES[name]
        await case(bench, name)
    return link_ms


async def measured_link(server: Server) -> float:
    """Milliseconds of a `SELECT 1` over the link."""
    with server.database() as direct, link(direct, server.helpers) as target:
        options = {**target.parameters, "autocommit": True}
        async with AsyncConnectionPool(kwargs=options, min_size=1, open=False) as pool, pool.connection() as connection:
            times = []
            for _ in range(50):
                started = time.perf_counter()
                await connection.execute("SELECT 1")
                times.append(time.perf_counter() - started)
    return sorted(times)[25] * 1e3


if __name__ == "__main__":
    sys.exit(main())
