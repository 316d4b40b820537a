"""How long a process waits for the module with the session."""

from __future__ import annotations

import asyncio
import statistics
import sys

from side_by_side.bench import Bench
from side_by_side.vendor import IS_THERE, PYTHON

MODULES = {
    "ours": (sys.executable, "lakemem.integrations.openai_agents"),
    "peer": (str(PYTHON), "databricks_openai.agents"),
    "floor": (sys.executable, "psycopg_pool"),
}
PROGRAM = """
import time
began = time.perf_counter()
import agents
sdk = time.perf_counter()
import {module}
print(sdk - began, time.perf_counter() - sdk)
"""


async def import_seconds(bench: Bench, case: str) -> None:
    """Seconds of importing it, beyond those of the Agents SDK, in a fresh process."""
    taken: dict[str, list[list[float]]] = {name: [] for name in MODULES if name != "peer" or IS_THERE}
    for number in range(bench.rounds):
        for name, measured in taken.items():
            python, module = MODULES[name]
            process = await asyncio.create_subprocess_exec(
                python, "-W", "ignore", "-c", PROGRAM.format(module=module), stdout=asyncio.subprocess.PIPE
            )
            output, _ = await process.communicate()
            measured.append([float(word) for word in output.split()[-2:]])
        bench.say(f"{case} round {number + 1} of {bench.rounds}")
    beyond = {name: statistics.median(seconds for _, seconds in measured) for name, measured in taken.items()}
    whole = {name: statistics.median(map(sum, measured)) for name, measured in taken.items()}
    bench.note(case, "s", ours=beyond["ours"], peer=beyond.get("peer"), floor=beyond["floor"])
    bench.note(case, "s with the SDK", ours=whole["ours"], peer=whole.get("peer"), floor=whole["floor"])
