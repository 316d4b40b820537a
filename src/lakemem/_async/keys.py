"""The keys of all owners: what is there is encrypted, and encrypted anew, beside all that goes on."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from lakemem import caches
from lakemem._async.database import AsyncStorage
from lakemem._async.sealing import AsyncSealedStorage
from lakemem.encryption import Cipher, DataKey, UnknownKeyError
from lakemem.errors import ConfigurationError, DataKeyRetiredError, EncryptionError
from lakemem.operations import keys, maintenance, resealing
from lakemem.operations.keys import OwnedKey
from lakemem.operations.resealing import TABLES, Table
from lakemem.sealing.resealing import resealed, sealed_with
from lakemem.work_types import Encrypted

PASSES = 5
"""Through what an owner has, after each of which something was still to be done: others write meanwhile."""


class AsyncKeys:
    """Works through the keys of everybody, and what they encrypt; as the owner of the tables.

    It goes in batches, each of them one transaction, and may be stopped and begun again at any time: what is done stays
    done.

    Raises:
        ConfigurationError: the memory has no encryption.
    """

    def __init__(self, storage: AsyncStorage) -> None:
        while not isinstance(storage, AsyncSealedStorage):
            inner = getattr(storage, "_storage", None)
            if inner is None:
                raise ConfigurationError(
                    "this memory has no encryption: give it `encryption=`, or set LAKEMEM_MASTER_KEYS"
                )
            storage = inner
        self._storage = storage

    async def counts(self) -> Mapping[str, tuple[int, int]]:
        """Return for each master key how many data keys it has wrapped, and how many of these are retired."""
        await self._storage.run(maintenance.check_allowed())
        return await self._storage.run(keys.counts())

    @property
    def current(self) -> str:
        """The id of the master key that wraps now."""
        return self._storage.encryption.keys.current

    async def count_owners(self) -> int:
        """Return how many owners have something that can be encrypted."""
        await self._storage.run(maintenance.check_allowed())
        count, last = 0, ""
        while page := await self._storage.run(keys.owners(last)):
            count, last = count + len(page), page[-1]
        return count

    async def encrypt(self, *, progress: Callable[[Encrypted], None] | None = None) -> Encrypted:
        """Encrypt what is stored in clear, of all owners; and what an older key of theirs has encrypted.

        The app goes on meanwhile, and must have the same encryption: what it writes then is encrypted already.

        Args:
            progress: is told what was done so far, after each owner.
        """
        return await self._everybody(self.encrypt_owner, progress)

    async def rotate(self, *, progress: Callable[[Encrypted], None] | None = None) -> Encrypted:
        """Give every owner a new data key, and encrypt with it what they have."""
        return await self._everybody(self.rotate_owner, progress)

    async def rewrap(self, *, progress: Callable[[int], None] | None = None) -> int:
        """Wrap all data keys under the current master key, and return how many were not.

        What they encrypt stays as it is. When this is done, no earlier master key is needed any more.

        Args:
            progress: is told how many were done so far.
        """
        await self._storage.run(maintenance.check_allowed())
        current, done = self.current, 0
        last: OwnedKey | None = None
        while page := await self._storage.run(keys.wrapped_by_others(current, last)):
            for each in page:
                done += await self._rewrap(each)
                if progress is not None:
                    progress(done)
            last = page[-1]
        return done

    async def rotate_owner(self, owner: str) -> Encrypted:
        """Give one owner a new data key, encrypt what there is with it, and forget the old one."""
        old = (await self._storage.loaded_keys(owner)).current
        if old is not None:
            made = await self._storage.wrapped(owner, DataKey.new(after=old))
            await self._storage.run(keys.rotate(owner, old.id, made))
            caches.forget_owner(owner)
        return await self.encrypt_owner(owner)

    async def encrypt_owner(self, owner: str) -> Encrypted:
        """Encrypt what one owner has with their current key, and forget those that nothing needs any more."""
        rows = 0
        for _ in range(PASSES):
            there = list((await self._storage.loaded_keys(owner)).by_id)
            passes = [await self._encrypt_table(owner, table) for table in TABLES]
            sealed = sum(done for done, _ in passes)
            rows += sealed
            if not sealed:
                await self._forget_others(owner, there)
                break
        return Encrypted(owners=1, rows=rows, unreadable=sum(unreadable for _, unreadable in passes))

    async def _everybody(
        self, work: Callable[[str], Awaitable[Encrypted]], progress: Callable[[Encrypted], None] | None
    ) -> Encrypted:
        await self._storage.run(maintenance.check_allowed())
        done, last = Encrypted(), ""
        while page := await self._storage.run(keys.owners(last)):
            for owner in page:
                of_owner = await work(owner)
                done = Encrypted(
                    owners=done.owners + 1,
                    rows=done.rows + of_owner.rows,
                    unreadable=done.unreadable + of_owner.unreadable,
                )
                if progress is not None:
                    progress(done)
            last = page[-1]
        return done

    async def _rewrap(self, each: OwnedKey) -> bool:
        loaded = await self._storage.loaded_keys(each.owner)
        key = loaded.by_id.get(each.key.id)
        if key is None:
            return False
        return await self._storage.run(keys.rewrap(each.owner, each.key, await self._storage.wrapped(each.owner, key)))

    async def _forget_others(self, owner: str, there: Sequence[uuid.UUID]) -> None:
        """Remove the keys but the current one, once nothing is sealed with them."""
        if not there:
            return
        current = (await self._storage.cipher(owner)).key.id
        await self._storage.run(keys.forget_retired(owner, [id for id in there if id != current]))
        caches.forget_owner(owner)

    async def _encrypt_table(self, owner: str, table: Table) -> tuple[int, int]:
        """One pass through a table; say how many rows were not as they should be, and how many do not open."""
        found = unreadable = 0
        after: Sequence[object] = ()
        while rows := await self._storage.run(resealing.page(owner, table, after)):
            after = resealing.key_of(table, rows[-1])
            cipher = await self._storage.cipher(owner)
            others = [row for row in rows if sealed_with(row, table) != {cipher.key.id}]
            if others:
                sealed = await self._replace(owner, table, others, cipher)
                found += sealed
                unreadable += len(others) - sealed
        return found, unreadable

    async def _replace(self, owner: str, table: Table, rows: Sequence[tuple[object, ...]], cipher: Cipher) -> int:
        # What is in clear is what this is for.
        opener = self._storage.opener(await self._storage.keys_of(owner), reads_plain=True)
        new = []
        for row in rows:
            with suppress(UnknownKeyError, EncryptionError):
                new.append((row, resealed(row, table, owner, opener, cipher)))
        if new:
            change = resealing.replace_rows(owner, table, [row for row, _ in new], [sealed for _, sealed in new])
            # Where somebody else rotates the key, the next pass finds these rows again.
            with suppress(DataKeyRetiredError):
                await self._storage.run(replace(change, sealed_with=cipher.key.id))
        return len(new)
