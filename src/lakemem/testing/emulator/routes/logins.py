"""OAuth for service principals, and who is asking.

Source: https://docs.databricks.com/aws/en/dev-tools/auth/oauth-m2m and .../api/workspace/currentuser/me
"""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from lakemem.testing.emulator.app import Call, Endpoint
from lakemem.testing.emulator.state import Workspace


class Logins:
    """The endpoints that the SDK's configuration and authentication ask."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/.well-known/databricks-config", self._configuration, open=True),
            Endpoint("GET", "/oidc/.well-known/oauth-authorization-server", self._servers, open=True),
            Endpoint("POST", "/oidc/v1/token", self._token, open=True),
            Endpoint("GET", "/api/2.0/preview/scim/v2/Me", self._me),
        ]

    def _configuration(self, call: Call) -> dict[str, Any]:
        return {"oidc_endpoint": f"{call.url}/oidc", "workspace_id": self._workspace.workspace_id, "cloud": "AWS"}

    def _servers(self, call: Call) -> dict[str, Any]:
        oidc = f"{call.url}/oidc"
        return {
            "issuer": oidc,
            "authorization_endpoint": f"{oidc}/v1/authorize",
            "token_endpoint": f"{oidc}/v1/token",
            "grant_types_supported": ["client_credentials"],
        }

    def _token(self, call: Call) -> Any:
        if call.body.get("grant_type") != "client_credentials":
            return _oauth_error(400, "unsupported_grant_type", "only client_credentials is emulated")
        name, secret = call.client if call.client[0] else (call.body.get("client_id"), call.body.get("client_secret"))
        identity = self._workspace.identities.get(str(name))
        if identity is None or not identity.secret or identity.secret != secret:
            return _oauth_error(401, "invalid_client", "Client authentication failed")
        token, lifetime = self._workspace.issue_login(identity.name)
        return {"access_token": token, "token_type": "Bearer", "expires_in": int(lifetime), "scope": "all-apis"}

    def _me(self, call: Call) -> dict[str, Any]:
        identity = call.identity
        return {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "id": identity.id,
            "userName": identity.name,
            "displayName": identity.display_name,
            "active": True,
            "emails": [{"value": identity.name, "type": "work", "primary": True}] if identity.kind == "USER" else [],
            "groups": [{"display": group} for group in identity.groups],
        }


def _oauth_error(status: int, error: str, description: str) -> Response:
    return JSONResponse({"error": error, "error_description": description}, status)
