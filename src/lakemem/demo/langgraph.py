"""The demo's agent on LangGraph."""

from __future__ import annotations

import json
import os
import uuid
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import START, StateGraph, add_messages
from langgraph.prebuilt import ToolNode, tools_condition

from lakemem import AsyncMemory, RequestContext
from lakemem.demo.reply import Reply
from lakemem.demo.script import INSTRUCTIONS, Transcript, next_step
from lakemem.integrations.langgraph import AsyncLakebaseSaver, memory_tools

DATABRICKS_MODEL = "databricks-claude-sonnet-4"


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


class ScriptedChatModel(BaseChatModel):
    """LangChain's model interface over :func:`lakemem.demo.script.next_step`."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        step = next_step(_transcript(messages))
        if isinstance(step, str):
            message = AIMessage(content=step)
        else:
            calls = [
                {"name": call.name, "args": call.arguments, "id": uuid.uuid4().hex, "type": "tool_call"}
                for call in step
            ]
            message = AIMessage(content="", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def bind_tools(self, tools: Any, **kwargs: Any) -> ScriptedChatModel:
        return self


class LangGraphDemo:
    """Answers a user in a thread."""

    framework = "LangGraph"

    def __init__(self, memory: AsyncMemory) -> None:
        configured = _configured_model()
        self.model_name = "the script" if configured is None else str(getattr(configured, "model_name", "a model"))
        tools = memory_tools(memory)
        model = (configured or ScriptedChatModel()).bind_tools(tools)

        async def assistant(state: State) -> dict[str, Any]:
            return {"messages": [await model.ainvoke([SystemMessage(INSTRUCTIONS), *state["messages"]])]}

        builder = StateGraph(State)
        builder.add_node("assistant", assistant)
        builder.add_node("tools", ToolNode(tools))
        builder.add_edge(START, "assistant")
        builder.add_conditional_edges("assistant", tools_condition)
        builder.add_edge("tools", "assistant")
        self._graph = builder.compile(checkpointer=AsyncLakebaseSaver(memory))

    async def reply(self, context: RequestContext, text: str) -> Reply:
        """Run the graph on what the user said; its checkpoints are the thread."""
        state = await self._graph.ainvoke(
            {"messages": [HumanMessage(text)]},
            {"configurable": {"thread_id": context.thread_id, "user_id": context.user_id}},
        )
        messages = _since_last_question(state["messages"])
        calls = [
            (call["name"], json.dumps(call["args"]))
            for message in messages
            if isinstance(message, AIMessage)
            for call in message.tool_calls
        ]
        return Reply(str(messages[-1].text), calls)


def _configured_model() -> BaseChatModel | None:
    """The real model that the environment names; None without one."""
    chosen = os.environ.get("LAKEMEM_DEMO_MODEL")
    host, token = os.environ.get("DATABRICKS_HOST"), os.environ.get("DATABRICKS_TOKEN")
    if not os.environ.get("OPENAI_API_KEY") and not (host and token):
        return None
    from langchain_openai import ChatOpenAI

    if os.environ.get("OPENAI_API_KEY"):
        return ChatOpenAI(model=chosen or "gpt-4.1-mini")
    address = str(host) if str(host).startswith("http") else f"https://{host}"
    return ChatOpenAI(
        model=chosen or DATABRICKS_MODEL,
        base_url=f"{address.rstrip('/')}/serving-endpoints",
        api_key=lambda: str(token),
    )


def _transcript(messages: list[BaseMessage]) -> Transcript:
    return Transcript(
        user_messages=[str(message.text) for message in messages if isinstance(message, HumanMessage)],
        tool_answers=[
            str(message.text) for message in _since_last_question(messages) if isinstance(message, ToolMessage)
        ],
    )


def _since_last_question(messages: list[Any]) -> list[Any]:
    place = max(place for place, message in enumerate(messages) if isinstance(message, HumanMessage))
    return messages[place + 1 :]
