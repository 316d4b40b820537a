"""Lakebases made, resized and registered through the workspace's API. Running any of it again changes nothing.

Source: https://docs.databricks.com/api/workspace/database and .../postgres
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from lakemem.errors import ConfigurationError
from lakemem.lakebase import Workspace, asking, is_read_write
from lakemem.target import DEFAULT_LAKEBASE_DATABASE, Lakebase

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.postgres import Endpoint

CAPACITIES = ("CU_1", "CU_2", "CU_4", "CU_8")
MIN_CU, MAX_CU, MAX_CU_SPAN = 0.5, 64.0, 16.0
DEFAULT_BRANCH = "production"
DEFAULT_ENDPOINT = "primary"

Tell: TypeAlias = Callable[[str], None]


def _keep_quiet(message: str) -> None:
    pass


def provision_instance(
    name: str,
    *,
    capacity: str = "CU_1",
    workspace_client: WorkspaceClient | None = None,
    tell: Tell = _keep_quiet,
) -> Lakebase:
    """Create a provisioned instance, or give it this capacity, and start it if it is stopped.

    It returns while the instance is still starting.

    Args:
        capacity: ``CU_1``, ``CU_2``, ``CU_4`` or ``CU_8``, of 16 GB each.
        tell: hears what is done.
    """
    from databricks.sdk.errors import NotFound
    from databricks.sdk.service.database import DatabaseInstance

    if capacity not in CAPACITIES:
        raise ConfigurationError(f"a provisioned instance has {', '.join(CAPACITIES)}, not {capacity!r}")
    database = Workspace(workspace_client).client.database
    with asking(f"the instance {name}"):
        try:
            instance = database.get_database_instance(name)
        except NotFound:
            tell(f"creating instance {name} with {capacity}")
            database.create_database_instance(DatabaseInstance(name=name, capacity=capacity))
            return Lakebase.instance(name)
        if instance.capacity != capacity:
            tell(f"resizing instance {name} from {instance.capacity} to {capacity}")
            database.update_database_instance(name, DatabaseInstance(name=name, capacity=capacity), "capacity")
        if instance.effective_stopped or instance.stopped:
            tell(f"starting instance {name}")
            database.update_database_instance(name, DatabaseInstance(name=name, stopped=False), "stopped")
    return Lakebase.instance(name)


def provision_endpoint(
    project: str,
    *,
    branch: str = DEFAULT_BRANCH,
    min_cu: float = 0.5,
    max_cu: float = 2.0,
    workspace_client: WorkspaceClient | None = None,
    tell: Tell = _keep_quiet,
) -> Lakebase:
    """Create an autoscaling project, branch and read-write endpoint as far as they are missing, and set the size.

    Args:
        min_cu, max_cu: bounds of the autoscaling, in units of 2 GB and about 210 connections.
        tell: hears what is done.
    """
    _check_size(min_cu, max_cu)
    client = Workspace(workspace_client).client
    with asking(f"the project {project}"):
        branch_path = f"projects/{project}/branches/{branch}"
        _ensure_project(client, project, tell)
        _ensure_branch(client, project, branch, tell)
        endpoint = next((found for found in client.postgres.list_endpoints(branch_path) if is_read_write(found)), None)
        if endpoint is None:
            tell(f"creating endpoint {DEFAULT_ENDPOINT} with {min_cu:g} to {max_cu:g} CU")
            client.postgres.create_endpoint(branch_path, _endpoint(min_cu, max_cu), DEFAULT_ENDPOINT).wait()
        elif _size(endpoint) != (min_cu, max_cu):
            tell(f"resizing {endpoint.name} to {min_cu:g} to {max_cu:g} CU")
            _resize(client, endpoint.name or "", min_cu, max_cu)
    return Lakebase.branch(project, branch)


def register_catalog(
    target: Lakebase, catalog: str, *, workspace_client: WorkspaceClient | None = None, tell: Tell = _keep_quiet
) -> None:
    """Show the target's database as a read-only catalog of Unity Catalog."""
    from databricks.sdk.errors import NotFound

    workspace = Workspace(workspace_client)
    located = workspace.locate(target)
    database = target.database or DEFAULT_LAKEBASE_DATABASE
    with asking(f"the catalog {catalog}"):
        try:
            if located.autoscaling:
                workspace.client.postgres.get_catalog(f"catalogs/{catalog}")
            else:
                workspace.client.database.get_database_catalog(catalog)
        except NotFound:
            tell(f"registering database {database} as catalog {catalog}")
            if located.autoscaling:
                _register_branch(workspace.client, located.issuer.partition("/endpoints/")[0], database, catalog)
            else:
                _register_instance(workspace.client, located.issuer, database, catalog)


def _check_size(min_cu: float, max_cu: float) -> None:
    if not MIN_CU <= min_cu <= max_cu <= MAX_CU or max_cu - min_cu > MAX_CU_SPAN:
        raise ConfigurationError(
            f"an endpoint scales between {MIN_CU:g} and {MAX_CU:g} CU, its bounds at most {MAX_CU_SPAN:g} apart, "
            f"not from {min_cu:g} to {max_cu:g}"
        )


def _ensure_project(client: WorkspaceClient, project: str, tell: Tell) -> None:
    from databricks.sdk.errors import NotFound
    from databricks.sdk.service.postgres import Project, ProjectSpec

    try:
        client.postgres.get_project(f"projects/{project}")
    except NotFound:
        tell(f"creating project {project}")
        client.postgres.create_project(Project(spec=ProjectSpec(display_name=project)), project).wait()


def _ensure_branch(client: WorkspaceClient, project: str, branch: str, tell: Tell) -> None:
    from databricks.sdk.errors import NotFound
    from databricks.sdk.service.postgres import Branch, BranchSpec

    try:
        client.postgres.get_branch(f"projects/{project}/branches/{branch}")
    except NotFound:
        tell(f"creating branch {branch}")
        client.postgres.create_branch(f"projects/{project}", Branch(spec=BranchSpec(no_expiry=True)), branch).wait()


def _size(endpoint: Endpoint) -> tuple[float | None, float | None]:
    status = endpoint.status
    return (status.autoscaling_limit_min_cu, status.autoscaling_limit_max_cu) if status else (None, None)


def _endpoint(min_cu: float, max_cu: float) -> Endpoint:
    from databricks.sdk.service.postgres import Endpoint, EndpointSpec, EndpointType

    return Endpoint(
        spec=EndpointSpec(
            endpoint_type=EndpointType.ENDPOINT_TYPE_READ_WRITE,
            autoscaling_limit_min_cu=min_cu,
            autoscaling_limit_max_cu=max_cu,
        )
    )


def _resize(client: WorkspaceClient, path: str, min_cu: float, max_cu: float) -> None:
    from databricks.sdk.common.types.fieldmask import FieldMask

    fields = ["spec.autoscaling_limit_min_cu", "spec.autoscaling_limit_max_cu"]
    mask = FieldMask(field_mask=fields)  # type: ignore[no-untyped-call]
    client.postgres.update_endpoint(path, _endpoint(min_cu, max_cu), mask).wait()


def _register_branch(client: WorkspaceClient, branch: str, database: str, catalog: str) -> None:
    from databricks.sdk.service.postgres import Catalog, CatalogCatalogSpec

    spec = CatalogCatalogSpec(postgres_database=database, branch=branch)
    client.postgres.create_catalog(Catalog(spec=spec), catalog).wait()


def _register_instance(client: WorkspaceClient, instance: str, database: str, catalog: str) -> None:
    from databricks.sdk.service.database import DatabaseCatalog

    client.database.create_database_catalog(
        DatabaseCatalog(name=catalog, database_instance_name=instance, database_name=database)
    )
