"""Functions that are registered with MLflow's agent server, and its ResponsesAgents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lakemem.errors import ConfigurationError, InvalidInputError, MissingExtraError
from lakemem.run_context import RunContext
from lakemem.server.functions import FunctionAgent

try:
    from mlflow.genai.agent_server import get_invoke_function, get_stream_function
    from mlflow.genai.agent_server.utils import set_request_headers
    from mlflow.pyfunc import ResponsesAgent  # type: ignore[attr-defined]
    from mlflow.types.responses import ResponsesAgentRequest
except ImportError as error:
    raise MissingExtraError("mlflow", "lakemem.server.mlflow") from error


class MlflowAgent(FunctionAgent):
    """Functions that take a ``ResponsesAgentRequest``. ``get_request_headers()`` gives them the headers, as in
    MLflow's own server, as long as the run is in the process that took the request."""

    def check(self, request: Mapping[str, Any]) -> None:
        """Raise InvalidInputError for what MLflow does not take for a request."""
        _typed(request)

    def request_of(self, context: RunContext) -> ResponsesAgentRequest:
        set_request_headers(dict(context.headers))
        return _typed(context.request)


def registered() -> MlflowAgent:
    """Return the agent of the functions that are decorated with ``@invoke()`` and ``@stream()``.

    Raises:
        ConfigurationError: there are none.
    """
    invoke, stream = _registered()
    if invoke is None and stream is None:
        raise ConfigurationError(
            "no agent: name one as module:agent, or register a function with @invoke() or @stream() of "
            "mlflow.genai.agent_server in the module"
        )
    return MlflowAgent(invoke, stream)


def is_registered(function: Callable[..., Any]) -> bool:
    """Whether it is one of those functions, or what its decorator made of it."""
    inner = getattr(function, "__wrapped__", function)
    return any(each is not None and each in (function, inner) for each in _registered())


def _registered() -> tuple[Callable[..., Any] | None, Callable[..., Any] | None]:
    return get_invoke_function(), get_stream_function()  # type: ignore[no-untyped-call]


def of_responses_agent(agent: ResponsesAgent) -> MlflowAgent:
    streams = type(agent).predict_stream is not ResponsesAgent.predict_stream
    return MlflowAgent(agent.predict, agent.predict_stream if streams else None)


def _typed(request: Mapping[str, Any]) -> ResponsesAgentRequest:
    given = request.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    try:
        return ResponsesAgentRequest(**{**request, "input": items if items is not None else []})
    except ValueError as error:
        raise InvalidInputError(f"MLflow takes no such request: {_places(error)}") from None


def _places(error: ValueError) -> str:
    """Where a request is wrong; the words of the error quote what a user said."""
    errors: list[dict[str, Any]] = getattr(error, "errors", list)()
    return ", ".join(sorted({".".join(str(part) for part in each["loc"]) for each in errors})) or "it is not valid"
