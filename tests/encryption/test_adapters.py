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
OTHERWISE = (
    # By words nothing is found.
    "test_a_namespace_lists_those_below_it_label_by_label",
    "test_metadata_filters_by_what_it_contains",
    "test_what_was_said_is_found_at_once",
    "test_a_file_is_a_memory",
    # A listing of files tells how long they are as they are stored.
    "test_a_listing_goes_two_levels_deep_and_leaves_out_what_is_hidden",
    "test_memories_of_another_kind_in_the_same_place",
    # These look into rows, or write what is no JSON.
    "test_a_write_that_failed_can_be_repeated_with_its_id",
    "test_an_append_is_all_or_nothing",
)
"""What is documented to be otherwise with encryption, and tests of what lies beneath it."""


@pytest.mark.long
@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_passes_with_encryption(suite: str) -> None:
    environment = {**os.environ, "LAKEMEM_MASTER_KEYS": new_master_key("of the tests")}
    same = f"not ({' or '.join(OTHERWISE)})"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", suite, "-k", same]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
