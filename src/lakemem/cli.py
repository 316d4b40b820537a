"""The command line: ``lakemem demo``, ``lakemem migrate``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from lakemem import Lakebase, LakememError, Memory, MissingExtraError, __version__
from lakemem.schema import migration_script, schema_name


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

    demo = commands.add_parser("demo", help="talk to an agent that remembers, and see what it stores")
    demo.add_argument("--langgraph", action="store_true", help="run a LangGraph graph in place of the Agents SDK")
    demo.set_defaults(run=_demo)

    migrate = commands.add_parser("migrate", help="create or upgrade lakemem's tables")
    migrate.add_argument("--sql", action="store_true", help="print the script for a DBA, and change nothing")
    migrate.add_argument("--dsn", help="the database; by default what the environment names")
    migrate.add_argument("--schema", help="the schema of the tables (default: lakemem)")
    migrate.set_defaults(run=_migrate)
    return parser


def _demo(options: argparse.Namespace) -> int:
    try:
        from lakemem.demo.conversation import run_demo
    except ImportError as error:
        if isinstance(error, MissingExtraError):
            raise
        raise MissingExtraError("demo", "`lakemem demo`") from None
    asyncio.run(run_demo(langgraph=options.langgraph))
    return 0


def _migrate(options: argparse.Namespace) -> int:
    if options.sql:
        print(migration_script(schema_name(options.schema)), end="")
        return 0
    memory = Memory(Lakebase.from_env(dsn=options.dsn), schema=options.schema)
    try:
        applied = memory.setup()
    finally:
        memory.close()
    for name in applied:
        print(f"applied {name}")
    print(f"schema {memory.schema} on {memory.target} is up to date")
    return 0
