"""``lakemem runs``: list, show, tail and cancel the runs of a user."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import get_args

from lakemem._async.memory import AsyncMemory
from lakemem._sync.memory import Memory
from lakemem._sync.runs import Runs
from lakemem.commands.targets import add_target, target_of
from lakemem.errors import ConfigurationError, RunNotFoundError
from lakemem.operations.running import dead
from lakemem.run_types import Run, RunStatus


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "runs",
        help="list, show, tail, cancel and retry runs",
        description="Look at the runs of a user, and end them. `list --dead` shows those of everybody that were given "
        "up since their processes ended before they did.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list runs, the newest first")
    listing.add_argument("--status", choices=get_args(RunStatus), help="only these")
    listing.add_argument("--thread", help="only those of this thread")
    listing.add_argument("--limit", type=int, default=20, help="how many at the most (default: 20)")
    listing.add_argument("--dead", action="store_true", help="those of everybody that were given up")
    _add_common(listing, list_runs)
    for name, run, text in (
        ("show", show, "show a run as JSON: what was asked, and what came of it"),
        ("tail", tail, "print the events of a run as they come, one JSON object a line"),
        ("cancel", cancel, "let a run end"),
        ("retry", retry, "queue a run that failed once more"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("run_id")
        if name == "tail":
            action.add_argument("--after", type=int, default=-1, help="the number of the last event seen (default: -1)")
        _add_common(action, run)


def _add_common(parser: argparse.ArgumentParser, run: object) -> None:
    parser.add_argument("--user", help="whose runs")
    parser.add_argument("--scope", help="or of which shared scope")
    add_target(parser)
    parser.set_defaults(run=run)


def list_runs(options: argparse.Namespace) -> int:
    with _memory(options) as memory:
        if options.dead:
            found = memory._storage.run(dead())
        else:
            found = _runs(memory, options).list(options.limit, status=options.status, thread_id=options.thread)
    for run in found:
        print(_line(run, with_owner=options.dead))
    return 0


def show(options: argparse.Namespace) -> int:
    with _memory(options) as memory:
        run = _found(_runs(memory, options).get(options.run_id))
    print(json.dumps(_described(run), indent=2, ensure_ascii=False))
    return 0


def tail(options: argparse.Namespace) -> int:
    async def follow() -> None:
        async with AsyncMemory(target_of(options), schema=options.schema, migrate=False) as memory:
            user = memory.for_user(options.user) if options.user else memory.for_scope(_scope(options))
            async for event in user.runs.tail(options.run_id, after=options.after):
                print(event.text, flush=True)
            run = await user.runs.get(options.run_id)
            print("deleted" if run is None else run.status, file=sys.stderr)

    asyncio.run(follow())
    return 0


def cancel(options: argparse.Namespace) -> int:
    with _memory(options) as memory:
        run = _found(_runs(memory, options).cancel(options.run_id))
    print(run.status if run.has_ended else "its worker was told")
    return 0


def retry(options: argparse.Namespace) -> int:
    with _memory(options) as memory:
        print(_runs(memory, options).retry(options.run_id).status)
    return 0


def _memory(options: argparse.Namespace) -> Memory:
    return Memory(target_of(options), schema=options.schema, migrate=False)


def _runs(memory: Memory, options: argparse.Namespace) -> Runs:
    return (memory.for_user(options.user) if options.user else memory.for_scope(_scope(options))).runs


def _scope(options: argparse.Namespace) -> str:
    if not options.scope:
        raise ConfigurationError("say whose runs: --user USER, or --scope SCOPE")
    return str(options.scope)


def _found(run: Run | None) -> Run:
    if run is None:
        raise RunNotFoundError("there is no such run")
    return run


def _line(run: Run, *, with_owner: bool) -> str:
    parts = [f"{run.created_at:%Y-%m-%d %H:%M:%S}", run.run_id, run.status, f"attempt {run.attempt}"]
    if with_owner:
        parts.insert(1, run.owner)
    if run.thread_id is not None:
        parts.append(f"thread {run.thread_id}")
    if run.error is not None:
        parts.append(run.error.code)
    return "  ".join(parts)


def _described(run: Run) -> dict[str, object]:
    moments = {"created_at": run.created_at, "started_at": run.started_at, "completed_at": run.completed_at}
    return {
        "run_id": run.run_id,
        "thread_id": run.thread_id,
        "previous_run_id": run.previous_run_id,
        "owner": run.owner,
        "kind": run.kind,
        "status": run.status,
        "error": None if run.error is None else {"code": run.error.code, "message": run.error.message},
        "attempt": run.attempt,
        "attempts_used": run.attempts_used,
        "max_attempts": run.max_attempts,
        "events": run.last_sequence + 1,
        **{name: None if moment is None else moment.isoformat() for name, moment in moments.items()},
        "deadline": run.deadline.isoformat(),
        "metadata": run.metadata,
        "request": run.request,
        "question": run.question,
        "answer": run.answer,
        "output": run.output,
    }
