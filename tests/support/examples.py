"""How many examples hypothesis makes: some in each run, and all with ``LAKEMEM_TEST_LONG=1``, in `make test-long`."""

from __future__ import annotations

import os

_LONG = bool(os.environ.get("LAKEMEM_TEST_LONG"))


def examples(count: int, share: float = 0.4) -> int:
    """Of the `count` that there are, those to make in this run."""
    return count if _LONG else max(1, round(count * share))
