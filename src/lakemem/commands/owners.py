"""Whose data a command works on."""

from __future__ import annotations

import argparse

from lakemem._sync.memory import Memory
from lakemem._sync.scoped import ScopedMemory


def add_owner(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a user or a shared scope."""
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--user", metavar="ID", help="the user")
    whose.add_argument("--scope", metavar="NAME", help="the shared scope")


def view_of(memory: Memory, options: argparse.Namespace) -> ScopedMemory:
    """Return what the arguments name."""
    return memory.for_scope(options.scope) if options.user is None else memory.for_user(options.user)
