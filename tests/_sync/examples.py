# Generated from tests/_async/examples.py by tools/unasync.py: edit that file, then run `make generate`.
"""How many examples hypothesis makes on this side.

In each run those that both sides make would be tried twice: what is generated from the other side makes a few, which
see that it was generated whole. In `make test-long` each side makes all.
"""

from __future__ import annotations

from functools import partial

from tests.support import examples as of_both

SHARE = 0.15

examples = partial(of_both.examples, share=SHARE)
