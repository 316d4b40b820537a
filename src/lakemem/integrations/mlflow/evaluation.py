"""An agent as the function that MLflow evaluates."""

from __future__ import annotations

import asyncio
import atexit
import json
import sys
import threading
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import mlflow
from mlflow.entities import SpanType

from lakemem._async.memory import AsyncMemory
from lakemem.context import resolve_thread_id
from lakemem.errors import ConfigurationError, InvalidInputError
from lakemem.integrations.mlflow.tracing import identify_trace
from lakemem.types import RequestContext
from lakemem.validation import check_identifier

T = TypeVar("T")
Question: TypeAlias = str | list[dict[str, Any]]
Answer: TypeAlias = Callable[[Question, RequestContext], Awaitable[str]]

_QUESTION_NAMES = ("input", "messages", "question", "query")
_CONTEXT_NAMES = ("thread_id", "session_id", "user_id", "custom_inputs")


def make_predict_fn(agent: Any, *, memory: AsyncMemory | None = None, user_id: str | None = None) -> PredictFn:
    """Return a function that asks an agent, for ``mlflow.genai.evaluate(data, predict_fn=..., scorers=...)``.

    Every call is a conversation of its own, with a user of its own, so that no row of an evaluation sees what
    another one left::

        with make_predict_fn(agent, memory=memory) as predict_fn:
            mlflow.genai.evaluate(data=[{"inputs": {"question": "..."}}], predict_fn=predict_fn, scorers=[...])

    It may be called from many threads at once, and from within a running event loop, which then waits. The agents
    all run on one event loop, on a thread of the function's own; the memory is opened there at the first call.

    Args:
        agent: an ``Agent`` of the OpenAI Agents SDK, or a compiled LangGraph graph whose state has ``messages``.
        memory: what the agent remembers with, not opened yet: it belongs to the event loop above. An Agent gets
            a session on it, and its ``memory_tools(memory)`` work. A graph has its ``AsyncLakebaseSaver(memory)``;
            one on a ``LakebaseSaver`` of an open ``Memory`` needs none here.
        user_id: whose memory all calls work with, unless their inputs say so.

    Raises:
        ConfigurationError: the agent is neither of the two, or the memory does not fit it.
    """
    if memory is not None and not isinstance(memory, AsyncMemory):
        raise ConfigurationError("make_predict_fn needs an AsyncMemory; a graph on an open Memory needs none")
    return PredictFn(_answer_of(agent, memory), memory, user_id)


class PredictFn:
    """Asks an agent: ``predict_fn(question="...")``, or ``predict_fn({"question": "..."})``.

    The question is a text or a list of messages, and the only input, or the one that is named ``input``,
    ``messages``, ``question`` or ``query``. ``thread_id`` (or ``session_id``) continues a conversation and
    ``user_id`` names the user, beside the question or in ``custom_inputs``: here the inputs are believed, so let
    no client call it. MLflow asks the first row once more to see whether it works.

    Each call is one trace. Close the function, or use it as a context manager, to close its memory.
    """

    __name__ = "predict_fn"

    def __init__(self, answer: Answer, memory: AsyncMemory | None, user_id: str | None) -> None:
        self._answer = answer
        self._loop = _OwnLoop(memory)
        self._user_id = user_id

    def __call__(self, inputs: Mapping[str, Any] | None = None, /, **fields: Any) -> str:
        fields = {**(inputs or {}), **fields}
        question, context = _question(fields), self._context(fields)
        with mlflow.start_span("predict_fn", span_type=SpanType.AGENT) as span:
            identify_trace(span, thread_id=context.thread_id, user_id=context.user_id)
            span.set_inputs(fields)
            answer = self._loop.run(lambda: self._answered(question, context))
            span.set_outputs(answer)
        return answer

    def close(self) -> None:
        """Close the memory and end the event loop. The next call would begin anew."""
        self._loop.close()

    def __enter__(self) -> PredictFn:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def _answered(self, question: Question, context: RequestContext) -> str:
        return await self._answer(question, context)

    def _context(self, fields: Mapping[str, Any]) -> RequestContext:
        claims = {**(fields.get("custom_inputs") or {}), **fields}
        user_id = claims.get("user_id") or self._user_id or f"evaluation-{uuid.uuid4()}"
        return RequestContext(resolve_thread_id(claims), check_identifier("user_id", user_id))


def _question(fields: Mapping[str, Any]) -> Question:
    asked = {name: value for name, value in fields.items() if name not in _CONTEXT_NAMES}
    named = [value for name, value in asked.items() if name in _QUESTION_NAMES]
    candidates = list(asked.values()) if len(asked) == 1 else named
    if len(candidates) != 1:
        raise InvalidInputError(
            f"the inputs need one question: alone, or as one of {', '.join(_QUESTION_NAMES)}; "
            f"these have {', '.join(asked) or 'none'}"
        )
    [question] = candidates
    if isinstance(question, str):
        return question
    if isinstance(question, Sequence) and all(isinstance(message, Mapping) for message in question):
        return [dict(message) for message in question]
    raise InvalidInputError(f"a question is a text or a list of messages, not {type(question).__name__}")


def _answer_of(agent: Any, memory: AsyncMemory | None) -> Answer:
    # Whoever has such an agent has imported its framework, so neither has to be imported to find out.
    if isinstance(agent, getattr(sys.modules.get("agents"), "Agent", ())):
        return _answer_of_agent(agent, memory)
    if isinstance(agent, getattr(sys.modules.get("langgraph.pregel"), "Pregel", ())):
        return _answer_of_graph(agent, memory)
    raise ConfigurationError(
        "make_predict_fn takes an Agent of the OpenAI Agents SDK or a compiled LangGraph graph, "
        f"not {type(agent).__name__}"
    )


def _answer_of_agent(agent: Any, memory: AsyncMemory | None) -> Answer:
    from agents import Runner

    from lakemem.integrations.openai_agents import LakebaseSession

    async def answer(question: Question, context: RequestContext) -> str:
        session = (
            None if memory is None else LakebaseSession(memory.for_user(context.user_id).thread(context.thread_id))
        )
        result = await Runner.run(agent, question, context=context, session=session)  # type: ignore[arg-type]
        return _as_text(result.final_output)

    return answer


def _answer_of_graph(graph: Any, memory: AsyncMemory | None) -> Answer:
    from lakemem.integrations.langgraph import AsyncLakebaseSaver

    if memory is None and isinstance(graph.checkpointer, AsyncLakebaseSaver):
        raise ConfigurationError("the graph has an AsyncLakebaseSaver: give make_predict_fn its memory too, not opened")

    async def answer(question: Question, context: RequestContext) -> str:
        messages = [{"role": "user", "content": question}] if isinstance(question, str) else question
        config = {"configurable": {"thread_id": context.thread_id, "user_id": context.user_id}}
        state = await graph.ainvoke({"messages": messages}, config)
        if not isinstance(state, Mapping) or not state.get("messages"):
            raise ConfigurationError("make_predict_fn takes a graph whose state has messages, the last one its answer")
        return _as_text(state["messages"][-1].content)

    return answer


def _as_text(answer: Any) -> str:
    if isinstance(answer, str):
        return answer
    if hasattr(answer, "model_dump_json"):  # a structured output of the SDK
        return str(answer.model_dump_json())
    if isinstance(answer, list) and all(isinstance(block, str | Mapping) for block in answer):
        return "".join(block if isinstance(block, str) else str(block.get("text", "")) for block in answer)
    return json.dumps(answer, default=str)


class _OwnLoop:
    """An event loop on a thread of its own, on which a memory is open."""

    def __init__(self, memory: AsyncMemory | None) -> None:
        self._memory = memory
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine and wait for its result. It sees the caller's context variables, and so its trace."""
        loop = self._started()
        future = asyncio.run_coroutine_threadsafe(work(), loop)
        try:
            return future.result()
        finally:
            future.cancel()  # where the wait was interrupted

    def close(self) -> None:
        with self._starting:
            loop, self._loop = self._loop, None
        if loop is not None:
            atexit.unregister(self._close_at_exit)
            try:
                if self._memory is not None:
                    asyncio.run_coroutine_threadsafe(self._memory.close(), loop).result()
            finally:
                self._end(loop)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = self._start()
            return self._loop

    def _start(self) -> asyncio.AbstractEventLoop:
        memory = self._memory
        if memory is not None and memory._storage.is_open:
            raise ConfigurationError(
                "the memory is open already, on another event loop: give make_predict_fn one that is not"
            )
        loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_run, args=(loop,), name="lakemem-predict", daemon=True)
        self._thread.start()
        try:
            if memory is not None:
                asyncio.run_coroutine_threadsafe(memory.open(), loop).result()
        except BaseException:
            self._end(loop)
            raise
        atexit.register(self._close_at_exit)
        return loop

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(loop.stop)
        if self._thread is not None:
            self._thread.join()

    def _close_at_exit(self) -> None:
        # An interpreter that ends gives asyncio no more threads, and an embedded server is left without one.
        with suppress(RuntimeError):
            self.close()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        if tasks := asyncio.all_tasks(loop):
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks))
        loop.close()
