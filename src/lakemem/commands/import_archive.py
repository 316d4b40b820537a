"""``lakemem import archive``: what was exported becomes a user's again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from lakemem._sync.memory import Memory
from lakemem.commands.objects import embedder_of
from lakemem.commands.targets import add_target, target_of
from lakemem.errors import ConfigurationError, InvalidInputError


def add(sources: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = sources.add_parser(
        "archive",
        help="bring back what `lakemem export` wrote",
        description="Stores the threads, items and memories of an archive as a user's. Importing again changes "
        "nothing; one that was cut off is run again.",
    )
    parser.add_argument("file", metavar="FILE", help="JSON Lines as `lakemem export` writes them; - for stdin")
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--user", metavar="ID", help="whose it becomes")
    whose.add_argument("--scope", metavar="NAME", help="the shared scope whose it becomes")
    parser.add_argument("--embedder", metavar="MODULE:OBJECT", help="gives vectors to memories that come without one")
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    embedder = None if options.embedder is None else embedder_of(options.embedder)
    target = target_of(options)
    with Memory(target, schema=options.schema, embedder=embedder) as memory, _reading(options.file) as lines:
        view = memory.for_scope(options.scope) if options.user is None else memory.for_user(options.user)
        try:
            imported = view.import_archive(lines)
        except UnicodeDecodeError:
            raise InvalidInputError("the file is no archive: it is not in UTF-8") from None
    print(
        f"new: {imported.threads:,} threads, {imported.items:,} items, {imported.memories:,} versions of memories, "
        f"{imported.checkpoints:,} checkpoints, {imported.runs:,} runs"
    )
    return 0


@contextmanager
def _reading(name: str) -> Iterator[TextIO]:
    if name == "-":
        yield sys.stdin
        return
    try:
        with Path(name).open(encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read ({error.strerror})") from None
