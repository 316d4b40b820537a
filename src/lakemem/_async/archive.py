"""An owner's archive: all that it has as JSON objects, and back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from lakemem._async.database import AsyncStorage
from lakemem._async.embeddings import AsyncEmbeddings
from lakemem.errors import ConflictError
from lakemem.operations import archive, archive_work, forgetting, jobs, transcripts
from lakemem.operations.archive_lines import Record, batches, rows_of
from lakemem.operations.jobs import Unembedded
from lakemem.work_types import Imported


class AsyncArchive:
    """Takes out what one owner has, and brings it back."""

    def __init__(self, storage: AsyncStorage, embeddings: AsyncEmbeddings, owner: str) -> None:
        self._storage = storage
        self._embeddings = embeddings
        self._owner = owner

    async def threads(self, thread_id: str | None) -> AsyncIterator[dict[str, Any]]:
        """Yield threads, each with its items behind it."""
        place: transcripts.Place | None = transcripts.BEGINNING
        while place is not None:
            batch = await self._storage.run(transcripts.export(self._owner, thread_id, place))
            for record in batch.records:
                yield record
            place = batch.end

    async def memories(self, *, vectors: bool) -> AsyncIterator[dict[str, Any]]:
        """Yield the versions of memories."""
        place: archive.Place | None = archive.BEGINNING
        while place is not None:
            batch = await self._storage.run(archive.export(self._owner, place, with_vectors=vectors))
            for record in batch.records:
                yield record
            place = batch.end

    async def work(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what agents have left: usage, checkpoints, runs."""
        for kind in archive_work.KINDS:
            after = kind.beginning
            while records := await self._storage.run(archive_work.export(self._owner, kind, after)):
                for record in records:
                    yield record
                after = archive_work.place_of(kind, records[-1])

    async def note(self) -> None:
        """Write to the audit log that all was taken out."""
        await self._storage.run(forgetting.note(self._owner, "export"))

    async def put(self, lines: Iterable[str | Record]) -> Imported:
        """Store what is not there yet, batch by batch, and then the vectors that are missing."""
        imported = Imported()
        for rows in batches(rows_of(lines)):
            try:
                imported += await self._storage.run(archive.write(self._owner, rows))
            except ConflictError:
                raise ConflictError(
                    f"lines {rows[0].line} to {rows[-1].line}: something else is here in the place of one of them, an "
                    "item at this position or a version of this memory; import for somebody who has nothing there"
                ) from None
        if imported.memories and self._embeddings.is_configured:
            await self._embed()
        return imported

    async def _embed(self) -> None:
        """Give memories the vectors that they lack; if the embedder is down, later."""
        after: Unembedded | None = None
        while memories := await self._storage.run(jobs.unembedded(self._owner, after)):
            embedded = await self._embeddings.embed_all([memory.text for memory in memories])
            if any(each.is_late for each in embedded):
                await self._storage.run(jobs.queue_embedding(self._owner))
                return
            if any(each.vector is not None for each in embedded):
                await self._storage.run(jobs.embed(self._owner, memories, embedded))
            after = memories[-1]
