"""On behalf of users: who they are by their forwarded token, and that nobody gets what is another's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import psycopg
import pytest
from psycopg import sql

from lakemem import AsyncMemory, ConfigurationError, IdentityError, Lakebase, Memory, resolve_context
from lakemem.cli import main
from lakemem.integrations.databricks import TokenIdentity, on_behalf_of, user_client
from lakemem.testing import LakebaseEmulator
from tests.databricks.conftest import CREDENTIALS, LOGINS

ME = "GET /api/2.0/preview/scim/v2/Me"
ALICE, BOB = "alice@users.example.com", "bob@users.example.com"


@pytest.fixture(autouse=True)
def users(app: LakebaseEmulator) -> None:
    for user in (ALICE, BOB):
        if user not in app.workspace.identities:
            app.add_user(user)


def headers(app: LakebaseEmulator, user: str) -> Mapping[str, str]:
    """What the platform forwards with a request of this user."""
    return {"X-Forwarded-Access-Token": app.login(user), "X-Forwarded-Email": "not-asked@example.com"}


@pytest.fixture
def admitted(app: LakebaseEmulator, memory: AsyncMemory, capsys: pytest.CaptureFixture[str]) -> None:
    """Both users have a role and, by `lakemem grants`, the right to their own rows."""
    for user in (ALICE, BOB):
        # The app owns the tables, and so gives the grants; the roles are the owner's to make.
        if app.workspace.instances[app.instance].lakebase.compute.role(user) is None:
            app.admit(app.workspace.identities[user], create=False)
        assert main(["grants", "--to", user, "--own-rows", "--apply"]) == 0
    capsys.readouterr()


def test_a_token_is_its_users_whatever_the_other_headers_say(app: LakebaseEmulator) -> None:
    assert user_client(headers(app, ALICE)).current_user.me().user_name == ALICE
    assert TokenIdentity()(app.login(BOB)) == BOB


def test_the_apps_own_login_is_never_mixed_in(app: LakebaseEmulator) -> None:
    with pytest.raises(IdentityError):
        user_client({})
    with pytest.raises(IdentityError):
        TokenIdentity()("not-a-token")


def test_an_answer_holds_for_a_while_and_then_the_workspace_is_asked_again(app: LakebaseEmulator) -> None:
    now = [0.0]
    identity = TokenIdentity(seconds=60.0, clock=lambda: now[0])
    token = app.login(ALICE)
    assert [identity(token) for _ in range(5)] == [ALICE] * 5
    assert app.requests.count(ME) == 1
    app.revoke(ALICE, logins=True)
    assert identity(token) == ALICE
    now[0] = 61.0
    with pytest.raises(IdentityError, match="sign in"):
        identity(token)


def test_no_more_answers_are_kept_than_allowed(app: LakebaseEmulator) -> None:
    identity = TokenIdentity(size=1)
    tokens = [app.login(ALICE), app.login(BOB)]
    assert [identity(token) for token in tokens * 2] == [ALICE, BOB] * 2
    assert app.requests.count(ME) == 4


def test_a_deployed_app_takes_the_identity_of_the_token_and_no_claim(
    app: LakebaseEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_APP_NAME", "agent")
    request = {"custom_inputs": {"user_id": BOB, "thread_id": "t"}}
    context = resolve_context(request, headers(app, ALICE), identify=TokenIdentity())
    assert (context.user_id, context.thread_id) == (ALICE, "t")
    with pytest.raises(IdentityError):
        resolve_context(request, {}, identify=TokenIdentity())


async def test_the_apps_pool_serves_each_user_their_own(app: LakebaseEmulator, memory: AsyncMemory) -> None:
    async with on_behalf_of(memory) as requests:
        async with requests.of(headers(app, ALICE)) as alice:
            await alice.save("color", "green")
        async with requests.of(headers(app, BOB)) as bob:
            assert await bob.items() == []
        async with requests.of(headers(app, ALICE)) as alice:
            assert [record.value for record in await alice.items()] == ["green"]


@pytest.mark.usefixtures("admitted")
async def test_users_log_in_as_themselves_with_their_own_tokens(app: LakebaseEmulator, memory: AsyncMemory) -> None:
    app.requests.clear()
    async with on_behalf_of(memory, login="user") as requests:

        async def save(user: str, n: int) -> None:
            async with requests.of(headers(app, user)) as mine:
                await mine.save(f"{user}-{n}", n)

        await asyncio.gather(*[save(user, n) for n in range(6) for user in (ALICE, BOB)])
        for user in (ALICE, BOB):
            async with requests.of(headers(app, user)) as mine:
                assert sorted(record.key for record in await mine.items()) == [f"{user}-{n}" for n in range(6)]
        assert sorted(requests.users) == [ALICE, BOB]
    asked = {request.identity for request in app.requests.matching(CREDENTIALS)}
    assert asked == {ALICE, BOB}
    assert app.requests.count(CREDENTIALS) == 2
    # The app's own pool may still have been opening a connection.
    assert {request.identity for request in app.requests.matching(LOGINS, status=200)} - {app.app.name} == {ALICE, BOB}


@pytest.mark.usefixtures("admitted")
async def test_a_user_who_logs_in_themselves_cannot_pose_as_another_even_in_sql(
    app: LakebaseEmulator, memory: AsyncMemory
) -> None:
    await memory.for_user(ALICE).save("secret", "of alice")
    login = app.parameters(BOB)
    with psycopg.connect(**login, autocommit=True) as connection, connection.transaction():  # type: ignore[arg-type]
        connection.execute("SELECT set_config('lakemem.owner', %s, true)", [f"user:{ALICE}"])
        rows = sql.SQL("SELECT * FROM {}").format(sql.Identifier(memory.schema, "memories"))
        found = connection.execute(rows).fetchall()
    assert found == []


async def test_a_user_without_a_role_is_told_what_is_missing(app: LakebaseEmulator, memory: AsyncMemory) -> None:
    app.add_user("carol@example.com")
    async with on_behalf_of(memory, login="user") as requests:
        with pytest.raises(Exception, match=r"carol@example\.com.*role exists"):
            async with requests.of(headers(app, "carol@example.com")):
                raise AssertionError


def test_the_sync_side_serves_users_too(app: LakebaseEmulator) -> None:
    with Memory(migrate=True) as memory, on_behalf_of(memory) as requests:
        with requests.of(headers(app, ALICE)) as alice:
            alice.save("color", "green")
        with requests.of(headers(app, BOB)) as bob:
            assert bob.items() == []


def test_logins_of_users_need_a_lakebase() -> None:
    memory = Memory(Lakebase.dsn("postgresql://somewhere/db"))
    with pytest.raises(ConfigurationError, match="needs a Lakebase"):
        on_behalf_of(memory, login="user")
    with pytest.raises(ConfigurationError, match='"app" or "user"'):
        on_behalf_of(memory, login="owner")  # type: ignore[call-overload]
