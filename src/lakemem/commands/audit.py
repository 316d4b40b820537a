"""``lakemem audit``: what was done to a user's memories, by whom, and why."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from lakemem._sync.memory import Memory
from lakemem.commands.targets import add_target, target_of


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "audit",
        help="print the audit log of a user",
        description="Prints the audit log as JSON, one entry a line: who, what, when and why, never a text. Of a user "
        "who was erased, what is from before that comes first. Run it as the owner of the tables.",
    )
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--user", metavar="ID", help="the user")
    whose.add_argument("--scope", metavar="NAME", help="the shared scope")
    whose.add_argument("--erased", metavar="OWNER", help="the `owner` of the receipt of an erasure")
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with Memory(target_of(options), schema=options.schema, migrate=False) as memory:
        if options.erased is not None:
            events = memory.audit(options.erased)
        elif options.user is not None:
            events = memory.for_user(options.user).audit()
        else:
            events = memory.for_scope(options.scope).audit()
        for event in events:
            print(json.dumps({**asdict(event), "at": event.at.isoformat()}))
    return 0
