"""OpenAI Agents SDK: two answers to one question, a turn that is taken back, and what all of it used.

    pip install "lakemem[local,openai-agents]"
    python openai_agents_branching.py

With OPENAI_API_KEY set, a real model answers.
"""

import asyncio
import os

from agents import Agent, Runner, set_tracing_disabled

from lakemem import AsyncMemory, Window
from lakemem.demo.openai_agents import ScriptedModel
from lakemem.integrations.openai_agents import LakebaseSession, memory_tools

MODEL = "gpt-4.1-mini" if os.environ.get("OPENAI_API_KEY") else ScriptedModel()


async def show(name: str, session: LakebaseSession) -> None:
    questions = [turn.item["content"] for turn in await session.turns()]
    print(f"{name}: {' | '.join(questions)}")


async def main() -> None:
    if not os.environ.get("OPENAI_API_KEY"):
        set_tracing_disabled(True)  # traces would need the key
    async with AsyncMemory() as memory:
        ada = memory.for_user("ada")
        agent = Agent(name="Assistant", model=MODEL, tools=memory_tools(ada))
        # A model sees the newest 4,000 tokens; a tool's result is never without its call.
        session = LakebaseSession(ada.thread(), window=Window(tokens=4_000))
        for text in ("I am Ada.", "I like short answers.", "What was the first thing I told you?"):
            await session.store_usage(await Runner.run(agent, text, session=session))
        await show("The conversation", session)

        # Another way from the second turn on. The first way stays.
        second = (await session.turns())[1]
        branch = await session.fork(at=second.position - 1)
        await Runner.run(agent, "I like long answers.", session=branch)
        await show("The branch", branch)

        # The last turn never was; what it used was used.
        last = (await session.turns())[-1]
        await session.rewind(to=last.position - 1)
        await show("Taken back", session)
        print(f"{(await session.usage()).runs} runs are counted, {len(await session.turns())} turns are left")

        # A client that sends the whole conversation each time.
        sent = [*await session.get_items(limit=100), {"role": "user", "content": "I like tea."}]
        for item in await session.new_items(sent):
            print("New in what the client sent:", item["content"])


asyncio.run(main())
