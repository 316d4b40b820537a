"""``lakemem quarantine``: look at the writes that a policy holds back, and decide on them."""

from __future__ import annotations

import argparse
import json

from lakemem._sync.memory import Memory
from lakemem._sync.quarantine import Quarantine
from lakemem.commands.targets import add_target, target_of
from lakemem.errors import ConfigurationError, NotFoundError
from lakemem.memory_types import QuarantinedWrite
from lakemem.operations import quarantine


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "quarantine",
        help="list, release and reject writes that are held back",
        description="Look at the writes that a policy holds back, and decide on them.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list what is held back, the longest held first")
    listing.add_argument("--limit", type=int, default=100, help="how many at the most (default: 100)")
    listing.add_argument("--json", action="store_true", help="print a JSON object a line, with the texts")
    _add_common(listing, list_writes)
    for name, run, text in (
        ("release", release, "make a write as it was to be made"),
        ("reject", reject, "drop a write for good"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("id")
        _add_common(action, run)


def _add_common(parser: argparse.ArgumentParser, run: object) -> None:
    parser.add_argument("--user", help="whose writes")
    parser.add_argument("--scope", help="or of which shared scope")
    add_target(parser)
    parser.set_defaults(run=run)


def list_writes(options: argparse.Namespace) -> int:
    with _memory(options) as memory:
        if options.user or options.scope:
            held = _of(memory, options).list(options.limit)
        else:
            held = memory._storage.run(quarantine.listing(quarantine.MAINTENANCE, options.limit))
    for write in held:
        # In ASCII: what is held back may be meant to confuse who reads it.
        print(json.dumps(_described(write)) if options.json else _line(write))
    return 0


def release(options: argparse.Namespace) -> int:
    with _memory(options) as memory:
        record = _of(memory, options).release(options.id)
    print("it was there already" if record is None else f"stored as version {record.version}")
    return 0


def reject(options: argparse.Namespace) -> int:
    with _memory(options) as memory:
        if not _of(memory, options).reject(options.id):
            raise NotFoundError("there is no such write in quarantine")
    print("dropped")
    return 0


def _memory(options: argparse.Namespace) -> Memory:
    return Memory(target_of(options), schema=options.schema, migrate=False)


def _of(memory: Memory, options: argparse.Namespace) -> Quarantine:
    if options.user:
        return memory.for_user(options.user).quarantine
    if options.scope:
        return memory.for_scope(options.scope).quarantine
    raise ConfigurationError("say whose writes: --user USER, or --scope SCOPE")


def _line(write: QuarantinedWrite) -> str:
    """A line without the text: a terminal is no place for it."""
    moment = f"{write.held_at:%Y-%m-%d %H:%M:%S}"
    return "  ".join([moment, write.owner, write.id, write.action, f"said by {write.trust}", json.dumps(write.reason)])


def _described(write: QuarantinedWrite) -> dict[str, object]:
    return {
        "id": write.id,
        "owner": write.owner,
        "reason": write.reason,
        "action": write.action,
        "trust": write.trust,
        "namespace": list(write.namespace),
        "key": write.key,
        "text": write.text,
        "held_at": write.held_at.isoformat(),
        "expires_at": write.expires_at.isoformat(),
    }
