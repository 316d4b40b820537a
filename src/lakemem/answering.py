"""What an answer takes in either framework: whose request it is, what is recalled, and whether memory was there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from lakemem._async.memory import AsyncMemory
from lakemem._async.scoped import AsyncScopedMemory
from lakemem._async.threads import AsyncThread
from lakemem.context import Identify, resolve_context
from lakemem.echoes import after_echo
from lakemem.errors import ConfigurationError
from lakemem.recalling import Context, Recall
from lakemem.responses import AgentRequest, Item, since_the_agent
from lakemem.types import RequestContext
from lakemem.waiting import awithin

logger = logging.getLogger("lakemem")


class Answering:
    """One request while it is answered.

    Attributes:
        request: what is asked.
        context: whose request it is, and which conversation it belongs to.
        user: that user's memory.
        is_degraded: whether the answer was made without memory, or some of it.
    """

    def __init__(self, request: AgentRequest, context: RequestContext, user: AsyncScopedMemory) -> None:
        self.request = request
        self.context = context
        self.user = user
        self.is_degraded = False

    def look(self) -> bool:
        """Note whether memory is down now; what was just read is then empty, and what was written waits."""
        self.is_degraded = self.is_degraded or self.user.is_degraded
        return self.is_degraded

    async def recall(self, question: str, recall: Recall | bool) -> Context:
        """Return what is remembered for a question; nothing where that takes too long.

        Raises:
            StorageError: memory is down, and does not degrade.
        """
        wanted = Recall() if recall is True else recall
        if not wanted or not question.strip() or not wanted.limit:
            return Context()
        try:
            recalled = await awithin(
                wanted.deadline,
                lambda: self.user.context(
                    question,
                    namespace=wanted.namespace,
                    limit=wanted.limit,
                    min_similarity=wanted.min_similarity,
                    max_tokens=wanted.max_tokens,
                    trust=wanted.trust,
                ),
            )
        except TimeoutError:
            logger.warning("memories were not recalled within %g s, the agent goes on without them", wanted.deadline)
            self.look()
            return Context()
        self.look()
        return recalled

    async def new_items(self, thread: AsyncThread) -> list[Item]:
        """Return the items of the request that a thread does not have: a client may send all that was said again.

        None are left where the request repeats what was not answered.
        """
        new = await thread.new_items(self.request.items)
        if self.user.is_degraded or new:
            return self._unknown(new)
        return self._unknown(new, answered=not since_the_agent(await thread.items(1)))

    def new_beside(self, stored: Sequence[Item]) -> list[Item]:
        """Do the same, for a thread that is read already."""
        new = self.request.items[after_echo(stored, self.request.items, from_start=True) :]
        return self._unknown(new, answered=not since_the_agent(stored))

    def _unknown(self, new: list[Item], *, answered: bool = False) -> list[Item]:
        if self.user.is_degraded or (answered and not new):
            # What the thread has is not known, or the user asks once more for what was answered.
            return since_the_agent(self.request.items)
        return new

    def custom_outputs(self, interrupts: Sequence[Mapping[str, Any]] | None = None) -> dict[str, Any]:
        """What goes to the client beside the answer."""
        memory = {"memory": "degraded"} if self.look() else {}
        waiting = {} if interrupts is None else {"interrupts": list(interrupts)}
        return {**self.context.custom_outputs, **memory, **waiting}


async def answering(
    request: AgentRequest,
    memory: AsyncMemory | AsyncScopedMemory,
    headers: Mapping[str, str] | None,
    identify: Identify | None,
) -> Answering:
    """Find out whose request it is.

    Raises:
        IdentityError: deployed, and no verified user.
        InvalidInputError: an id in the request cannot be used.
        ConfigurationError: the memory is a sync one, or a shared scope's.
    """
    if isinstance(memory, AsyncScopedMemory):
        kind, _, user_id = memory.owner.partition(":")
        if kind != "user":
            raise ConfigurationError("a request is answered for a user: give the memory, or memory.for_user(...)")
        # Who gives a user's memory has verified who that is.
        claimed = resolve_context(request.fields, environ={})
        return Answering(request, RequestContext(claimed.thread_id, user_id), memory)
    if not isinstance(memory, AsyncMemory):
        raise ConfigurationError(f"a request is answered with an AsyncMemory, not {type(memory).__name__}")
    # An `identify` that asks somebody blocks.
    context = await asyncio.to_thread(resolve_context, request.fields, headers, identify=identify)
    return Answering(request, context, memory.for_user(context.user_id))
