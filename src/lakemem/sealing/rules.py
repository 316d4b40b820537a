"""What is done with each statement that stores or reads what is sealed."""

from __future__ import annotations

from collections.abc import Mapping

from lakemem.sealing import checkpoints, memories, quarantine, threads
from lakemem.sealing.rule import Rule

RULES: Mapping[str, Rule] = {**threads.RULES, **checkpoints.RULES, **memories.RULES, **quarantine.RULES}
