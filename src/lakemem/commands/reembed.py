"""``lakemem reembed``: change the embedder of all memories, beside the running app."""

from __future__ import annotations

import argparse

from lakemem._sync.memory import Memory
from lakemem.commands.objects import embedder_of
from lakemem.commands.progress import shown
from lakemem.commands.targets import add_target, target_of
from lakemem.work_types import Reembedded


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "reembed",
        help="change the embedder of all memories while the app goes on",
        description="Give every memory a vector of another embedder, besides the one it has. When that is done, start "
        "the app anew with the new embedder, then run this again with --finish: the new vectors take the place of the "
        "old ones. It may be stopped and run again at any time. Run it as the owner of the tables.",
    )
    parser.add_argument(
        "--embedder",
        required=True,
        metavar="MODULE:OBJECT",
        help="the new embedder, or a function without arguments that makes it",
    )
    parser.add_argument("--finish", action="store_true", help="the app has the new embedder: let go of the old vectors")
    parser.add_argument("--replace", action="store_true", help="drop the vectors of another change that was begun")
    parser.add_argument("--dry-run", action="store_true", help="say what there is to do, and change nothing")
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    embedder = embedder_of(options.embedder)
    with Memory(target_of(options), schema=options.schema, migrate=False) as memory, shown("vectors") as show:
        reembedded = memory.reembed(
            embedder,
            finish=options.finish,
            replace=options.replace,
            dry_run=options.dry_run,
            progress=lambda so_far: show(so_far.filled, so_far.filled + so_far.left),
        )
    print(_said(reembedded))
    if not options.dry_run:
        print(_next_step(reembedded, finished=options.finish))
    return 0


def _said(reembedded: Reembedded) -> str:
    others = [
        f"{count:,} of {model}" for model, count in reembedded.models.items() if model != reembedded.model and count
    ]
    lines = [
        f"{reembedded.model}: {reembedded.filled:,} filled, {reembedded.moved:,} moved, {reembedded.left:,} left",
        f"vectors of other models: {', '.join(others) or 'none'}",
    ]
    if reembedded.without_vector:
        lines.append(f"{reembedded.without_vector:,} have a text that the embedder has no vector for")
    return "\n".join(lines)


def _next_step(reembedded: Reembedded, *, finished: bool) -> str:
    if reembedded.left > reembedded.without_vector:
        return "the app has saved more meanwhile: run this again"
    return "done" if finished else "start the app with this embedder, then run this again with --finish"
