"""The tests of sessions, savers, stores and memories pass with encryption, as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lakemem.encryption import new_master_key

ROOT = Path(__file__).parent.parent.parent
SUITES = (
    "tests/openai_agents/test_session.py",
    "tests/langgraph/test_savers.py",
    "tests/_async/test_threads.py",
    "tests/_async/test_memories.py",
    "tests/_async/test_remembering.py",
    "tests/_async/test_files.py",
)
LOOK_INTO_ROWS = "test_a_write_that_failed_can_be_repeated_with_its_id"
"""What is not stored as these tests look for it."""


@pytest.mark.long
@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_passes_with_encryption(suite: str) -> None:
    environment = {**os.environ, "LAKEMEM_MASTER_KEYS": new_master_key("of the tests")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", suite, "-k", f"not {LOOK_INTO_ROWS}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
