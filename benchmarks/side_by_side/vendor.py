"""The Databricks session's environment, where `make test-peers` has made it, and the process that runs in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from lakemem import Lakebase
from side_by_side.rounds import Figures
from side_by_side.server import POOL_SIZE
from side_by_side.sessions import sqlalchemy_url

PYTHON = Path(__file__).resolve().parents[2] / ".venv-peers" / "bin" / "python"
IS_THERE = PYTHON.exists()


class Vendor:
    """Takes rounds as the contenders of this process do."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def work_for(self, seconds: float, workers: int) -> Figures:
        return Figures(**await self.ask({"seconds": seconds, "workers": workers}))

    async def ask(self, command: dict[str, object]) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._process.stdin.drain()
        answer = await self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the Databricks session's process ended: see what it printed")
        found: dict[str, float] = json.loads(answer)
        return found


@asynccontextmanager
async def vendor(target: Lakebase, sessions: int, helpers: set[int]) -> AsyncIterator[Vendor]:
    """The process, with `sessions` sessions that have something to read."""
    program = str(Path(__file__).with_name("vendor_worker.py"))
    process = await asyncio.create_subprocess_exec(
        str(PYTHON), program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    helpers.add(process.pid)
    try:
        worker = Vendor(process)
        url = sqlalchemy_url(target).render_as_string(hide_password=False)
        await worker.ask({"url": url, "pool_size": POOL_SIZE, "sessions": sessions})
        yield worker
    finally:
        helpers.discard(process.pid)
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
