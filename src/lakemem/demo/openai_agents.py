"""The demo's agent on the OpenAI Agents SDK."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncIterator
from typing import Any

from agents import (
    Agent,
    Model,
    ModelResponse,
    OpenAIChatCompletionsModel,
    Runner,
    ToolCallItem,
    Usage,
    set_tracing_disabled,
)
from agents.items import TResponseInputItem, TResponseOutputItem, TResponseStreamEvent
from openai import AsyncOpenAI
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

from lakemem import AsyncMemory, RequestContext
from lakemem.demo.reply import Reply
from lakemem.demo.script import INSTRUCTIONS, Transcript, next_step
from lakemem.integrations.openai_agents import LakebaseSession, memory_tools

DATABRICKS_MODEL = "databricks-claude-sonnet-4"


class ScriptedModel(Model):
    """The SDK's model interface over :func:`lakemem.demo.script.next_step`."""

    async def get_response(
        self, system_instructions: str | None, input: Any, *args: Any, **kwargs: Any
    ) -> ModelResponse:
        return ModelResponse(output=_output(input), usage=Usage(), response_id=None)

    async def stream_response(
        self, system_instructions: str | None, input: Any, *args: Any, **kwargs: Any
    ) -> AsyncIterator[TResponseStreamEvent]:
        response = Response(
            id=_new_id("resp"),
            created_at=0,
            model="scripted",
            object="response",
            output=_output(input),
            parallel_tool_calls=True,
            tool_choice="auto",
            tools=[],
        )
        yield ResponseCompletedEvent(type="response.completed", response=response, sequence_number=0)


class OpenAIAgentsDemo:
    """Answers a user in a thread."""

    framework = "the OpenAI Agents SDK"

    def __init__(self, memory: AsyncMemory) -> None:
        self._memory = memory
        model = _configured_model()
        self.model_name = "the script" if model is None else str(getattr(model, "model", model))
        # Traces hold what was said, and would go to OpenAI whatever OPENAI_BASE_URL says.
        set_tracing_disabled(True)
        self._agent: Agent[RequestContext] = Agent(
            name="Assistant",
            instructions=INSTRUCTIONS,
            tools=memory_tools(memory),
            model=ScriptedModel() if model is None else model,
        )

    async def reply(self, context: RequestContext, text: str) -> Reply:
        """Run the agent on what the user said; its session is the thread."""
        thread = self._memory.for_user(context.user_id).thread(context.thread_id)
        result = await Runner.run(self._agent, text, context=context, session=LakebaseSession(thread))
        calls = [
            (item.raw_item.name, item.raw_item.arguments)
            for item in result.new_items
            if isinstance(item, ToolCallItem) and isinstance(item.raw_item, ResponseFunctionToolCall)
        ]
        return Reply(str(result.final_output), calls)


def _configured_model() -> str | Model | None:
    """The real model that the environment names; None without one."""
    chosen = os.environ.get("LAKEMEM_DEMO_MODEL")
    if os.environ.get("OPENAI_API_KEY"):
        return chosen or "gpt-4.1-mini"
    host, token = os.environ.get("DATABRICKS_HOST"), os.environ.get("DATABRICKS_TOKEN")
    if host and token:
        address = host if host.startswith("http") else f"https://{host}"
        client = AsyncOpenAI(base_url=f"{address.rstrip('/')}/serving-endpoints", api_key=token)
        return OpenAIChatCompletionsModel(model=chosen or DATABRICKS_MODEL, openai_client=client)
    return None


def _output(input: str | list[TResponseInputItem]) -> list[TResponseOutputItem]:
    step = next_step(_transcript(input))
    if isinstance(step, str):
        text = ResponseOutputText(type="output_text", text=step, annotations=[])
        return [
            ResponseOutputMessage(
                id=_new_id("msg"), type="message", role="assistant", status="completed", content=[text]
            )
        ]
    return [
        ResponseFunctionToolCall(
            type="function_call", call_id=_new_id("call"), name=call.name, arguments=json.dumps(call.arguments)
        )
        for call in step
    ]


def _transcript(input: str | list[TResponseInputItem]) -> Transcript:
    items: list[Any] = [{"role": "user", "content": input}] if isinstance(input, str) else list(input)
    places = [place for place, item in enumerate(items) if item.get("role") == "user"]
    return Transcript(
        user_messages=[str(items[place]["content"]) for place in places],
        tool_answers=[
            str(item["output"]) for item in items[places[-1] :] if item.get("type") == "function_call_output"
        ],
    )


def _new_id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"
