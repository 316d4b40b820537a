"""``lakemem migrate``: create or upgrade the tables."""

from __future__ import annotations

import argparse

from lakemem._sync.memory import Memory
from lakemem.commands.targets import add_target, target_of
from lakemem.schema import migration_script, schema_name


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("migrate", help="create or upgrade lakemem's tables")
    parser.add_argument("--sql", action="store_true", help="print the script for a DBA, and change nothing")
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.sql:
        print(migration_script(schema_name(options.schema)), end="")
        return 0
    memory = Memory(target_of(options), schema=options.schema)
    try:
        applied = memory.setup()
    finally:
        memory.close()
    for name in applied:
        print(f"applied {name}")
    print(f"schema {memory.schema} on {memory.target} is up to date")
    return 0
