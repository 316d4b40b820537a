"""The agent that both servers serve, by MLflow's decorator: it says what time it is, as often as it is asked to."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator

from mlflow.genai.agent_server import stream
from mlflow.types.responses import ResponsesAgentRequest, ResponsesAgentStreamEvent

SIZE = 60
"""Characters of a delta: an event has some 180 bytes then."""


@stream()
async def say(request: ResponsesAgentRequest) -> AsyncGenerator[ResponsesAgentStreamEvent, None]:
    """Say the time, by a clock that all processes of the machine share, and the process that says it."""
    wanted = request.custom_inputs or {}
    until = time.monotonic() + wanted["seconds"]
    item = f"msg_{os.urandom(8).hex()}"
    while (now := time.monotonic()) < until:
        said = f"@{now:.6f} {os.getpid()} ".ljust(SIZE, ".")
        yield ResponsesAgentStreamEvent(
            type="response.output_text.delta", item_id=item, output_index=0, content_index=0, delta=said
        )
        # An agent waits for its model between two events.
        await asyncio.sleep(wanted["pause"])
