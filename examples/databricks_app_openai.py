"""Databricks Apps, OpenAI Agents SDK: the request handler of an agent that remembers each of its users.

    pip install "lakemem[databricks,emulator,openai-agents]" fastapi uvicorn httpx
    python databricks_app_openai.py    # in an app: serves; elsewhere: shows itself on an emulated workspace

Put a real model in place of ScriptedModel; all else is what an app needs.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import uvicorn
from agents import Agent, set_tracing_disabled
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from lakemem import AsyncMemory, IdentityError, InvalidInputError, degrading
from lakemem.demo.openai_agents import ScriptedModel
from lakemem.integrations.databricks import DatabricksEmbedder, TokenIdentity
from lakemem.integrations.openai_agents import memory_tools, respond, stream

INSTRUCTIONS = (
    "Save what the user tells you about themselves with save_memory, one fact a call. "
    "Search your memories before you answer a question about the user. Be brief."
)

set_tracing_disabled(True)  # traces would go to OpenAI


# The app


def agent_of(memory: AsyncMemory) -> Agent:
    """An agent for all users: its tools work on the memory of whom the run is for."""
    return Agent(name="Assistant", instructions=INSTRUCTIONS, tools=memory_tools(memory), model=ScriptedModel())


identify = TokenIdentity()  # whose X-Forwarded-Access-Token it is: asks the workspace


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    memory = degrading(AsyncMemory(embedder=DatabricksEmbedder()))  # the agent answers even when memory does not
    async with memory:  # one pool for the whole process
        app.state.memory, app.state.agent = memory, agent_of(memory)
        yield
    # Here the server was told to stop (SIGTERM): requests are answered, waiting writes stored, connections closed.


app = FastAPI(lifespan=lifespan)


@app.post("/invocations")
async def invocations(request: Request, body: dict[str, Any]) -> Response:
    asked = {"memory": app.state.memory, "headers": request.headers, "identify": identify}
    if not body.get("stream"):
        return JSONResponse(await respond(app.state.agent, body, **asked))
    events = stream(app.state.agent, body, **asked)
    first = await anext(events)  # whose request it is, and that it can be answered, is known by now
    return StreamingResponse(frames(first, events), media_type="text/event-stream")


async def frames(first: dict[str, Any], events: AsyncGenerator[dict[str, Any], None]) -> AsyncIterator[str]:
    """Events as they go over the wire."""
    async with aclosing(events):  # a client that leaves early ends the run
        yield f"data: {json.dumps(first)}\n\n"
        async for event in events:
            yield f"data: {json.dumps(event)}\n\n"


@app.exception_handler(IdentityError)
async def nobody(request: Request, error: IdentityError) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=401)


@app.exception_handler(InvalidInputError)
async def not_understood(request: Request, error: InvalidInputError) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=400)


def serve() -> None:
    subprocess.Popen([sys.executable, "-m", "lakemem", "doctor"])  # beside the start, into the app's log
    uvicorn.run(
        app,
        host="0.0.0.0",  # the platform's proxy is in front
        port=int(os.environ["DATABRICKS_APP_PORT"]),
        timeout_graceful_shutdown=10,  # of the 15 s that the platform leaves after SIGTERM
    )


# The demonstration


async def demonstrate() -> None:
    import httpx

    from lakemem.testing import LakebaseEmulator

    with LakebaseEmulator() as emulator:
        os.environ.update(emulator.environment(), DATABRICKS_APP_NAME="assistant")  # as in a deployed app
        await AsyncMemory().setup()  # in production: `lakemem migrate`, then `lakemem grants`
        tokens = {name: emulator.login(emulator.add_user(f"{name}@example.com")) for name in ("ada", "bob")}
        transport = httpx.ASGITransport(app)
        async with lifespan(app), httpx.AsyncClient(transport=transport, base_url="http://app") as client:

            async def ask(name: str, text: str, thread_id: str | None = None, stream: bool = False) -> str | None:
                body = {
                    "input": [{"role": "user", "content": text}],
                    "custom_inputs": {"thread_id": thread_id},
                    "stream": stream,
                }
                headers = {"X-Forwarded-Access-Token": tokens.get(name, "stolen")}
                answer = await client.post("/invocations", json=body, headers=headers)
                print(f"{name}: {text}")
                if answer.status_code != 200:
                    print(f"  {answer.status_code} {answer.json()['error']}")
                    return None
                # The last event of a stream has the whole answer.
                last = json.loads(answer.text.rpartition("data: ")[2])
                said = last["response"] if stream else last
                outputs = said["custom_outputs"]
                note = f" ({outputs['memory']})" if "memory" in outputs else ""
                print(f"  agent{note}: {said['output'][-1]['content'][0]['text']}")
                return outputs["thread_id"]

            monday = await ask("ada", "I am Ada. I like short answers.")
            await ask("ada", "What was the first thing I told you in this conversation?", monday, stream=True)
            await ask("ada", "How should you answer me?")  # a new thread, the same user
            await ask("bob", "How should you answer me?", monday)  # her thread's id, but not her thread
            await ask("eve", "How should you answer me?")

            emulator.faults.error("CONNECT *")
            emulator.close_connections()
            await ask("ada", "I work in the workspace analytics-eu.")  # accepted, and stored later
            emulator.faults.clear()
            while (await app.state.memory.health()).status != "ok":  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            await ask("ada", "Which workspace do I work in?")


if __name__ == "__main__":
    if os.environ.get("DATABRICKS_APP_PORT"):
        serve()
    else:
        asyncio.run(demonstrate())
