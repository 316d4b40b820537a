"""The run that an agent works on, as the agent sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from lakemem._async.scoped import AsyncScopedMemory
from lakemem.context import forwarded_token
from lakemem.errors import ConfigurationError
from lakemem.responses import Item, text_of
from lakemem.run_types import Run


class RunContext:
    """The run that an agent works on.

    Attributes:
        run: as it was when this attempt began.
        attempt: which attempt this is, from 1.
        user_id: whose run it is.
        request: the request, with the thread in its ``custom_inputs``; and there, in ``resume``, what somebody has
            answered to this run.
        memory: the memory of this user.
        headers: of the request. They are not stored: an attempt in another process than that which took the request
            has none.
        earlier: the items that are done of earlier attempts, in their order.
    """

    def __init__(
        self,
        run: Run,
        *,
        memory: AsyncScopedMemory,
        emit: Callable[[Any], Awaitable[None]],
        headers: Mapping[str, str] = MappingProxyType({}),
        earlier: Sequence[Item] = (),
    ) -> None:
        self.run = run
        self.attempt = run.attempt
        self.user_id = run.owner.partition(":")[2]
        self.request = _request_of(run)
        self.memory = memory
        self.headers = headers
        self.earlier = list(earlier)
        self.kept = 0
        self._emit = emit

    @property
    def run_id(self) -> str:
        """The id of the run, which is that of the response, too."""
        return self.run.run_id

    @property
    def thread_id(self) -> str:
        """The conversation."""
        return str(self.run.thread_id)

    @property
    def kind(self) -> str:
        """What the client wants: the ``"stream"`` of events, or the answer (``"invoke"``)."""
        return self.run.kind

    @property
    def was_asked(self) -> bool:
        """Whether an earlier attempt has asked a person, who has answered."""
        return self.run.asked_by > 0

    def user_token(self) -> str:
        """Return the user's access token, as the platform forwarded it with the request.

        It is not stored. Where another process goes on with the run, there is none; a run whose agent lets the error
        pass then fails with the code ``user_token_required``.

        Raises:
            IdentityError: there is none here.
        """
        return forwarded_token(self.headers)

    async def emit(self, given: Any) -> None:
        """Give an event, or anything else that an agent may give, from within a tool or a callback."""
        await self._emit(given)

    def keep(self, count: int) -> None:
        """Let the first `count` items of `earlier` stand; to be said before the first event. By default none do."""
        self.kept = count

    def keep_what_is_in(self, there: Sequence[Item]) -> list[Item]:
        """Let the items of `earlier` stand that are in what an agent has stored; return what the client has not got."""
        stand, last = 0, -1
        for place, item in enumerate(there):
            if stand < len(self.earlier) and _key(item) == _key(self.earlier[stand]):
                stand, last = stand + 1, place
        self.keep(stand)
        return list(there[last + 1 :])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.run_id} attempt {self.attempt}>"


def _request_of(run: Run) -> dict[str, Any]:
    custom_inputs = {**(run.request.get("custom_inputs") or {}), "thread_id": run.thread_id}
    if run.asked_by:
        custom_inputs["resume"] = run.answer
    return {**run.request, "custom_inputs": custom_inputs}


def _key(item: Item) -> tuple[str, str]:
    """What tells an item from others, whichever id it was streamed under."""
    return str(item.get("type", "message")), str(item.get("call_id") or text_of(item))


@runtime_checkable
class Agent(Protocol):
    """What answers a run. An attempt that follows another one may tell the context what stands of it."""

    def check(self, request: Mapping[str, Any]) -> None:
        """Raise InvalidInputError for a request that it cannot answer, before there is a run."""

    def answer(self, context: RunContext) -> AsyncGenerator[Any, None]:
        """Give the events of the Responses API, or what :class:`~lakemem.server.answers.Answer` makes such of."""


class Observer(Protocol):
    """Is around each attempt at a run while its agent works."""

    def __call__(self, context: RunContext, /) -> AbstractContextManager[object]: ...


def untraced(context: RunContext, /) -> AbstractContextManager[object]:
    """An observer that does not look."""
    return nullcontext()


_context: ContextVar[RunContext] = ContextVar("lakemem_run")


def current_run() -> RunContext:
    """Return the run that this code works on, also in the threads of blocking functions.

    Raises:
        ConfigurationError: it is not called by a served agent.
    """
    try:
        return _context.get()
    except LookupError:
        raise ConfigurationError(
            "there is no run here: current_run() is for the code of an agent that is served"
        ) from None


def entered(context: RunContext) -> None:
    """Make it the current run of this task."""
    _context.set(context)
