"""``lakemem hold``: legal holds, under which nothing is removed."""

from __future__ import annotations

import argparse
import json

from lakemem._sync.memory import Memory
from lakemem.commands.owners import add_owner, view_of
from lakemem.commands.targets import add_target, target_of
from lakemem.errors import NotFoundError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "hold",
        help="place, release and list legal holds",
        description="While a user is on hold, nothing of theirs is erased or swept. Run it as the owner of the tables.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    place = actions.add_parser("place", help="place a hold")
    add_owner(place)
    place.add_argument("--name", required=True, metavar="NAME", help="such as the number of a case")
    place.add_argument("--reason", required=True, metavar="TEXT", help="why; it must not name the user")
    place.add_argument("--by", required=True, metavar="WHO", help="who says so")
    add_target(place)
    place.set_defaults(run=_place)
    release = actions.add_parser("release", help="lift a hold, and let go of what was kept for it")
    add_owner(release)
    release.add_argument("--name", required=True, metavar="NAME", help="of the hold")
    release.add_argument("--reason", metavar="TEXT", help="why")
    release.add_argument("--by", required=True, metavar="WHO", help="who says so")
    add_target(release)
    release.set_defaults(run=_release)
    listing = actions.add_parser("list", help="print the holds as JSON, one a line")
    add_owner(listing)
    add_target(listing)
    listing.set_defaults(run=_list)


def _place(options: argparse.Namespace) -> int:
    with Memory(target_of(options), schema=options.schema, migrate=False) as memory:
        hold = view_of(memory, options).hold(options.name, placed_by=options.by, reason=options.reason)
    print(f"on hold since {hold.placed_at.isoformat()}")
    return 0


def _release(options: argparse.Namespace) -> int:
    with Memory(target_of(options), schema=options.schema, migrate=False) as memory:
        view = view_of(memory, options)
        if not view.release(options.name, released_by=options.by, reason=options.reason):
            raise NotFoundError("there is no hold of this name: `lakemem hold list` shows those that are placed")
        left = len(view.holds())
    print(f"released; {left} holds are left")
    return 0


def _list(options: argparse.Namespace) -> int:
    with Memory(target_of(options), schema=options.schema, migrate=False) as memory:
        for hold in view_of(memory, options).holds():
            print(
                json.dumps(
                    {
                        "name": hold.name,
                        "reason": hold.reason,
                        "placed_by": hold.placed_by,
                        "placed_at": hold.placed_at.isoformat(),
                    }
                )
            )
    return 0
