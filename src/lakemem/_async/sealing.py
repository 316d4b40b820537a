"""What stands before a storage and encrypts what goes into it, and decrypts what comes out."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from lakemem import caches
from lakemem._async.database import AsyncStorage
from lakemem._async.wrapping import AsyncWrappedStorage
from lakemem.encryption import Cipher, DataKey, Encryption, Opener, OwnerKeys, UnknownKeyError
from lakemem.errors import DataKeyRetiredError, EncryptionError, LakememError, StorageUnavailableError
from lakemem.key_ring import KeyRing
from lakemem.operations import Operation, Rows, keys, resealing, together
from lakemem.operations.keys import WrappedKey
from lakemem.operations.resealing import Table
from lakemem.sealing.applying import Answer, check, concerns, copies, opened, sealed, sealing_owners
from lakemem.sealing.memories import made_up_key
from lakemem.sealing.resealing import resealed
from lakemem.waiting import acall_blocking, monotonic

T = TypeVar("T")

logger = logging.getLogger("lakemem")

ATTEMPTS = 3
"""Of a write whose key was replaced at the same time."""


class AsyncSealedStorage(AsyncWrappedStorage):
    """Seals what operations store, with a key for each owner, and opens what they read.

    The first call for an owner in a process asks for the owner's keys: one round trip more, and another one where the
    owner has none yet. After that, and for as long as they are kept, an operation is the one round trip that it was.

    Args:
        storage: where sealed operations go.
        encryption: what wraps the keys, and how long they are kept.
    """

    def __init__(self, storage: AsyncStorage, encryption: Encryption) -> None:
        super().__init__(storage)
        self._encryption = encryption
        self._ring = KeyRing(encryption.max_keys, encryption.keep_keys, monotonic)
        caches.register(self._ring)

    @property
    def encrypts(self) -> bool:
        return True

    @property
    def encryption(self) -> Encryption:
        return self._encryption

    async def run(self, operation: Operation[T], *, write_id: uuid.UUID | None = None) -> T:
        if not concerns(operation):
            return await self._storage.run(operation, write_id=write_id)
        check(operation)
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._run(operation, write_id)
            except DataKeyRetiredError:
                for owner in sealing_owners(operation):
                    self._ring.forget_owner(owner)
        return await self._run(operation, write_id)

    async def made_up_keys(self, owner: str, made: Sequence[str]) -> list[str]:
        cipher = await self.cipher(owner)
        return [made_up_key(cipher, key) for key in made]

    async def cipher(self, owner: str) -> Cipher:
        """What seals for an owner. The first one makes the owner's key."""
        current = (await self.keys_of(owner)).current
        if current is None:
            made = await self.wrapped(owner, DataKey.new())
            await self._storage.run(keys.make(owner, made))
            # Another process may have been faster: theirs counts.
            current = (await self.loaded_keys(owner)).current
        if current is None:
            raise EncryptionError("the key of this owner was dropped at the same moment: try again")
        return Cipher(owner, current)

    async def keys_of(self, owner: str) -> OwnerKeys:
        return self._ring.get(owner) or await self.loaded_keys(owner)

    async def loaded_keys(self, owner: str) -> OwnerKeys:
        """The keys of an owner as they are now."""
        asked_at = monotonic()
        stored = await self._storage.run(keys.of_owner(owner))
        found = await self._asked(lambda: [self._unwrapped(owner, each) for each in stored])
        loaded = OwnerKeys(
            owner,
            {key.id: key for key in found},
            next((key for key, each in zip(found, stored, strict=True) if each.is_current), None),
        )
        self._ring.put(loaded, asked_at)
        return loaded

    async def wrapped(self, owner: str, key: DataKey) -> WrappedKey:
        """A key under the current master key."""
        by = self._encryption.keys

        def wrap() -> WrappedKey:
            # Twice the same where the master key is replaced meanwhile.
            name = by.current
            return WrappedKey(key.id, key.wrapped(by, owner), name)

        return await self._asked(wrap)

    def opener(self, *known: OwnerKeys, reads_plain: bool | None = None) -> Opener:
        """What opens with these keys."""
        plain = self._encryption.reads_plain if reads_plain is None else reads_plain
        return Opener({keys.owner: keys for keys in known}, reads_plain=plain)

    async def _run(self, operation: Operation[T], write_id: uuid.UUID | None) -> T:
        ciphers = {owner: await self.cipher(owner) for owner in sealing_owners(operation)}
        sent = sealed(operation, ciphers)
        if tables := copies(operation):
            return await self._copy(operation, sent, tables, write_id)
        answer: Any = await self._storage.run(sent, write_id=write_id)
        return cast("T", await self._opened(answer) if isinstance(answer, Answer) else answer)

    async def _opened(self, answer: Answer) -> Any:
        """Open what came back; the keys of others, and those that are new, are loaded when they are met."""
        known: dict[str, OwnerKeys] = {}
        loaded: set[str] = set()
        while True:
            try:
                return opened(answer, self.opener(*known.values()))
            except UnknownKeyError as unknown:
                owner = unknown.owner
                if owner in loaded:
                    raise unknown.as_error() from None
                kept = self._ring.get(owner)
                if kept is None or unknown.key_id not in kept.by_id:
                    loaded.add(owner)
                    kept = await self.loaded_keys(owner)
                known[owner] = kept

    async def _copy(
        self, operation: Operation[T], sent: Operation[Any], tables: Sequence[Table], write_id: uuid.UUID | None
    ) -> T:
        """Run what copies a thread, and seal the copies for their new place, in one transaction.

        What is to be copied is read before, which is one round trip for each page of it.
        """
        given = operation.parameters
        target = given.get("fork_id") or given["target_id"]
        cipher = await self.cipher(operation.owner)
        opener = self.opener(await self.loaded_keys(operation.owner))
        parts: list[Operation[int]] = []
        for table in tables:
            async for rows in self._rows(operation.owner, table, given["thread_id"], given.get("position")):
                try:
                    new = [resealed(row, table, operation.owner, opener, cipher, thread_id=target) for row in rows]
                except UnknownKeyError as unknown:
                    raise unknown.as_error() from None
                part = resealing.replace_rows(operation.owner, table, rows, new, copied_to=target)
                parts.append(replace(part, sealed_with=cipher.key.id))
        both = together(operation.statement, [sent, *parts])
        whole = replace(both, parse=lambda rows: both.parse(rows)[0], waits=operation.waits)
        answer: Any = await self._storage.run(whole, write_id=write_id)
        return cast("T", await self._opened(answer) if isinstance(answer, Answer) else operation.fallback)

    async def _rows(self, owner: str, table: Table, thread_id: str, up_to: int | None) -> AsyncIterator[Rows]:
        """The rows of a thread, page by page."""
        after: Sequence[object] = ()
        while rows := await self._storage.run(resealing.page(owner, table, after, thread_id=thread_id)):
            after = resealing.key_of(table, rows[-1])
            wanted = [row for row in rows if up_to is None or row[1] <= up_to]
            if wanted:
                yield wanted
            if len(wanted) < len(rows):
                return

    async def _asked(self, call: Callable[[], T]) -> T:
        """Ask what wraps keys: it may be a service, and may fail like one."""
        try:
            return await acall_blocking(call)
        except LakememError:
            raise
        except Exception as error:
            # Its words are not repeated: they may quote a key.
            raise StorageUnavailableError(
                f"what wraps the keys of users failed ({type(error).__name__}): nothing was written"
            ) from None

    def _unwrapped(self, owner: str, stored: WrappedKey) -> DataKey:
        return DataKey.unwrapped(self._encryption.keys, owner, stored.id, stored.wrapped, stored.master_key)
