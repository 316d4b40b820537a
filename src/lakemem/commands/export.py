"""``lakemem export``: what is stored of one user, as JSON Lines."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from lakemem._sync.memory import Memory
from lakemem.commands.owners import add_owner, view_of
from lakemem.commands.targets import add_target, target_of
from lakemem.errors import ConfigurationError, ThreadNotFoundError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "export",
        help="write what is stored of a user as JSON Lines",
        description="Writes a JSON object a line, each with its kind: a thread, then its items, then the next thread; "
        "then the memories with all their versions, what runs used, checkpoints, and runs with their events. "
        "`lakemem import archive` brings them back.",
    )
    add_owner(parser)
    parser.add_argument("--thread", metavar="ID", help="only this thread with its items")
    parser.add_argument("--vectors", action="store_true", help="write the vectors of memories, too")
    parser.add_argument("--output", metavar="FILE", type=Path, help="where to write (default: stdout)")
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    counts: Counter[str] = Counter()
    with Memory(target_of(options), schema=options.schema) as memory, _writing(options.output) as output:
        for record in view_of(memory, options).export(options.thread, vectors=options.vectors):
            # In ASCII, so that NUL, halves of characters and line separators survive whatever reads the lines.
            print(json.dumps(record), file=output)
            counts[record["kind"]] += 1
    if options.thread is not None and not counts["thread"]:
        raise ThreadNotFoundError("there is no thread of this id, or it belongs to somebody else")
    told = f"exported {counts['thread']:,} threads with {counts['item']:,} items"
    if options.thread is None:
        told += (
            f", {counts['memory']:,} versions of memories, {counts['checkpoint']:,} checkpoints, "
            f"and {counts['run']:,} runs"
        )
    print(told, file=sys.stderr)
    return 0


@contextmanager
def _writing(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    try:
        with path.open("w", encoding="ascii") as output:
            yield output
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written ({error.strerror})") from None
