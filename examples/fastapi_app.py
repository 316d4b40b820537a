"""FastAPI: whose request it is, which thread it belongs to, and an answer while memory is down.

pip install "lakemem[local]" fastapi httpx
python fastapi_app.py        # sends itself some requests
uvicorn fastapi_app:app      # serves
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from lakemem import AsyncMemory, IdentityError, degrading, resolve_context

TOKENS = {"token-of-ada": "ada", "token-of-bob": "bob"}


def identify(token: str) -> str:
    """Whose token it is. In an application: ask the issuer; raise where the token is not valid."""
    return TOKENS[token]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with degrading(AsyncMemory()) as memory:  # one pool for the whole process
        app.state.memory = memory
        yield


app = FastAPI(lifespan=lifespan)


@app.exception_handler(IdentityError)
async def refuse(request: Request, error: IdentityError) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=401)


@app.post("/chat")
async def chat(request: Request) -> dict:
    body = await request.json()
    context = resolve_context(request, body=body, identify=identify)
    memory = app.state.memory
    thread = memory.for_user(context.user_id).thread(context.thread_id)
    before = await thread.items()
    output = f"Hello {context.user_id}, this is message {len(before) // 2 + 1} of this thread."
    await thread.append([{"role": "user", "content": body["input"]}, {"role": "assistant", "content": output}])
    health = await memory.health()
    return {"output": output, "custom_outputs": {**context.custom_outputs, **health.custom_outputs}}


async def main() -> None:
    transport = httpx.ASGITransport(app)
    async with lifespan(app), httpx.AsyncClient(transport=transport, base_url="http://app") as client:

        async def post(token: str, custom_inputs: dict) -> dict:
            body = {"input": "Hello", "custom_inputs": custom_inputs}
            answer = await client.post("/chat", json=body, headers={"X-Forwarded-Access-Token": token})
            print(answer.status_code, answer.json())
            return answer.json()

        first = await post("token-of-ada", {})
        thread = {"thread_id": first["custom_outputs"]["thread_id"]}
        await post("token-of-ada", thread)
        await post("token-of-bob", thread)  # the same id, but not his thread
        await post("token-of-bob", {"user_id": "ada"})  # a claim counts for nothing beside a token
        await post("a wrong token", {})


if __name__ == "__main__":
    asyncio.run(main())
