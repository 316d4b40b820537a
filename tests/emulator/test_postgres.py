"""Logging in to the emulated Lakebase: TLS, tokens and their expiry, roles."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from databricks.sdk import WorkspaceClient
from psycopg import sql

from lakemem.testing import LakebaseEmulator
from tests.emulator.conftest import connect

# Postgres decides by its clock alone, so waiting is what these tests are about.
LIFETIME = 2.0


@pytest.fixture(scope="module")
def short() -> Iterator[LakebaseEmulator]:
    """An emulator whose tokens live as briefly as can be."""
    with LakebaseEmulator(token_lifetime=LIFETIME) as emulator:
        yield emulator


def admin(emulator: LakebaseEmulator) -> psycopg.Connection[tuple[object, ...]]:
    """A superuser, past the front."""
    compute = emulator.workspace.by_name(emulator.instance).compute
    return psycopg.connect(host=compute.socket, user="postgres", dbname="postgres", autocommit=True)


def test_the_sdks_credential_logs_in_with_tls_verified_in_full(
    emulator: LakebaseEmulator, workspace: WorkspaceClient
) -> None:
    instance = workspace.database.get_database_instance(emulator.instance)
    credential = workspace.database.generate_database_credential(
        request_id=str(uuid.uuid4()), instance_names=[emulator.instance]
    )
    with psycopg.connect(
        host=instance.read_write_dns,
        hostaddr=emulator.resolve(str(instance.read_write_dns))[0],
        port=emulator.postgres_port,
        user=workspace.current_user.me().user_name,
        password=credential.token,
        dbname="databricks_postgres",
        sslmode="verify-full",
        sslrootcert=str(emulator.certificate_authority),
    ) as connection:
        row = connection.execute("SELECT current_user, session_user, current_database()").fetchone()
    assert row == (emulator.app.name, emulator.app.name, "databricks_postgres")


def test_another_authority_or_another_name_is_not_trusted(emulator: LakebaseEmulator, short: LakebaseEmulator) -> None:
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        connect(emulator, sslrootcert=str(short.certificate_authority))
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        connect(emulator, host="instance-1.database.example.com")


def test_without_tls_nobody_gets_in(emulator: LakebaseEmulator) -> None:
    with pytest.raises(psycopg.OperationalError, match="requires TLS"):
        connect(emulator, sslmode="disable")


def test_the_token_is_the_roles_password_under_scram_until_its_expiry(emulator: LakebaseEmulator) -> None:
    token = emulator.parameters()["password"]
    with admin(emulator) as connection:
        row = connection.execute(
            "SELECT rolpassword, rolvaliduntil - now() BETWEEN '3590 s' AND '3600 s', rolpassword LIKE %s"
            " FROM pg_authid WHERE rolname = %s",
            [f"%{token}%", emulator.app.name],
        ).fetchone()
    assert row is not None
    assert str(row[0]).startswith("SCRAM-SHA-256$")
    assert row[1:] == (True, False)


def test_postgres_itself_refuses_an_expired_token_and_open_connections_live_on(short: LakebaseEmulator) -> None:
    login = short.parameters()
    with psycopg.connect(**login) as connection:  # type: ignore[arg-type]
        time.sleep(LIFETIME)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(**login)  # type: ignore[arg-type]
        assert connection.execute("SELECT 1").fetchone() == (1,)
    log = (short.workspace.by_name(short.instance).compute.folder / "data" / "log").read_text()
    assert f'User "{short.app.name}" has an expired password.' in log
    assert login["password"] not in log


def test_all_tokens_that_live_work_side_by_side(emulator: LakebaseEmulator) -> None:
    tokens = [emulator.parameters()["password"] for _ in range(4)]

    def log_in(number: int) -> str:
        with connect(emulator, password=tokens[number % len(tokens)]) as connection:
            return str(connection.execute("SELECT current_user").fetchone())

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(log_in, range(32))) == {f"('{emulator.app.name}',)"}


def test_a_token_is_for_its_own_role_alone(emulator: LakebaseEmulator) -> None:
    other = emulator.add_service_principal()
    emulator.admit(other)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(emulator, user=other.name)
    with connect(emulator, **{key: emulator.parameters(other)[key] for key in ("user", "password")}) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (other.name,)


def test_nobody_gets_in_with_a_guess_or_as_the_superuser(emulator: LakebaseEmulator) -> None:
    for changed in ({"password": "guess"}, {"user": "postgres"}, {"user": "nobody"}):
        with pytest.raises(psycopg.OperationalError, match="FATAL"):
            connect(emulator, **changed)


def test_a_revoked_token_is_refused_and_the_next_one_is_not(emulator: LakebaseEmulator) -> None:
    login = emulator.parameters()
    assert emulator.revoke() >= 1
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(emulator, password=login["password"])
    with connect(emulator):
        pass


def test_a_user_gets_in_once_the_role_exists(emulator: LakebaseEmulator) -> None:
    user = emulator.add_user("newcomer@example.com")
    login = {key: emulator.parameters(user)[key] for key in ("user", "password")}
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(emulator, **login)
    emulator.admit(user, create=False)
    with connect(emulator, **login) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("CREATE SCHEMA forbidden")


def test_the_app_may_create_schemas_and_vectors_but_is_no_administrator(emulator: LakebaseEmulator) -> None:
    schema = sql.Identifier(f"s_{uuid.uuid4().hex}")
    with connect(emulator) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        connection.execute(sql.SQL("CREATE TABLE {}.t (v vector(3))").format(schema))
        row = connection.execute(
            "SELECT rolsuper, rolbypassrls, rolcreaterole FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row == (False, False, False)


def test_the_owner_makes_roles_in_sql_as_the_platforms_extension_does(emulator: LakebaseEmulator) -> None:
    user = emulator.add_user(f"{uuid.uuid4().hex}@example.com")
    with psycopg.connect(**emulator.parameters(emulator.owner), autocommit=True) as connection:  # type: ignore[arg-type]
        connection.execute("CREATE EXTENSION IF NOT EXISTS databricks_auth")
        connection.execute("SELECT databricks_create_role(%s, 'USER')", [user.name])
        with pytest.raises(psycopg.errors.DuplicateObject):
            connection.execute("SELECT databricks_create_role(%s, 'USER')", [user.name])
        for name, kind in [("nobody@example.com", "USER"), (user.name, "SERVICE_PRINCIPAL"), (user.name, "ROBOT")]:
            with pytest.raises(psycopg.errors.InvalidParameterValue):
                connection.execute("SELECT databricks_create_role(%s, %s)", [name, kind])
    with connect(emulator, **{key: emulator.parameters(user)[key] for key in ("user", "password")}):
        pass
    with connect(emulator) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT databricks_create_role('somebody', 'USER')")


def test_a_running_query_can_be_cancelled(emulator: LakebaseEmulator) -> None:
    with connect(emulator) as connection:
        threading.Timer(0.1, connection.cancel_safe).start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(30)")


def test_much_data_passes_in_both_directions(emulator: LakebaseEmulator) -> None:
    with connect(emulator) as connection:
        text = "0123456789" * 500_000
        row = connection.execute("SELECT %s::text, repeat('x', 5000000)", [text]).fetchone()
    assert row == (text, "x" * 5_000_000)


async def test_asyncio_connections_work_and_the_front_survives_a_port_scan(emulator: LakebaseEmulator) -> None:
    _, scanner = await asyncio.open_connection("127.0.0.1", emulator.postgres_port)
    scanner.write(b"GET / HTTP/1.1\r\n\r\n")
    await scanner.drain()
    context = ssl.create_default_context(cafile=emulator.certificate_authority)
    with pytest.raises((ssl.SSLError, OSError)):
        await asyncio.open_connection("127.0.0.1", emulator.postgres_port, ssl=context)
    async with await psycopg.AsyncConnection.connect(**emulator.parameters()) as connection:  # type: ignore[arg-type]
        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)
    scanner.close()
