"""From a host's name to its addresses, also where the system's resolver fails."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TypeAlias

from lakemem.errors import StorageUnavailableError

Resolve: TypeAlias = Callable[[str], Sequence[str]]


class Resolver:
    """Resolves names, and falls back on what worked before.

    The order is: the system's resolver; DNS asked directly, for systems whose resolver refuses a Lakebase's long
    name (dnspython, extra ``databricks``); the addresses found the last time.

    Args:
        resolve: stands in for the first of them. It raises OSError for a name it does not know.
    """

    def __init__(self, resolve: Resolve | None = None) -> None:
        self._resolve = resolve or system_addresses
        self._known: dict[str, Sequence[str]] = {}

    def addresses(self, host: str) -> Sequence[str]:
        """Return at least one IP address.

        Raises:
            StorageUnavailableError: nothing knows this name.
        """
        for resolve in (self._resolve, _dns_addresses):
            try:
                found = resolve(host)
            except (OSError, UnicodeError):
                continue
            if found:
                self._known[host] = found
                return found
        if host in self._known:
            return self._known[host]
        raise StorageUnavailableError(
            f"the name {host} cannot be resolved: check DNS, VPN and private link from this machine, "
            "or set PGHOSTADDR to the address"
        )


def system_addresses(host: str) -> Sequence[str]:
    """Ask the system, as libpq does."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


def _dns_addresses(host: str) -> Sequence[str]:
    try:
        from dns import exception, resolver
    except ImportError:
        return []
    try:
        return [record.to_text() for record in resolver.resolve(host, "A", lifetime=3.0)]
    except exception.DNSException as error:
        raise OSError(type(error).__name__) from None
