"""The processes of a contender: real ones, behind real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from psycopg.conninfo import make_conninfo
from side_by_side.sessions import sqlalchemy_url
from side_by_side.vendor import PYTHON

from lakemem import Lakebase
from long_runs.clients import get, now

HERE = Path(__file__).resolve().parent
START_TIMEOUT = 180.0
PROCESSES = 2
RUNS_AT_ONCE = 32


@dataclass
class Process:
    """A server, and since when it serves."""

    port: int
    process: subprocess.Popen[bytes]
    began: float = field(default_factory=now)

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@dataclass
class Contender:
    """Two processes that serve the same runs.

    Attributes:
        target: their database.
        completed: SQL that counts the runs that have completed.
        stored: SQL that counts the events that are stored.
        helpers: the ids of its processes, among those of others.
    """

    name: str
    target: Lakebase
    completed: str
    stored: str
    helpers: set[int]
    _command: Callable[[int, list[int]], tuple[list[str], dict[str, str]]]
    processes: list[Process] = field(default_factory=list)

    async def start(self) -> None:
        """Begin one more process, and return when it takes requests."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command, environment = self._command(port, [process.port for process in self.processes])
        process = Process(port, _begin(command, environment))
        self.helpers.add(process.pid)
        self.processes.append(process)
        async with asyncio.timeout(START_TIMEOUT):
            while True:
                if process.process.poll() is not None:
                    raise RuntimeError(f"the server of {self.name} ended:\n{_said(process)}")
                with contextlib.suppress(OSError):
                    if await get(port, "/health"):
                        process.began = now()
                        return
                await asyncio.sleep(0.05)

    def kill(self, process: Process) -> None:
        process.kill()
        self.helpers.discard(process.pid)
        self.processes.remove(process)


def _begin(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), *_paths()]), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _paths() -> list[str]:
    return [path for path in [os.environ.get("PYTHONPATH")] if path]


def _said(process: Process) -> str:
    """The last of what a process printed that has ended."""
    assert process.process.stderr is not None
    return process.process.stderr.read().decode(errors="replace")[-2_000:]


def ours(target: Lakebase, helpers: set[int]) -> Contender:
    def command(port: int, others: list[int]) -> tuple[list[str], dict[str, str]]:
        serve = ["serve", "long_runs.agent", "--port", str(port), "--concurrency", str(RUNS_AT_ONCE)]
        return [sys.executable, "-m", "lakemem", *serve], {"LAKEMEM_DSN": make_conninfo(**target.parameters)}

    return Contender(
        "ours",
        target,
        "SELECT count(*) FROM lakemem.runs WHERE status = 'completed'",
        "SELECT coalesce(sum(last_sequence + 1), 0)::bigint FROM lakemem.runs",
        helpers,
        command,
    )


def peer(target: Lakebase, helpers: set[int]) -> Contender:
    url = sqlalchemy_url(target).render_as_string(hide_password=False)

    def command(port: int, others: list[int]) -> tuple[list[str], dict[str, str]]:
        return [str(PYTHON), str(HERE / "peer_server.py"), str(port), url, *map(str, others)], {}

    return Contender(
        "peer",
        target,
        "SELECT count(*) FROM agent_server.responses WHERE status = 'completed'",
        "SELECT count(*) FROM agent_server.messages",
        helpers,
        command,
    )


@asynccontextmanager
async def serving(*contenders: Contender) -> AsyncIterator[None]:
    """Two processes of each."""
    try:
        await asyncio.gather(*(contender.start() for _ in range(PROCESSES) for contender in contenders))
        yield
    finally:
        for contender in contenders:
            for process in list(contender.processes):
                contender.kill(process)
