"""The emulator as a part of a user's own suite."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
import psycopg
from databricks.sdk import WorkspaceClient


def test_one_breaks_something(lakebase_emulator):
    lakebase_emulator.faults.error("*", 500)
    lakebase_emulator.suspend()
    lakebase_emulator.chat.reply("never asked for")


def test_another_finds_it_whole(lakebase_environment):
    workspace = WorkspaceClient()
    assert workspace.current_user.me().user_name == lakebase_environment.app.name
    assert lakebase_environment.requests.count("GET */Me") == 1
    endpoint = workspace.postgres.get_endpoint(lakebase_environment.endpoint)
    assert endpoint.status.current_state.value == "ACTIVE"
    with psycopg.connect(**lakebase_environment.parameters()) as connection:
        connection.execute("SELECT 1")
"""


def run(*arguments: str, folder: Path | None = None) -> str:
    ended = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=folder, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_fixtures_are_a_plugin_and_each_test_begins_without_faults(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["lakemem.testing.fixtures"]\n')
    (tmp_path / "test_suite.py").write_text(SUITE)
    assert "2 passed" in run("-m", "pytest", "-p", "no:cacheprovider", folder=tmp_path)


def test_importing_the_package_for_tests_brings_no_server() -> None:
    loaded = run("-c", "import sys, lakemem.testing; print(*sys.modules)").split()
    assert "lakemem.testing.databases" in loaded
    assert {"starlette", "uvicorn", "cryptography", "databricks"}.isdisjoint(loaded)


@pytest.mark.parametrize("missing", ["uvicorn", "starlette", "cryptography"])
def test_without_the_extra_the_error_says_what_to_install(missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from lakemem import MissingExtraError\n"
        "try:\n    from lakemem.testing import LakebaseEmulator\n"
        "except MissingExtraError as error:\n    print(error)"
    )
    assert 'pip install "lakemem[emulator]"' in run("-c", code)
