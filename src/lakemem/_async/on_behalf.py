"""On behalf of users: from a verified token to that user's memory, through the app's login or the user's own."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType

from lakemem._async.memory import AsyncMemory
from lakemem._async.scoped import AsyncScopedMemory
from lakemem.context import Identify, forwarded_token, identified_user
from lakemem.errors import ConfigurationError
from lakemem.waiting import acall_blocking, monotonic

LoginAs = Callable[[Callable[[], str]], AsyncMemory]
"""Makes the memory whose logins use a user's own token; the function it is given returns the newest one."""


class AsyncOnBehalfOf:
    """The memory of whoever a request comes from.

    ::

        users = AsyncOnBehalfOf(memory, identify=identify)
        async with users.of(request.headers) as user:
            await user.search("Which workspace does the user prefer?")

    Args:
        memory: the app's own.
        identify: turns a token into the user's id by asking its issuer.
        login_as: makes a memory that logs in to Postgres with the user's own token. Without it the app's pool
            serves all users, each confined by row-level security.
        max_users: how many users may have a pool of their own; the one unused for longest is closed first.
        idle: seconds after which an unused pool is closed.
    """

    def __init__(
        self,
        memory: AsyncMemory,
        *,
        identify: Identify,
        login_as: LoginAs | None = None,
        max_users: int = 64,
        idle: float = 300.0,
    ) -> None:
        if max_users < 1:
            raise ConfigurationError(f"max_users is at least 1, not {max_users}")
        self._memory = memory
        self._identify = identify
        self._login_as = login_as
        self._max_users = max_users
        self._idle = idle
        self._lock = asyncio.Lock()
        self._seats: OrderedDict[str, _Seat] = OrderedDict()

    @property
    def users(self) -> list[str]:
        """Who has a pool of their own now, the one unused for longest first."""
        return list(self._seats)

    @asynccontextmanager
    async def of(self, headers: Mapping[str, str]) -> AsyncIterator[AsyncScopedMemory]:
        """The memory of the user whose token was forwarded with these headers.

        Raises:
            IdentityError: there is no token, or its issuer does not vouch for it.
            StorageUnavailableError, CredentialError: Postgres does not let this user in.
        """
        token = forwarded_token(headers)
        user_id = await acall_blocking(lambda: identified_user(self._identify, token))
        if self._login_as is None:
            yield self._memory.for_user(user_id)
            return
        seat = await self._take(user_id, token)
        try:
            async with seat.opening:
                await seat.memory.open()
            yield seat.memory.for_user(user_id)
        finally:
            await self._leave(seat)

    async def close(self) -> None:
        """Close the users' pools; the app's own stays as it is."""
        async with self._lock:
            seats = list(self._seats.values())
            self._seats.clear()
        for seat in seats:
            await seat.memory.close()

    async def __aenter__(self) -> AsyncOnBehalfOf:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _take(self, user_id: str, token: str) -> _Seat:
        async with self._lock:
            seat = self._seats.get(user_id)
            if seat is None:
                seat = self._seats[user_id] = self._new_seat(token)
            seat.token = token
            seat.guests += 1
            self._seats.move_to_end(user_id)
            unused = self._unused(monotonic())
        for left in unused:
            await left.memory.close()
        return seat

    async def _leave(self, seat: _Seat) -> None:
        async with self._lock:
            seat.guests -= 1
            seat.used_at = monotonic()
            gone = seat not in self._seats.values() and seat.guests == 0
        if gone:
            await seat.memory.close()

    def _new_seat(self, token: str) -> _Seat:
        assert self._login_as is not None  # noqa: S101 - for the type checker; `of` has looked
        seat = _Seat(token)
        seat.memory = self._login_as(lambda: seat.token)
        return seat

    def _unused(self, now: float) -> list[_Seat]:
        """Take out the pools that are idle for too long, and as many more as are over the bound."""
        free = [user_id for user_id, seat in self._seats.items() if seat.guests == 0]
        over = len(self._seats) - self._max_users
        leaving = [
            user_id
            for place, user_id in enumerate(free)
            if place < over or now - self._seats[user_id].used_at > self._idle
        ]
        return [self._seats.pop(user_id) for user_id in leaving]


@dataclass(eq=False)
class _Seat:
    """One user's pool, the newest token that came for it, and how many requests use it now."""

    token: str = field(repr=False)
    memory: AsyncMemory = field(init=False)
    guests: int = 0
    used_at: float = 0.0
    opening: asyncio.Lock = field(default_factory=lambda: asyncio.Lock())
