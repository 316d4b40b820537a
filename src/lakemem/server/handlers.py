"""From what somebody wants to serve to an agent that can be run."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from lakemem.errors import ConfigurationError
from lakemem.run_context import Agent
from lakemem.server.functions import FunctionAgent


def agent_of(given: Any) -> Agent:
    """Return the agent that something is, or makes.

    It may be a function (a coroutine, an async generator, or one that blocks, which goes into a thread), an Agent of
    the OpenAI Agents SDK, a compiled graph of LangGraph, a ResponsesAgent of MLflow, or an :class:`Agent` itself. For
    None, and for a function that is one of them, it is the functions that are registered with MLflow's agent server.

    Raises:
        ConfigurationError: it is none of these.
    """
    if given is None or _is(given, "mlflow.pyfunc", "ResponsesAgent") or _is_of_mlflow(given):
        return _of_mlflow(given)
    if _is(given, "agents", "Agent"):
        from lakemem.integrations.openai_served import SdkAgent

        return SdkAgent(given)
    if _is(given, "langgraph.graph.state", "CompiledStateGraph"):
        from lakemem.integrations.langgraph_served import GraphAgent

        return GraphAgent(given)
    if isinstance(given, Agent):
        return given
    if not callable(given) or isinstance(given, type):
        raise ConfigurationError(
            f"{type(given).__name__} is nothing that can be served: give a function, an Agent of the OpenAI Agents "
            "SDK, a compiled graph of LangGraph, or a ResponsesAgent of MLflow"
        )
    return FunctionAgent(stream=given) if _is_generator(given) else FunctionAgent(given)


def _is(given: Any, module: str, name: str) -> bool:
    """Whether it is of a class of a framework; one that is not imported has no objects."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(given, kind)


def _is_of_mlflow(given: Any) -> bool:
    if "mlflow.genai.agent_server" not in sys.modules:
        return False
    from lakemem.server.mlflow import is_registered

    return is_registered(given)


def _of_mlflow(given: Any) -> Agent:
    from lakemem.server.mlflow import of_responses_agent, registered

    return of_responses_agent(given) if _is(given, "mlflow.pyfunc", "ResponsesAgent") else registered()


def _is_generator(function: Any) -> bool:
    inner = inspect.unwrap(function)
    return inspect.isasyncgenfunction(inner) or inspect.isgeneratorfunction(inner)
