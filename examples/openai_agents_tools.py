"""OpenAI Agents SDK: one agent for all users, whose tools work on the memory of the user of the run.

    pip install "lakemem[local,openai-agents]"
    python openai_agents_tools.py

With OPENAI_API_KEY set, a real model answers.
"""

import asyncio
import os

from agents import Agent, Runner, set_tracing_disabled

from lakemem import AsyncMemory, RequestContext, resolve_context
from lakemem.demo.openai_agents import ScriptedModel
from lakemem.integrations.embedders import LocalEmbedder
from lakemem.integrations.openai_agents import memory_tools


async def main() -> None:
    if not os.environ.get("OPENAI_API_KEY"):
        set_tracing_disabled(True)  # traces would need the key
    async with AsyncMemory(embedder=LocalEmbedder()) as memory:
        agent = Agent[RequestContext](
            name="Assistant",
            instructions=(
                "Save what the user tells you about themselves with save_memory, one fact a call. "
                "Search your memories before you answer a question about the user. Be brief."
            ),
            tools=memory_tools(memory),
            model="gpt-4.1-mini" if os.environ.get("OPENAI_API_KEY") else ScriptedModel(),
        )
        for user_id, text in [
            ("ada", "I am Ada. I work in the workspace analytics-eu."),
            ("ada", "Which workspace do I work in?"),
            ("bob", "Which workspace do I work in?"),
        ]:
            context = resolve_context({"custom_inputs": {"user_id": user_id}})
            result = await Runner.run(agent, text, context=context)
            print(f"{user_id}: {text}\nagent: {result.final_output}")


asyncio.run(main())
