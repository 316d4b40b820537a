"""Plain functions as agents."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from lakemem.run_context import RunContext
from lakemem.server.threads import in_thread, iterated


class FunctionAgent:
    """An agent of plain functions: coroutines, async generators, and blocking functions and generators in threads.

    A function takes the request, and the :class:`RunContext` besides if it has room for it. Such an agent knows
    nothing of earlier attempts: it begins anew.

    Args:
        invoke: answers in one piece; with `stream` alone, that answers both.
        stream: answers in events; with `invoke` alone, that answers both.
    """

    def __init__(self, invoke: Callable[..., Any] | None = None, stream: Callable[..., Any] | None = None) -> None:
        self._invoke = invoke
        self._stream = stream

    def check(self, request: Mapping[str, Any]) -> None:
        """Any request will do."""

    async def answer(self, context: RunContext) -> AsyncGenerator[Any, None]:
        wanted, other = (self._stream, self._invoke) if context.kind == "stream" else (self._invoke, self._stream)
        function = wanted or other
        assert function is not None  # noqa: S101 - one of them is there
        async with aclosing(called(function, self.request_of(context), context)) as given:
            async for thing in given:
                yield thing

    def request_of(self, context: RunContext) -> Any:
        """What the functions are given as the request."""
        return context.request


async def called(function: Callable[..., Any], request: Any, context: RunContext) -> AsyncGenerator[Any, None]:
    """Call a function of whatever kind, and give what it yields, or what it returns."""
    arguments = (request, context) if _takes_two(function) else (request,)
    if _is_async(function):
        result = function(*arguments)
    else:
        result = await in_thread(lambda: function(*arguments))
    if inspect.isawaitable(result):
        result = await _awaited(result)
    if isinstance(result, AsyncIterator):
        try:
            async for thing in result:
                yield thing
        finally:
            if isinstance(result, AsyncGenerator):
                await result.aclose()
    elif isinstance(result, Iterator):
        async with aclosing(iterated(result)) as things:
            async for thing in things:
                yield thing
    else:
        yield [result] if isinstance(result, str) else result


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


def _is_async(function: Callable[..., Any]) -> bool:
    """Whether its body runs on the event loop; a decorator may hide that."""
    inner: Any = inspect.unwrap(function)
    while isinstance(inner, functools.partial):
        inner = inner.func
    if not inspect.isroutine(inner):
        inner = type(inner).__call__ if callable(inner) else inner
    return inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner)


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = [part for part in parameters if part.kind in (part.POSITIONAL_ONLY, part.POSITIONAL_OR_KEYWORD)]
    return len(positional) > 1 and positional[1].default is inspect.Parameter.empty
