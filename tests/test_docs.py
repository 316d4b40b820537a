"""What the pages and the examples say is true: their code runs, their commands exist, their links lead somewhere."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import platformdirs
import psycopg
import pytest
import yaml
from databricks.sdk.service.apps import App, AppResource
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

import lakemem
from lakemem import validation
from lakemem.cli import _parser
from lakemem.embedded import DATABASE, ROLE
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
from tests.conftest import embedded_server
from tests.pages import blocks

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    EXAMPLES / "README.md",
    *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts),
]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def with_blocks(language: str) -> list[Path]:
    return [page for page in PAGES if any(block.language == language for block in blocks(page))]


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """A machine on which nothing is configured, with an embedded server that is running already."""

    environment: dict[str, str]
    folder: Path
    login: dict[str, Any]

    def run(self, *command: str, **environment: str) -> str:
        """Run a command in an empty folder, on a database without tables, and return what it prints."""
        self._drop_tables()
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _drop_tables(self) -> None:
        with psycopg.connect(**self.login, autocommit=True) as connection:
            owned = "SELECT nspname FROM pg_namespace WHERE nspowner = current_user::regrole"
            for (schema,) in connection.execute(owned).fetchall():
                connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    # Not below pytest's own folder, for the reason that conftest.py gives. An example runs pytest, too.
    with TemporaryDirectory(prefix="lakemem-docs-", ignore_cleanup_errors=True) as folder:
        home, empty, temporary = (Path(folder, name) for name in ("home", "empty", "tmp"))
        for made in (home, empty, temporary):
            made.mkdir()
        environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        environment |= {"HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "TMPDIR": str(temporary)}
        environment["OPENAI_AGENTS_DISABLE_TRACING"] = "1"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", environment["HOME"])
            patch.setenv("XDG_DATA_HOME", environment["XDG_DATA_HOME"])
            data = platformdirs.user_data_path("lakemem") / "postgres-18"
        with contextmanager(embedded_server)(data, 18) as admin_dsn:
            host = conninfo_to_dict(admin_dsn)["host"]
            yield Machine(environment, empty, {"host": host, "user": ROLE, "dbname": DATABASE})


@pytest.mark.parametrize("page", with_blocks("python"), ids=name_of)
def test_the_code_of_a_page_runs_and_prints_what_the_page_says(machine: Machine, page: Path) -> None:
    machine.run(sys.executable, "-P", str(ROOT / "tests" / "pages.py"), str(page))


def test_the_suite_on_the_page_about_the_emulator_passes(
    lakebase_environment: LakebaseEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEBASE_AGENT_MEMORY_SCHEMA", "of_the_page")
    [suite] = [block for block in blocks(DOCS / "how-to" / "emulator.md") if "def test_" in block.code]
    namespace: dict[str, Any] = {}
    exec(suite.code, namespace)
    namespace["test_the_agent_remembers"](lakebase_environment)


OF_AN_APP = [
    "agent: Nice to meet you.",
    "You began with: ",
    "From earlier conversations I know: ",
    "bob: How should you answer me?\n  agent: I know nothing about you yet.",
    "  401 ",
    "agent (degraded): ",
    "agent: From earlier conversations I know: The user works in the workspace analytics-eu.",
]

# What a reader sees of each example, in this order.
PRINTED = {
    "databricks_app_openai.py": OF_AN_APP,
    "databricks_app_langgraph.py": OF_AN_APP,
    "remember_user.py": ["answer_style:", "answer_style, version", "is 67890 now", "forgotten: None", "memories: []"],
    "async_memory.py": ["ada 1: Hello, I am ada.", "eve 2: Hello, eve.", "by Grace.", "Ada does not: []"],
    "threads.py": [
        "page: ['Dinner']",
        "page: ['Travel']",
        "pinned: ['Travel']",
        "found in travel, position 1",
        "forked from travel at 1: At 9:15",
        "stays: Let me think",
        "exported: 3 threads, 6 items",
    ],
    "openai_agents_session.py": ["I have noted: name", "You began with: ", "items in the session"],
    "openai_agents_branching.py": [
        "The branch: I am Ada. | I like long answers.",
        "Taken back: I am Ada. | I like short answers.",
        "3 runs are counted, 2 turns are left",
        "New in what the client sent: I like tea.",
    ],
    "openai_agents_tools.py": ["I have noted: ", "workspace analytics-eu", "bob: ", "I know nothing about you yet."],
    "langgraph_agent.py": [
        "You began with: ",
        "From earlier conversations I know: ",
        "bob on monday",
        "I know nothing",
    ],
    "langgraph_store.py": [
        "ada: What is my dog's name?\n  My dog is called Turing.",
        "bob: What is my dog's name?\n  I know nothing",
        "namespaces: [('trips', 'oslo', '2026'), ('trips', 'rome', '2026'), ('trips', 'tokyo', '2026')]",
        "places: [('trips', 'oslo'), ('trips', 'rome')]",
        "good: ['rome', 'tokyo']",
        "expired: None",
        "erased: 1",
    ],
    "langgraph_interrupt.py": ["waits: Refund 20 EUR?", "waits at: ('approve',)", "Outcome: refunded"],
    "langgraph_time_travel.py": [
        "To review: Dear Bob, no.",
        "The verdict: too short",
        "[(), ('review',), ('write',), ('__start__',)]",
        "To review now: Dear Bob, I am afraid not.",
        "The verdict now: good",
        "stored: 7 checkpoints",
    ],
    "personal_assistant.py": [
        "Monday: 2 turns, facts: ['user.employer']",
        "Thu to now  user employer: I work at Fjordbank",
        "Mon to Thu  user employer: I work at Nordlys Energy",
        "no hazelnuts",
        "Where does Ada work? user employer: I work at Fjordbank",
        "And on Tuesday? user employer: I work at Nordlys Energy",
        "Ida likes jazz.",
    ],
    "degrading_agent.py": ["I remember nothing", "is degraded: ", "1 write waits", "I remember: ['My deploys run"],
    "fastapi_app.py": ["ada, this is message 1", "ada, this is message 2", "bob, this is message 1", "401 {'error'"],
    "custom_embedder.py": ["Reykjavik: Reykjavik, similarity 0", "Rejkyavik: Reykjavik, similarity 0", "words ()"],
    "mlflow_evaluate.py": ["says_it: 100%", "ada [", "lakemem.memories.save", "bob [", "lakemem.recall.search"],
    "testing_your_agent.py": ["3 passed"],
    "long_research/demo.py": [
        "I have read the annual report 2025.\n(the first server is killed)",
        "(another process goes on)",
        "On your question: How is Nordlys doing?",
        "job offers: forty engineers are wanted\nevents: 0 to ",
        "status: completed",
    ],
}


@pytest.mark.parametrize(
    "example", [*sorted(EXAMPLES.glob("*.py")), EXAMPLES / "long_research" / "demo.py"], ids=name_of
)
def test_an_example_shows_what_it_promises(machine: Machine, example: Path) -> None:
    runner = ["-m", "pytest", "-p", "no:cacheprovider"] if example.name.startswith("testing_") else []
    printed = rest = machine.run(sys.executable, *runner, str(example))
    for phrase in PRINTED[str(example.relative_to(EXAMPLES))]:
        assert phrase in rest, printed
        rest = rest.partition(phrase)[2]


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


def test_the_table_of_examples_names_each_of_them() -> None:
    named = re.findall(r"^\| \[`?([\w.]+)`?\]", (EXAMPLES / "README.md").read_text(), flags=re.MULTILINE)
    assert sorted(named) == sorted(example.name for example in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("page", with_blocks("console"), ids=name_of)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    for block in blocks(page):
        if block.language == "console":
            for line in block.code.splitlines():
                check_command(shlex.split(line, comments=True))


def test_a_block_that_is_not_run_says_that_it_needs_a_workspace_or_a_download() -> None:
    for page in PAGES:
        for block in blocks(page):
            reason = block.not_run
            assert reason is None or "workspace" in reason or "download" in reason, f"{page}:{block.line}"


def test_the_configuration_of_an_app_is_what_the_platform_reads() -> None:
    """By the SDK's types: what one of them does not know is not in what it makes of it."""
    pages = [block for block in blocks(DOCS / "how-to" / "deploy-databricks-apps.md") if block.language == "yaml"]
    files = [yaml.safe_load(block.code) for block in pages]
    app_yaml, bundle, other_resources, other_app_yaml = files
    [(name, app)] = bundle["resources"]["apps"].items()
    resources = app["resources"] + other_resources
    assert app["name"] == name == bundle["bundle"]["name"]
    assert set(app) - {"source_code_path"} <= set(App.from_dict(app).as_dict())
    for resource in resources:
        assert AppResource.from_dict(resource).as_dict() == resource
    for reads in (app_yaml, other_app_yaml):
        for variable in reads["env"]:
            assert_documented(variable["name"])
            assert variable.get("valueFrom") in {None, *(resource["name"] for resource in resources)}
    assert set(re.findall(r"\${var\.(\w+)}", pages[1].code)) == set(bundle["variables"])
    branch = bundle["variables"]["branch"]["default"]
    assert bundle["variables"]["database"]["default"].startswith(f"{branch}/databases/")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_lead_to_something(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.is_file(), f"{page} links to {link}"
            assert not anchor or anchor in anchors(target), f"{page} links to {link}, which has no such heading"


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    # In a process of its own: autodoc changes the signatures of what it documents.
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q"]
    places = ["-d", str(tmp_path / "trees"), str(DOCS), str(tmp_path)]
    built = subprocess.run([*command, *places], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "index.html").is_file()


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def check_command(words: list[str]) -> None:
    """Fail unless somebody who types this finds what it names."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        assert_documented(words.pop(0).partition("=")[0])
    match words:
        case []:
            pass
        case ["export", setting]:
            assert_documented(setting.partition("=")[0])
        case ["lakemem", "--version"]:
            pass
        case ["lakemem", *arguments]:
            _parser().parse_args(arguments[: arguments.index(">")] if ">" in arguments else arguments)
        case ["pip", "install", requirement]:
            wanted = re.fullmatch(r"lakemem(?:\[([\w,-]+)\])?", requirement)
            assert wanted, requirement
            extras = pyproject["project"]["optional-dependencies"]
            assert set((wanted[1] or "all").split(",")) <= set(extras), requirement
        case ["make", target, *_]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE), target
        case ["python" | "pytest", file, *_] if file.startswith("examples/"):
            assert (ROOT / file).is_file(), file
        case ["psql" | "pytest" | "uvicorn", *_]:
            pass
        case ["databricks", "auth", "login"] | ["databricks", "bundle", "validate" | "deploy"]:
            pass
        case ["databricks", "bundle", "run", _] | ["databricks", "apps", "get" | "logs", _]:
            pass
        case _:
            raise AssertionError(f"who types `{shlex.join(words)}`? Nothing here knows that command")


def assert_documented(variable: str) -> None:
    assert f"`{variable}`" in CONFIGURATION.read_text(), variable


PUBLIC = set(lakemem._ROOM_OF)
CONFIGURATION = DOCS / "reference" / "configuration.md"
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
