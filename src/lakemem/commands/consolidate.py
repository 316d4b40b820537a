"""``lakemem consolidate``: fewer memories that say as much, of everybody."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime, timedelta

from lakemem._sync.memory import Memory
from lakemem.commands.objects import object_of
from lakemem.commands.targets import add_target, target_of
from lakemem.consolidation import Consolidation, MatchPolicy
from lakemem.errors import ConfigurationError
from lakemem.memory_types import DuplicatePolicy
from lakemem.protocols import Matcher
from lakemem.work_types import Consolidated

_DAY = 86400.0


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "consolidate",
        help="merge memories that say the same, let importance fall with age, and keep to caps",
        description="Go through the memories of all owners. Facts that say the same as an older one are merged into "
        "it; the other rules hold where they are given. What is closed stays in the history, unless it is erased. Run "
        "it as the owner of the tables, beside the running app.",
    )
    parser.add_argument("--keep-duplicates", action="store_true", help="merge nothing but what a matcher confirms")
    parser.add_argument(
        "--matcher", metavar="module:matcher", help="what says which similar facts say the same, such as a model"
    )
    parser.add_argument("--similarity", type=float, default=0.8, help="from which it is asked (default: 0.8)")
    parser.add_argument("--max-pairs", type=int, default=200, help="of each owner it is asked about (default: 200)")
    parser.add_argument("--match-days", type=float, metavar="DAYS", help="ask only where one of the two is so new")
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds for each answer (default: 60)")
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
        matches=_matches(options),
        half_life=None if options.half_life_days is None else options.half_life_days * _DAY,
        max_facts=options.max_facts,
        max_turns=options.max_turns,
        erase=options.erase,
    )
    with Memory(target_of(options), schema=options.schema, migrate=False) as memory:
        progress = _show if sys.stderr.isatty() else None
        consolidated = memory.consolidate(policy, dry_run=options.dry_run, progress=progress)
    print(f"would have {_said(consolidated)}" if options.dry_run else _said(consolidated))
    if options.matcher is not None:
        print(_said_of_matcher(consolidated, dry_run=options.dry_run))
    return 0


def matcher_of(name: str) -> Matcher:
    """Return the matcher that is named, or what makes one without arguments, such as a class.

    Raises:
        ConfigurationError: there is none under this name.
    """
    found = object_of(name)
    if isinstance(found, type) or (callable(found) and not isinstance(found, Matcher)):
        found = found()
    if not isinstance(found, Matcher):
        raise ConfigurationError(f"{name} is no matcher: it needs match(facts)")
    return found


def _matches(options: argparse.Namespace) -> MatchPolicy | None:
    if options.matcher is None:
        return None
    return MatchPolicy(
        matcher=matcher_of(options.matcher),
        similarity=options.similarity,
        max_pairs=options.max_pairs,
        since=None if options.match_days is None else datetime.now(UTC) - timedelta(days=options.match_days),
        deadline=options.deadline,
    )


def _show(consolidated: Consolidated) -> None:
    print(f"\r{_said(consolidated)}", end="", file=sys.stderr, flush=True)


def _said(consolidated: Consolidated) -> str:
    return (
        f"merged {consolidated.merged:,} facts, let the importance of {consolidated.decayed:,} memories fall, "
        f"closed {consolidated.closed:,} beyond a cap; of {consolidated.owners:,} owners"
    )


def _said_of_matcher(consolidated: Consolidated, *, dry_run: bool) -> str:
    if dry_run:
        return f"would ask about {consolidated.candidates:,} pairs"
    return (
        f"asked about {consolidated.candidates:,} pairs; {consolidated.dropped:,} answers dropped, "
        f"{consolidated.failed:,} questions failed"
    )
