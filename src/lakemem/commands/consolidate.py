"""``lakemem consolidate``: fewer memories that say as much, of everybody."""

from __future__ import annotations

import argparse
import sys

from lakemem._sync.memory import Memory
from lakemem.commands.targets import add_target, target_of
from lakemem.types import Consolidated, Consolidation, DuplicatePolicy

_DAY = 86400.0


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "consolidate",
        help="merge memories that say the same, let importance fall with age, and keep to caps",
        description="Go through the memories of all owners. Facts that say the same as an older one are merged into "
        "it; the other rules hold where they are given. What is closed stays in the history, unless it is erased. Run "
        "it as the owner of the tables, beside the running app.",
    )
    parser.add_argument("--keep-duplicates", action="store_true", help="merge nothing")
    parser.add_argument("--half-life-days", type=float, metavar="DAYS", help="after which importance is halved")
    parser.add_argument("--max-facts", type=int, metavar="N", help="facts that each owner keeps")
    parser.add_argument("--max-turns", type=int, metavar="N", help="turns of conversations that each owner keeps")
    parser.add_argument("--erase", action="store_true", help="erase what is beyond a cap, with its history")
    parser.add_argument("--dry-run", action="store_true", help="say what there is to do, and change nothing")
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    policy = Consolidation(
        duplicates=None if options.keep_duplicates else DuplicatePolicy(),
        half_life=None if options.half_life_days is None else options.half_life_days * _DAY,
        max_facts=options.max_facts,
        max_turns=options.max_turns,
        erase=options.erase,
    )
    with Memory(target_of(options), schema=options.schema, migrate=False) as memory:
        progress = _show if sys.stderr.isatty() else None
        consolidated = memory.consolidate(policy, dry_run=options.dry_run, progress=progress)
    print(f"would have {_said(consolidated)}" if options.dry_run else _said(consolidated))
    return 0


def _show(consolidated: Consolidated) -> None:
    print(f"\r{_said(consolidated)}", end="", file=sys.stderr, flush=True)


def _said(consolidated: Consolidated) -> str:
    return (
        f"merged {consolidated.merged:,} facts, let the importance of {consolidated.decayed:,} memories fall, "
        f"closed {consolidated.closed:,} beyond a cap; of {consolidated.owners:,} owners"
    )
