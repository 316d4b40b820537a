"""AsyncDatabricksSession in a process of its own, in the environment that it needs.

Reads one line of JSON with the URL of the database, then one for each round, and answers each with a line of figures.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from side_by_side.rounds import work_for
from side_by_side.session_work import fill, turn


def on_this_machine(url: str) -> type:
    """Stands for the class that looks a Lakebase up and logs in with its tokens: here neither is needed."""
    from sqlalchemy.ext.asyncio import create_async_engine

    class Engine:
        def __init__(self, *, pool_recycle: int, pool_size: int, max_overflow: int, **_: Any) -> None:
            self.engine = create_async_engine(
                url, pool_recycle=pool_recycle, pool_size=pool_size, max_overflow=max_overflow
            )

    return Engine


async def answer(commands: Any, answers: Any) -> None:
    from databricks_openai.agents import session as module

    first = json.loads(commands.readline())
    module.AsyncLakebaseSQLAlchemy = on_this_machine(first["url"])
    options = {"instance_name": "benchmark", "pool_size": first["pool_size"], "max_overflow": 0}

    def sessions(number: int) -> Any:
        return module.AsyncDatabricksSession(f"session-{number}", **options)

    await fill(sessions, first["sessions"])
    take_turn = turn(sessions)
    print("{}", file=answers, flush=True)
    for line in commands:
        command = json.loads(line)
        figures = await work_for(command["seconds"], command["workers"], take_turn)
        print(json.dumps(asdict(figures)), file=answers, flush=True)


if __name__ == "__main__":
    # What a library prints shall not get between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    asyncio.run(answer(sys.stdin, answers))
