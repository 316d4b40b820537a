"""One conversation of one user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lakemem._async.database import AsyncStorage
from lakemem.context import resolve_thread_id
from lakemem.operations import threads, turns
from lakemem.thread_types import Message, ThreadInfo, TokenUsage, Turn
from lakemem.windows import Window


class AsyncThread:
    """The items of one conversation: messages, tool calls, tool results, in the order they were appended.

    Every method is one round trip and one transaction. A thread begins with its first item, or with a title,
    metadata or expiry; to anyone but its owner it does not exist. One that has expired is as if it had never been.
    """

    def __init__(self, storage: AsyncStorage, owner: str, thread_id: str) -> None:
        self._storage = storage
        self._owner = owner
        self.thread_id = thread_id

    async def append(self, items: Sequence[Mapping[str, Any]]) -> range:
        """Add JSON objects at the end, all or none of them, and return their positions.

        They come back exactly as they are: key order, unicode and ``\\u0000`` included.

        Raises:
            InvalidInputError: an item is not a JSON object, or takes more than 8 MiB. Nothing was written.
        """
        operation = threads.append(self._owner, self.thread_id, items)
        return await self._storage.run(operation) if items else range(0)

    async def items(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Return the newest `limit` items (None for all), the oldest of them first."""
        return await self._storage.run(threads.items(self._owner, self.thread_id, limit))

    async def messages(self, limit: int | None = None) -> list[Message]:
        """Return the newest `limit` items (None for all) with their positions and times, oldest first."""
        return await self._storage.run(threads.messages(self._owner, self.thread_id, limit))

    async def pop(self) -> dict[str, Any] | None:
        """Remove the last item and return it; None where there is none."""
        return await self._storage.run(threads.pop(self._owner, self.thread_id))

    async def clear(self) -> None:
        """Remove all items. The thread itself stays, and its positions go on counting."""
        await self._storage.run(threads.clear(self._owner, self.thread_id))

    async def rewind(self, *, to: int) -> int:
        """Remove all items after a position, and return how many there were; 0 for `to` removes all.

        The item at `to` need not be there any more. Positions that were given are not given again.

        Raises:
            InvalidInputError: `to` is not a whole number from 0.
        """
        return await self._storage.run(threads.rewind(self._owner, self.thread_id, to))

    async def fork(self, *, at: int, thread_id: str | None = None) -> AsyncThread:
        """Begin another thread with the items up to a position, and return it.

        The items keep their positions and times; title, metadata and expiry are taken over. The two threads have
        nothing to do with each other from then on. Checkpoints of LangGraph stay behind: the saver's
        ``copy_thread`` copies them.

        Args:
            at: the position of the last item to take.
            thread_id: the id of the new thread; None to make one up.

        Raises:
            ThreadNotFoundError: this thread does not exist.
            InvalidInputError: it has no item at this position.
            ConflictError: there is a thread with the new id.
            StorageUnavailableError: memory is down. :func:`~lakemem.degrading` does not put a fork off.
        """
        fork_id = resolve_thread_id() if thread_id is None else thread_id
        await self._storage.run(threads.fork(self._owner, self.thread_id, at, fork_id))
        return AsyncThread(self._storage, self._owner, fork_id)

    async def update(
        self,
        *,
        title: str | None = threads.UNCHANGED,
        metadata: Mapping[str, Any] | None = threads.UNCHANGED,
        expires_in: float | None = threads.UNCHANGED,
        sliding: bool = True,
    ) -> ThreadInfo:
        """Give the thread a title, metadata, or an end; what is not given stays as it is, and None removes it.

        A thread that does not exist yet begins with this. It does not count as activity.

        Args:
            title: a name for people, of at most 500 characters.
            metadata: a JSON object for listings to filter by; replaces all metadata.
            expires_in: seconds from now until the thread is gone.
            sliding: whether each append puts that off to as many seconds after itself.

        Raises:
            InvalidInputError: an argument cannot be stored. Nothing was written.
        """
        operation = threads.update(
            self._owner, self.thread_id, title=title, metadata=metadata, expires_in=expires_in, sliding=sliding
        )
        return await self._storage.run(operation)

    async def delete(self) -> bool:
        """Remove the thread with its items and checkpoints; False where there was none."""
        return await self._storage.run(threads.delete(self._owner, self.thread_id))

    async def info(self) -> ThreadInfo | None:
        """Return when the thread began and was last active, its title and the like; None where there is none."""
        return await self._storage.run(threads.info(self._owner, self.thread_id))

    async def window(self, window: Window) -> list[dict[str, Any]]:
        """Return the newest items that fit into a window, the oldest of them first.

        However long the thread is, the server reads no more than the window's `max_bytes` and one item.
        """
        return await self._storage.run(turns.window(self._owner, self.thread_id, window))

    async def new_items(self, given: str | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the items of an input that are not stored yet: for clients that send the history along each time.

        Items are recognised by what they say: the role and the text, or the id of the call. Ids, states, and
        whether a text stands in a list make no difference. The input is history first, then what is new. The
        history ends at the item that fits the thread best, with what stands before it, and nearest to the thread's
        end. It may have been cut off at its beginning, may lack what the client does not show, and may begin
        before the thread does.

        - A message that the user repeats is new once the thread has an answer to it. A single message is stored
          already only where it is the thread's last one: the answer to it never came.
        - Where nothing is recognised all is new. In a compacted thread, that is what follows the last item of the
          input that is not the user's.
        - What somebody else adds to the thread before the new items are appended does not count.
        - While memory is down all is new, and :func:`~lakemem.degrading` returns the input as it is.

        The newest items of the thread are read, 8 for each of the input and 64 more.

        Args:
            given: the input, as for :meth:`append`; a string is one message of the user.

        Raises:
            InvalidInputError: an item could not be stored.
        """
        return await self._storage.run(turns.new_items(self._owner, self.thread_id, given))

    async def oldest(self, limit: int) -> list[Message]:
        """Return the oldest `limit` items with their positions and times, oldest first."""
        return await self._storage.run(turns.oldest(self._owner, self.thread_id, limit))

    async def replace_tail(
        self,
        expected: Sequence[Message] | None,
        replacement: Sequence[Mapping[str, Any]],
        *,
        prune_to: int | None = None,
    ) -> bool:
        """Replace the newest items by others, such as a summary, if nobody has changed them meanwhile.

        All of it is done or nothing: an item that was appended or removed since `expected` was read makes it
        return False, and the thread stays as it is.

        Args:
            expected: the newest items as :meth:`messages` returned them, oldest first; None for all items, whatever
                they are by now.
            replacement: what takes their place; it may be empty.
            prune_to: also remove the items up to this position, which is before those that are replaced.

        Raises:
            InvalidInputError: `expected` is empty, `prune_to` is not before it, or an item cannot be stored.
        """
        operation = turns.replace_tail(self._owner, self.thread_id, expected, replacement, prune_to=prune_to)
        return await self._storage.run(operation)

    async def turns(self, limit: int | None = None) -> list[Turn]:
        """Return the newest `limit` turns (None for all), each with what its runs used, oldest first."""
        return await self._storage.run(turns.turns(self._owner, self.thread_id, limit))

    async def store_usage(self, usage: TokenUsage, *, run_id: str | None = None) -> bool:
        """Store what a run used, in the turn that began last; False where there is no thread.

        Args:
            usage: its numbers; of `models` the first, and not `runs`.
            run_id: a name of the run: storing it again replaces the numbers. By default each call is another run.
        """
        return await self._storage.run(turns.store_usage(self._owner, self.thread_id, usage, run_id))

    async def usage(self) -> TokenUsage:
        """Return what all runs of this thread used, those of turns included that were taken back."""
        return await self._storage.run(turns.usage(self._owner, self.thread_id))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.thread_id!r}>"
