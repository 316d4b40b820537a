"""Autoscaling projects: branches, endpoints, credentials, and operations.

Writes are long-running operations, as the SDK expects; they are done by the time that they are first asked for.

Source: https://docs.databricks.com/api/workspace/postgres
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from lakemem.testing.emulator.app import Call, Endpoint
from lakemem.testing.emulator.state import (
    DOMAIN,
    ApiError,
    Lakebase,
    Resource,
    Workspace,
    exists,
    invalid,
    not_found,
    timestamp,
)

ROOT = "/api/2.0/postgres"
READ_WRITE, READ_ONLY = "ENDPOINT_TYPE_READ_WRITE", "ENDPOINT_TYPE_READ_ONLY"
MIN_TTL, MAX_TTL = 300.0, 3600.0
MAX_CU_SPREAD = 16
DEFAULT_BRANCH, DEFAULT_ENDPOINT = "production", "primary"
_ID = re.compile(r"[a-z][a-z0-9-]{0,62}")


class Projects:
    """The postgres API."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def endpoints(self) -> list[Endpoint]:
        branch = ROOT + "/projects/{project}/branches/{branch}"
        endpoints = [
            Endpoint("POST", f"{ROOT}/credentials", self._credential),
            Endpoint("GET", ROOT + "/{name:path}/operations/{operation}", self._operation),
            Endpoint("GET", f"{ROOT}/projects", self._list_projects),
            Endpoint("POST", f"{ROOT}/projects", self._create_project),
            Endpoint("GET", ROOT + "/projects/{project}/branches", self._list_branches),
            Endpoint("POST", ROOT + "/projects/{project}/branches", self._create_branch),
            Endpoint("GET", branch + "/endpoints", self._list_endpoints),
            Endpoint("POST", branch + "/endpoints", self._create_endpoint),
        ]
        for path in ("/projects/{project}", "/projects/{project}/branches/{branch}"):
            endpoints += self._resource(path)
        return endpoints + self._resource("/projects/{project}/branches/{branch}/endpoints/{endpoint}")

    def _resource(self, path: str) -> list[Endpoint]:
        return [
            Endpoint("GET", ROOT + path, self._get),
            Endpoint("PATCH", ROOT + path, self._update),
            Endpoint("DELETE", ROOT + path, self._delete),
        ]

    def add_project(self, project_id: str, lakebase: Lakebase, spec: dict[str, Any] | None = None) -> Resource:
        """Make a project whose default branch is a Lakebase, with one read-write endpoint."""
        workspace = self._workspace
        project = Resource(f"projects/{project_id}", spec or {"display_name": project_id}, owner=lakebase.creator)
        branch = Resource(f"{project.name}/branches/{DEFAULT_BRANCH}", {"default": True}, lakebase)
        settings = project.spec.get("default_endpoint_settings") or {}
        endpoint = Resource(
            f"{branch.name}/endpoints/{DEFAULT_ENDPOINT}", {**settings, "endpoint_type": READ_WRITE}, lakebase
        )
        with workspace.lock:
            workspace.projects[project.name] = project
            workspace.branches[branch.name] = branch
            workspace.endpoints[endpoint.name] = endpoint
        return project

    # Projects, branches and endpoints

    def _list_projects(self, call: Call) -> dict[str, Any]:
        return {"projects": [self._describe(project) for project in self._workspace.projects.values()]}

    def _create_project(self, call: Call) -> dict[str, Any]:
        project_id = _checked_id(call.query.get("project_id"), "project_id")
        if f"projects/{project_id}" in self._workspace.projects:
            raise exists(f"project {project_id}")
        spec = {"display_name": project_id, **(call.body.get("spec") or {})}
        _check_size({**(spec.get("default_endpoint_settings") or {}), **(call.body.get("initial_endpoint_spec") or {})})
        if initial := call.body.get("initial_endpoint_spec"):
            spec["default_endpoint_settings"] = {**(spec.get("default_endpoint_settings") or {}), **initial}
        project = self.add_project(project_id, self._workspace.new_lakebase(call.identity), spec)
        return finished(self._workspace, project.name, self._describe(project))

    def _list_branches(self, call: Call) -> dict[str, Any]:
        return {"branches": self._below(_parent(call), self._workspace.branches)}

    def _create_branch(self, call: Call) -> dict[str, Any]:
        parent = self._named(_parent(call))
        name = f"{parent.name}/branches/{_checked_id(call.query.get('branch_id'), 'branch_id')}"
        if name in self._workspace.branches:
            raise exists(f"branch {name}")
        spec = dict(call.body.get("spec") or {})
        spec.setdefault("source_branch", f"{parent.name}/branches/{DEFAULT_BRANCH}")
        source = self._workspace.by_name(spec["source_branch"])
        branch = Resource(name, spec, self._workspace.new_lakebase(call.identity, source=source))
        self._workspace.branches[name] = branch
        return finished(self._workspace, name, self._describe(branch))

    def _list_endpoints(self, call: Call) -> dict[str, Any]:
        return {"endpoints": self._below(_parent(call), self._workspace.endpoints)}

    def _create_endpoint(self, call: Call) -> dict[str, Any]:
        branch = self._named(_parent(call))
        name = f"{branch.name}/endpoints/{_checked_id(call.query.get('endpoint_id'), 'endpoint_id')}"
        spec = dict(call.body.get("spec") or {})
        kind = spec.get("endpoint_type")
        if kind not in (READ_WRITE, READ_ONLY):
            raise invalid("spec.endpoint_type is missing")
        siblings = [end for key, end in self._workspace.endpoints.items() if key.startswith(f"{branch.name}/")]
        if name in self._workspace.endpoints:
            raise exists(f"endpoint {name}")
        if kind == READ_WRITE and any(end.spec["endpoint_type"] == READ_WRITE for end in siblings):
            raise exists(f"a read-write endpoint of {branch.name}")
        _check_size(spec)
        endpoint = Resource(name, spec, branch.lakebase)
        self._workspace.endpoints[name] = endpoint
        return finished(self._workspace, name, self._describe(endpoint))

    def _get(self, call: Call) -> dict[str, Any]:
        return self._describe(self._named(_name(call)))

    def _update(self, call: Call) -> dict[str, Any]:
        resource = self._named(_name(call))
        mask = [path.removeprefix("spec.") for path in call.query.get("update_mask", "*").split(",")]
        given = call.body.get("spec") or {}
        changes = {key: value for key, value in given.items() if key in mask or "*" in mask or "spec" in mask}
        _check_size({**resource.spec, **changes})
        resource.spec.update(changes)
        resource.changed_at = time.time()
        if "disabled" in changes and resource.lakebase:
            self._workspace.set_stopped(resource.lakebase, bool(changes["disabled"]))
        return finished(self._workspace, resource.name, self._describe(resource))

    def _delete(self, call: Call) -> dict[str, Any]:
        resource = self._named(_name(call))
        if resource.spec.get("is_protected") or resource.spec.get("default"):
            raise invalid(f"{resource.name} is protected, or the default branch")
        workspace = self._workspace
        gone: list[Resource] = []
        with workspace.lock:
            for kept in (workspace.projects, workspace.branches, workspace.endpoints):
                names = [name for name in kept if name == resource.name or name.startswith(f"{resource.name}/")]
                gone += [kept.pop(name) for name in names]
        for removed in gone:
            if removed.lakebase and "/endpoints/" not in removed.name:
                workspace.remove_lakebase(removed.lakebase)
        return finished(self._workspace, resource.name, {})

    def _below(self, parent: str, resources: dict[str, Resource]) -> list[dict[str, Any]]:
        self._named(parent)
        return [self._describe(resource) for name, resource in resources.items() if name.startswith(f"{parent}/")]

    def _named(self, name: str) -> Resource:
        workspace = self._workspace
        found = workspace.projects.get(name) or workspace.branches.get(name) or workspace.endpoints.get(name)
        if found is None:
            raise not_found(name)
        return found

    # Credentials and operations

    def _credential(self, call: Call) -> dict[str, Any]:
        name = call.body.get("endpoint") or ""
        if name not in self._workspace.endpoints:
            raise not_found(f"endpoint {name}")
        wanted = _lifetime(call.body)
        token, expires_at = self._workspace.issue_credential(
            call.identity, [self._workspace.by_name(name)], min(wanted, self._workspace.token_lifetime)
        )
        return {"token": token, "expire_time": timestamp(expires_at)}

    def _operation(self, call: Call) -> dict[str, Any]:
        name = f"{call.path['name']}/operations/{call.path['operation']}"
        if name not in self._workspace.operations:
            raise not_found(f"operation {name}")
        return self._workspace.operations[name]

    # Descriptions

    def _describe(self, resource: Resource) -> dict[str, Any]:
        describe: Callable[[Resource], dict[str, Any]] = {
            "projects": self._project_status,
            "branches": self._branch_status,
            "endpoints": self._endpoint_status,
        }[resource.name.split("/")[-2]]
        parent = resource.name.rpartition("/")[0].rpartition("/")[0]
        return {
            "name": resource.name,
            **({"parent": parent} if parent else {}),
            "uid": resource.uid,
            "create_time": timestamp(resource.created_at),
            "update_time": timestamp(resource.changed_at),
            "status": describe(resource),
        }

    def _project_status(self, project: Resource) -> dict[str, Any]:
        return {
            **project.spec,
            "project_id": project.id,
            "owner": project.owner,
            "pg_version": self._workspace.version,
            "default_branch": f"{project.name}/branches/{DEFAULT_BRANCH}",
        }

    def _branch_status(self, branch: Resource) -> dict[str, Any]:
        return {
            **{key: value for key, value in branch.spec.items() if key.startswith("source")},
            "branch_id": branch.id,
            "default": bool(branch.spec.get("default")),
            "is_protected": bool(branch.spec.get("is_protected")),
            "current_state": "INIT" if branch.lakebase and branch.lakebase.starting else "READY",
        }

    def _endpoint_status(self, endpoint: Resource) -> dict[str, Any]:
        lakebase = endpoint.lakebase
        state = "ACTIVE"
        if lakebase and lakebase.starting:
            state = "INIT"
        elif lakebase and (lakebase.suspended or lakebase.stopped):
            state = "IDLE"
        spec = endpoint.spec
        group = spec.get("group") or {"min": 1, "max": 1, "enable_readable_secondaries": False}
        hosts = {
            "host": endpoint.host,
            "read_write_pooled_host": endpoint.host.replace(f".{DOMAIN}", f"-pooler.{DOMAIN}"),
        }
        if group.get("enable_readable_secondaries"):
            hosts["read_only_host"] = endpoint.read_only_host
        return {
            "endpoint_id": endpoint.id,
            "endpoint_type": spec["endpoint_type"],
            "current_state": state,
            "disabled": bool(spec.get("disabled")),
            "hosts": hosts,
            "autoscaling_limit_min_cu": spec.get("autoscaling_limit_min_cu", 1.0),
            "autoscaling_limit_max_cu": spec.get("autoscaling_limit_max_cu", 4.0),
            "suspend_timeout_duration": spec.get("suspend_timeout_duration", "86400s"),
            "group": group,
        }


def finished(workspace: Workspace, name: str, response: dict[str, Any]) -> dict[str, Any]:
    """Return an operation that is done."""
    operation = {"name": f"{name}/operations/{uuid.uuid4()}", "done": True, "response": response}
    workspace.operations[str(operation["name"])] = operation
    return operation


def _name(call: Call) -> str:
    """The resource name that a path says."""
    kinds = {"project": "projects", "branch": "branches", "endpoint": "endpoints"}
    return "/".join(f"{kinds[key]}/{call.path[key]}" for key in kinds if key in call.path)


_parent = _name


def _checked_id(value: str | None, what: str) -> str:
    if not value or not _ID.fullmatch(value):
        raise invalid(f"{what} is 1 to 63 lower-case letters, digits and hyphens, and starts with a letter")
    return value


def _check_size(spec: dict[str, Any]) -> None:
    low, high = spec.get("autoscaling_limit_min_cu"), spec.get("autoscaling_limit_max_cu")
    if low is not None and high is not None and not 0 <= high - low <= MAX_CU_SPREAD:
        raise invalid(f"autoscaling_limit_max_cu is at least the minimum, and at most {MAX_CU_SPREAD} above it")


def _lifetime(body: dict[str, Any]) -> float:
    if body.get("ttl") and body.get("expire_time"):
        raise invalid("give ttl or expire_time, not both")
    try:
        if body.get("ttl"):
            wanted = float(str(body["ttl"]).removesuffix("s"))
        elif body.get("expire_time"):
            wanted = datetime.fromisoformat(body["expire_time"]).timestamp() - time.time()
        else:
            return MAX_TTL
    except ValueError:
        raise invalid("ttl is a number of seconds such as 900s, expire_time an RFC 3339 time") from None
    # A second of grace for an expire_time that was computed just before.
    if not MIN_TTL - 1 <= wanted <= MAX_TTL + 1:
        raise ApiError(400, "INVALID_PARAMETER_VALUE", "a credential lives 300 to 3600 seconds")
    return wanted
