"""Who logs in: each session with its own workspace client, also where everything else is the same.

On the emulator, whose Postgres knows the roles of the workspace's users.
"""

from __future__ import annotations

import secrets
from typing import Any

import psycopg
import pytest

from lakemem import LakememError
from lakemem.compat import AsyncDatabricksSession, CheckpointSaver, DatabricksStore
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
