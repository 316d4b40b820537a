"""Runs side by side: lakemem, the server of the Databricks packages, and a floor written by hand.

Both serve the same agent, by MLflow's decorator, in two processes behind real sockets, on one embedded Postgres as it
comes. In each case they work in turn, so that what else happens on the machine meets both; a figure is the median of
its rounds.

- ours: `lakemem serve`, logged in as an ordinary role, with row-level security.
- peer: `LongRunningAgentServer` of databricks-ai-bridge, in the environment that `make test-peers` makes, without
  MLflow's traces.
- floor: the least that does the work, one prepared statement an event, without row-level security.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from long_runs import plots
from long_runs.bench import RunsBench
from long_runs.delivery_case import delivery
from long_runs.event_case import events, make_floor
from long_runs.idle_case import idle_queries
from long_runs.servers import ours, peer, serving
from long_runs.takeover_case import takeover
from side_by_side import report
from side_by_side.goals import Goal, faster
from side_by_side.server import embedded_server
from side_by_side.vendor import IS_THERE, PYTHON

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "explanation" / "runs-benchmarks.md"
PACKAGES = ("psycopg", "psycopg-pool", "starlette", "uvicorn", "mlflow-skinny")
PEERS = ("databricks-ai-bridge", "sqlalchemy", "fastapi", "uvicorn", "mlflow-skinny")

Case = Callable[[RunsBench, str], Awaitable[None]]
TENFOLD = [faster("events/s", 10)]
CASES: dict[str, tuple[Case, list[Goal]]] = {
    "events-1": (partial(events, runs=1), TENFOLD),
    "events-8": (partial(events, runs=8), TENFOLD),
    "events-32": (partial(events, runs=32), TENFOLD),
    "delivery-same-p50-ms": (partial(delivery, where="same", figure="p50"), [Goal("ms", None, "at most", 10)]),
    "delivery-same-p99-ms": (partial(delivery, where="same", figure="p99"), [Goal("ms", None, "at most", 50)]),
    "delivery-other-p50-ms": (partial(delivery, where="other", figure="p50"), [Goal("ms", None, "at most", 10)]),
    "idle-queries-per-second": (idle_queries, [Goal("statements/s", None, "at most", 5)]),
    "takeover-seconds": (takeover, [Goal("s", None, "at most", 3)]),
}
GOALS = {name: goals for name, (_, goals) in CASES.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="see that everything works, in less than a minute")
    parser.add_argument("--only", action="append", metavar="CASE", choices=CASES, help="this case; may be repeated")
    parser.add_argument("--rounds", type=int, help="of each contender in each case (default: 5; quick: 1)")
    parser.add_argument("--seconds", type=float, help="of a round (default: 2; quick: 0.2)")
    parser.add_argument("--results", type=Path, help="folder to write to (default: of a whole run, results/)")
    parser.add_argument("--without-peer", action="store_true", help="measure lakemem and the floor alone")
    options = parser.parse_args(arguments)
    whole = not options.quick and not options.only and not options.without_peer
    with_peer = IS_THERE and not options.without_peer
    with embedded_server(filled=not options.quick) as server, ExitStack() as stack:
        databases = [stack.enter_context(server.database()) for _ in range(3)]
        bench = RunsBench(
            server,
            rounds=options.rounds or (1 if options.quick else 5),
            seconds=options.seconds or (0.2 if options.quick else 2.0),
            warm_up=0.1 if options.quick else 0.5,
            ours=ours(databases[0], server.helpers),
            peer=peer(databases[1], server.helpers) if with_peer else None,
            floor=databases[2],
            clients=100 if options.quick else 1_000,
        )
        make_floor(bench)
        asyncio.run(run(bench, options.only or list(CASES)))
    text = report.tables(bench, GOALS, PACKAGES, [peer_versions() if with_peer else "the peer was not measured"])
    print(text)
    if folder := options.results or (HERE / "results" if whole else None):
        report.write(folder, "runs", "Runs, side by side", bench.results, text)
        plots.write(folder / "runs.png", bench.results)
    if whole and options.results is None:
        report.write_into(PAGE, text)
    return 0


async def run(bench: RunsBench, names: list[str]) -> None:
    bench.say("the servers begin")
    async with serving(*bench.contenders):
        for name in names:
            bench.say(name)
            case, _ = CASES[name]
            await case(bench, name)


def peer_versions() -> str:
    program = f"from importlib.metadata import version; print(', '.join(f'{{p}} {{version(p)}}' for p in {PEERS!r}))"
    found = subprocess.run([str(PYTHON), "-c", program], capture_output=True, text=True, check=True)
    return f"the peer: {found.stdout.strip()}"


if __name__ == "__main__":
    sys.exit(main())
