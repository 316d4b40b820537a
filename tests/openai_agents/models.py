"""Models that do what a test says."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from agents import Model, ModelResponse, Usage
from agents.items import TResponseOutputItem, TResponseStreamEvent
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseReasoningItem,
)
from openai.types.responses.response_reasoning_item import Summary


class PlannedModel(Model):
    """Gives what `plan` makes of all that it is sent, and keeps what it was sent.

    Its ids count up from 1, so that two models with the same plan say the same.

    Args:
        usage: what each call uses.
        with_response_ids: whether its responses have ids, as those of the Responses API do.
    """

    def __init__(
        self,
        plan: Callable[[PlannedModel, list[Any]], Sequence[TResponseOutputItem]],
        *,
        usage: Usage | None = None,
        with_response_ids: bool = False,
    ) -> None:
        self._plan = plan
        self._usage = usage
        self._with_response_ids = with_response_ids
        self._numbers = itertools.count(1)
        self.inputs: list[list[Any]] = []

    async def get_response(
        self, system_instructions: str | None, input: Any, *args: Any, **kwargs: Any
    ) -> ModelResponse:
        response_id = f"resp_{next(self._numbers)}" if self._with_response_ids else None
        usage = Usage() if self._usage is None else self._usage
        return ModelResponse(output=self._output(input), usage=usage, response_id=response_id)

    async def stream_response(
        self, system_instructions: str | None, input: Any, *args: Any, **kwargs: Any
    ) -> AsyncIterator[TResponseStreamEvent]:
        response = Response(
            id="resp_1",
            created_at=0,
            model="planned",
            object="response",
            output=self._output(input),
            parallel_tool_calls=True,
            tool_choice="auto",
            tools=[],
        )
        yield ResponseCompletedEvent(type="response.completed", response=response, sequence_number=0)

    def says(self, text: str) -> ResponseOutputMessage:
        content = ResponseOutputText(type="output_text", text=text, annotations=[])
        return ResponseOutputMessage(
            id=f"msg_{next(self._numbers)}", type="message", role="assistant", status="completed", content=[content]
        )

    def calls(self, name: str, arguments: str = "{}") -> ResponseFunctionToolCall:
        number = next(self._numbers)
        return ResponseFunctionToolCall(
            type="function_call", id=f"fc_{number}", call_id=f"call_{number}", name=name, arguments=arguments
        )

    def thinks(self, text: str) -> ResponseReasoningItem:
        return ResponseReasoningItem(
            id=f"rs_{next(self._numbers)}", type="reasoning", summary=[Summary(type="summary_text", text=text)]
        )

    def _output(self, input: Any) -> list[TResponseOutputItem]:
        items = [{"role": "user", "content": input}] if isinstance(input, str) else list(input)
        self.inputs.append(items)
        return list(self._plan(self, items))


def echoing() -> PlannedModel:
    """A model that answers with the last thing the user said."""
    return PlannedModel(lambda model, items: [model.says(f"You said: {said_by_user(items)[-1]}")])


def said_by_user(items: Sequence[Any]) -> list[str]:
    return [item["content"] for item in items if item.get("role") == "user"]


def answered_tools(items: Sequence[Any]) -> list[str]:
    """The tools' answers since the user's last words."""
    last = max(place for place, item in enumerate(items) if item.get("role") == "user")
    return [str(item["output"]) for item in items[last:] if item.get("type") == "function_call_output"]
