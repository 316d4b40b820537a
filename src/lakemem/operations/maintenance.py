"""What works through the memories of everybody, and who may do so."""

from __future__ import annotations

from lakemem.errors import ConfigurationError
from lakemem.operations import Operation, Rows

MAINTENANCE = "maintenance"
"""The owner of whom the policy `maintenance` speaks; no user's or scope's owner can be named so."""
IN_ORDER = "maintenance.in_order"
"""What runs first, before a page is read in the order of the primary key."""


def check_allowed() -> Operation[None]:
    """Refuse a login that would see the memories of nobody.

    Raises:
        ConfigurationError: it does not own the tables.
    """
    return Operation(
        statement="maintenance.allowed", owner=MAINTENANCE, parameters={}, parse=_check, fallback=None, waits=False
    )


def _check(rows: Rows) -> None:
    if rows != [(True,)]:
        raise ConfigurationError(
            "only the owner of the tables can work through the memories of all users: log in as the role that ran "
            "`lakemem migrate`"
        )
