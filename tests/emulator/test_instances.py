from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import AlreadyExists, BadRequest, NotFound
from databricks.sdk.service.database import (
    DatabaseCatalog,
    DatabaseInstance,
    DatabaseInstanceRole,
    DatabaseInstanceRoleAttributes,
    DatabaseInstanceRoleIdentityType,
    DatabaseInstanceRoleMembershipRole,
    DatabaseInstanceState,
)

from lakemem.testing import LakebaseEmulator
from tests.emulator.conftest import connect


@pytest.fixture(scope="module")
def starting() -> Iterator[LakebaseEmulator]:
    """An emulator whose Lakebases take their time to start."""
    with LakebaseEmulator(start_delay=0.5) as emulator:
        yield emulator


def instance_login(emulator: LakebaseEmulator, name: str, user: str | None = None) -> dict[str, str]:
    """What logs in to an instance, by its own credential."""
    client = emulator.client(user)
    instance = client.database.get_database_instance(name)
    token = client.database.generate_database_credential(request_id=str(uuid.uuid4()), instance_names=[name]).token
    return {"host": str(instance.read_write_dns), "user": user or emulator.app.name, "password": str(token)}


def test_the_first_instance_can_be_got_listed_and_found(emulator: LakebaseEmulator, workspace: WorkspaceClient) -> None:
    instance = workspace.database.get_database_instance(emulator.instance)
    assert instance.state is DatabaseInstanceState.AVAILABLE
    assert instance.capacity == "CU_1"
    assert instance.creator == emulator.owner.name
    assert instance.name in [other.name for other in workspace.database.list_database_instances(page_size=1)]
    assert workspace.database.find_database_instance_by_uid(uid=instance.uid).name == emulator.instance
    with pytest.raises(NotFound):
        workspace.database.get_database_instance("no-such-instance")


def test_an_instance_is_created_resized_stopped_started_and_deleted(starting: LakebaseEmulator) -> None:
    database = starting.client().database
    wait = database.create_database_instance(DatabaseInstance("made", capacity="CU_2"))
    assert database.get_database_instance("made").state is DatabaseInstanceState.STARTING
    with pytest.raises(psycopg.OperationalError, match="starting up"):
        connect(starting, **instance_login(starting, "made"))
    starting.workspace.instances["made"].lakebase.ready_at = 0
    assert wait.result().state is DatabaseInstanceState.AVAILABLE
    with connect(starting, **instance_login(starting, "made")) as connection:
        # Its creator owns it.
        connection.execute("CREATE SCHEMA mine")
        resized = database.update_database_instance("made", DatabaseInstance("made", capacity="CU_8"), "capacity")
        assert resized.effective_capacity == "CU_8"
        stopped = database.update_database_instance("made", DatabaseInstance("made", stopped=True), "stopped")
        assert stopped.state is DatabaseInstanceState.STOPPED
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    login = instance_login(starting, "made")
    with pytest.raises(psycopg.OperationalError, match="instance is stopped"):
        connect(starting, **login)
    started = database.update_database_instance("made", DatabaseInstance("made", stopped=False), "stopped")
    assert started.state is DatabaseInstanceState.STARTING
    starting.workspace.instances["made"].lakebase.ready_at = 0
    with connect(starting, **login) as connection:
        assert connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'mine'").fetchone() == (1,)
    database.delete_database_instance("made", purge=True)
    with pytest.raises(NotFound):
        database.get_database_instance("made")
    with pytest.raises(psycopg.OperationalError, match="there is no Lakebase"):
        connect(starting, **login)


def test_instances_are_apart_and_so_are_their_tokens(starting: LakebaseEmulator) -> None:
    database = starting.client().database
    database.create_database_instance(DatabaseInstance("apart"))
    starting.reset()
    mine = instance_login(starting, "apart")
    with connect(starting, **mine) as connection:
        connection.execute("CREATE TABLE only_here ()")
    with connect(starting) as connection:
        assert connection.execute("SELECT to_regclass('only_here')").fetchone() == (None,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(starting, password=mine["password"])
    database.delete_database_instance("apart", purge=True)


def test_wrong_requests_are_refused_as_the_platform_does(workspace: WorkspaceClient) -> None:
    with pytest.raises(BadRequest, match="capacity is one of"):
        workspace.database.create_database_instance(DatabaseInstance("wrong", capacity="CU_3"))
    with pytest.raises(AlreadyExists):
        workspace.database.create_database_instance(DatabaseInstance("agent-memory"))
    with pytest.raises(NotFound):
        workspace.database.generate_database_credential(request_id="1", instance_names=["no-such-instance"])
    with pytest.raises(BadRequest):
        workspace.database.generate_database_credential(request_id="1", instance_names=[])


def test_the_role_api_makes_shows_and_drops_roles(emulator: LakebaseEmulator, workspace: WorkspaceClient) -> None:
    user = emulator.add_user(f"{uuid.uuid4().hex}@example.com")
    role = DatabaseInstanceRole(
        name=user.name,
        identity_type=DatabaseInstanceRoleIdentityType.USER,
        membership_role=DatabaseInstanceRoleMembershipRole.DATABRICKS_SUPERUSER,
        attributes=DatabaseInstanceRoleAttributes(createdb=True),
    )
    workspace.database.create_database_instance_role(emulator.instance, role)
    with pytest.raises(AlreadyExists):
        workspace.database.create_database_instance_role(emulator.instance, role)
    shown = workspace.database.get_database_instance_role(emulator.instance, user.name)
    assert shown.identity_type is DatabaseInstanceRoleIdentityType.USER
    assert shown.membership_role is DatabaseInstanceRoleMembershipRole.DATABRICKS_SUPERUSER
    assert shown.attributes == DatabaseInstanceRoleAttributes(bypassrls=False, createdb=True, createrole=False)
    roles = [other.name for other in workspace.database.list_database_instance_roles(emulator.instance)]
    assert {user.name, emulator.app.name, emulator.owner.name} <= set(roles)
    with connect(emulator, **instance_login(emulator, emulator.instance, user.name)) as connection:
        row = connection.execute("SELECT pg_has_role('databricks_superuser', 'MEMBER')").fetchone()
    assert row == (True,)
    workspace.database.delete_database_instance_role(emulator.instance, user.name)
    with pytest.raises(NotFound):
        workspace.database.get_database_instance_role(emulator.instance, user.name)


def test_a_role_that_owns_something_goes_only_when_it_is_reassigned(
    emulator: LakebaseEmulator, workspace: WorkspaceClient
) -> None:
    user = emulator.add_user(f"{uuid.uuid4().hex}@example.com")
    emulator.admit(user)
    schema = f"s_{uuid.uuid4().hex}"
    with connect(emulator, **instance_login(emulator, emulator.instance, user.name)) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    with pytest.raises(BadRequest, match="still owns objects"):
        workspace.database.delete_database_instance_role(emulator.instance, user.name)
    workspace.database.delete_database_instance_role(
        emulator.instance, user.name, reassign_owned_to=emulator.owner.name
    )
    with connect(emulator) as connection:
        row = connection.execute("SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = %s", [schema])
        assert row.fetchone() == (emulator.owner.name,)


def test_a_role_needs_an_identity_of_the_workspace(emulator: LakebaseEmulator, workspace: WorkspaceClient) -> None:
    role = DatabaseInstanceRole("nobody@example.com", identity_type=DatabaseInstanceRoleIdentityType.USER)
    with pytest.raises(NotFound):
        workspace.database.create_database_instance_role(emulator.instance, role)


def test_a_catalog_shows_a_database_and_can_make_it(emulator: LakebaseEmulator, workspace: WorkspaceClient) -> None:
    name = f"c_{uuid.uuid4().hex}"
    catalog = DatabaseCatalog(name, database_instance_name=emulator.instance, database_name=name)
    with pytest.raises(NotFound):
        workspace.database.create_database_catalog(catalog)
    catalog.create_database_if_not_exists = True
    assert workspace.database.create_database_catalog(catalog).uid
    with connect(emulator, dbname=name) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    assert workspace.database.get_database_catalog(name).database_name == name
    with pytest.raises(AlreadyExists):
        workspace.database.create_database_catalog(catalog)
    workspace.database.delete_database_catalog(name)
    with pytest.raises(NotFound):
        workspace.database.get_database_catalog(name)
