"""The OpenAI Agents SDK: a thread as its session (extra ``openai-agents``)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from lakemem._async.memory import AsyncMemory
from lakemem._async.threads import AsyncThread
from lakemem.errors import ConfigurationError, MissingExtraError
from lakemem.integrations.openai_context import user_of
from lakemem.protocols import AsyncShortTermMemory
from lakemem.thread_types import Message, TokenUsage, Turn
from lakemem.validation import check_identifier, check_limit
from lakemem.windows import Window

try:
    from agents.memory import SessionSettings
    from agents.models.fake_id import FAKE_RESPONSES_ID
except ImportError as error:
    raise MissingExtraError("openai-agents", "lakemem.integrations.openai_agents") from error

if TYPE_CHECKING:
    from agents import RunContextWrapper, RunResultBase
    from agents.items import TResponseInputItem

T = TypeVar("T")


class LakebaseSession:
    """A thread as a session of the SDK: ``Runner.run(agent, "Hello", session=LakebaseSession(thread))``.

    Every method is one round trip and one transaction. Items come back exactly as the SDK stored them, so there are
    no rows that cannot be read, and a limit counts what it returns.

    What changes the session is finished once it is begun: a caller that is cancelled meanwhile is told so after the
    database has said what came of it. An append is there whole or not at all, and every later read sees it.

    Source: the Session protocol, https://openai.github.io/openai-agents-python/sessions/

    Args:
        thread: the conversation, such as ``memory.for_user(...).thread(...)``; or the memory itself, for a session
            that belongs in each run to the user that the run's context names by its `user_id`; or a function that
            finds the thread for each call.
        thread_id: the thread's id, where the memory or a function is given.
        session_settings: how many of the newest items a run reads, unless the run itself says so.
        window: how much is read where nobody gives a limit, with calls of tools and their results kept together.

    Raises:
        ConfigurationError: the arguments contradict each other.
    """

    def __init__(
        self,
        thread: AsyncShortTermMemory | AsyncMemory | Callable[[], AsyncShortTermMemory],
        thread_id: str | None = None,
        *,
        session_settings: SessionSettings | dict[str, Any] | None = None,
        window: Window | None = None,
    ) -> None:
        needs_id = isinstance(thread, AsyncMemory) or callable(thread)
        if needs_id == (thread_id is None):
            raise ConfigurationError("give a session either a thread, or the memory and a thread_id")
        self._source = thread
        self.session_id = thread.thread_id if thread_id is None else check_identifier("thread_id", thread_id)  # type: ignore[union-attr]
        self.session_settings = (
            SessionSettings(**session_settings) if isinstance(session_settings, dict) else session_settings
        )
        if window is not None and self.session_settings is not None and self.session_settings.limit is not None:
            raise ConfigurationError("give a session either a window or a limit: a Window may have items= as well")
        self.window = window

    async def get_items(
        self, limit: int | None = None, *, wrapper: RunContextWrapper[Any] | None = None
    ) -> list[TResponseInputItem]:
        """Return the newest items, the oldest of them first.

        How many: `limit`, exactly; else the limit of the settings, else what the window holds, else all. A run
        gives as `limit` what its ``RunConfig`` says.

        Args:
            limit: how many; 0 for none.
            wrapper: the run that asks. The SDK passes it; it matters only to a session on the memory itself.

        Raises:
            InvalidInputError: the limit is negative, or not a whole number. Nothing was asked.
        """
        if limit is None and self.session_settings is not None:
            limit = self.session_settings.limit
        if check_limit(limit) is None and self.window is not None:
            found = await self._thread(wrapper).window(self.window)
        else:
            found = await self._items_of(wrapper).items(limit)
        return cast("list[TResponseInputItem]", found)

    async def add_items(
        self, items: list[TResponseInputItem], *, wrapper: RunContextWrapper[Any] | None = None
    ) -> None:
        """Add items at the end, all or none of them."""
        await _settled(self._items_of(wrapper).append(cast("list[dict[str, Any]]", items)))

    async def pop_item(self, *, wrapper: RunContextWrapper[Any] | None = None) -> TResponseInputItem | None:
        """Remove the newest item and return it; None where there is none."""
        return cast("TResponseInputItem | None", await _settled(self._items_of(wrapper).pop()))

    async def clear_session(self, *, wrapper: RunContextWrapper[Any] | None = None) -> None:
        """Remove all items, and what runs used."""
        await _settled(self._items_of(wrapper).clear())

    async def new_items(
        self, given: str | list[TResponseInputItem], *, wrapper: RunContextWrapper[Any] | None = None
    ) -> list[TResponseInputItem]:
        """Return the items of an input that are not in the session yet; see :meth:`lakemem.AsyncThread.new_items`."""
        found = await self._thread(wrapper).new_items(cast("str | list[dict[str, Any]]", given))
        return cast("list[TResponseInputItem]", found)

    async def turns(self, limit: int | None = None, *, wrapper: RunContextWrapper[Any] | None = None) -> list[Turn]:
        """Return the newest `limit` turns (None for all), each with what its runs used, oldest first."""
        return await self._thread(wrapper).turns(limit)

    async def fork(
        self, *, at: int, session_id: str | None = None, wrapper: RunContextWrapper[Any] | None = None
    ) -> LakebaseSession:
        """Return another session that begins with the items up to a position, such as a turn's; this one stays.

        Args:
            at: the position of the last item to take, as :meth:`turns` and the thread's messages tell it.
            session_id: the id of the new session; None to make one up.

        Raises:
            ThreadNotFoundError: nothing was stored in this session.
            InvalidInputError: there is no item at this position.
            ConflictError: there is a session with the new id.
        """
        thread = await _settled(self._thread(wrapper).fork(at=at, thread_id=session_id))
        return self._like_this(thread)

    async def rewind(self, *, to: int, wrapper: RunContextWrapper[Any] | None = None) -> LakebaseSession:
        """Remove all items after a position, 0 for all, and return a session of what is left.

        ``rewind(to=turn.position - 1)`` takes a turn back, with all that came after it.
        """
        thread = self._thread(wrapper)
        await _settled(thread.rewind(to=to))
        return self._like_this(thread)

    async def store_usage(self, result: RunResultBase) -> bool:
        """Store what a run used, in the turn that began last; False where the session is empty.

        A run that was interrupted for an approval is counted once: storing it when it has gone on replaces what was
        stored before. Of a streamed run, the numbers are complete at the end of the stream.

        Args:
            result: what ``Runner.run`` or ``Runner.run_streamed`` returned.
        """
        thread = self._thread(result.context_wrapper)
        return await _settled(thread.store_usage(_usage_of(result), run_id=_run_id(result)))

    async def usage(self, *, wrapper: RunContextWrapper[Any] | None = None) -> TokenUsage:
        """Return what all runs of this session used, as far as it was stored."""
        return await self._thread(wrapper).usage()

    # The SDK looks for the two methods below by these names. They have no public counterpart, and without them
    # compaction clears the session and fills it again in two steps, where a crash between the two loses it all.

    async def _get_compaction_snapshot(
        self, limit: int, *, prune_prefix: Callable[[TResponseInputItem], bool] | None = None
    ) -> _Snapshot | None:
        """What OpenAIResponsesCompactionSession compacts: the newest items, and how to replace their end."""
        thread = self._compactable()
        if thread is None:
            return None
        found = await thread.messages(limit + 1)
        return _Snapshot(thread, found[-limit:] if limit else [], len(found) <= limit, prune_prefix)

    async def _atomic_replace_items(self, items: list[TResponseInputItem]) -> bool:
        """Put other items in the place of all of them; False where the SDK has to do it step by step."""
        thread = self._compactable()
        if thread is None:
            return False
        return await _settled(thread.replace_tail(None, cast("list[dict[str, Any]]", items)))

    def _compactable(self) -> AsyncThread | None:
        """The thread; None where it depends on the run, or where a subclass may store something else than was given."""
        ours = (LakebaseSession.get_items, LakebaseSession.add_items)
        if isinstance(self._source, AsyncMemory) or (type(self).get_items, type(self).add_items) != ours:
            return None
        thread = self._items_of(None)
        return thread if isinstance(thread, AsyncThread) else None

    def _items_of(self, wrapper: RunContextWrapper[Any] | None) -> AsyncShortTermMemory:
        source = self._source
        if not isinstance(source, AsyncMemory):
            return source() if callable(source) else source
        user_id = None if wrapper is None else user_of(wrapper.context)
        if user_id is None:
            raise ConfigurationError(
                "the session does not know its user: run the agent with a context that has a user_id, such as "
                "Runner.run(..., context=resolve_context(request)), or make the session with a thread of "
                "memory.for_user(...)"
            )
        return source.for_user(user_id).thread(self.session_id)

    def _thread(self, wrapper: RunContextWrapper[Any] | None) -> AsyncThread:
        thread = self._items_of(wrapper)
        if not isinstance(thread, AsyncThread):
            raise ConfigurationError(f"this takes a lakemem.AsyncThread, and not a {type(thread).__name__}")
        return thread

    def _like_this(self, thread: AsyncThread) -> LakebaseSession:
        return LakebaseSession(thread, session_settings=self.session_settings, window=self.window)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.session_id!r}>"


@dataclass(frozen=True)
class _Snapshot:
    """The newest items of a thread as the SDK's compaction wants them: it reads the attributes without underscore."""

    _thread: AsyncThread
    _messages: list[Message]
    complete: bool
    _prunes: Callable[[TResponseInputItem], bool] | None

    @property
    def items(self) -> list[TResponseInputItem]:
        return [cast("TResponseInputItem", message.item) for message in self._messages]

    async def replace_suffix(self, start: int, output: list[TResponseInputItem]) -> bool:
        """Replace the items from `start` on, unless the thread has changed; whatever `_prunes` says goes, too."""
        expected = self._messages[start:]
        if not expected:
            return False
        replacement = cast("list[dict[str, Any]]", output)
        return await _settled(self._replace(expected, replacement))

    async def _replace(self, expected: list[Message], replacement: list[dict[str, Any]]) -> bool:
        prune_to = None if self._prunes is None else await self._prunable(self._prunes, expected[0].position)
        return await self._thread.replace_tail(expected, replacement, prune_to=prune_to)

    async def _prunable(self, prunes: Callable[[TResponseInputItem], bool], before: int) -> int | None:
        """The position up to which items may go: at most as many as the snapshot has, the rest another time."""
        last = None
        for message in await self._thread.oldest(len(self._messages)):
            if message.position >= before or not prunes(cast("TResponseInputItem", message.item)):
                break
            last = message.position
        return last


async def _settled(change: Coroutine[Any, Any, T] | Awaitable[T]) -> T:
    """Wait for the end of a change, whoever cancels the wait: only then is it known what came of it."""
    task = asyncio.ensure_future(change)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
    if cancelled is not None:
        # Seen, so that asyncio does not complain of it.
        if not task.cancelled():
            task.exception()
        raise cancelled
    return task.result()


def _usage_of(result: RunResultBase) -> TokenUsage:
    usage = result.context_wrapper.usage
    return TokenUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
        cached_tokens=getattr(usage.input_tokens_details, "cached_tokens", None) or 0,
        reasoning_tokens=getattr(usage.output_tokens_details, "reasoning_tokens", None) or 0,
        requests=usage.requests,
        models=_models_of(result),
    )


def _models_of(result: RunResultBase) -> tuple[str, ...]:
    """The model of the last agent, where the agent names one: a response does not."""
    model = result.last_agent.model
    name = model if isinstance(model, str) else getattr(model, "model", None)
    return (name,) if isinstance(name, str) and name.strip() else ()


def _run_id(result: RunResultBase) -> str | None:
    """A name that a run keeps when it goes on after an interruption: that of the first thing a model gave."""
    for response in result.raw_responses[:1]:
        named = [getattr(item, name, None) for item in response.output for name in ("id", "call_id")]
        for name in (response.response_id, *named):
            if isinstance(name, str) and name and name != FAKE_RESPONSES_ID:
                return name[:255]
    return None
