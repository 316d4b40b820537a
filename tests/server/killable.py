"""What the processes serve that the tests end: `lakemem serve tests.server.killable:NAME`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

STEPS = 12


def note(text: str) -> None:
    """Leave a trace of what was done, which the tests read."""
    with Path(os.environ["NOTES"]).open("a") as notes:
        notes.write(f"{text}\n")


async def steps(request: dict[str, Any], run: Any) -> AsyncIterator[dict[str, str]]:
    """An item for each step; what an earlier attempt has done stands."""
    run.keep(len(run.earlier))
    for number in range(len(run.earlier), STEPS):
        await asyncio.sleep(0.15)
        note(f"{os.getpid()} {number}")
        yield {"role": "assistant", "content": f"step {number}"}


async def poison(request: dict[str, Any]) -> str:
    """A request that ends the process which works on it."""
    if request["input"] != "poison":
        return "well"
    note(str(os.getpid()))
    os._exit(1)


async def speaks(request: dict[str, Any], run: Any) -> AsyncIterator[str]:
    """As many words as are wanted, each with its attempt and its place."""
    for number in range(int(request["input"])):
        yield f"{run.attempt}:{number} "
        await asyncio.sleep(0.04)
