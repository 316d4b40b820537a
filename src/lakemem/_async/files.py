"""Files that an agent keeps about an owner, stored as memories."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from lakemem._async.scoped import AsyncScopedMemory
from lakemem.errors import ConflictError, GuardError, InvalidInputError
from lakemem.file_memory import inputs
from lakemem.file_memory.answers import HELD_BACK, REDACTED, FileAnswer, Refusal
from lakemem.file_memory.commands import Command, check_may_change
from lakemem.file_memory.files import Change
from lakemem.operations import files, jobs, quarantine, together
from lakemem.resilience import OUTAGES
from lakemem.tool_specs import UNAVAILABLE
from lakemem.trust import above

logger = logging.getLogger("lakemem")

ATTEMPTS = 20


class AsyncFileMemory:
    """A user's memory as files under ``/memories``, with the commands of Anthropic's memory tool.

    Each file is a memory: its key is its path without ``/memories/``, its value is its text, and its namespace is
    ``("files",)``. So files have versions, are found by a search and come along in an export, as all memories are.
    A directory is there as long as a file is in it.

    A command is two round trips, one to read and one to write, and what it writes is one transaction. It is made
    anew where somebody else has changed the same files in between.

    Args:
        user: whose files they are.
        namespace: labels that stand before ``"files"``, for more than one tree.

    Raises:
        InvalidInputError: a label of the namespace cannot be one.
    """

    def __init__(self, user: AsyncScopedMemory, *, namespace: Sequence[str] = ()) -> None:
        self._storage = user._storage
        self._embeddings = user._embeddings
        self._owner = user.owner
        self._guard = user._guard
        self._namespace = files.namespace_of(namespace)

    @property
    def namespace(self) -> tuple[str, ...]:
        """Where the files are among the memories."""
        return tuple(self._namespace)

    async def call(self, command: object) -> str:
        """Run what a model asked of the memory tool, and return what to tell it; see :meth:`answer`."""
        return (await self.answer(command)).text

    async def answer(self, command: object) -> FileAnswer:
        """Run what a model asked of the memory tool. A model's mistake, or an outage, is an answer and no error.

        Args:
            command: the tool's input: ``{"command": "view", "path": "/memories"}``.

        Raises:
            EmbeddingError: the embedder returned something that is not a vector. Nothing was written.
        """
        try:
            text, is_error = await self._run(inputs.command_of(command)), False
        except Refusal as refusal:
            text, is_error = refusal.answer, True
        except (InvalidInputError, ConflictError, GuardError) as error:
            text, is_error = f"Error: {error}", True
        except OUTAGES as error:
            logger.warning("the memory tool could not reach memory: %s", error)
            text, is_error = f"Error: {UNAVAILABLE}", True
        # A lone surrogate, which has no UTF-8 form, would stop whoever sends the answer on.
        return FileAnswer(text.encode("utf-8", "replace").decode(), is_error)

    async def view(self, path: str, view_range: Sequence[int] | None = None) -> str:
        """Return a file with line numbers, or what is in a directory down to two levels, with sizes.

        Args:
            path: ``/memories``, or a path under it.
            view_range: of a file, the first line and the last; -1 for the end.

        Raises:
            InvalidInputError: the path, or the range, cannot be.
            MemoryNotFoundError: there is nothing at this path.
        """
        return await self._command(inputs.view(path, view_range))

    async def create(self, path: str, file_text: str) -> str:
        """Make a new file.

        Raises:
            ConflictError: there is something at this path, or a file above it.
            InvalidInputError: the path, or the text, cannot be stored.
        """
        return await self._command(inputs.create(path, file_text))

    async def str_replace(self, path: str, old_str: str, new_str: str = "") -> str:
        """Replace a text that stands in a file exactly once, and return the lines around it.

        Raises:
            MemoryNotFoundError: there is no such file.
            InvalidInputError: the text does not stand in it, or more than once.
        """
        return await self._command(inputs.str_replace(path, old_str, new_str))

    async def insert(self, path: str, insert_line: int, insert_text: str) -> str:
        """Put text behind a line of a file; 0 puts it before the first.

        Raises:
            MemoryNotFoundError: there is no such file.
            InvalidInputError: it has no such line.
        """
        return await self._command(inputs.insert(path, insert_line, insert_text))

    async def delete(self, path: str) -> str:
        """Remove a file, or a directory with all that is in it. Versions stay for the record, until they are erased.

        Raises:
            MemoryNotFoundError: there is nothing at this path.
        """
        return await self._command(inputs.delete(path))

    async def rename(self, old_path: str, new_path: str) -> str:
        """Move a file, or a directory with all that is in it.

        Raises:
            MemoryNotFoundError: there is nothing at the old path.
            ConflictError: there is something at the new path, or a file above it.
        """
        return await self._command(inputs.rename(old_path, new_path))

    async def _command(self, command: Command) -> str:
        try:
            return await self._run(command)
        except Refusal as refusal:
            raise refusal.error from None

    async def _run(self, command: Command) -> str:
        for _ in range(ATTEMPTS):
            found = await self._storage.run(files.read(self._owner, self._namespace, command.parts))
            outcome = command.on(found)
            if self._guard.yields(files.WRITTEN_BY):
                check_may_change(found, outcome.changes, above(files.WRITTEN_BY))
            if not outcome.changes:
                return outcome.answer
            checked = await self._guard.changes(self._owner, self._namespace, outcome.changes)
            held = [(change, reason) for change, reason in checked if reason is not None]
            if held:
                await self._hold(held)
                return HELD_BACK
            changes = [change for change, _ in checked]
            embedded = await self._embeddings.embed_all([files.search_text(change) for change in changes])
            write = files.write(self._owner, self._namespace, changes, embedded, command.parts)
            try:
                done = await self._storage.run(jobs.with_late_vectors(write, embedded))
            except ConflictError:
                continue
            if done:
                is_redacted = changes != list(outcome.changes)
                return outcome.answer + (REDACTED if is_redacted else "")
        raise ConflictError("these files are being changed by others all the time: view them again, then retry")

    async def _hold(self, held: Sequence[tuple[Change, str]]) -> None:
        keep_for = self._guard.keep_quarantined
        holds = [
            quarantine.hold(self._owner, files.draft(self._namespace, change), reason, keep_for=keep_for)
            for change, reason in held
        ]
        await self._storage.run(together("quarantine.hold", holds))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._owner}>"
