"""The code of the pages runs, and prints what they say; of the how-to guides elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.docs.conftest import Machine
from tests.docs.places import ROOT, name_of, with_blocks


@pytest.mark.parametrize("page", [page for page in with_blocks("python") if page.parent.name != "how-to"], ids=name_of)
def test_the_code_of_a_page_runs_and_prints_what_the_page_says(machine: Machine, page: Path) -> None:
    machine.run(sys.executable, "-P", str(ROOT / "tests" / "pages.py"), str(page))
