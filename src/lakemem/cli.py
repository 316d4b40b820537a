"""The command line: ``lakemem COMMAND``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lakemem import LakememError, __version__
from lakemem.commands import demo, doctor, grants, migrate, provision


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except LakememError as error:
        print(f"lakemem: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lakemem", description="Memory for AI agents on Postgres.")
    parser.add_argument("--version", action="version", version=f"lakemem {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (demo, migrate, doctor, grants, provision):
        command.add(commands)
    return parser
