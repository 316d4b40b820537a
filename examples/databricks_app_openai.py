"""Databricks Apps, OpenAI Agents SDK: the request handler of an agent that remembers each of its users.

    pip install "lakemem[databricks,emulator,openai-agents]" fastapi uvicorn httpx
    python databricks_app_openai.py    # in an app: serves; elsewhere: shows itself on an emulated workspace

Put a real model in place of ScriptedModel; all else is what an app needs.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import uvicorn
from agents import Agent, Runner, set_tracing_disabled
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from lakemem import AsyncMemory, IdentityError, InvalidInputError, degrading, resolve_thread_id
from lakemem.demo.openai_agents import ScriptedModel
from lakemem.integrations.databricks import DatabricksEmbedder, on_behalf_of
from lakemem.integrations.openai_agents import LakebaseSession, memory_tools

INSTRUCTIONS = (
    "Save what the user tells you about themselves with save_memory, one fact a call. "
    "Search your memories before you answer a question about the user. Be brief."
)

set_tracing_disabled(True)  # traces would go to OpenAI


# The app


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    memory = degrading(AsyncMemory(embedder=DatabricksEmbedder()))  # the agent answers even when memory does not
    async with memory, on_behalf_of(memory) as users:  # one pool for the whole process
        app.state.memory, app.state.users = memory, users
        yield
    # Here the server was told to stop (SIGTERM): requests are answered, waiting writes stored, connections closed.


app = FastAPI(lifespan=lifespan)


@app.post("/invocations")
async def invocations(request: Request) -> dict[str, Any]:
    body = await request.json()
    conversation = (body.get("context") or {}).get("conversation_id")
    thread_id = resolve_thread_id(body.get("custom_inputs"), conversation)
    async with app.state.users.of(request.headers) as user:  # whose X-Forwarded-Access-Token it is
        agent = Agent(
            name="Assistant", instructions=INSTRUCTIONS, tools=memory_tools(user), model=ScriptedModel()
        )  # its tools reach this user's memory and no other
        # The session has what was said before, so only the newest message goes in.
        result = await Runner.run(agent, body["input"][-1:], session=LakebaseSession(user.thread(thread_id)))
    health = await app.state.memory.health()
    return {
        "output": [message(str(result.final_output))],
        "custom_outputs": {"thread_id": thread_id, **health.custom_outputs},
    }


def message(text: str) -> dict[str, Any]:
    """An output item of the Responses API."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {
        "type": "message",
        "id": f"msg_{uuid4().hex}",
        "role": "assistant",
        "status": "completed",
        "content": content,
    }


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

            async def ask(name: str, text: str, thread_id: str | None = None) -> str | None:
                body = {"input": [{"role": "user", "content": text}], "custom_inputs": {"thread_id": thread_id}}
                headers = {"X-Forwarded-Access-Token": tokens.get(name, "stolen")}
                answer = await client.post("/invocations", json=body, headers=headers)
                print(f"{name}: {text}")
                if answer.status_code != 200:
                    print(f"  {answer.status_code} {answer.json()['error']}")
                    return None
                outputs = answer.json()["custom_outputs"]
                note = f" ({outputs['memory']})" if "memory" in outputs else ""
                print(f"  agent{note}: {answer.json()['output'][0]['content'][0]['text']}")
                return outputs["thread_id"]

            monday = await ask("ada", "I am Ada. I like short answers.")
            await ask("ada", "What was the first thing I told you in this conversation?", monday)
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
