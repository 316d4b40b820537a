"""`lakemem grants`, `doctor` and `provision` on a Lakebase."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lakemem import AsyncMemory, ConfigurationError, Lakebase, Memory
from lakemem.cli import main
from lakemem.integrations.databricks.roles import create_role
from lakemem.testing import LakebaseEmulator


@pytest.fixture
def as_owner(app: LakebaseEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the developer to whom the Lakebase belongs."""
    for name in ("DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATABRICKS_AUTH_TYPE", "pat")
    monkeypatch.setenv("DATABRICKS_TOKEN", app.login(app.owner))


def examine(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    code = main(["doctor", "--json", *arguments])
    return code, {finding["step"]: finding for finding in json.loads(capsys.readouterr().out)}


@pytest.mark.usefixtures("as_owner")
@pytest.mark.parametrize("instance", [False, True], ids=["endpoint", "instance"])
def test_grants_make_the_role_of_a_new_app_and_all_that_it_needs(
    app: LakebaseEmulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], instance: bool
) -> None:
    if instance:
        monkeypatch.delenv("LAKEBASE_AUTOSCALING_ENDPOINT")
        monkeypatch.setenv("LAKEBASE_INSTANCE_NAME", app.instance)
    assert main(["migrate"]) == 0
    new_app = app.add_service_principal("new app")
    for _ in range(2):
        assert main(["grants", "--to", new_app.name, "--apply"]) == 0
    assert main(["grants", "--to", new_app.name, "--check"]) == 0
    assert capsys.readouterr().out.count("created the role") == 1
    assert new_app.secret
    monkeypatch.setenv("DATABRICKS_AUTH_TYPE", "oauth-m2m")
    monkeypatch.delenv("DATABRICKS_TOKEN")
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", new_app.name)
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", new_app.secret)
    with Memory() as memory:
        memory.for_user("alice").save("color", "green")
        assert len(memory.for_user("alice").search("green")) == 1


def test_a_kind_of_identity_that_there_is_not_is_refused_before_anything_is_asked(app: LakebaseEmulator) -> None:
    with pytest.raises(ConfigurationError, match="SERVICE_PRINCIPAL"):
        create_role(Lakebase.from_env(), "x", kind="USER'); DROP TABLE threads; --")  # type: ignore[arg-type]
    assert app.requests.count() == 0


async def test_the_doctor_finds_nothing_wrong_where_nothing_is(
    memory: AsyncMemory, capsys: pytest.CaptureFixture[str]
) -> None:
    code, findings = examine(capsys)
    assert code == 0
    assert {finding["status"] for finding in findings.values()} == {"ok"}
    assert {"workspace", "state", "token", "login", "TLS", "tables", "grants", "connections", "embedder"} <= set(
        findings
    )
    assert main(["doctor"]) == 0
    assert "FAILED" not in capsys.readouterr().out


FAULTS: dict[str, tuple[Any, str, str]] = {
    "the API": (lambda app: app.faults.error("GET /api/2.0/postgres/*", 403), "state", "access to the Lakebase"),
    "the token": (lambda app: app.faults.error("POST *credentials", 403), "token", "may not have a token"),
    "the login": (lambda app: app.faults.error("CONNECT *"), "login", "refused the login|cannot be reached"),
    "the embedder": (
        lambda app: app.faults.error("POST /serving-endpoints/*", 404),
        "embedder",
        "check that it exists",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_doctor_names_the_step_that_fails(
    app: LakebaseEmulator, memory: AsyncMemory, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    switch, step, words = FAULTS[fault]
    switch(app)
    code, findings = examine(capsys)
    assert code == 1
    assert [name for name, finding in findings.items() if finding["status"] == "failed"] == [step]
    assert any(part in findings[step]["detail"] for part in words.split("|")), findings[step]["detail"]


def test_the_doctor_says_when_tables_are_missing(app: LakebaseEmulator, capsys: pytest.CaptureFixture[str]) -> None:
    code, findings = examine(capsys)
    assert code == 1
    assert "lakemem migrate" in findings["tables"]["detail"]


@pytest.mark.usefixtures("as_owner")
def test_the_doctor_says_when_grants_are_missing(
    app: LakebaseEmulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate"]) == 0
    for name, value in app.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DATABRICKS_TOKEN")
    capsys.readouterr()
    code, findings = examine(capsys)
    assert code == 1
    assert "lakemem grants" in json.dumps(findings["tables"]) + json.dumps(findings.get("grants", ""))


async def test_the_doctor_warns_of_a_pool_that_does_not_fit(
    memory: AsyncMemory, capsys: pytest.CaptureFixture[str]
) -> None:
    code, findings = examine(capsys, "--pool-size", "5000")
    assert code == 0
    assert findings["connections"]["status"] == "warning"


async def test_the_doctor_says_when_an_embedder_has_other_dimensions(
    memory: AsyncMemory, capsys: pytest.CaptureFixture[str]
) -> None:
    code, findings = examine(capsys, "--embedding-dimensions", "384")
    assert code == 1
    assert "384 dimensions" in findings["embedder"]["detail"]


@pytest.mark.usefixtures("as_owner")
def test_an_instance_is_made_resized_registered_and_left_alone(
    app: LakebaseEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["provision", "--instance", "sized", "--catalog", "sized_catalog"]
    assert main([*command, "--capacity", "CU_1"]) == 0
    first = capsys.readouterr().out
    assert "creating instance sized with CU_1" in first
    assert "AVAILABLE" in first
    assert "sized_catalog" in first
    assert main([*command, "--capacity", "CU_4"]) == 0
    assert "from CU_1 to CU_4" in capsys.readouterr().out
    assert main([*command, "--capacity", "CU_4"]) == 0
    again = capsys.readouterr().out
    assert "ing instance" not in again
    assert "registering" not in again


@pytest.mark.usefixtures("as_owner")
def test_a_project_is_made_resized_registered_and_left_alone(
    app: LakebaseEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["provision", "--project", "grown", "--branch", "trial", "--catalog", "grown_catalog"]
    assert main(command) == 0
    assert "creating project grown" in capsys.readouterr().out
    assert main([*command, "--min-cu", "1", "--max-cu", "4"]) == 0
    assert "to 1 to 4 CU" in capsys.readouterr().out
    assert main([*command, "--min-cu", "1", "--max-cu", "4"]) == 0
    assert "creating" not in capsys.readouterr().out
    size = app.client(app.owner).postgres.get_endpoint("projects/grown/branches/trial/endpoints/primary").status
    assert size is not None
    assert (size.autoscaling_limit_min_cu, size.autoscaling_limit_max_cu) == (1, 4)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--instance", "x", "--capacity", "CU_3"],
        ["--project", "x", "--min-cu", "4", "--max-cu", "2"],
        ["--project", "x", "--min-cu", "1", "--max-cu", "32"],
    ],
)
def test_a_size_that_there_is_not_is_refused_before_anything_is_made(
    app: LakebaseEmulator, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    app.requests.clear()
    assert main(["provision", *arguments]) == 1
    assert "CU" in capsys.readouterr().err
    assert app.requests.count("POST /api/*") == 0


def test_a_stopped_instance_is_waited_for_and_then_told(app: LakebaseEmulator) -> None:
    from databricks.sdk.service.database import DatabaseInstance

    from lakemem import StorageUnavailableError
    from lakemem.lakebase import LakebaseLocator, Workspace

    owner = app.client(app.owner)
    owner.database.create_database_instance(DatabaseInstance(name="sleeper", capacity="CU_1"))
    owner.database.update_database_instance("sleeper", DatabaseInstance(name="sleeper", stopped=True), "stopped")
    locator = LakebaseLocator(Workspace(owner), Lakebase.instance("sleeper"), wait=0.2, poll=0.05)
    with pytest.raises(StorageUnavailableError, match=r"sleeper.* is STOPPED.*start it"):
        locator.ready()
