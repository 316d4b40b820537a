"""``lakemem sweep``: give back the room of what has expired, and of old checkpoints."""

from __future__ import annotations

import argparse
import sys

from lakemem._sync.memory import Memory
from lakemem.commands.targets import add_target, target_of
from lakemem.work_types import Retention, Swept

_DAY = 86400.0


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "sweep",
        help="remove what has expired, and checkpoints that are not to be kept",
        description="Remove threads and memories of all owners that have expired, and old runs. With one of the "
        "three rules, checkpoints that none of the given rules keeps are removed, too; the newest of a thread always "
        "stays. "
        "Run it as the owner of the tables, beside the running app.",
    )
    parser.add_argument("--keep-last", type=int, metavar="N", help="keep the newest N checkpoints of each thread")
    parser.add_argument("--keep-turn-ends", action="store_true", help="keep the last checkpoint of each turn")
    parser.add_argument("--keep-days", type=float, metavar="DAYS", help="keep checkpoints younger than this")
    parser.add_argument(
        "--keep-runs-days",
        type=float,
        default=30.0,
        metavar="DAYS",
        help="keep runs for so long after their end (default: 30)",
    )
    parser.add_argument(
        "--keep-run-events-days",
        type=float,
        default=7.0,
        metavar="DAYS",
        help="keep the events of runs for so long after their end (default: 7)",
    )
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with Memory(target_of(options), schema=options.schema, migrate=False) as memory:
        swept = memory.sweep(
            _retention(options),
            keep_runs=options.keep_runs_days * _DAY,
            keep_run_events=options.keep_run_events_days * _DAY,
            progress=_show if sys.stderr.isatty() else None,
        )
    print(_said(swept))
    return 0


def _retention(options: argparse.Namespace) -> Retention | None:
    if options.keep_last is None and not options.keep_turn_ends and options.keep_days is None:
        return None
    return Retention(
        last=options.keep_last,
        turn_ends=options.keep_turn_ends,
        younger_than=None if options.keep_days is None else options.keep_days * _DAY,
    )


def _show(swept: Swept) -> None:
    print(f"\r{_said(swept)}", end="", file=sys.stderr, flush=True)


def _said(swept: Swept) -> str:
    return (
        f"removed {swept.threads} expired threads, {swept.checkpoints} checkpoints, "
        f"{swept.memories} expired memories, {swept.marks} marks of writes, {swept.runs} runs, "
        f"{swept.run_events} events of runs, {swept.quarantined} writes in quarantine"
    )
