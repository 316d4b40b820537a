"""Real processes: some that begin their work at the same moment, and some that are there to be killed."""

from __future__ import annotations

import os
import subprocess
import sys

_WAIT = "\nprint('ready', flush=True)\ninput()\n"


def run_at_once(prepare: str, work: str, *, count: int, **environ: str) -> list[str]:
    """Run a script in `count` processes, and return what each of them printed.

    Args:
        prepare: Python that every process runs before the work begins in any of them.
        work: Python that they run at the same time.
        environ: added to their environment; `NUMBER` counts the processes.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", prepare + _WAIT + work],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **environ, "NUMBER": str(number)},
        )
        for number in range(count)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60) for process in processes]
    failures = [errors for process, (_, errors) in zip(processes, outputs, strict=True) if process.returncode]
    assert not failures, failures[0]
    return [output for output, _ in outputs]


def start(script: str, **environ: str) -> subprocess.Popen[str]:
    """Start a script in a process of its own, and return once it has printed a line."""
    return wait_for(begin(script, **environ))


def begin(script: str, **environ: str) -> subprocess.Popen[str]:
    """Start a script in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env={**os.environ, **environ}
    )


def wait_for(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """Return a process once it has printed a line."""
    assert process.stdout is not None
    assert process.stdout.readline(), "it ended before it began"
    return process
