"""An agent answers while its database is of no use, and what it saved meanwhile is stored when the database is back.

    pip install "lakemem[local]"
    python degrading_agent.py

The outage here: the database has no tables yet. A server that is down, or late, is met in the same way.
"""

import asyncio
import tempfile

from lakemem import AsyncMemory, AsyncScopedMemory, Lakebase, degrading


async def answer(user: AsyncScopedMemory, text: str) -> str:
    """A small agent: it knows what its memory knows."""
    known = [hit.value for hit in await user.search(text)]
    await user.save(None, text)
    return f"I remember: {known}" if known else "I remember nothing about that."


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        target = Lakebase.embedded(folder)
        async with (
            AsyncMemory(target, schema="somebody_else"),  # keeps the server running, as others do in production
            degrading(AsyncMemory(target, migrate=False), cooldown=0.2) as memory,
        ):
            ada = memory.for_user("ada")
            print("Agent:", await answer(ada, "My deploys run on Fridays."))
            health = await memory.health()
            print(f"Memory is {health.status}: {health.detail}")
            print(f"{health.pending_writes} write waits. The client is told: {health.custom_outputs}")

            async with AsyncMemory(target, migrate=True):
                print("Somebody creates the tables.")
            while (await memory.health()).status != "ok":  # noqa: ASYNC110 - a person would look at a dashboard
                await asyncio.sleep(0.1)
            print("Agent:", await answer(ada, "When do my deploys run?"))


asyncio.run(main())
