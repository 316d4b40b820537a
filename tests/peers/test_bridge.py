"""databricks-ai-bridge, unmodified: pools, the SQLAlchemy engine, and the client for grants."""

from __future__ import annotations

import uuid
from contextlib import closing
from typing import Any

import psycopg
import pytest
from databricks_ai_bridge.lakebase import (
    AsyncLakebasePool,
    AsyncLakebaseSQLAlchemy,
    LakebaseClient,
    LakebasePool,
    SchemaPrivilege,
    TablePrivilege,
)
from sqlalchemy import text

from lakemem.testing import LakebaseEmulator

TARGETS: list[dict[str, str]] = [
    {"instance_name": "agent-memory"},
    {"autoscaling_endpoint": "projects/agent-memory/branches/production/endpoints/primary"},
    {"project": "agent-memory", "branch": "production"},
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: next(iter(target)))
def test_a_pool_logs_in_however_the_lakebase_is_named(emulator: LakebaseEmulator, target: dict[str, str]) -> None:
    pool = LakebasePool(workspace_client=emulator.client(), **target)
    with closing(pool), pool.connection() as connection:
        row: Any = connection.execute("SELECT current_user AS role, current_database() AS database").fetchone()
    assert row == {"role": emulator.app.name, "database": "databricks_postgres"}


def test_a_pool_asks_the_workspace_what_it_asks_the_platform(emulator: LakebaseEmulator) -> None:
    pool = LakebasePool(instance_name="agent-memory")
    with closing(pool), pool.connection():
        pass
    asked = [request.route for request in emulator.requests if request.method != "CONNECT"]
    assert [route for route in asked if not route.endswith(("config", "server", "/token"))] == [
        "GET /api/2.0/database/instances/agent-memory",
        "GET /api/2.0/preview/scim/v2/Me",
        "POST /api/2.0/database/credentials",
    ]


async def test_an_asyncio_pool_logs_in(emulator: LakebaseEmulator) -> None:
    async with AsyncLakebasePool(instance_name="agent-memory") as pool, pool.connection() as connection:
        cursor = await connection.execute("SELECT current_user AS role")
        assert await cursor.fetchone() == {"role": emulator.app.name}


async def test_the_sqlalchemy_engine_logs_in_by_a_path_and_keeps_its_schema(emulator: LakebaseEmulator) -> None:
    schema = f"s_{uuid.uuid4().hex}"
    lakebase = AsyncLakebaseSQLAlchemy(autoscaling_endpoint=emulator.endpoint, schema=schema)
    async with lakebase.engine.begin() as connection:
        await connection.execute(text(f"CREATE SCHEMA {schema}"))
        await connection.execute(text("CREATE TABLE t (n int)"))
        found = await connection.execute(
            text("SELECT current_user, 't'::regclass::oid = to_regclass(:t)"), {"t": f"{schema}.t"}
        )
        assert tuple(found.one()) == (emulator.app.name, True)
    await lakebase.engine.dispose()


def test_the_client_makes_roles_and_grants_that_hold(emulator: LakebaseEmulator) -> None:
    reader = emulator.add_service_principal("reader")
    schema = f"s_{uuid.uuid4().hex}"
    with LakebaseClient(instance_name="agent-memory", workspace_client=emulator.client(emulator.owner)) as client:
        client.create_role(reader.name, "SERVICE_PRINCIPAL")
        assert client.create_role(reader.name, "SERVICE_PRINCIPAL") is None
        with pytest.raises(ValueError, match="not found in the Databricks workspace"):
            client.create_role("nobody@example.com", "USER")
        client.execute(f"CREATE SCHEMA {schema}")
        client.execute(f"CREATE TABLE {schema}.t AS SELECT 1 AS n")
        client.grant_schema(grantee=reader.name, schemas=[schema], privileges=[SchemaPrivilege.USAGE])
        client.grant_all_tables_in_schema(grantee=reader.name, schemas=[schema], privileges=[TablePrivilege.SELECT])
    pool = LakebasePool(instance_name="agent-memory", workspace_client=emulator.client(reader))
    with closing(pool), pool.connection() as connection:
        assert connection.execute(f"SELECT n FROM {schema}.t").fetchone() == {"n": 1}  # type: ignore[arg-type]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"DELETE FROM {schema}.t")  # type: ignore[arg-type]


def test_the_app_may_not_make_roles(emulator: LakebaseEmulator) -> None:
    other = emulator.add_service_principal()
    with LakebaseClient(instance_name="agent-memory") as client, pytest.raises(PermissionError):
        client.create_role(other.name, "SERVICE_PRINCIPAL")
