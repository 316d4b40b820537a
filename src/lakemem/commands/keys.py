"""``lakemem keys``: the keys of encryption."""

from __future__ import annotations

import argparse

from lakemem._sync.memory import Memory
from lakemem.commands.owners import add_owner, view_of
from lakemem.commands.progress import shown
from lakemem.commands.targets import add_target, target_of
from lakemem.encryption import new_master_key
from lakemem.work_types import Encrypted


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "keys",
        help="make master keys; encrypt what is stored; rotate",
        description="The master keys are those of LAKEMEM_MASTER_KEYS. All but `new` and `drop` work through the rows "
        "of everybody, beside the running app, and may be stopped and run again: run them as the owner of the tables.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    new = actions.add_parser("new", help="print a new master key, as LAKEMEM_MASTER_KEYS has it")
    new.add_argument("name", metavar="ID", help="its id, such as the month: it must never mean another key")
    new.set_defaults(run=_new)
    listing = actions.add_parser("list", help="say how many data keys each master key has wrapped")
    add_target(listing)
    listing.set_defaults(run=_list)
    encrypt = actions.add_parser("encrypt", help="encrypt what is stored in clear")
    add_target(encrypt)
    encrypt.set_defaults(run=_encrypt)
    rewrap = actions.add_parser("rewrap", help="wrap all data keys under the current master key")
    add_target(rewrap)
    rewrap.set_defaults(run=_rewrap)
    rotate = actions.add_parser("rotate", help="give everybody a new data key, and encrypt with it what they have")
    add_target(rotate)
    rotate.set_defaults(run=_rotate)
    drop = actions.add_parser("drop", help="drop the data keys of a user: what they encrypted can be read no more")
    add_owner(drop)
    drop.add_argument("--requested-by", metavar="WHO", help="who asks for it, for the receipt and the audit log")
    drop.add_argument("--reason", metavar="TEXT", help="why; it must not name the user")
    add_target(drop)
    drop.set_defaults(run=_drop)


def _new(options: argparse.Namespace) -> int:
    print(new_master_key(options.name))
    return 0


def _list(options: argparse.Namespace) -> int:
    with Memory(target_of(options), schema=options.schema, migrate=False) as memory:
        for name, (count, retired) in memory.keys.counts().items():
            print(f"{name}: {count:,} data keys, {retired:,} of them retired")
    return 0


def _encrypt(options: argparse.Namespace) -> int:
    with Memory(target_of(options), schema=options.schema, migrate=False) as memory, shown("owners") as show:
        owners = memory.keys.count_owners()
        done = memory.keys.encrypt(progress=lambda so_far: show(so_far.owners, max(owners, so_far.owners)))
    print(f"{done.rows:,} rows of {done.owners:,} owners were encrypted{_unreadable(done)}")
    return 0


def _rewrap(options: argparse.Namespace) -> int:
    with Memory(target_of(options), schema=options.schema, migrate=False) as memory, shown("keys") as show:
        current = memory.keys.current
        others = sum(count for name, (count, _) in memory.keys.counts().items() if name != current)
        done = memory.keys.rewrap(progress=lambda so_far: show(so_far, max(others, so_far)))
    print(f"{done:,} data keys were wrapped under {current}")
    return 0


def _rotate(options: argparse.Namespace) -> int:
    with Memory(target_of(options), schema=options.schema, migrate=False) as memory, shown("owners") as show:
        owners = memory.keys.count_owners()
        done = memory.keys.rotate(progress=lambda so_far: show(so_far.owners, max(owners, so_far.owners)))
    print(f"{done.owners:,} owners have a new key, which encrypts {done.rows:,} rows{_unreadable(done)}")
    return 0


def _unreadable(done: Encrypted) -> str:
    return f"; {done.unreadable:,} do not open, and stay as they are" if done.unreadable else ""


def _drop(options: argparse.Namespace) -> int:
    with Memory(target_of(options), schema=options.schema, migrate=False) as memory:
        print(view_of(memory, options).drop_keys(requested_by=options.requested_by, reason=options.reason))
    return 0
