"""Database tokens that expire: kept, refreshed ahead of time, and fetched once however many ask."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from lakemem.errors import CredentialError, LakememError
from lakemem.types import Credential

logger = logging.getLogger("lakemem")


MARGIN, MARGIN_SHARE = 10.0, 0.05
"""A token this close to its expiry, in seconds and as a share of its lifetime, is not used: a login takes time."""


class CachedCredentials:
    """Keeps a token until it is nearly used up, then fetches the next one beside the callers' work.

    While the kept token is valid nobody waits: one background thread refreshes it. Once it has expired, one
    caller fetches and the others share its result, be it a token or an error. When a refresh fails the valid
    token stays in use, and the next attempt comes after a pause that doubles with each failure.

    Args:
        fetch: returns a new :class:`~lakemem.Credential`; it may block.
        refresh_after: the share of its lifetime after which a token is replaced.
        max_age: seconds after which a token is replaced at the latest.
        jitter: the share of that time by which a refresh may come earlier, so that many processes that began
            together do not ask together.
        retry_pause: seconds until a failed refresh is tried again, the first time.
        clock: seconds on a monotonic clock.
    """

    def __init__(
        self,
        fetch: Callable[[], Credential],
        *,
        refresh_after: float = 0.8,
        max_age: float = 50 * 60,
        jitter: float = 0.1,
        retry_pause: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < refresh_after < 1:
            raise ValueError(f"refresh_after is a share between 0 and 1, not {refresh_after}")
        if not 0 <= jitter < 1:
            raise ValueError(f"jitter is a share between 0 and 1, not {jitter}")
        self._fetch = fetch
        self._refresh_after = refresh_after
        self._max_age = max_age
        self._jitter = jitter
        self._retry_pause = retry_pause
        self._clock = clock
        self._fetching = threading.Lock()
        self._state = threading.Lock()
        self._current: Credential | None = None
        self._attempts = 0
        self._failures = 0
        self._last_error: LakememError | None = None
        self._refresh_at = float("-inf")
        self._expires_at = float("-inf")
        self._invalidated_at = float("-inf")

    def credential(self) -> Credential:
        """Return a token that is valid now.

        Raises:
            CredentialError: there is no valid token, and fetching one failed.
        """
        with self._state:
            current, now = self._current, self._clock()
            if current is not None and now < self._expires_at:
                if now < self._refresh_at:
                    return current
                # Until its outcome is known, so that exactly one caller starts the refresh.
                self._refresh_at = float("inf")
                threading.Thread(target=self._refresh_quietly, name="lakemem-token", daemon=True).start()
                return current
            seen = self._attempts
        return self._fetch_once(seen)

    def invalidate(self, token: str | None = None) -> bool:
        """Drop the kept token because Postgres refused it; the next call fetches a new one.

        Args:
            token: the refused token. When another one is kept by now, that one stays.

        Returns:
            Whether another login makes sense. A token that was fetched because of such a refusal, only a moment
            ago, is not dropped again: then it is not the token that is wrong.
        """
        with self._state:
            if token is not None and self._current is not None and self._current.token != token:
                return True
            if self._clock() - self._invalidated_at < self._retry_pause:
                return False
            self._invalidated_at = self._clock()
            self._current = None
            return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'with' if self._current else 'without'} a token>"

    def _fetch_once(self, seen: int) -> Credential:
        with self._fetching:
            with self._state:
                if self._attempts != seen:
                    if self._current is not None and self._clock() < self._expires_at:
                        return self._current
                    if self._last_error is not None:
                        raise self._last_error
            return self._attempt()

    def _refresh_quietly(self) -> None:
        with self._fetching:
            try:
                self._attempt()
            except LakememError as error:
                logger.warning("%s; the current token stays in use until it expires", error)

    def _attempt(self) -> Credential:
        try:
            credential = self._call_fetch()
        except LakememError as error:
            with self._state:
                self._attempts += 1
                self._failures += 1
                self._last_error = error
                self._refresh_at = self._clock() + self._pause()
            raise
        return self._store(credential)

    def _call_fetch(self) -> Credential:
        try:
            credential = self._fetch()
        except LakememError:
            raise
        except Exception as error:
            # The words of a foreign error may hold a part of a secret.
            raise CredentialError(
                f"fetching a database token failed with {type(error).__name__}: "
                "check the credential source given as credentials="
            ) from None
        if not isinstance(credential, Credential) or not credential.token:
            raise CredentialError(
                "the credential source must return a lakemem.Credential with a token", retryable=False
            )
        return credential

    def _store(self, credential: Credential) -> Credential:
        with self._state:
            now = self._clock()
            lifetime = float("inf") if credential.expires_in is None else credential.expires_in
            age = min(lifetime * self._refresh_after, self._max_age)
            self._current = credential
            self._attempts += 1
            self._failures = 0
            self._last_error = None
            self._expires_at = now + lifetime - min(MARGIN, lifetime * MARGIN_SHARE)
            self._refresh_at = now + age * (1 - random.uniform(0, self._jitter))  # noqa: S311 - no secret
            return credential

    def _pause(self) -> float:
        """Seconds until the next try: they double, but leave time for it before the kept token expires."""
        left = max(self._expires_at - self._clock(), 0.0)
        return float(min(self._retry_pause * 2 ** (self._failures - 1), left / 2))
