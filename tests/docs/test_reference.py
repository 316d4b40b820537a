"""The reference has all that there is, as it is."""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

import lakemem
from lakemem import validation
from lakemem.cli import _parser
from lakemem.embedding import MAX_DIMENSIONS
from lakemem.grants import RIGHTS
from lakemem.integrations import databricks
from lakemem.integrations.embedders import LocalEmbedder, OpenAIEmbedder
from lakemem.integrations.langgraph import AsyncLakebaseSaver
from lakemem.integrations.openai_agents import LakebaseSession
from lakemem.integrations.openai_extractor import OpenAIExtractor
from lakemem.lakebase import CONNECTIONS_PER_CU, PROVISIONED_MAX_CONNECTIONS
from lakemem.schema import MAX_NAME_BYTES
from lakemem.server import create_app
from lakemem.testing import DatabaseFactory, LakebaseEmulator
from tests.docs.conftest import Machine
from tests.docs.places import CONFIGURATION, DOCS, ROOT, assert_documented


def test_the_table_of_extras_has_each_of_them() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = pyproject["project"]["optional-dependencies"]
    table = (ROOT / "README.md").read_text().partition("| extra |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.+?) \| ", table, flags=re.MULTILINE))
    assert set(rows) == set(extras)
    for extra, brings in rows.items():
        included = {part for wanted in extras[extra] for part in re.findall(r"lakemem\[(.+)\]", wanted)}
        others = {part for list_of_them in included for part in list_of_them.split(",")}
        assert extra == "all" or set(re.findall(r"`([\w-]+)`", brings)) == others, extra


PUBLIC = set(lakemem._ROOM_OF)
CONFIGURABLE: dict[str, Callable[..., Any]] = {
    "AsyncMemory": lakemem.AsyncMemory,
    "degrading": lakemem.degrading,
    "Lakebase.from_env": lakemem.Lakebase.from_env,
    "Lakebase.instance": lakemem.Lakebase.instance,
    "Lakebase.endpoint": lakemem.Lakebase.endpoint,
    "Lakebase.branch": lakemem.Lakebase.branch,
    "Lakebase.embedded": lakemem.Lakebase.embedded,
    "CachedCredentials": lakemem.CachedCredentials,
    "Credential": lakemem.Credential,
    "LakebaseCredentials": databricks.LakebaseCredentials,
    "on_behalf_of": databricks.on_behalf_of,
    "AsyncOnBehalfOf": lakemem.AsyncOnBehalfOf,
    "TokenIdentity": databricks.TokenIdentity,
    "DatabricksEmbedder": databricks.DatabricksEmbedder,
    "LocalEmbedder": LocalEmbedder,
    "OpenAIEmbedder": OpenAIEmbedder,
    "CallableEmbedder": lakemem.CallableEmbedder,
    "OpenAIExtractor": OpenAIExtractor,
    "AsyncMemory.worker": partial(lakemem.AsyncMemory.worker, None),
    "create_app": create_app,
    "LakebaseSession": LakebaseSession,
    "AsyncLakebaseSaver": AsyncLakebaseSaver,
    "create_memory_tools": lakemem.create_memory_tools,
    "LakebaseEmulator": LakebaseEmulator,
    "DatabaseFactory": DatabaseFactory,
}


@pytest.mark.parametrize("name", CONFIGURABLE)
def test_the_configuration_reference_has_each_argument_with_its_default(name: str) -> None:
    section = CONFIGURATION.read_text().partition(f"\n### `{name}`\n")[2].partition("\n#")[0]
    documented = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|.*\|.*\|$", section, flags=re.MULTILINE))
    assert documented == {
        argument.name: "required" if argument.default is argument.empty else f"`{shown(argument.default)}`"
        for argument in inspect.signature(CONFIGURABLE[name]).parameters.values()
        if argument.kind is not argument.VAR_KEYWORD
    }


def shown(default: object) -> str:
    return f"{default.__module__}.{default.__name__}" if inspect.isbuiltin(default) else repr(default)


def test_the_configuration_reference_has_each_environment_variable_that_is_read() -> None:
    package = Path(lakemem.__file__).parent
    # What the emulator says to a workspace's clients looks like variables, too.
    sources = [path.read_text() for path in package.rglob("*.py") if "testing" not in path.parts]
    pattern = r'"((?:LAKEMEM|LAKEBASE|DATABRICKS|OPENAI|PG)[A-Z]*_?[A-Z_]*[A-Z])"'
    read = {name for source in sources for name in re.findall(pattern, source)}
    assert "LAKEMEM_DSN" in read
    assert "PGHOST" in read
    for variable in read:
        assert_documented(variable)


@pytest.mark.parametrize(
    ("module", "names"), [("lakemem", PUBLIC), ("lakemem.integrations.databricks", set(databricks.__all__))]
)
def test_the_reference_has_each_public_name(module: str, names: set[str]) -> None:
    reference = (DOCS / "reference" / "api.md").read_text() + (DOCS / "reference" / "errors.md").read_text()
    entry = rf"^\.\. auto(?:class|function|exception|data):: {re.escape(module)}\.(\w+)$"
    documented = set(re.findall(entry, reference, flags=re.MULTILINE))
    assert documented == names


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_and_its_methods_say_what_they_are(name: str) -> None:
    value = getattr(lakemem, name)
    for attribute, member in [("", value), *(vars(value).items() if inspect.isclass(value) else [])]:
        function = getattr(member, "__func__", getattr(member, "fget", member))
        if not attribute.startswith("_") and (inspect.isroutine(function) or inspect.isclass(function)):
            assert inspect.getdoc(function), f"{name}.{attribute} has no docstring"


def test_the_page_on_errors_has_a_row_for_each_of_them() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (DOCS / "reference" / "errors.md").read_text(), flags=re.MULTILINE)
    errors = {name for name in PUBLIC if name.endswith("Error")} - {"LakememError"}
    assert set(rows) == errors


def test_the_page_on_the_data_model_has_each_table_and_column(machine: Machine) -> None:
    machine.run(sys.executable, "-m", "lakemem", "migrate")
    with psycopg.connect(**machine.login) as connection:
        stored = connection.execute(
            "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'lakemem'"
        ).fetchall()
    sections = re.split(r"^## ", (DOCS / "reference" / "data-model.md").read_text(), flags=re.MULTILINE)[1:]
    documented = {
        (section.partition("\n")[0], column)
        for section in sections
        for cell in re.findall(r"^\| (`.+?) \|", section, flags=re.MULTILINE)
        for column in re.findall(r"`(\w+)`", cell)
    }
    assert documented == set(stored)


def test_the_page_on_the_command_line_has_each_command_and_option() -> None:
    page = (DOCS / "reference" / "cli.md").read_text()
    sections = {part.partition("\n")[0]: part for part in re.split(r"^## ", page, flags=re.MULTILINE)}
    documented = {
        name: set(re.findall(r"^\| `(--[\w-]+)` \|", section, flags=re.MULTILINE)) for name, section in sections.items()
    }
    for name, command in commands_of(_parser()):
        section = f"lakemem {name}"
        shared = documented["Naming the database"] if "(#naming-the-database)" in sections[section] else set()
        options = {option for action in command._actions for option in action.option_strings} - {"-h", "--help"}
        assert documented[section] | shared == options, name


def commands_of(parser: argparse.ArgumentParser, above: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The commands of a command line, and those below them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield above + name, command
                yield from commands_of(command, f"{above}{name} ")


def test_the_page_on_permissions_has_each_right() -> None:
    page = (DOCS / "how-to" / "permissions.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([A-Z, ]+) \| ", page, flags=re.MULTILINE)
    assert {table: tuple(rights.split(", ")) for table, rights in rows} == RIGHTS


def test_the_page_on_sizing_counts_as_the_doctor_does() -> None:
    page = (DOCS / "how-to" / "sizing.md").read_text()
    rows = re.findall(r"^\| ([\d.]+) \| ([\d,]+) \|$", page, flags=re.MULTILINE)
    assert dict(rows) == {cu: f"{int(float(cu) * CONNECTIONS_PER_CU) - 1:,}" for cu in ("0.5", "1", "2", "3", "4", "8")}
    assert f" takes {PROVISIONED_MAX_CONNECTIONS:,}," in page


def test_the_page_on_limits_has_the_limits_that_are_checked() -> None:
    page = (DOCS / "reference" / "limits.md").read_text()
    limits = [
        *(value for name, value in vars(validation).items() if name.startswith("MAX_") and name != "MAX_SECONDS"),
        MAX_DIMENSIONS,
        MAX_NAME_BYTES,
    ]
    for limit in limits:
        assert re.search(rf"\b{limit:,}\b", page), limit
