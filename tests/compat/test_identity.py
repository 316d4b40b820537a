"""Who logs in: each session with its own workspace client, also where everything else is the same.

On the emulator, whose Postgres knows the roles of the workspace's users.
"""

from __future__ import annotations

import secrets
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from databricks.sdk import WorkspaceClient

from lakemem import LakememError
from lakemem.compat import AsyncDatabricksSession, CheckpointSaver, DatabricksStore
from lakemem.compat.arguments import login_of
from lakemem.compat.sessions import _SHARED
from lakemem.testing import LakebaseEmulator

ALICE, BOB = "alice@example.com", "bob@example.com"
ITEM: Any = {"role": "user", "content": "only Alice's role may read this"}


@pytest.fixture
def app(lakebase_environment: LakebaseEmulator) -> LakebaseEmulator:
    """The emulator, with two users who may log in to its Lakebase and create schemas there."""
    compute = lakebase_environment.workspace.instances[lakebase_environment.instance].lakebase.compute
    for user in (ALICE, BOB):
        if user not in lakebase_environment.workspace.identities:
            lakebase_environment.add_user(user)
        if compute.role(user) is None:
            lakebase_environment.admit(lakebase_environment.workspace.identities[user])
    return lakebase_environment


@pytest.fixture
def schema() -> str:
    return f"compat_{secrets.token_hex(4)}"


async def test_two_sessions_with_two_clients_never_share_a_login(app: LakebaseEmulator, schema: str) -> None:
    """The peer's sessions share an engine here, and both read as Alice."""
    alice, bob = app.client(ALICE), app.client(BOB)
    await AsyncDatabricksSession("t", workspace_client=alice, schema=schema).add_items([ITEM])
    for _ in range(2):
        with pytest.raises(LakememError):
            await AsyncDatabricksSession("t", workspace_client=bob, schema=schema).get_items()
        assert await AsyncDatabricksSession("t", workspace_client=alice, schema=schema).get_items() == [ITEM]
    await AsyncDatabricksSession("t", workspace_client=bob, schema=f"{schema}_b").add_items([ITEM])
    assert owners(app, schema) == {schema: ALICE, f"{schema}_b": BOB}


async def test_a_new_client_for_each_request_of_a_user_is_the_same_login(app: LakebaseEmulator, schema: str) -> None:
    """Their token tells: who has another one, of whomever, logs in again."""

    def client(token: str) -> WorkspaceClient:
        return WorkspaceClient(host=app.url, token=token, auth_type="pat")

    monday, tuesday = app.login(ALICE), app.login(ALICE)
    for token, pools in ((monday, 1), (monday, 1), (tuesday, 2), (app.login(BOB), 3)):
        session = AsyncDatabricksSession("t", workspace_client=client(token), schema=schema)
        if pools < 3:
            await session.add_items([ITEM])
        else:
            with pytest.raises(LakememError):
                await session.add_items([ITEM])
        assert len(_SHARED) == pools


def test_a_client_that_logs_in_by_a_secret_is_that_secrets(app: LakebaseEmulator) -> None:
    first, second = app.client(), app.client()
    assert first.config.auth_type == "oauth-m2m"
    assert login_of(first) == login_of(second) != login_of(app.client(ALICE))
    assert str(first.config.client_secret) not in repr(login_of(first))
    # Another way to log in may be anybody's, tomorrow.
    one, other = FakeClient("azure-cli"), FakeClient("azure-cli")
    assert login_of(one) == login_of(one) != login_of(other)  # type: ignore[arg-type]
    assert login_of(None) == login_of(None)


class FakeClient:
    """A client that logs in by asking a program."""

    def __init__(self, auth_type: str) -> None:
        self.config = SimpleNamespace(auth_type=auth_type, host="https://example.com", token=None, client_id=None)


def test_checkpointers_and_stores_log_in_as_their_client(app: LakebaseEmulator, schema: str) -> None:
    for user, part in ((ALICE, "a"), (BOB, "b")):
        with CheckpointSaver(workspace_client=app.client(user), schema=f"{schema}_s{part}") as saver:
            saver.setup()
        with DatabricksStore(workspace_client=app.client(user), schema=f"{schema}_t{part}") as store:
            store.setup()
            store.put(("a",), "k", {"n": 1})
    assert owners(app, schema) == {
        f"{schema}_sa": ALICE,
        f"{schema}_sb": BOB,
        f"{schema}_ta": ALICE,
        f"{schema}_tb": BOB,
    }


def test_a_stores_embeddings_are_asked_for_as_its_client(app: LakebaseEmulator, schema: str) -> None:
    endpoint, dimensions = next(iter(app.embedders.items()))
    with DatabricksStore(
        workspace_client=app.client(ALICE), schema=schema, embedding_endpoint=endpoint, embedding_dims=dimensions
    ) as store:
        store.setup()
        store.put(("a",), "k", {"text": "a preference for tea"})
        [found] = store.search(("a",), query="what to drink?")
    assert found.key == "k"
    assert app.requests.count(f"POST /serving-endpoints/{endpoint}/invocations") == 2


def owners(app: LakebaseEmulator, schema: str) -> dict[str, str]:
    """Which role made which schema."""
    with psycopg.connect(**app.parameters(app.owner)) as connection:  # type: ignore[arg-type]
        rows: list[Any] = connection.execute(
            "SELECT nspname, rolname FROM pg_namespace JOIN pg_roles ON pg_roles.oid = nspowner"
            " WHERE starts_with(nspname, %s)",
            [schema],
        ).fetchall()
    return dict(rows)
