from __future__ import annotations

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import Unauthenticated

from lakemem.testing import LakebaseEmulator


def test_a_service_principal_logs_in_with_its_secret_and_is_named_by_its_application_id(
    emulator: LakebaseEmulator, workspace: WorkspaceClient
) -> None:
    me = workspace.current_user.me()
    assert me.user_name == emulator.app.name == workspace.config.client_id
    assert emulator.requests.count("POST /oidc/v1/token") == 1


def test_the_environment_alone_configures_the_sdk(lakebase_environment: LakebaseEmulator) -> None:
    workspace = WorkspaceClient()
    assert workspace.config.auth_type == "oauth-m2m"
    assert workspace.current_user.me().user_name == lakebase_environment.app.name
    assert workspace.get_workspace_id() == int(lakebase_environment.workspace.workspace_id)


def test_a_wrong_secret_gets_no_token(emulator: LakebaseEmulator) -> None:
    workspace = WorkspaceClient(
        host=emulator.url, client_id=emulator.app.name, client_secret="wrong", auth_type="oauth-m2m"
    )
    with pytest.raises(ValueError, match="invalid_client"):
        workspace.current_user.me()


def test_a_forwarded_token_is_its_users(emulator: LakebaseEmulator) -> None:
    emulator.add_user("ada@example.com", groups=["analysts"])
    emulator.add_user("bob@example.com")
    for name in ("ada@example.com", "bob@example.com"):
        user = WorkspaceClient(host=emulator.url, token=emulator.login(name), auth_type="pat")
        assert user.current_user.me().user_name == name
    ada = emulator.client("ada@example.com").current_user.me()
    assert [group.display for group in ada.groups or []] == ["analysts"]
    assert ada.emails
    assert ada.emails[0].value == "ada@example.com"


def test_nobody_is_answered_without_a_token(emulator: LakebaseEmulator) -> None:
    answer = requests.get(f"{emulator.url}/api/2.0/database/instances", timeout=10)
    assert answer.status_code == 401
    assert answer.json()["error_code"] == "UNAUTHENTICATED"


def test_a_revoked_login_is_refused(emulator: LakebaseEmulator) -> None:
    user = emulator.client(emulator.add_user("leaver@example.com"))
    user.current_user.me()
    emulator.revoke("leaver@example.com", logins=True)
    with pytest.raises(Unauthenticated):
        user.current_user.me()


def test_a_database_token_is_no_login_to_the_api(emulator: LakebaseEmulator) -> None:
    user = WorkspaceClient(host=emulator.url, token=emulator.parameters()["password"], auth_type="pat")
    with pytest.raises(Unauthenticated):
        user.current_user.me()


def test_a_login_expires() -> None:
    with LakebaseEmulator(login_lifetime=0.0) as emulator, pytest.raises(Unauthenticated):
        WorkspaceClient(host=emulator.url, token=emulator.login(), auth_type="pat").current_user.me()


def test_a_route_that_is_not_emulated_says_so(workspace: WorkspaceClient) -> None:
    with pytest.raises(Exception, match=r"the emulator does not speak GET /api/2\.1/unity-catalog/catalogs/x"):
        workspace.catalogs.get("x")
