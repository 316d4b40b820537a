"""Graceful degradation: the agent works when memory does not, and nothing accepted is lost."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TypeVar

from lakemem._async.database import AsyncStorage
from lakemem.errors import LakememError
from lakemem.operations import Operation
from lakemem.resilience import OUTAGES, CircuitBreaker, PendingWrite, WriteBuffer
from lakemem.types import Health
from lakemem.waiting import AsyncBackground, awithin, monotonic

T = TypeVar("T")

logger = logging.getLogger("lakemem")


class AsyncDegradingStorage:
    """Stands before a storage and answers in its place while it is down.

    Reads come back empty. Writes wait in a buffer, in their order, and are replayed when the storage is back;
    each carries an id, so that one whose outcome nobody saw is not applied twice. While writes wait, new ones
    queue behind them.

    Args:
        storage: the one to stand before.
        deadline: seconds an operation may take.
        open_deadline: seconds that opening may take.
        cooldown: seconds between two tries while the storage is down.
        max_writes, max_bytes: the bounds of the buffer.
    """

    def __init__(
        self,
        storage: AsyncStorage,
        *,
        deadline: float,
        open_deadline: float,
        cooldown: float,
        max_writes: int,
        max_bytes: int,
    ) -> None:
        self._storage = storage
        self._deadline = deadline
        self._open_deadline = open_deadline
        self._breaker = CircuitBreaker(cooldown, monotonic)
        self._buffer = WriteBuffer(max_writes, max_bytes)
        self._replaying = asyncio.Lock()
        self._background = AsyncBackground(self._replay, cooldown)

    @property
    def is_open(self) -> bool:
        return self._storage.is_open

    async def open(self) -> None:
        """Open the storage if it can be opened; if not, every later operation tries again."""
        try:
            await awithin(self._open_deadline, self._storage.open)
        except OUTAGES as error:
            self._note_outage(error)
        else:
            self._note_recovery()

    async def close(self) -> None:
        """Replay what can be replayed, then close."""
        await self._background.stop()
        await self._replay()
        if self._buffer:
            logger.error("memory is closed while %d accepted writes are not stored", len(self._buffer))
        await self._storage.close()

    async def setup(self) -> list[str]:
        return await self._storage.setup()

    async def health(self) -> Health:
        health = await self._inner_health()
        pending = len(self._buffer)
        return Health(
            status="degraded" if health.status != "ok" or pending else "ok",
            detail=health.detail or (f"{pending} accepted writes are not stored yet" if pending else ""),
            latency=health.latency,
            server_version=health.server_version,
            schema_version=health.schema_version,
            row_level_security=health.row_level_security,
            pending_writes=pending,
            refused_writes=self._buffer.refused,
            failed_writes=self._buffer.failed,
        )

    async def run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T:
        if operation.writes:
            return await self._write(operation, write_id or uuid.uuid4())
        if self._breaker.allows():
            try:
                return await self._try(operation, None)
            except OUTAGES as error:
                self._note_outage(error)
        return operation.fallback

    async def _write(self, operation: Operation[T], write_id: uuid.UUID) -> T:
        if not self._buffer and self._breaker.allows():
            try:
                return await self._try(operation, write_id)
            except OUTAGES as error:
                self._note_outage(error)
        if self._buffer.accept(PendingWrite(operation, write_id)):
            self._background.start()
        else:
            logger.error("a write was refused: the buffer for writes while memory is down is full")
        return operation.fallback

    async def _try(self, operation: Operation[T], write_id: uuid.UUID | None) -> T:
        async def attempt() -> T:
            if not self._storage.is_open:
                await self._storage.open()
            return await self._storage.run(operation, write_id=write_id)

        result = await awithin(self._deadline, attempt)
        self._note_recovery()
        return result

    async def _replay(self) -> bool:
        """Apply waiting writes in their order. Returns whether none is left."""
        async with self._replaying:
            while write := self._buffer.first():
                try:
                    await self._try(write.operation, write.write_id)
                except OUTAGES as error:
                    self._note_outage(error)
                    return False
                except LakememError as error:
                    logger.error("an accepted write was refused for good: %s", error)
                    self._buffer.done(write, failed=True)
                else:
                    self._buffer.done(write)
            return True

    async def _inner_health(self) -> Health:
        if self._breaker.detail is not None:
            return Health(status="degraded", detail=self._breaker.detail)
        try:
            return await awithin(self._deadline, self._storage.health)
        except TimeoutError:
            return Health(status="degraded", detail=f"no answer within {self._deadline:g} s")

    def _note_outage(self, error: BaseException) -> None:
        detail = str(error) or f"no answer within {self._deadline:g} s"
        if self._breaker.failed(detail):
            logger.warning("memory is degraded, the agent goes on without it: %s", detail)

    def _note_recovery(self) -> None:
        if self._breaker.succeeded():
            logger.warning("memory is back; %d writes wait to be replayed", len(self._buffer))
