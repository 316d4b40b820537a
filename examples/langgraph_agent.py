"""LangGraph: an agent with a checkpointer and memory tools.

    pip install "lakemem[local,langgraph]"
    python langgraph_agent.py

Put a chat model of your own in place of ScriptedChatModel, such as ChatOpenAI(model="gpt-4.1-mini").
"""

import asyncio

from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from lakemem import AsyncMemory
from lakemem.demo.langgraph import ScriptedChatModel
from lakemem.integrations.embedders import LocalEmbedder
from lakemem.integrations.langgraph import AsyncLakebaseSaver, memory_tools


async def main() -> None:
    async with AsyncMemory(embedder=LocalEmbedder()) as memory:
        tools = memory_tools(memory)
        model = ScriptedChatModel().bind_tools(tools)

        async def assistant(state: MessagesState) -> dict:
            return {"messages": [await model.ainvoke(state["messages"])]}

        builder = StateGraph(MessagesState)
        builder.add_node("assistant", assistant)
        builder.add_node("tools", ToolNode(tools))
        builder.add_edge(START, "assistant")
        builder.add_conditional_edges("assistant", tools_condition)
        builder.add_edge("tools", "assistant")
        graph = builder.compile(checkpointer=AsyncLakebaseSaver(memory))

        for user_id, thread_id, text in [
            ("ada", "monday", "I am Ada. I like short answers."),
            ("ada", "monday", "What was the first thing I told you in this conversation?"),
            ("ada", "tuesday", "How should you answer me?"),
            ("bob", "monday", "How should you answer me?"),
        ]:
            config = {"configurable": {"thread_id": thread_id, "user_id": user_id}}
            state = await graph.ainvoke({"messages": [("user", text)]}, config)
            print(f"{user_id} on {thread_id}: {text}\nagent: {state['messages'][-1].text}")


asyncio.run(main())
