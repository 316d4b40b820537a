"""Tokens of a Lakebase: rotated, refused, revoked, late, and never in anybody's way."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from lakemem import AsyncMemory, CredentialError, Lakebase, LakememError, Memory, StorageUnavailableError
from lakemem.connecting import LakebaseConnector, connector_for
from lakemem.integrations.databricks import LakebaseCredentials
from lakemem.testing import LakebaseEmulator
from tests.databricks.conftest import CREDENTIALS, LOGINS
from tests.support.loops import Attention


@pytest.mark.parametrize("instance", [False, True], ids=["endpoint", "instance"])
async def test_the_environment_of_an_app_is_enough(
    app: LakebaseEmulator, monkeypatch: pytest.MonkeyPatch, instance: bool
) -> None:
    for name in ("LAKEBASE_AUTOSCALING_ENDPOINT", "LAKEBASE_INSTANCE_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in app.environment(instance=instance).items():
        monkeypatch.setenv(name, value)
    async with AsyncMemory(migrate=True) as memory:
        user = memory.for_user("alice")
        await user.save("color", "green")
        assert [record.value for record in await user.items()] == ["green"]


def test_branch_host_name_and_injected_postgres_variables_lead_to_the_same_lakebase(
    app: LakebaseEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Memory(migrate=True) as memory:
        memory.for_user("alice").save("color", "green")
    where = {"port": app.postgres_port, "hostaddr": app.address}
    targets = [
        Lakebase.branch("agent-memory", "production", **where),
        Lakebase.instance("agent-memory", **where),
        Lakebase.instance(app.host, **where),
    ]
    monkeypatch.delenv("LAKEBASE_AUTOSCALING_ENDPOINT")
    monkeypatch.setenv("PGHOST", app.host)
    monkeypatch.setenv("PGUSER", app.app.name)
    monkeypatch.setenv("PGDATABASE", "databricks_postgres")
    targets.append(Lakebase.from_env())
    for target in targets:
        with Memory(target) as memory:
            assert [record.value for record in memory.for_user("alice").items()] == ["green"], str(target)


async def test_no_request_fails_while_tokens_rotate_and_connections_are_replaced(
    short_lived: LakebaseEmulator,
) -> None:
    async with AsyncMemory(migrate=True, min_size=2, max_size=4) as memory:
        user = memory.for_user("alice")
        until = time.monotonic() + 9.0

        async def work() -> int:
            done = 0
            while time.monotonic() < until:
                await user.save("counter", done)
                await asyncio.sleep(0.02)
                done += 1
            return done

        done = await asyncio.gather(*[work() for _ in range(4)])
    assert min(done) > 10
    assert 2 <= short_lived.requests.count(CREDENTIALS) <= 8
    assert short_lived.requests.count(LOGINS, status=200) >= 4
    assert short_lived.requests.count(LOGINS, status=401) == 0


def test_the_sync_pool_rotates_too(short_lived: LakebaseEmulator) -> None:
    with Memory(migrate=True, max_size=2) as memory:
        user = memory.for_user("alice")
        until = time.monotonic() + 9.0
        while time.monotonic() < until:
            user.save("counter", 1)
            time.sleep(0.02)
    assert 2 <= short_lived.requests.count(CREDENTIALS) <= 6
    assert short_lived.requests.count(LOGINS, status=401) == 0


async def test_a_revoked_token_costs_one_refresh_and_one_retry(app: LakebaseEmulator) -> None:
    # One connection at the most: a pool that grows may be opening another one with the old token.
    async with AsyncMemory(migrate=True, max_size=1) as memory:
        user = memory.for_user("alice")
        await user.save("color", "green")
        app.requests.clear()
        assert app.revoke() >= 1
        app.close_connections()
        assert [record.value for record in await user.items()] == ["green"]
    assert app.requests.count(CREDENTIALS) == 1
    assert app.requests.count(LOGINS, status=401) == 1


async def test_a_login_that_is_refused_for_good_says_so_after_one_retry(app: LakebaseEmulator) -> None:
    target = Lakebase.from_env()
    stranger = Lakebase(target.kind, target.name, target.database, {**target.parameters, "user": "stranger"})
    with pytest.raises(StorageUnavailableError, match="refused the login") as caught:
        await AsyncMemory(stranger).open()
    assert "stranger" in str(caught.value)
    assert app.requests.count(CREDENTIALS) == 2
    assert app.requests.count(LOGINS) == 2


@pytest.mark.parametrize("how", ["suspend", "close"])
async def test_connections_closed_by_the_server_are_replaced_unnoticed(
    app: LakebaseEmulator, memory: AsyncMemory, how: str
) -> None:
    user = memory.for_user("alice")
    await asyncio.gather(*[user.save(f"k{n}", n) for n in range(8)])
    closed = app.suspend(app.endpoint) if how == "suspend" else app.close_connections()
    assert closed > 0
    found = await asyncio.gather(*[user.get(f"k{n}") for n in range(8)])
    assert [record.value for record in found if record] == list(range(8))


async def test_a_lakebase_that_wakes_up_is_waited_for(app: LakebaseEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    # One connection at the most: a pool that grows may be waking it already.
    async with AsyncMemory(migrate=True, max_size=1) as memory:
        user = memory.for_user("alice")
        await user.save("color", "green")
        monkeypatch.setattr(app.workspace, "wake_delay", 1.0)
        assert app.suspend(app.endpoint) > 0
        started = time.monotonic()
        assert [record.value for record in await user.items()] == ["green"]
        assert time.monotonic() - started > 0.9


async def test_a_lakebase_that_starts_is_waited_for(app: LakebaseEmulator) -> None:
    lakebase = app.workspace.instances[app.instance].lakebase
    lakebase.ready_at = time.time() + 1.5
    started = time.monotonic()
    async with AsyncMemory(migrate=True) as memory:
        assert (await memory.health()).status == "ok"
    assert time.monotonic() - started > 1.4


FAULTS = {
    "rate limit": lambda faults: faults.rate_limit(CREDENTIALS, retry_after=1),
    "500": lambda faults: faults.error(CREDENTIALS, 500),
    "503": lambda faults: faults.error(CREDENTIALS, 503),
    "slow": lambda faults: faults.slow(CREDENTIALS, 1.5),
    "refused": lambda faults: faults.refuse(CREDENTIALS),
    "forbidden": lambda faults: faults.error(CREDENTIALS, 403),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_while_a_token_is_valid_a_failing_refresh_disturbs_nobody(
    app: LakebaseEmulator, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(app.workspace, "token_lifetime", 5.0)
    async with AsyncMemory(migrate=True) as memory:
        user = memory.for_user("alice")
        await user.save("color", "green")
        FAULTS[fault](app.faults)
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            app.close_connections()
            assert len(await user.items()) == 1
        app.faults.clear()


@pytest.mark.parametrize(
    ("fault", "words"),
    [("forbidden", "may not have a token"), ("500", "did not give a token"), ("refused", "did not give a token")],
)
async def test_without_any_token_the_error_names_the_step_and_the_pool_recovers(
    app: LakebaseEmulator, monkeypatch: pytest.MonkeyPatch, fault: str, words: str
) -> None:
    monkeypatch.setattr("lakemem.lakebase.RETRY_SECONDS", 1)
    # One connection at the most: a pool that grows may be opening another one with the old token.
    async with AsyncMemory(migrate=True, timeout=3.0, max_size=1) as memory:
        user = memory.for_user("alice")
        await user.save("color", "green")
        FAULTS[fault](app.faults)
        app.revoke()
        app.close_connections()
        with pytest.raises(LakememError, match=words):
            await user.items()
        app.faults.clear()
        assert [record.value for record in await patient(user.items)] == ["green"]


async def patient(read):  # type: ignore[no-untyped-def]
    """Retry for as long as the pool takes to notice that all is well again."""
    until = time.monotonic() + 20.0
    while True:
        try:
            return await read()
        except StorageUnavailableError:
            if time.monotonic() > until:
                raise


async def test_a_workspace_that_cannot_be_reached_at_the_start_is_told(
    app: LakebaseEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakemem.lakebase.RETRY_SECONDS", 1)
    app.faults.error("GET /api/2.0/postgres/*", 500)
    with pytest.raises(CredentialError, match="did not give the address of the Lakebase endpoint"):
        await AsyncMemory().open()


async def test_a_login_that_the_workspace_refuses_is_told(
    app: LakebaseEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "wrong")
    with pytest.raises(LakememError) as caught:
        await AsyncMemory().open()
    assert "DATABRICKS_CLIENT_SECRET" in str(caught.value)


async def test_an_endpoint_that_is_not_there_is_told(app: LakebaseEmulator) -> None:
    with pytest.raises(StorageUnavailableError, match=r"does not know .*endpoints/other.*check the name"):
        await AsyncMemory(Lakebase.endpoint("projects/agent-memory/branches/production/endpoints/other")).open()


async def test_a_fetch_of_a_token_does_not_stall_the_event_loop(
    app: LakebaseEmulator, memory: AsyncMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, attention, issue = memory.for_user("alice"), Attention(), app.workspace.issue_credential

    def issue_later(*args: Any) -> tuple[str, float]:
        attention.ask()
        return issue(*args)

    monkeypatch.setattr(app.workspace, "issue_credential", issue_later)
    app.revoke()
    app.close_connections()
    await asyncio.gather(*[user.items() for _ in range(16)])
    assert attention.answers == [True], "one for all who waited"


def test_many_threads_share_one_fetch(app: LakebaseEmulator) -> None:
    credentials = LakebaseCredentials()
    app.faults.slow(CREDENTIALS, 0.3)
    tokens: set[str] = set()
    threads = [threading.Thread(target=lambda: tokens.add(credentials.credential().token)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 1
    assert app.requests.count(CREDENTIALS) == 1


def test_the_expiry_is_read_from_the_credential(app: LakebaseEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for lifetime in (2.0, 600.0, 3600.0):
        monkeypatch.setattr(app.workspace, "token_lifetime", lifetime)
        credential = LakebaseCredentials().credential()
        assert credential.expires_in == pytest.approx(lifetime, abs=1.5)
        assert credential.user == app.app.name


def test_a_ttl_is_asked_for_where_the_api_has_one(app: LakebaseEmulator) -> None:
    assert LakebaseCredentials(ttl=300).credential().expires_in == pytest.approx(300, abs=2)
    with pytest.raises(LakememError, match="300 to 3600"):
        LakebaseCredentials(ttl=10)
    with pytest.raises(LakememError, match="autoscaling"):
        LakebaseCredentials(Lakebase.instance("agent-memory"), ttl=300).credential()


def test_claims_are_passed_on(app: LakebaseEmulator) -> None:
    claims = [{"permission_set": "READ_ONLY", "resources": [{"table_name": "c.s.t"}]}]
    for target in (Lakebase.from_env(), Lakebase.instance("agent-memory")):
        assert LakebaseCredentials(target, claims=claims).credential().token


async def test_tls_verifies_the_name_although_the_address_is_given(app: LakebaseEmulator) -> None:
    target = Lakebase.from_env()
    assert target.parameters["sslmode"] == "verify-full"
    await AsyncMemory(target, migrate=True).setup()
    connector = connector_for(target)
    login = connector.parameters()
    assert login["hostaddr"] == app.address
    assert login["host"].endswith(".database.emulator.localhost")
    weaker = Lakebase(target.kind, target.name, target.database, {**target.parameters, "sslmode": "prefer"})
    assert connector_for(weaker).parameters()["sslmode"] == "require"


def test_a_resolver_that_fails_is_worked_around_by_what_it_said_before(app: LakebaseEmulator) -> None:
    connector = resolving(app)
    assert connector.parameters()["hostaddr"] == app.address
    app.faults.unresolvable()
    assert connector.parameters()["hostaddr"] == app.address


def test_a_name_that_was_never_resolved_is_told_with_the_remedy(app: LakebaseEmulator) -> None:
    app.faults.unresolvable()
    with pytest.raises(StorageUnavailableError, match=r"emulator\.localhost cannot be resolved.*PGHOSTADDR"):
        resolving(app).parameters()


def resolving(app: LakebaseEmulator) -> LakebaseConnector:
    target = Lakebase.from_env()
    parameters = {name: value for name, value in target.parameters.items() if name != "hostaddr"}
    target = Lakebase(target.kind, target.name, target.database, parameters)
    return LakebaseConnector(target, LakebaseCredentials(target), resolve=app.resolve)
