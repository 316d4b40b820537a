"""How many examples hypothesis makes: some in each run, and all with ``LAKEMEM_TEST_LONG=1``, in `make test-long`."""

from __future__ import annotations

import os

_SHARE = 1.0 if os.environ.get("LAKEMEM_TEST_LONG") else 0.4


def examples(count: int) -> int:
    """Of the `count` that there are, those to make in this run."""
    return max(1, round(count * _SHARE))
