"""Postgres roles of a Lakebase, made by its workspace: only those can log in with its tokens."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Literal, get_args

from lakemem.errors import ConfigurationError
from lakemem.lakebase import Located, Workspace, asking
from lakemem.target import Lakebase

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

IdentityKind = Literal["USER", "SERVICE_PRINCIPAL", "GROUP"]


def create_role(
    target: Lakebase, name: str, *, kind: IdentityKind | None = None, workspace_client: WorkspaceClient | None = None
) -> None:
    """Create the Postgres role of a Databricks identity. It exists already: that is fine.

    Args:
        name: a user's e-mail address, a service principal's application id, or a group's name.
        kind: which of them; by default what the name looks like.

    Raises:
        ConfigurationError: there is no such kind.
        CredentialError: this identity may not create roles.
        StorageUnavailableError: there is no such Lakebase.
    """
    kind = kind or _kind_of(name)
    if kind not in get_args(IdentityKind):
        raise ConfigurationError(f"an identity is one of {', '.join(get_args(IdentityKind))}, not {kind!r}")
    workspace = Workspace(workspace_client)
    located = workspace.locate(target)
    make = _create_branch_role if located.autoscaling else _create_instance_role
    with asking(f"a role for {name}"):
        make(workspace.client, located, name, kind)


def _kind_of(name: str) -> IdentityKind:
    if "@" in name:
        return "USER"
    try:
        uuid.UUID(name)
    except ValueError:
        return "GROUP"
    return "SERVICE_PRINCIPAL"


def _create_instance_role(client: WorkspaceClient, located: Located, name: str, kind: IdentityKind) -> None:
    from databricks.sdk.errors import AlreadyExists, ResourceConflict
    from databricks.sdk.service.database import DatabaseInstanceRole, DatabaseInstanceRoleIdentityType

    role = DatabaseInstanceRole(name=name, identity_type=DatabaseInstanceRoleIdentityType(kind))
    try:
        client.database.create_database_instance_role(located.issuer, role)
    except (AlreadyExists, ResourceConflict):
        return


def _create_branch_role(client: WorkspaceClient, located: Located, name: str, kind: IdentityKind) -> None:
    from databricks.sdk.errors import AlreadyExists, ResourceConflict
    from databricks.sdk.service.postgres import Role, RoleAuthMethod, RoleIdentityType, RoleRoleSpec

    spec = RoleRoleSpec(
        postgres_role=name, identity_type=RoleIdentityType(kind), auth_method=RoleAuthMethod.LAKEBASE_OAUTH_V1
    )
    branch = located.issuer.partition("/endpoints/")[0]
    try:
        client.postgres.create_role(branch, Role(spec=spec)).wait()
    except (AlreadyExists, ResourceConflict):
        return
