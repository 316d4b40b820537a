# Generated from src/lakemem/_async/degrading.py by tools/unasync.py: edit that file, then run `make generate`.
"""Graceful degradation: the agent works when memory does not, and nothing accepted is lost."""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from lakemem._sync.database import Storage
from lakemem.errors import ConfigurationError, LakememError, StorageError, StorageUnavailableError
from lakemem.operations import Operation
from lakemem.operations.drafting import id_of_digest
from lakemem.operations.forgetting import unless_erased
from lakemem.resilience import OUTAGES, CircuitBreaker, PendingWrite, WriteBuffer
from lakemem.types import Health
from lakemem.waiting import Background, monotonic, within

T = TypeVar("T")

logger = logging.getLogger("lakemem")

ERASURE_DEADLINE = 600.0
"""Seconds: somebody waits for all of it, however much there is."""


class DegradingStorage:
    """Stands before a storage and answers in its place while it is down.

    Reads come back empty. Writes wait in a buffer, in their order, and are replayed when the storage is back;
    each carries an id, so that one whose outcome nobody saw is not applied twice. While writes wait, new ones
    queue behind them. A storage that could not be opened is opened in the background, where it may take longer than
    an operation.

    Args:
        storage: the one to stand before.
        deadline: seconds an operation may take.
        open_deadline: seconds that opening may take.
        cooldown: seconds between two tries while the storage is down.
        max_writes, max_bytes: the bounds of the buffer.
    """

    def __init__(
        self,
        storage: Storage,
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
        self._naming = secrets.token_bytes(32)
        self._replaying = threading.Lock()
        self._background = Background(self._recover, cooldown)
        self._in_use = False

    @property
    def is_open(self) -> bool:
        return self._in_use

    @property
    def is_degraded(self) -> bool:
        """Whether it answers in place of the storage now, so that what is read is empty."""
        return self._breaker.detail is not None or not self._storage.is_open

    @property
    def encrypts(self) -> bool:
        return self._storage.encrypts

    def open(self) -> None:
        """Open the storage; where that does not succeed, go on trying in the background."""
        with suppress(*OUTAGES):
            self._open_storage()
        self._in_use = True
        if self._buffer or not self._storage.is_open:
            self._background.start()

    def close(self) -> None:
        """Replay what can be replayed, then close."""
        self._in_use = False
        self._background.stop()
        try:
            if self._buffer and self._storage.is_open:
                self._replay()
        finally:
            if self._buffer:
                logger.error("memory is closed while %d accepted writes are not stored", len(self._buffer))
            self._storage.close()

    def setup(self) -> list[str]:
        return self._storage.setup()

    def health(self) -> Health:
        health = self._inner_health()
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

    def run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T:
        if not self._in_use:
            raise ConfigurationError("the memory is not open: use `with`, `with`, or call open()")
        if operation.erases:
            return self._erase(operation)
        if not operation.waits:
            return self._run_now(operation, write_id)
        if operation.writes:
            return self._write(operation, write_id or uuid.uuid4())
        if self._may_try():
            with suppress(*OUTAGES):
                return self._try(operation, None)
        return operation.fallback

    def made_up_keys(self, owner: str, made: Sequence[str]) -> list[str]:
        """Where what makes them is down, this process makes them with a key of its own: what is repeated meanwhile is
        the same, but not the same as what was stored before."""
        if not self._storage.encrypts:
            return list(made)
        if self._may_try():
            with suppress(*OUTAGES):
                return self._watched(self._deadline, lambda: self._storage.made_up_keys(owner, made))
        digests = (hmac.digest(self._naming, f"{owner} {key}".encode(), "sha256") for key in made)
        return [id_of_digest(digest) for digest in digests]

    def _run_now(self, operation: Operation[T], write_id: uuid.UUID | None) -> T:
        """Run what nothing can stand in for. It does not overtake the writes that wait."""
        if self._buffer or not self._may_try():
            raise StorageUnavailableError("memory is down, and this cannot be put off: try again when it is back")
        if operation.writes and write_id is None:
            write_id = uuid.uuid4()
        try:
            return self._try(operation, write_id)
        except TimeoutError as error:
            raise StorageUnavailableError(str(error)) from None

    def _erase(self, operation: Operation[T]) -> T:
        """Erase somebody; what waits to be written for them goes, too, and holds nothing up."""
        with self._replaying:
            if not self._may_try():
                raise StorageUnavailableError("memory is down, and an erasure cannot be put off: try again later")
            try:
                result = self._watched(ERASURE_DEADLINE, lambda: self._storage.run(operation))
            except TimeoutError as error:
                raise StorageUnavailableError(str(error)) from None
            self._buffer.drop(operation.owner)
        return result

    def _write(self, operation: Operation[T], write_id: uuid.UUID) -> T:
        write = PendingWrite(operation, write_id)
        if not self._buffer and self._may_try():
            with suppress(*OUTAGES):
                return self._try_write(write)
        if self._buffer.accept(write):
            self._background.start()
        else:
            logger.error("a write was refused: the buffer for writes while memory is down is full")
        return operation.fallback

    def _may_try(self) -> bool:
        return self._storage.is_open and self._breaker.allows()

    def _try(self, operation: Operation[T], write_id: uuid.UUID | None) -> T:
        return self._watched(self._deadline, lambda: self._storage.run(operation, write_id=write_id))

    def _try_write(self, write: PendingWrite[T]) -> T:
        return self._try(unless_erased(write.operation, write.accepted_at), write.write_id)

    def _open_storage(self) -> None:
        self._watched(self._open_deadline, self._storage.open)

    def _watched(self, deadline: float, call: Callable[[], T]) -> T:
        """Make a call of the storage within a deadline, and note what it says of the storage's state."""
        began = monotonic()
        try:
            result = within(deadline, call)
        except OUTAGES as error:
            self._note_outage(str(error) or type(error).__name__, began)
            raise
        self._note_recovery()
        return result

    def _recover(self) -> bool:
        """Open the storage if it is not, then replay. Returns whether nothing is left to do."""
        if not self._storage.is_open:
            began = monotonic()
            try:
                self._open_storage()
            except OUTAGES:
                return False
            except LakememError as error:
                # In the background there is nobody to raise it to.
                self._note_outage(str(error), began)
                return False
        return self._replay()

    def _replay(self) -> bool:
        """Apply waiting writes in their order. Returns whether none is left."""
        with self._replaying:
            while write := self._buffer.first():
                try:
                    self._try_write(write)
                except OUTAGES:
                    return False
                except Exception as error:
                    if isinstance(error, StorageError) and error.retryable:
                        return False
                    # The words of a foreign error may quote what was to be stored.
                    reason = str(error) if isinstance(error, LakememError) else type(error).__name__
                    logger.error("an accepted write was refused for good: %s", reason)
                    self._buffer.done(write, failed=True)
                else:
                    self._buffer.done(write)
            return True

    def _inner_health(self) -> Health:
        """What the storage says of itself, unless it is known to be down."""
        if self._in_use and not self._may_try():
            return Health(status="degraded", detail=self._breaker.detail or "memory is not open yet")
        began = monotonic()
        try:
            health = within(self._deadline, self._storage.health)
        except TimeoutError as error:
            health = Health(status="down", detail=str(error))
        if health.status == "ok":
            self._note_recovery()
        else:
            self._note_outage(health.detail, began)
        return health

    def _note_outage(self, detail: str, began: float) -> None:
        if self._breaker.failed(detail, began=began):
            logger.warning("memory is degraded, the agent goes on without it: %s", detail)

    def _note_recovery(self) -> None:
        if self._breaker.succeeded():
            logger.warning("memory is back; %d writes wait to be replayed", len(self._buffer))
