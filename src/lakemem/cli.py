"""The command line: ``lakemem COMMAND``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lakemem import LakememError, __version__
from lakemem.commands import (
    audit,
    consolidate,
    demo,
    doctor,
    emulator,
    erase,
    export,
    grants,
    hold,
    importing,
    keys,
    migrate,
    provision,
    quarantine,
    reembed,
    runs,
    serve,
    sweep,
    worker,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        # Their values are not repeated: one may be a URL with a password.
        names = " ".join(argument.partition("=")[0] if argument.startswith("--") else "..." for argument in unknown)
        parser.error(f"unrecognized arguments: {names} (a database is named with --dsn, or by LAKEMEM_DSN)")
    try:
        return int(options.run(options))
    except LakememError as error:
        print(f"lakemem: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lakemem", description="Memory for AI agents on Postgres.")
    parser.add_argument("--version", action="version", version=f"lakemem {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (
        demo,
        migrate,
        doctor,
        grants,
        importing,
        export,
        erase,
        hold,
        audit,
        serve,
        runs,
        worker,
        reembed,
        consolidate,
        quarantine,
        keys,
        sweep,
        provision,
        emulator,
    ):
        command.add(commands)
    return parser
