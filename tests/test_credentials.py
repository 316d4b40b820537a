"""Tokens that expire: when they are fetched, by whom, and what happens when that fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lakemem import CachedCredentials, ConfigurationError, Credential, CredentialError

LIFETIME = 3600.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Issuer:
    """Gives token-1, token-2, ...; it can fail, and it can be held up."""

    def __init__(self, lifetime: float | None = LIFETIME) -> None:
        self.lifetime = lifetime
        self.calls = 0
        self.error: Exception | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._lock = threading.Lock()

    def __call__(self) -> Credential:
        with self._lock:
            self.calls += 1
            token = f"token-{self.calls}"
        assert self.may_answer.wait(10)
        if self.error is not None:
            raise self.error
        return Credential(token, expires_in=self.lifetime)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def credentials(issuer: Issuer, clock: Clock) -> CachedCredentials:
    return CachedCredentials(issuer, clock=clock, jitter=0.0)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    wait_for_refresh()


def wait_for_refresh() -> None:
    for thread in threading.enumerate():
        if thread.name == "lakemem-token":
            thread.join(10)
            assert not thread.is_alive()


def test_a_token_is_fetched_once_and_kept(credentials: CachedCredentials, issuer: Issuer, clock: Clock) -> None:
    assert credentials.credential().token == "token-1"
    clock.now += LIFETIME * 0.79
    assert credentials.credential().token == "token-1"
    assert issuer.calls == 1


@pytest.mark.parametrize("callers", [2, 32])
def test_callers_who_ask_together_cause_one_fetch(credentials: CachedCredentials, issuer: Issuer, callers: int) -> None:
    issuer.may_answer.clear()
    with ThreadPoolExecutor(callers) as pool:
        asked = [pool.submit(credentials.credential) for _ in range(callers)]
        issuer.may_answer.set()
        assert {future.result(10).token for future in asked} == {"token-1"}
    assert issuer.calls == 1


def test_callers_who_ask_together_share_one_failure(credentials: CachedCredentials, issuer: Issuer) -> None:
    issuer.error = CredentialError("the workspace is away")
    issuer.may_answer.clear()
    waiting = threading.Barrier(9)

    def ask() -> str:
        waiting.wait(10)
        try:
            return credentials.credential().token
        except CredentialError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask) for _ in range(8)]
        waiting.wait(10)
        until(lambda: issuer.calls == 1)
        issuer.may_answer.set()
        assert {future.result(10) for future in asked} == {"the workspace is away"}
    # Whoever asked only after the answer may have asked the issuer once more, but not each of them.
    assert issuer.calls < 8


def test_a_used_up_share_of_the_lifetime_starts_a_refresh_that_nobody_waits_for(
    credentials: CachedCredentials, issuer: Issuer, clock: Clock
) -> None:
    credentials.credential()
    clock.now += LIFETIME * 0.81
    issuer.may_answer.clear()
    assert [credentials.credential().token for _ in range(20)] == ["token-1"] * 20
    issuer.may_answer.set()
    wait_for_refresh()
    assert credentials.credential().token == "token-2"
    assert issuer.calls == 2


def test_a_long_lived_token_is_replaced_after_max_age(issuer: Issuer, clock: Clock) -> None:
    issuer.lifetime = 24 * 3600.0
    credentials = CachedCredentials(issuer, clock=clock, jitter=0.0)
    credentials.credential()
    clock.now += 50 * 60 + 1
    credentials.credential()
    wait_for_refresh()
    assert credentials.credential().token == "token-2"


def test_jitter_spreads_the_refreshes_of_many_processes(clock: Clock) -> None:
    began = clock.now
    issuers = [Issuer() for _ in range(60)]
    caches = [CachedCredentials(issuer, clock=clock, jitter=0.25) for issuer in issuers]
    for cache in caches:
        cache.credential()
    refreshed = []
    for share in (0.59, 0.66, 0.72, 0.81):
        clock.now = began + LIFETIME * share
        for cache in caches:
            cache.credential()
        wait_for_refresh()
        refreshed.append(sum(issuer.calls > 1 for issuer in issuers))
    assert refreshed[0] == 0
    assert 0 < refreshed[1] < refreshed[2] < 60
    assert refreshed[3] == 60


def test_a_failed_refresh_leaves_the_valid_token_in_use(
    credentials: CachedCredentials, issuer: Issuer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    credentials.credential()
    issuer.error = RuntimeError("secret-words")
    clock.now += LIFETIME * 0.85
    with caplog.at_level(logging.WARNING, "lakemem"):
        credentials.credential()
        wait_for_refresh()
    assert credentials.credential().token == "token-1"
    assert "current token stays in use" in caplog.text
    assert "secret-words" not in caplog.text


def test_the_pauses_between_failed_refreshes_double(issuer: Issuer, clock: Clock) -> None:
    credentials = CachedCredentials(issuer, clock=clock, jitter=0.0, retry_pause=5.0)
    credentials.credential()
    began = clock.now
    issuer.error = CredentialError("away")
    clock.now += LIFETIME * 0.8
    tries = []
    for _ in range(70):
        calls = issuer.calls
        credentials.credential()
        wait_for_refresh()
        if issuer.calls > calls:
            tries.append(clock.now - began - LIFETIME * 0.8)
        clock.now += 5.0
    assert tries == [0.0, 5.0, 15.0, 35.0, 75.0, 155.0, 315.0]


def test_a_short_lived_token_is_tried_again_before_it_expires(issuer: Issuer, clock: Clock) -> None:
    issuer.lifetime = 2.0
    credentials = CachedCredentials(issuer, clock=clock, jitter=0.0, retry_pause=5.0)
    credentials.credential()
    issuer.error = CredentialError("away")
    clock.now += 1.6
    credentials.credential()
    wait_for_refresh()
    issuer.error = None
    clock.now += 0.21
    assert credentials.credential().token == "token-1"
    wait_for_refresh()
    assert credentials.credential().token == "token-3"


def test_an_expired_token_is_never_given_out(credentials: CachedCredentials, issuer: Issuer, clock: Clock) -> None:
    credentials.credential()
    clock.now += LIFETIME
    issuer.error = CredentialError("away")
    with pytest.raises(CredentialError, match="away"):
        credentials.credential()
    issuer.error = None
    assert credentials.credential().token == "token-3"


def test_a_token_about_to_expire_is_not_used_for_a_login(
    credentials: CachedCredentials, issuer: Issuer, clock: Clock
) -> None:
    credentials.credential()
    clock.now += LIFETIME - 9.0
    assert credentials.credential().token == "token-2"


def test_errors_that_say_more_than_a_credential_error_pass_through(
    credentials: CachedCredentials, issuer: Issuer
) -> None:
    issuer.error = ConfigurationError("set this or that")
    with pytest.raises(ConfigurationError, match="set this or that"):
        credentials.credential()


def test_a_refused_token_is_dropped_unless_another_is_kept_by_then(
    credentials: CachedCredentials, issuer: Issuer, clock: Clock
) -> None:
    first = credentials.credential().token
    assert credentials.invalidate(first)
    second = credentials.credential().token
    assert second == "token-2"
    assert credentials.invalidate(first), "a login with the second token has not been tried"
    assert credentials.credential().token == second


def test_a_token_refused_right_after_it_was_renewed_is_not_renewed_again(
    credentials: CachedCredentials, issuer: Issuer, clock: Clock
) -> None:
    for _ in range(10):
        credentials.invalidate(credentials.credential().token)
    assert issuer.calls == 2
    clock.now += 5.1
    assert credentials.invalidate(credentials.credential().token)
    assert credentials.credential().token == "token-3"


def test_a_token_without_expiry_stays(clock: Clock) -> None:
    issuer = Issuer(lifetime=None)
    credentials = CachedCredentials(issuer, clock=clock, jitter=0.0)
    credentials.credential()
    clock.now += 49 * 60
    assert credentials.credential().token == "token-1"


def test_no_repr_and_no_error_shows_a_token(issuer: Issuer) -> None:
    credentials = CachedCredentials(issuer)
    credential = credentials.credential()
    assert "token-1" not in f"{credentials!r} {credential!r} {credential}"
    issuer.error = ValueError("Bearer token-2 was refused")
    credentials.invalidate()
    with pytest.raises(CredentialError) as caught:
        credentials.credential()
    assert "token-2" not in str(caught.value)
    assert "ValueError" in str(caught.value)


@pytest.mark.parametrize("answer", [None, "token", Credential("")])
def test_a_source_that_gives_no_credential_is_named(answer: object) -> None:
    credentials = CachedCredentials(lambda: answer)  # type: ignore[arg-type, return-value]
    with pytest.raises(CredentialError, match=r"lakemem\.Credential"):
        credentials.credential()


@pytest.mark.parametrize("wrong", [{"refresh_after": 0.0}, {"refresh_after": 1.0}, {"jitter": -0.1}, {"jitter": 1.0}])
def test_shares_outside_of_0_and_1_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CachedCredentials(Issuer(), **wrong)


def until(condition: Callable[[], bool]) -> None:
    ticking = threading.Event()
    for _ in range(1000):
        if condition():
            return
        ticking.wait(0.01)
    raise AssertionError("it did not happen within 10 s")
