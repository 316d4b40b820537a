"""OpenAI Agents SDK: a conversation that goes on in another process, under the same thread id.

    pip install "lakemem[local,openai-agents]"
    python openai_agents_session.py

With OPENAI_API_KEY set, a real model answers.
"""

import asyncio
import os

from agents import Agent, Runner, set_tracing_disabled

from lakemem import AsyncMemory
from lakemem.demo.openai_agents import ScriptedModel
from lakemem.integrations.openai_agents import LakebaseSession, memory_tools

MODEL = "gpt-4.1-mini" if os.environ.get("OPENAI_API_KEY") else ScriptedModel()


async def say(thread_id: str, text: str) -> None:
    """One request: everything is made anew, as in another process. Only Postgres remembers."""
    async with AsyncMemory() as memory:
        ada = memory.for_user("ada")
        agent = Agent(name="Assistant", model=MODEL, tools=memory_tools(ada))
        session = LakebaseSession(ada.thread(thread_id))
        result = await Runner.run(agent, text, session=session)
        print("Ada:  ", text)
        print("Agent:", result.final_output)
        print(f"        {len(await session.get_items())} items in the session")


async def main() -> None:
    if not os.environ.get("OPENAI_API_KEY"):
        set_tracing_disabled(True)  # traces would need the key
    await say("monday", "Hello, I am Ada.")
    await say("monday", "What was the first thing I told you in this conversation?")


asyncio.run(main())
