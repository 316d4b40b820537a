"""``lakemem erase``: remove for good all that is stored of a user."""

from __future__ import annotations

import argparse
import json
import sys

from psycopg import sql

from lakemem._sync.memory import Memory
from lakemem.commands.owners import add_owner, view_of
from lakemem.commands.targets import add_target, connected, target_of
from lakemem.errors import ConfigurationError
from lakemem.grants import PRIVATE_TABLES
from lakemem.schema import schema_name


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "erase",
        help="remove for good all that is stored of a user",
        description="Removes threads, checkpoints, memories with all versions, runs and jobs of a user in one "
        "transaction, and prints the receipt as JSON. The audit log keeps that it was done, and names nobody.",
    )
    add_owner(parser)
    parser.add_argument("--requested-by", metavar="WHO", help="who asks for it, for the receipt and the audit log")
    parser.add_argument("--reason", metavar="TEXT", help="why, such as the number of a case; it must not name the user")
    parser.add_argument("--yes", action="store_true", help="do it; without this, only say what there is")
    parser.add_argument(
        "--vacuum", action="store_true", help="let Postgres clear the room afterwards; for the owner of the tables"
    )
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    target = target_of(options)
    with Memory(target, schema=options.schema, migrate=False) as memory:
        view = view_of(memory, options)
        if not options.yes:
            print(json.dumps(view.residue()))
            print("nothing was erased: these are the rows by table; add --yes to erase them", file=sys.stderr)
            return 0
        print(view.erase(requested_by=options.requested_by, reason=options.reason))
        if left := view.residue():
            raise ConfigurationError(f"somebody writes as this user again: there are rows in {', '.join(left)}")
        if options.vacuum:
            with connected(target) as connection:
                for table in PRIVATE_TABLES:
                    name = sql.Identifier(schema_name(options.schema), table)
                    connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(name))
    return 0
