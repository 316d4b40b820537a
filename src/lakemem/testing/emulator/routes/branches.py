"""What is on a branch: roles, databases, and catalogs of Unity Catalog.

Source: https://docs.databricks.com/api/workspace/postgres
"""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

from lakemem.testing.emulator.app import Call, Endpoint
from lakemem.testing.emulator.compute import DATABASE, Compute, Role
from lakemem.testing.emulator.routes.instances import create_role, drop_role, require_database
from lakemem.testing.emulator.routes.projects import ROOT, finished
from lakemem.testing.emulator.state import Resource, Workspace, exists, invalid, not_found, timestamp


class Branches:
    """The part of the postgres API that looks into a branch."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def endpoints(self) -> list[Endpoint]:
        branch = ROOT + "/projects/{project}/branches/{branch}"
        return [
            Endpoint("POST", f"{ROOT}/catalogs", self._create_catalog),
            Endpoint("GET", ROOT + "/catalogs/{catalog}", self._get_catalog),
            Endpoint("DELETE", ROOT + "/catalogs/{catalog}", self._delete_catalog),
            Endpoint("GET", branch + "/roles", self._list_roles),
            Endpoint("POST", branch + "/roles", self._create_role),
            Endpoint("GET", branch + "/roles/{role}", self._get_role),
            Endpoint("DELETE", branch + "/roles/{role}", self._delete_role),
            Endpoint("GET", branch + "/databases", self._list_databases),
            Endpoint("POST", branch + "/databases", self._create_database),
            Endpoint("GET", branch + "/databases/{database}", self._get_database),
            Endpoint("DELETE", branch + "/databases/{database}", self._delete_database),
        ]

    # Roles

    def _list_roles(self, call: Call) -> dict[str, Any]:
        branch = self._branch(call)
        return {"roles": [_described_role(branch.name, role) for role in self._compute(branch).roles()]}

    def _create_role(self, call: Call) -> dict[str, Any]:
        branch, spec = self._branch(call), call.body.get("spec") or {}
        name = spec.get("postgres_role") or call.query.get("role_id")
        if not name:
            raise invalid("spec.postgres_role is missing")
        attributes = spec.get("attributes") or {}
        role = Role(
            name,
            spec.get("identity_type", "PG_ONLY"),
            superuser="DATABRICKS_SUPERUSER" in (spec.get("membership_roles") or []),
            login=spec.get("auth_method") != "NO_LOGIN",
            **{key: bool(attributes.get(key)) for key in ("createdb", "createrole", "bypassrls")},
        )
        create_role(self._workspace, self._compute(branch), role)
        described = _described_role(branch.name, role)
        return finished(self._workspace, described["name"], described)

    def _get_role(self, call: Call) -> dict[str, Any]:
        branch = self._branch(call)
        return _described_role(branch.name, self._role(branch, call.path["role"]))

    def _delete_role(self, call: Call) -> dict[str, Any]:
        branch = self._branch(call)
        role = self._role(branch, call.path["role"])
        drop_role(self._compute(branch), role.name, call.query.get("reassign_owned_to"))
        return finished(self._workspace, f"{branch.name}/roles/{_role_id(role.name)}", {})

    def _role(self, branch: Resource, role_id: str) -> Role:
        for role in self._compute(branch).roles():
            if role_id in (role.name, _role_id(role.name)):
                return role
        raise not_found(f"role {role_id}")

    # Databases

    def _list_databases(self, call: Call) -> dict[str, Any]:
        branch = self._branch(call)
        return {"databases": [_described_database(branch.name, *pair) for pair in self._databases(branch)]}

    def _create_database(self, call: Call) -> dict[str, Any]:
        branch, spec = self._branch(call), call.body.get("spec") or {}
        name = spec.get("postgres_database") or call.query.get("database_id")
        if not name:
            raise invalid("spec.postgres_database is missing")
        if name in self._compute(branch).databases():
            raise exists(f"database {name}")
        owner = spec.get("role", "").rpartition("/")[2]
        role = self._role(branch, owner) if owner else Role(call.identity.name, call.identity.kind)
        self._compute(branch).create_database(name, role.name)
        described = _described_database(branch.name, name, role.name)
        return finished(self._workspace, described["name"], described)

    def _get_database(self, call: Call) -> dict[str, Any]:
        branch = self._branch(call)
        for name, owner in self._databases(branch):
            if call.path["database"] in (name, _role_id(name)):
                return _described_database(branch.name, name, owner)
        raise not_found(f"database {call.path['database']}")

    def _delete_database(self, call: Call) -> dict[str, Any]:
        described = self._get_database(call)
        self._compute(self._branch(call)).drop_database(described["status"]["postgres_database"])
        return finished(self._workspace, described["name"], {})

    def _databases(self, branch: Resource) -> list[tuple[str, str]]:
        return list(self._compute(branch).databases().items())

    def _branch(self, call: Call) -> Resource:
        return self._named(f"projects/{call.path['project']}/branches/{call.path['branch']}")

    def _named(self, name: str) -> Resource:
        if name not in self._workspace.branches:
            raise not_found(f"branch {name}")
        return self._workspace.branches[name]

    def _compute(self, branch: Resource) -> Compute:
        return self._workspace.by_name(branch.name).compute

    # Catalogs

    def _create_catalog(self, call: Call) -> dict[str, Any]:
        catalog_id, spec = call.query.get("catalog_id", ""), call.body.get("spec") or {}
        if catalog_id in self._workspace.catalogs:
            raise exists(f"catalog {catalog_id}")
        database = spec.get("postgres_database", DATABASE)
        create_as = call.identity.name if spec.get("create_database_if_missing") else None
        require_database(self._compute(self._named(spec.get("branch", ""))), database, create_as)
        catalog = {
            "name": f"catalogs/{catalog_id}",
            "catalog_id": catalog_id,
            "uid": str(uuid.uuid4()),
            "create_time": timestamp(time.time()),
            "status": {
                "branch": spec["branch"],
                "project": spec["branch"].partition("/branches/")[0],
                "postgres_database": database,
            },
        }
        self._workspace.catalogs[catalog_id] = catalog
        return finished(self._workspace, f"catalogs/{catalog_id}", catalog)

    def _get_catalog(self, call: Call) -> dict[str, Any]:
        catalog_id = call.path["catalog"]
        if catalog_id not in self._workspace.catalogs:
            raise not_found(f"catalog {catalog_id}")
        return self._workspace.catalogs[catalog_id]

    def _delete_catalog(self, call: Call) -> dict[str, Any]:
        self._get_catalog(call)
        del self._workspace.catalogs[call.path["catalog"]]
        return finished(self._workspace, f"catalogs/{call.path['catalog']}", {})


def _role_id(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _described_role(branch: str, role: Role) -> dict[str, Any]:
    method = "NO_LOGIN" if not role.login else "LAKEBASE_OAUTH_V1"
    return {
        "name": f"{branch}/roles/{_role_id(role.name)}",
        "parent": branch,
        "role_id": _role_id(role.name),
        "status": {
            "postgres_role": role.name,
            "role_id": _role_id(role.name),
            "auth_method": "PG_PASSWORD_SCRAM_SHA_256" if role.identity_type == "PG_ONLY" else method,
            "attributes": {"createdb": role.createdb, "createrole": role.createrole, "bypassrls": role.bypassrls},
            "membership_roles": ["DATABRICKS_SUPERUSER"] if role.superuser else [],
            **({} if role.identity_type == "PG_ONLY" else {"identity_type": role.identity_type}),
        },
    }


def _described_database(branch: str, name: str, owner: str) -> dict[str, Any]:
    return {
        "name": f"{branch}/databases/{_role_id(name)}",
        "parent": branch,
        "database_id": _role_id(name),
        "status": {
            "database_id": _role_id(name),
            "postgres_database": name,
            "role": f"{branch}/roles/{_role_id(owner)}",
        },
    }
