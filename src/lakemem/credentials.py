"""Database tokens that expire: kept, refreshed ahead of time, and fetched once however many ask."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from lakemem.errors import CredentialError
from lakemem.types import Credential

logger = logging.getLogger("lakemem")


class CachedCredentials:
    """Keeps a token until it is nearly used up, then fetches the next one beside the callers' work.

    While the kept token is valid nobody waits: one background thread refreshes it. Once it has expired, one
    caller fetches and the others wait for its result. When a refresh fails the valid token stays in use, and
    the next attempt comes after a pause.

    Args:
        fetch: returns a new :class:`~lakemem.types.Credential`; it may block.
        refresh_after: the share of its lifetime after which a token is replaced.
        max_age: seconds after which a token is replaced at the latest.
        retry_pause: seconds between two attempts to refresh a token that is still valid.
        clock: seconds on a monotonic clock.
    """

    def __init__(
        self,
        fetch: Callable[[], Credential],
        *,
        refresh_after: float = 0.8,
        max_age: float = 50 * 60,
        retry_pause: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < refresh_after < 1:
            raise ValueError(f"refresh_after is a share between 0 and 1, not {refresh_after}")
        self._fetch = fetch
        self._refresh_after = refresh_after
        self._max_age = max_age
        self._retry_pause = retry_pause
        self._clock = clock
        self._fetching = threading.Lock()
        self._state = threading.Lock()
        self._current: Credential | None = None
        self._generation = 0
        self._refresh_at = float("-inf")
        self._expires_at = float("-inf")

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
                # Moved on at once, so that exactly one caller starts the refresh.
                self._refresh_at = now + self._retry_pause
                threading.Thread(target=self._refresh_quietly, name="lakemem-token", daemon=True).start()
                return current
            generation = self._generation
        return self._fetch_once(generation)

    def invalidate(self) -> None:
        """Drop the kept token, for instance because Postgres refused it; the next call fetches a new one."""
        with self._state:
            self._current = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'with' if self._current else 'without'} a token>"

    def _fetch_once(self, generation: int) -> Credential:
        with self._fetching:
            with self._state:
                fetched_meanwhile = self._generation != generation
                if fetched_meanwhile and self._current is not None and self._clock() < self._expires_at:
                    return self._current
            return self._store(self._call_fetch())

    def _refresh_quietly(self) -> None:
        with self._fetching:
            try:
                self._store(self._call_fetch())
            except CredentialError as error:
                logger.warning("%s; the current token stays in use until it expires", error)

    def _call_fetch(self) -> Credential:
        try:
            credential = self._fetch()
        except CredentialError:
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
            self._current = credential
            self._generation += 1
            self._expires_at = now + lifetime
            self._refresh_at = now + min(lifetime * self._refresh_after, self._max_age)
            return credential
