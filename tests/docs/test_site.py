"""The links of the site lead somewhere, its commands exist, and its files are what platforms read."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from databricks.sdk.service.apps import App, AppResource

from lakemem.cli import _parser
from tests.docs.places import DOCS, PAGES, ROOT, assert_documented, name_of, with_blocks
from tests.pages import blocks


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
