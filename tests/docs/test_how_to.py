"""The code of the how-to guides runs, and prints what they say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from lakemem.testing import LakebaseEmulator
from tests.docs.conftest import Machine
from tests.docs.places import DOCS, ROOT, name_of, with_blocks
from tests.pages import blocks


@pytest.mark.long
@pytest.mark.parametrize("page", [page for page in with_blocks("python") if page.parent.name == "how-to"], ids=name_of)
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
