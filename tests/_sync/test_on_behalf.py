# Generated from tests/_async/test_on_behalf.py by tools/unasync.py: edit that file, then run `make generate`.
"""Requests of several users: whose memory each of them gets, and by whose login."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping

import psycopg
import pytest
from psycopg import sql

from lakemem import (
    CachedCredentials,
    ConfigurationError,
    Credential,
    IdentityError,
    Lakebase,
    Memory,
    OnBehalfOf,
    ScopedMemory,
    StorageUnavailableError,
)
from lakemem.testing.concurrency import gather

USERS = {f"token-{name}": f"{name}@example.com" for name in ("alice", "bob", "carol", "dora")}


def identify(token: str) -> str:
    return USERS[token]


def headers(name: str) -> Mapping[str, str]:
    return {"X-Forwarded-Access-Token": f"token-{name}"}


@pytest.fixture
def roles(admin_dsn: str, target: Lakebase) -> Iterator[dict[str, str]]:
    """A Postgres role for each user, with the rights of the tables' owner."""
    tag = secrets.token_hex(4)
    names = {user: f"{user}-{tag}" for user in USERS.values()}
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        for role in names.values():
            admin.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(
                    sql.Identifier(role), sql.Literal("secret"), sql.Identifier(str(target.parameters["user"]))
                )
            )
        yield names
        for role in names.values():
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


class Logins:
    """Logs each user in as the role of whoever the newest token names, and keeps what it made."""

    def __init__(self, memory: Memory, roles: dict[str, str]) -> None:
        self.made: list[Memory] = []
        self._memory = memory
        self._roles = roles

    def __call__(self, token: Callable[[], str]) -> Memory:
        memory = self._memory.logged_in_as(
            CachedCredentials(lambda: Credential("secret", user=self._roles[identify(token())]))
        )
        self.made.append(memory)
        return memory


@pytest.fixture
def logins(memory: Memory, roles: dict[str, str]) -> Logins:
    return Logins(memory, roles)


def actors(target: Lakebase, admin_dsn: str) -> dict[str, set[str]]:
    """Which Postgres role wrote for which user."""
    with psycopg.connect(admin_dsn, dbname=str(target.database)) as admin:
        found: dict[str, set[str]] = {}
        for owner, actor in admin.execute("SELECT DISTINCT owner, actor FROM lakemem.memory_events"):
            found.setdefault(str(owner).removeprefix("user:"), set()).add(str(actor))
        return found


def keys(user: ScopedMemory) -> list[str]:
    return [record.key for record in user.items()]


def test_the_apps_own_pool_serves_each_user_with_their_own_rows(memory: Memory) -> None:
    users = OnBehalfOf(memory, identify=identify)
    with users.of(headers("alice")) as user:
        user.save("color", "green")
    with users.of(headers("bob")) as user:
        assert keys(user) == []
    with users.of(headers("alice")) as user:
        assert keys(user) == ["color"]
    assert users.users == []


def test_with_their_own_login_each_user_is_another_postgres_role(
    memory: Memory, logins: Logins, roles: dict[str, str], target: Lakebase, admin_dsn: str
) -> None:
    with OnBehalfOf(memory, identify=identify, login_as=logins) as users:

        def save(name: str, n: int) -> None:
            with users.of(headers(name)) as user:
                user.save(f"{name}-{n}", n)

        gather([lambda name=name, n=n: save(name, n) for n in range(8) for name in ("alice", "bob", "carol")])
        for name in ("alice", "bob", "carol"):
            with users.of(headers(name)) as user:
                assert sorted(keys(user)) == [f"{name}-{n}" for n in range(8)]
    assert actors(target, admin_dsn) == {
        user: {roles[user]} for user in ("alice@example.com", "bob@example.com", "carol@example.com")
    }
    assert len(logins.made) == 3


@pytest.mark.parametrize("request_headers", [{}, {"x-forwarded-access-token": ""}, {"X-Forwarded-User": "alice"}])
def test_without_a_token_no_memory_is_opened(memory: Memory, logins: Logins, request_headers: dict[str, str]) -> None:
    users = OnBehalfOf(memory, identify=identify, login_as=logins)
    with pytest.raises(IdentityError):
        with users.of(request_headers):
            raise AssertionError
    assert logins.made == []


def test_a_token_that_its_issuer_does_not_know_is_not_taken_nor_told(memory: Memory) -> None:
    users = OnBehalfOf(memory, identify=identify)
    with pytest.raises(IdentityError) as caught:
        with users.of({"X-Forwarded-Access-Token": "forged-secret"}):
            raise AssertionError
    assert "forged-secret" not in str(caught.value)


def test_more_users_than_the_bound_close_the_pool_unused_for_longest(memory: Memory, logins: Logins) -> None:
    with OnBehalfOf(memory, identify=identify, login_as=logins, max_users=2) as users:
        for name in ("alice", "bob", "alice", "carol"):
            with users.of(headers(name)) as user:
                user.items()
        assert users.users == ["alice@example.com", "carol@example.com"]
        with users.of(headers("bob")) as user:
            user.items()
    assert len(logins.made) == 4
    assert [opened(memory) for memory in logins.made] == [False] * 4


def test_a_pool_in_use_is_never_closed(memory: Memory, logins: Logins) -> None:
    with OnBehalfOf(memory, identify=identify, login_as=logins, max_users=1) as users:
        with users.of(headers("alice")) as alice:
            for name in ("bob", "carol"):
                with users.of(headers(name)) as user:
                    user.items()
            alice.save("still", "here")
        with users.of(headers("dora")) as user:
            user.items()
        assert users.users == ["dora@example.com"]


def test_a_pool_unused_for_longer_than_idle_is_closed(memory: Memory, logins: Logins) -> None:
    with OnBehalfOf(memory, identify=identify, login_as=logins, idle=0.0) as users:
        for name in ("alice", "bob"):
            with users.of(headers(name)) as user:
                user.items()
        assert users.users == ["bob@example.com"]


def test_the_newest_token_of_a_user_makes_their_next_login(memory: Memory) -> None:
    seen: list[str] = []

    def login_as(token: Callable[[], str]) -> Memory:
        seen.append(token())
        tokens.append(token)
        password = str(memory.target.parameters.get("password", "unused"))
        return memory.logged_in_as(CachedCredentials(lambda: Credential(password)))

    tokens: list[Callable[[], str]] = []
    with OnBehalfOf(memory, identify=lambda token: "alice", login_as=login_as) as users:
        for token in ("morning", "noon"):
            with users.of({"x-forwarded-access-token": token}) as user:
                user.items()
    assert seen == ["morning"]
    assert tokens[0]() == "noon"


def test_a_failed_login_is_raised_and_the_next_request_tries_again(memory: Memory, roles: dict[str, str]) -> None:
    names = ["nobody-of-this-name", roles["alice@example.com"]]

    def login_as(token: Callable[[], str]) -> Memory:
        return memory.logged_in_as(_LoginOnce(names))

    with OnBehalfOf(memory, identify=identify, login_as=login_as) as users:
        with pytest.raises(StorageUnavailableError, match="nobody-of-this-name") as caught:
            with users.of(headers("alice")):
                raise AssertionError
        assert "secret" not in str(caught.value)
        with users.of(headers("alice")) as user:
            user.save("color", "green")


class _LoginOnce:
    """Gives each of some roles for one login, and the last of them from then on."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def credential(self) -> Credential:
        return Credential("secret", user=self._names.pop(0) if len(self._names) > 1 else self._names[0])


def test_a_bound_below_one_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_users"):
        OnBehalfOf(Memory(Lakebase.dsn("postgresql://nowhere")), identify=identify, max_users=0)


def opened(memory: Memory) -> bool:
    try:
        memory.for_user("anyone").items()
    except ConfigurationError:
        return False
    return True
