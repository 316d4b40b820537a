"""Runs over HTTP, in the shape of the OpenAI Responses API (extra ``server``)."""

from lakemem.errors import MissingExtraError

try:
    import starlette as _starlette  # noqa: F401
except ImportError as error:
    raise MissingExtraError("server", "lakemem.server") from error

from lakemem.run_context import Agent, RunContext, current_run
from lakemem.server.app import create_app

__all__ = ["create_app", "current_run", "Agent", "RunContext"]
