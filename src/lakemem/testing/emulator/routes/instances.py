"""Provisioned instances, their credentials, roles and catalogs.

Source: https://docs.databricks.com/api/workspace/database
"""

from __future__ import annotations

import uuid
from typing import Any

import psycopg

from lakemem.testing.emulator.app import Call, Endpoint
from lakemem.testing.emulator.compute import DATABASE, Compute, Role
from lakemem.testing.emulator.state import Instance, Lakebase, Workspace, exists, invalid, not_found, timestamp

INSTANCES = "/api/2.0/database/instances"
CAPACITIES = ("CU_1", "CU_2", "CU_4", "CU_8")
MUTABLE = ("capacity", "node_count", "enable_readable_secondaries", "retention_window_in_days", "stopped")


class Instances:
    """The database API."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", INSTANCES, self._list),
            Endpoint("POST", INSTANCES, self._create),
            Endpoint("GET", f"{INSTANCES}:findByUid", self._find),
            Endpoint("GET", INSTANCES + "/{name}", self._get),
            Endpoint("PATCH", INSTANCES + "/{name}", self._update),
            Endpoint("DELETE", INSTANCES + "/{name}", self._delete),
            Endpoint("GET", INSTANCES + "/{name}/roles", self._list_roles),
            Endpoint("POST", INSTANCES + "/{name}/roles", self._create_role),
            Endpoint("GET", INSTANCES + "/{name}/roles/{role}", self._get_role),
            Endpoint("DELETE", INSTANCES + "/{name}/roles/{role}", self._delete_role),
            Endpoint("GET", INSTANCES + "/{name}/catalogs", self._list_catalogs),
            Endpoint("POST", "/api/2.0/database/credentials", self._credential),
            Endpoint("POST", "/api/2.0/database/catalogs", self._create_catalog),
            Endpoint("GET", "/api/2.0/database/catalogs/{name}", self._get_catalog),
            Endpoint("DELETE", "/api/2.0/database/catalogs/{name}", self._delete_catalog),
        ]

    # Instances

    def _list(self, call: Call) -> dict[str, Any]:
        names = sorted(self._workspace.instances)
        size = int(call.query.get("page_size", 0)) or len(names) or 1
        start = int(call.query.get("page_token") or 0)
        page: dict[str, Any] = {
            "database_instances": [describe(self._workspace.instances[name]) for name in names[start : start + size]]
        }
        if start + size < len(names):
            page["next_page_token"] = str(start + size)
        return page

    def _create(self, call: Call) -> dict[str, Any]:
        name = call.body.get("name")
        if not isinstance(name, str) or not name:
            raise invalid("an instance needs a name")
        if name in self._workspace.instances:
            raise exists(f"database instance {name}")
        settings = _checked({"capacity": "CU_1", **call.body})
        source = None
        if parent := settings.get("parent_instance_ref"):
            source = self._named(parent.get("name", "")).lakebase
        lakebase = self._workspace.new_lakebase(call.identity, source=source)
        instance = Instance(name, lakebase, settings)
        lakebase.stopped = bool(settings.get("stopped"))
        with self._workspace.lock:
            self._workspace.instances[name] = instance
        return describe(instance)

    def _get(self, call: Call) -> dict[str, Any]:
        return describe(self._named(call.path["name"]))

    def _find(self, call: Call) -> dict[str, Any]:
        for instance in self._workspace.instances.values():
            if instance.lakebase.uid == call.query.get("uid"):
                return describe(instance)
        raise not_found(f"database instance with uid {call.query.get('uid')}")

    def _update(self, call: Call) -> dict[str, Any]:
        instance = self._named(call.path["name"])
        mask = call.query.get("update_mask", "*")
        fields = MUTABLE if mask == "*" else tuple(mask.split(","))
        changes = {key: call.body[key] for key in fields if key in MUTABLE and key in call.body}
        instance.settings = _checked({**instance.settings, **changes})
        if "stopped" in changes:
            self._workspace.set_stopped(instance.lakebase, bool(changes["stopped"]))
        return describe(instance)

    def _delete(self, call: Call) -> dict[str, Any]:
        instance = self._named(call.path["name"])
        if call.query.get("purge") != "true":
            raise invalid("an instance is deleted for good: set purge to true")
        with self._workspace.lock:
            del self._workspace.instances[instance.name]
        self._workspace.remove_lakebase(instance.lakebase)
        return {}

    # Credentials

    def _credential(self, call: Call) -> dict[str, Any]:
        names = call.body.get("instance_names") or []
        if not names:
            raise invalid("instance_names is empty")
        lakebases = [self._named(name).lakebase for name in names]
        token, expires_at = self._workspace.issue_credential(call.identity, lakebases, self._workspace.token_lifetime)
        return {"token": token, "expiration_time": timestamp(expires_at)}

    # Roles

    def _list_roles(self, call: Call) -> dict[str, Any]:
        instance = self._named(call.path["name"])
        roles = [_described_role(role, instance) for role in instance.lakebase.compute.roles()]
        return {"database_instance_roles": roles}

    def _create_role(self, call: Call) -> dict[str, Any]:
        instance = self._named(call.path["name"])
        name, attributes = call.body.get("name"), call.body.get("attributes") or {}
        if not name:
            raise invalid("a role needs a name")
        role = Role(
            name,
            call.body.get("identity_type", "PG_ONLY"),
            superuser=call.body.get("membership_role") == "DATABRICKS_SUPERUSER",
            **{key: bool(attributes.get(key)) for key in ("createdb", "createrole", "bypassrls")},
        )
        create_role(self._workspace, instance.lakebase.compute, role)
        return _described_role(role, instance)

    def _get_role(self, call: Call) -> dict[str, Any]:
        instance = self._named(call.path["name"])
        return _described_role(_role(instance.lakebase, call.path["role"]), instance)

    def _delete_role(self, call: Call) -> dict[str, Any]:
        instance = self._named(call.path["name"])
        role = _role(instance.lakebase, call.path["role"])
        drop_role(instance.lakebase.compute, role.name, call.query.get("reassign_owned_to"))
        return {}

    # Catalogs

    def _create_catalog(self, call: Call) -> dict[str, Any]:
        name, database = call.body.get("name", ""), call.body.get("database_name", DATABASE)
        compute = self._named(call.body.get("database_instance_name", "")).lakebase.compute
        if name in self._workspace.catalogs:
            raise exists(f"catalog {name}")
        require_database(
            compute, database, call.identity.name if call.body.get("create_database_if_not_exists") else None
        )
        catalog = {**call.body, "uid": str(uuid.uuid4())}
        self._workspace.catalogs[name] = catalog
        return catalog

    def _get_catalog(self, call: Call) -> dict[str, Any]:
        name = call.path["name"]
        if name not in self._workspace.catalogs:
            raise not_found(f"catalog {name}")
        return self._workspace.catalogs[name]

    def _delete_catalog(self, call: Call) -> dict[str, Any]:
        self._get_catalog(call)
        del self._workspace.catalogs[call.path["name"]]
        return {}

    def _list_catalogs(self, call: Call) -> dict[str, Any]:
        instance = self._named(call.path["name"])
        catalogs = self._workspace.catalogs.values()
        return {
            "database_catalogs": [
                catalog for catalog in catalogs if catalog.get("database_instance_name") == instance.name
            ]
        }

    def _named(self, name: str) -> Instance:
        if name not in self._workspace.instances:
            raise not_found(f"database instance {name}")
        return self._workspace.instances[name]


def describe(instance: Instance) -> dict[str, Any]:
    """Show an instance as the API does."""
    settings, lakebase = instance.settings, instance.lakebase
    return {
        **{key: value for key, value in settings.items() if key != "name"},
        "name": instance.name,
        "uid": lakebase.uid,
        "state": instance.state,
        "creator": lakebase.creator,
        "creation_time": timestamp(lakebase.created_at),
        "pg_version": f"PG_VERSION_{lakebase.compute.version}",
        "read_write_dns": instance.read_write_dns,
        "read_only_dns": instance.read_only_dns,
        "effective_capacity": settings["capacity"],
        "node_count": settings.get("node_count", 1),
        "effective_node_count": settings.get("node_count", 1),
        "stopped": lakebase.stopped,
        "effective_stopped": lakebase.stopped,
        "retention_window_in_days": settings.get("retention_window_in_days", 7),
    }


def create_role(workspace: Workspace, compute: Compute, role: Role) -> None:
    """Create a role for an identity of the workspace."""
    known = workspace.identities.get(role.name)
    if role.identity_type in ("USER", "SERVICE_PRINCIPAL") and (known is None or known.kind != role.identity_type):
        raise not_found(f"{role.identity_type.lower().replace('_', ' ')} {role.name}")
    try:
        compute.create_role(role)
    except psycopg.errors.DuplicateObject:
        raise exists(f"role {role.name}") from None


def drop_role(compute: Compute, name: str, reassign_to: str | None) -> None:
    """Drop a role that owns nothing, or whose belongings go to another."""
    try:
        compute.drop_role(name, reassign_to=reassign_to)
    except psycopg.errors.DependentObjectsStillExist:
        raise invalid(f"role {name} still owns objects or has privileges: set reassign_owned_to") from None


def require_database(compute: Compute, database: str, create_as: str | None) -> None:
    """Check that there is a database, or create it."""
    if database in compute.databases():
        return
    if create_as is None:
        raise not_found(f"database {database}")
    compute.create_database(database, create_as)


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    if settings["capacity"] not in CAPACITIES:
        raise invalid(f"capacity is one of {', '.join(CAPACITIES)}")
    return settings


def _role(lakebase: Lakebase, name: str) -> Role:
    role = lakebase.compute.role(name)
    if role is None:
        raise not_found(f"role {name}")
    return role


def _described_role(role: Role, instance: Instance) -> dict[str, Any]:
    attributes = {"createdb": role.createdb, "createrole": role.createrole, "bypassrls": role.bypassrls}
    return {
        "name": role.name,
        "identity_type": role.identity_type,
        "instance_name": instance.name,
        "attributes": attributes,
        "effective_attributes": attributes,
        **({"membership_role": "DATABRICKS_SUPERUSER"} if role.superuser else {}),
    }
