"""What the emulator was asked, and the faults that it answers with when it is told to.

Requests and faults are matched by a route such as ``POST /api/2.0/database/credentials`` or
``GET /api/2.0/database/instances/*``. A login to Postgres counts as a request too: ``CONNECT <dns name>``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["rate_limit", "error", "slow", "refuse", "drop", "unresolvable"]

EVERYTHING = "*"
LOGINS = "CONNECT *"


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the API, or one login to Postgres.

    Attributes:
        method: the HTTP method, or ``CONNECT``.
        path: the path without its query, or the DNS name.
        status: of the answer; 0 where there was none. A login that succeeds counts as 200, one refused as 401.
        identity: who asked, where that is known.
        at: seconds on the monotonic clock.
    """

    method: str
    path: str
    status: int
    identity: str | None
    at: float = field(default_factory=time.monotonic)

    @property
    def route(self) -> str:
        return f"{self.method} {self.path}"


class RequestLog:
    """What was asked, in order. It holds no header, no body and no token."""

    def __init__(self) -> None:
        self._requests: list[Request] = []
        self._lock = threading.Lock()

    def add(self, request: Request) -> None:
        """Note a request."""
        with self._lock:
            self._requests.append(request)

    def matching(self, route: str = EVERYTHING, *, status: int | None = None) -> list[Request]:
        """Return the requests on a route, in order."""
        with self._lock:
            known = list(self._requests)
        return [
            request
            for request in known
            if fnmatchcase(request.route, route) and (status is None or request.status == status)
        ]

    def count(self, route: str = EVERYTHING, *, status: int | None = None) -> int:
        """Return how many requests there were on a route."""
        return len(self.matching(route, status=status))

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._requests.clear()

    def __iter__(self) -> Iterator[Request]:
        return iter(self.matching())

    def __len__(self) -> int:
        return len(self.matching())


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: what happens.
        route: for which requests.
        times: for how many more of them; None until it is cleared.
        status: of the answer.
        seconds: the delay, or what Retry-After says.
        error_code: in the answer's body.
    """

    kind: Kind
    route: str
    times: int | None = None
    status: int = 500
    seconds: float = 0.0
    error_code: str = "INTERNAL_ERROR"
    happened: int = 0


class Faults:
    """The switches. Each stays on for `times` requests, or until :meth:`clear`; all can be used from any thread."""

    def __init__(self) -> None:
        self._active: list[Fault] = []
        self._lock = threading.Lock()

    def rate_limit(self, route: str = EVERYTHING, *, retry_after: float = 1, times: int | None = None) -> Fault:
        """Answer 429, with Retry-After in whole seconds."""
        return self.add(
            Fault("rate_limit", route, times, status=429, seconds=retry_after, error_code="REQUEST_LIMIT_EXCEEDED")
        )

    def error(
        self, route: str = EVERYTHING, status: int = 500, *, error_code: str | None = None, times: int | None = None
    ) -> Fault:
        """Answer with an error; a login is refused with a FATAL message."""
        code = error_code or {
            400: "INVALID_PARAMETER_VALUE",
            401: "UNAUTHENTICATED",
            403: "PERMISSION_DENIED",
            404: "NOT_FOUND",
            503: "TEMPORARILY_UNAVAILABLE",
        }.get(status, "INTERNAL_ERROR")
        return self.add(Fault("error", route, times, status=status, error_code=code))

    def slow(self, route: str = EVERYTHING, seconds: float = 1.0, *, times: int | None = None) -> Fault:
        """Wait before answering, beside any other fault."""
        return self.add(Fault("slow", route, times, seconds=seconds))

    def refuse(self, route: str = EVERYTHING, *, times: int | None = None) -> Fault:
        """Close the connection without an answer: a client cannot tell it from a server that is not there."""
        return self.add(Fault("refuse", route, times))

    def drop(self, route: str = LOGINS, *, after: float = 0.0, times: int | None = None) -> Fault:
        """Let a login succeed, then cut the connection without a word `after` seconds later."""
        return self.add(Fault("drop", route, times, seconds=after))

    def unresolvable(self, name: str = "*", *, times: int | None = None) -> Fault:
        """Have the emulator's `resolve` not find a DNS name."""
        return self.add(Fault("unresolvable", f"RESOLVE {name}", times))

    def add(self, fault: Fault) -> Fault:
        """Switch a fault on."""
        with self._lock:
            self._active.append(fault)
        return fault

    def clear(self, fault: Fault | None = None) -> None:
        """Switch one fault off, or all."""
        with self._lock:
            self._active = [] if fault is None else [active for active in self._active if active is not fault]

    def take(self, route: str, *kinds: Kind) -> Fault | None:
        """Return the first fault of these kinds that a request meets, and count it."""
        with self._lock:
            for fault in self._active:
                if fault.kind in kinds and fnmatchcase(route, fault.route):
                    fault.happened += 1
                    if fault.times is not None:
                        fault.times -= 1
                        if fault.times <= 0:
                            self._active.remove(fault)
                    return fault
        return None

    def active(self) -> list[dict[str, Any]]:
        """Describe the faults that are switched on."""
        with self._lock:
            return [
                {
                    "kind": fault.kind,
                    "route": fault.route,
                    "times": fault.times,
                    "status": fault.status,
                    "seconds": fault.seconds,
                    "happened": fault.happened,
                }
                for fault in self._active
            ]
