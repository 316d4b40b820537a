from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.common.types.fieldmask import FieldMask
from databricks.sdk.errors import AlreadyExists, BadRequest, NotFound
from databricks.sdk.service.postgres import (
    Branch,
    BranchSpec,
    BranchStatusState,
    Catalog,
    CatalogCatalogSpec,
    Database,
    DatabaseDatabaseSpec,
    Endpoint,
    EndpointSpec,
    EndpointStatusState,
    EndpointType,
    Project,
    ProjectSpec,
    Role,
    RoleIdentityType,
    RoleRoleSpec,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from lakemem.testing import LakebaseEmulator
from tests.emulator.conftest import connect

BRANCH = "projects/agent-memory/branches/production"


def endpoint_login(emulator: LakebaseEmulator, path: str, user: str | None = None) -> dict[str, str]:
    """What logs in to an endpoint, by its own credential."""
    client = emulator.client(user)
    status = client.postgres.get_endpoint(path).status
    assert status is not None
    assert status.hosts is not None
    token = client.postgres.generate_database_credential(path).token
    return {"host": str(status.hosts.host), "user": user or emulator.app.name, "password": str(token)}


def test_the_first_endpoint_is_found_from_its_project_and_logs_in(
    emulator: LakebaseEmulator, workspace: WorkspaceClient
) -> None:
    project = next(iter(workspace.postgres.list_projects()))
    [branch] = workspace.postgres.list_branches(str(project.name))
    [endpoint] = workspace.postgres.list_endpoints(str(branch.name))
    assert endpoint.name == emulator.endpoint
    assert endpoint.status is not None
    assert endpoint.status.current_state is EndpointStatusState.ACTIVE
    assert endpoint.status.endpoint_type is EndpointType.ENDPOINT_TYPE_READ_WRITE
    with connect(emulator, **endpoint_login(emulator, emulator.endpoint)) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (emulator.app.name,)


def test_a_credential_lives_as_long_as_was_asked_for(emulator: LakebaseEmulator, workspace: WorkspaceClient) -> None:
    wanted = datetime.now(UTC) + timedelta(seconds=600)
    at = Timestamp()
    at.FromDatetime(wanted)
    for made in (
        workspace.postgres.generate_database_credential(emulator.endpoint, ttl=Duration(seconds=600)),
        workspace.postgres.generate_database_credential(emulator.endpoint, expire_time=at),
    ):
        assert made.expire_time is not None
        assert abs(made.expire_time.ToDatetime(tzinfo=UTC) - wanted) < timedelta(seconds=30)
    for seconds in (60, 7200):
        with pytest.raises(BadRequest, match="300 to 3600"):
            workspace.postgres.generate_database_credential(emulator.endpoint, ttl=Duration(seconds=seconds))
    with pytest.raises(NotFound):
        workspace.postgres.generate_database_credential(f"{BRANCH}/endpoints/none")


def test_a_project_is_created_resized_and_deleted(emulator: LakebaseEmulator, workspace: WorkspaceClient) -> None:
    project = Project(spec=ProjectSpec(display_name="Made here"))
    made = workspace.postgres.create_project(project, "made").wait()
    assert made.status is not None
    assert (made.name, made.status.display_name, made.status.owner) == ("projects/made", "Made here", emulator.app.name)
    with pytest.raises(AlreadyExists):
        workspace.postgres.create_project(project, "made")
    with pytest.raises(BadRequest):
        workspace.postgres.create_project(project, "Not An Id")
    path = "projects/made/branches/production/endpoints/primary"
    with connect(emulator, **endpoint_login(emulator, path)) as connection:
        connection.execute("CREATE SCHEMA mine")
    spec = EndpointSpec(EndpointType.ENDPOINT_TYPE_READ_WRITE, autoscaling_limit_min_cu=2, autoscaling_limit_max_cu=8)
    mask = FieldMask(["spec.autoscaling_limit_min_cu", "spec.autoscaling_limit_max_cu"])  # type: ignore[no-untyped-call]
    resized = workspace.postgres.update_endpoint(path, Endpoint(spec=spec), mask).wait()
    assert resized.status is not None
    assert (resized.status.autoscaling_limit_min_cu, resized.status.autoscaling_limit_max_cu) == (2, 8)
    spec.autoscaling_limit_max_cu = 32
    with pytest.raises(BadRequest, match="at most 16"):
        workspace.postgres.update_endpoint(path, Endpoint(spec=spec), mask)
    workspace.postgres.delete_project("projects/made").wait()
    for ask in (
        lambda: workspace.postgres.get_project("projects/made"),
        lambda: workspace.postgres.get_branch("projects/made/branches/production"),
        lambda: workspace.postgres.get_endpoint(path),
    ):
        with pytest.raises(NotFound):
            ask()


def test_a_branch_begins_with_all_that_its_source_holds_and_then_goes_its_own_way(
    emulator: LakebaseEmulator, workspace: WorkspaceClient
) -> None:
    table = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(**emulator.parameters(emulator.owner), autocommit=True) as source:  # type: ignore[arg-type]
        source.execute(f"CREATE TABLE {table} AS SELECT 1 AS n")
        branch = workspace.postgres.create_branch(
            "projects/agent-memory", Branch(spec=BranchSpec(source_branch=BRANCH, no_expiry=True)), "dev"
        ).wait()
        assert branch.status is not None
        assert branch.status.current_state is BranchStatusState.READY
        with pytest.raises(AlreadyExists):
            workspace.postgres.create_branch("projects/agent-memory", Branch(spec=BranchSpec()), "dev")
        # The connections to the source stay open.
        source.execute(f"INSERT INTO {table} VALUES (2)")
    made = workspace.postgres.create_endpoint(
        str(branch.name), Endpoint(spec=EndpointSpec(EndpointType.ENDPOINT_TYPE_READ_WRITE)), "primary"
    ).wait()
    login = endpoint_login(emulator, str(made.name), emulator.owner.name)
    with connect(emulator, **login) as connection:
        assert connection.execute(f"SELECT array_agg(n) FROM {table}").fetchone() == ([1],)
    with pytest.raises(AlreadyExists, match="read-write"):
        workspace.postgres.create_endpoint(
            str(branch.name), Endpoint(spec=EndpointSpec(EndpointType.ENDPOINT_TYPE_READ_WRITE)), "second"
        )
    workspace.postgres.delete_branch(str(branch.name)).wait()
    with pytest.raises(psycopg.OperationalError, match="there is no Lakebase"):
        connect(emulator, **login)
    with pytest.raises(BadRequest, match="default branch"):
        workspace.postgres.delete_branch(BRANCH)


def test_roles_of_a_branch_are_made_shown_and_dropped(emulator: LakebaseEmulator, workspace: WorkspaceClient) -> None:
    principal = emulator.add_service_principal()
    spec = RoleRoleSpec(postgres_role=principal.name, identity_type=RoleIdentityType.SERVICE_PRINCIPAL)
    role = workspace.postgres.create_role(BRANCH, Role(spec=spec)).wait()
    assert role.status is not None
    assert role.status.postgres_role == principal.name
    with pytest.raises(AlreadyExists):
        workspace.postgres.create_role(BRANCH, Role(spec=spec))
    assert role.name in [other.name for other in workspace.postgres.list_roles(BRANCH)]
    with connect(emulator, **endpoint_login(emulator, emulator.endpoint, principal.name)):
        pass
    workspace.postgres.delete_role(str(role.name)).wait()
    with pytest.raises(NotFound):
        workspace.postgres.get_role(str(role.name))


def test_databases_of_a_branch_are_made_shown_and_dropped(
    emulator: LakebaseEmulator, workspace: WorkspaceClient
) -> None:
    [role] = [
        role
        for role in workspace.postgres.list_roles(BRANCH)
        if role.status and role.status.postgres_role == emulator.app.name
    ]
    spec = DatabaseDatabaseSpec(postgres_database="second_one", role=str(role.name))
    database = workspace.postgres.create_database(BRANCH, Database(spec=spec), database_id="second-one").wait()
    with connect(emulator, dbname="second_one") as connection:
        connection.execute("CREATE SCHEMA mine")
    shown = [other.status.postgres_database for other in workspace.postgres.list_databases(BRANCH) if other.status]
    assert {"databricks_postgres", "second_one"} <= set(shown)
    workspace.postgres.delete_database(str(database.name)).wait()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        connect(emulator, dbname="second_one")


def test_a_branchs_database_is_registered_as_a_catalog(workspace: WorkspaceClient) -> None:
    name = f"c_{uuid.uuid4().hex}"
    spec = CatalogCatalogSpec(postgres_database="databricks_postgres", branch=BRANCH)
    made = workspace.postgres.create_catalog(Catalog(spec=spec), name).wait()
    assert made.status is not None
    assert made.status.branch == BRANCH
    assert workspace.postgres.get_catalog(f"catalogs/{name}").name == made.name
    workspace.postgres.delete_catalog(f"catalogs/{name}").wait()
    with pytest.raises(NotFound):
        workspace.postgres.get_catalog(f"catalogs/{name}")


def test_a_suspended_endpoint_is_idle_until_a_connection_wakes_it() -> None:
    with LakebaseEmulator(wake_delay=0.3) as emulator:
        workspace = emulator.client()
        with connect(emulator) as connection:
            assert emulator.suspend(emulator.endpoint) == 1
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        status = workspace.postgres.get_endpoint(emulator.endpoint).status
        assert status is not None
        assert status.current_state is EndpointStatusState.IDLE
        began = time.monotonic()
        with connect(emulator):
            assert time.monotonic() - began >= 0.3
        with connect(emulator):
            pass
        status = workspace.postgres.get_endpoint(emulator.endpoint).status
        assert status is not None
        assert status.current_state is EndpointStatusState.ACTIVE
