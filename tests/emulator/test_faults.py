"""The switches, seen by the real SDK and by psycopg."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import InternalError, PermissionDenied

from lakemem.testing import LakebaseEmulator
from tests.emulator.conftest import connect

CREDENTIALS = "POST /api/2.0/database/credentials"
INSTANCE = "GET /api/2.0/database/instances/*"


def mint(workspace: WorkspaceClient) -> str:
    made = workspace.database.generate_database_credential(request_id="1", instance_names=["agent-memory"])
    return str(made.token)


def test_a_rate_limit_says_when_to_try_again_and_the_sdk_does(
    emulator: LakebaseEmulator, workspace: WorkspaceClient
) -> None:
    emulator.faults.rate_limit(CREDENTIALS, retry_after=1, times=1)
    began = time.monotonic()
    assert mint(workspace)
    assert time.monotonic() - began >= 1
    assert [request.status for request in emulator.requests.matching(CREDENTIALS)] == [429, 200]


def test_an_error_happens_as_often_as_was_asked_and_on_its_route_alone(
    emulator: LakebaseEmulator, workspace: WorkspaceClient
) -> None:
    fault = emulator.faults.error(CREDENTIALS, 500, times=2)
    workspace.database.get_database_instance("agent-memory")
    for _ in range(2):
        with pytest.raises(InternalError):
            mint(workspace)
    assert mint(workspace)
    assert fault.happened == 2


def test_a_fault_stays_until_it_is_cleared(emulator: LakebaseEmulator, workspace: WorkspaceClient) -> None:
    fault = emulator.faults.error(CREDENTIALS, 403)
    other = emulator.faults.error(INSTANCE, 403)
    for _ in range(3):
        with pytest.raises(PermissionDenied):
            mint(workspace)
    emulator.faults.clear(fault)
    assert mint(workspace)
    with pytest.raises(PermissionDenied):
        workspace.database.get_database_instance("agent-memory")
    assert [active["route"] for active in emulator.faults.active()] == [other.route]


def test_a_fault_for_n_requests_meets_n_of_many_at_once(emulator: LakebaseEmulator) -> None:
    emulator.faults.error("GET /api/2.0/preview/scim/v2/Me", 500, times=5)
    header = {"authorization": f"Bearer {emulator.login()}"}

    def ask(_: int) -> int:
        return requests.get(f"{emulator.url}/api/2.0/preview/scim/v2/Me", headers=header, timeout=10).status_code

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(ask, range(20))) == [200] * 15 + [500] * 5


def test_a_slow_answer_comes_late_beside_another_fault(emulator: LakebaseEmulator, workspace: WorkspaceClient) -> None:
    emulator.faults.slow(CREDENTIALS, 0.3, times=1)
    emulator.faults.error(CREDENTIALS, 500, times=1)
    began = time.monotonic()
    with pytest.raises(InternalError):
        mint(workspace)
    assert time.monotonic() - began >= 0.3


def test_a_refused_request_gets_no_answer(emulator: LakebaseEmulator) -> None:
    emulator.faults.refuse("GET /.well-known/*", times=1)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{emulator.url}/.well-known/databricks-config", timeout=10)
    assert requests.get(f"{emulator.url}/.well-known/databricks-config", timeout=10).ok
    assert [request.status for request in emulator.requests] == [0, 200]


def test_logins_to_postgres_can_be_refused_fail_and_be_slow(emulator: LakebaseEmulator) -> None:
    emulator.faults.refuse("CONNECT *", times=1)
    with pytest.raises(psycopg.OperationalError, match=r"closed|reset|eof"):
        connect(emulator)
    emulator.faults.error("CONNECT *", times=1)
    with pytest.raises(psycopg.OperationalError, match="not accepting connections"):
        connect(emulator)
    emulator.faults.slow(f"CONNECT {emulator.host}", 0.3, times=1)
    began = time.monotonic()
    with connect(emulator):
        assert time.monotonic() - began >= 0.3
    assert [request.status for request in emulator.requests.matching("CONNECT *")] == [0, 500, 200]


def test_a_connection_can_be_dropped_without_a_word(emulator: LakebaseEmulator) -> None:
    emulator.faults.drop(after=0.1, times=1)
    with connect(emulator) as connection, pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT pg_sleep(30)")


def test_a_failover_ends_connections_with_postgres_own_words(emulator: LakebaseEmulator) -> None:
    with connect(emulator) as connection:
        assert emulator.close_connections(emulator.app) >= 1
        with pytest.raises(psycopg.errors.AdminShutdown):
            connection.execute("SELECT 1")


def test_a_name_can_be_hidden_from_the_resolver(emulator: LakebaseEmulator) -> None:
    assert emulator.resolve(emulator.host) == ["127.0.0.1"]
    emulator.faults.unresolvable(emulator.host, times=1)
    with pytest.raises(socket.gaierror):
        emulator.resolve(emulator.host)
    assert emulator.resolve(emulator.host)
    with pytest.raises(socket.gaierror):
        emulator.resolve("instance-none.database.emulator.localhost")


def test_no_token_is_in_what_the_emulator_notes(emulator: LakebaseEmulator, workspace: WorkspaceClient) -> None:
    token = mint(workspace)
    with connect(emulator, password=token):
        pass
    noted = repr(list(emulator.requests)) + repr(emulator.owner) + repr(emulator.app)
    assert token not in noted
    assert emulator.app.secret not in noted


class TestOverHttp:
    """The same switches, for an emulator in another process."""

    def control(self, emulator: LakebaseEmulator, method: str, path: str, **body: Any) -> dict[str, Any]:
        answer = requests.request(method, f"{emulator.url}/emulator{path}", json=body, timeout=10)
        assert answer.ok, answer.text
        return dict(answer.json())

    def test_faults_are_switched_and_requests_counted(
        self, emulator: LakebaseEmulator, workspace: WorkspaceClient
    ) -> None:
        self.control(emulator, "POST", "/faults", kind="error", route=CREDENTIALS, status=500, times=1)
        with pytest.raises(InternalError):
            mint(workspace)
        assert self.control(emulator, "GET", "/faults") == {"faults": []}
        assert mint(workspace)
        noted = self.control(emulator, "GET", f"/requests?route={CREDENTIALS}")["requests"]
        assert [request["status"] for request in noted] == [500, 200]
        self.control(emulator, "DELETE", "/requests")
        assert len(emulator.requests) == 0
        for kind in ("rate_limit", "slow", "refuse", "drop", "unresolvable"):
            self.control(emulator, "POST", "/faults", kind=kind)
        assert len(emulator.faults.active()) == 5
        self.control(emulator, "DELETE", "/faults")
        assert emulator.faults.active() == []

    def test_connections_are_closed_tokens_revoked_and_users_added(self, emulator: LakebaseEmulator) -> None:
        with connect(emulator):
            assert self.control(emulator, "POST", "/close-connections")["closed"] == 1
        login = emulator.parameters()
        assert self.control(emulator, "POST", "/revoke")["revoked"] >= 1
        with pytest.raises(psycopg.OperationalError):
            connect(emulator, password=login["password"])
        self.control(emulator, "POST", "/suspend", name=emulator.endpoint)
        assert emulator.client().postgres.get_endpoint(emulator.endpoint).as_dict()["status"]["current_state"] == "IDLE"
        made = self.control(emulator, "POST", "/users", email="remote@example.com", admit=True)
        user = WorkspaceClient(host=emulator.url, token=str(made["token"]), auth_type="pat")
        assert user.current_user.me().user_name == "remote@example.com"
        with connect(emulator, user="remote@example.com", password=mint(user)):
            pass
        self.control(emulator, "POST", "/chat", replies=["scripted"])
        assert emulator.chat.answer([])["content"] == "scripted"
        assert self.control(emulator, "GET", "")["environment"] == emulator.environment()
