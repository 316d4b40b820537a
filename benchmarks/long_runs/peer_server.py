"""LongRunningAgentServer in a process of its own, in the environment that it needs.

Its first argument is the port, its second the URL of the database. A third is the port of another one, which has to be
there before: it makes the tables, and two at once would be in each other's way.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

os.environ["LAKEBASE_INSTANCE_NAME"] = "benchmark"
"""Without it, the server runs nothing in the background."""


def on_this_machine(url: str) -> type:
    """Stands for the class that looks a Lakebase up and logs in with its tokens: here neither is needed."""
    from sqlalchemy.ext.asyncio import create_async_engine

    class Engine:
        def __init__(self, *, instance_name: str, **options: Any) -> None:
            self.engine = create_async_engine(url, **options)

    return Engine


def wait_for(port: int) -> None:
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)


def serve(port: int, url: str, *others: str) -> None:
    import mlflow
    import uvicorn
    from databricks_ai_bridge.long_running import LongRunningAgentServer, db

    from long_runs import agent  # noqa: F401 - it registers itself

    for other in others:
        wait_for(int(other))
    # Traces would go to a server of MLflow; without them it is at its best.
    mlflow.tracing.disable()
    db.AsyncLakebaseSQLAlchemy = on_this_machine(url)
    server = LongRunningAgentServer("ResponsesAgent", db_instance_name="benchmark")
    uvicorn.run(server.app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    serve(int(sys.argv[1]), *sys.argv[2:])
