# Generated from src/lakemem/_async/keys.py by tools/unasync.py: edit that file, then run `make generate`.
"""The keys of all owners: what is there is encrypted, and encrypted anew, beside all that goes on."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from lakemem import caches
from lakemem._sync.database import Storage
from lakemem._sync.sealing import SealedStorage
from lakemem.encryption import Cipher, DataKey, UnknownKeyError
from lakemem.errors import ConfigurationError, DataKeyRetiredError, EncryptionError
from lakemem.operations import keys, maintenance, resealing
from lakemem.operations.keys import OwnedKey
from lakemem.operations.resealing import TABLES, Table
from lakemem.sealing.resealing import resealed, sealed_with
from lakemem.work_types import Encrypted

PASSES = 5
"""Through what an owner has, after each of which something was still to be done: others write meanwhile."""


class Keys:
    """Works through the keys of everybody, and what they encrypt; as the owner of the tables.

    It goes in batches, each of them one transaction, and may be stopped and begun again at any time: what is done stays
    done.

    Raises:
        ConfigurationError: the memory has no encryption.
    """

    def __init__(self, storage: Storage) -> None:
        while not isinstance(storage, SealedStorage):
            inner = getattr(storage, "_storage", None)
            if inner is None:
                raise ConfigurationError(
                    "this memory has no encryption: give it `encryption=`, or set LAKEMEM_MASTER_KEYS"
                )
            storage = inner
        self._storage = storage

    def counts(self) -> Mapping[str, tuple[int, int]]:
        """Return for each master key how many data keys it has wrapped, and how many of these are retired."""
        self._storage.run(maintenance.check_allowed())
        return self._storage.run(keys.counts())

    @property
    def current(self) -> str:
        """The id of the master key that wraps now."""
        return self._storage.encryption.keys.current

    def count_owners(self) -> int:
        """Return how many owners have something that can be encrypted."""
        self._storage.run(maintenance.check_allowed())
        count, last = 0, ""
        while page := self._storage.run(keys.owners(last)):
            count, last = count + len(page), page[-1]
        return count

    def encrypt(self, *, progress: Callable[[Encrypted], None] | None = None) -> Encrypted:
        """Encrypt what is stored in clear, of all owners; and what an older key of theirs has encrypted.

        The app goes on meanwhile, and must have the same encryption: what it writes then is encrypted already.

        Args:
            progress: is told what was done so far, after each owner.
        """
        return self._everybody(self.encrypt_owner, progress)

    def rotate(self, *, progress: Callable[[Encrypted], None] | None = None) -> Encrypted:
        """Give every owner a new data key, and encrypt with it what they have."""
        return self._everybody(self.rotate_owner, progress)

    def rewrap(self, *, progress: Callable[[int], None] | None = None) -> int:
        """Wrap all data keys under the current master key, and return how many were not.

        What they encrypt stays as it is. When this is done, no earlier master key is needed any more.

        Args:
            progress: is told how many were done so far.
        """
        self._storage.run(maintenance.check_allowed())
        current, done = self.current, 0
        last: OwnedKey | None = None
        while page := self._storage.run(keys.wrapped_by_others(current, last)):
            for each in page:
                done += self._rewrap(each)
                if progress is not None:
                    progress(done)
            last = page[-1]
        return done

    def rotate_owner(self, owner: str) -> Encrypted:
        """Give one owner a new data key, encrypt what there is with it, and forget the old one."""
        old = (self._storage.loaded_keys(owner)).current
        if old is not None:
            made = self._storage.wrapped(owner, DataKey.new(after=old))
            self._storage.run(keys.rotate(owner, old.id, made))
            caches.forget_owner(owner)
        return self.encrypt_owner(owner)

    def encrypt_owner(self, owner: str) -> Encrypted:
        """Encrypt what one owner has with their current key, and forget those that nothing needs any more."""
        rows = 0
        for _ in range(PASSES):
            there = list((self._storage.loaded_keys(owner)).by_id)
            passes = [self._encrypt_table(owner, table) for table in TABLES]
            sealed = sum(done for done, _ in passes)
            rows += sealed
            if not sealed:
                self._forget_others(owner, there)
                break
        return Encrypted(owners=1, rows=rows, unreadable=sum(unreadable for _, unreadable in passes))

    def _everybody(self, work: Callable[[str], Encrypted], progress: Callable[[Encrypted], None] | None) -> Encrypted:
        self._storage.run(maintenance.check_allowed())
        done, last = Encrypted(), ""
        while page := self._storage.run(keys.owners(last)):
            for owner in page:
                of_owner = work(owner)
                done = Encrypted(
                    owners=done.owners + 1,
                    rows=done.rows + of_owner.rows,
                    unreadable=done.unreadable + of_owner.unreadable,
                )
                if progress is not None:
                    progress(done)
            last = page[-1]
        return done

    def _rewrap(self, each: OwnedKey) -> bool:
        loaded = self._storage.loaded_keys(each.owner)
        key = loaded.by_id.get(each.key.id)
        if key is None:
            return False
        return self._storage.run(keys.rewrap(each.owner, each.key, self._storage.wrapped(each.owner, key)))

    def _forget_others(self, owner: str, there: Sequence[uuid.UUID]) -> None:
        """Remove the keys but the current one, once nothing is sealed with them."""
        if not there:
            return
        current = (self._storage.cipher(owner)).key.id
        self._storage.run(keys.forget_retired(owner, [id for id in there if id != current]))
        caches.forget_owner(owner)

    def _encrypt_table(self, owner: str, table: Table) -> tuple[int, int]:
        """One pass through a table; say how many rows were not as they should be, and how many do not open."""
        found = unreadable = 0
        after: Sequence[object] = ()
        while rows := self._storage.run(resealing.page(owner, table, after)):
            after = resealing.key_of(table, rows[-1])
            cipher = self._storage.cipher(owner)
            others = [row for row in rows if sealed_with(row, table) != {cipher.key.id}]
            if others:
                sealed = self._replace(owner, table, others, cipher)
                found += sealed
                unreadable += len(others) - sealed
        return found, unreadable

    def _replace(self, owner: str, table: Table, rows: Sequence[tuple[object, ...]], cipher: Cipher) -> int:
        # What is in clear is what this is for.
        opener = self._storage.opener(self._storage.keys_of(owner), reads_plain=True)
        new = []
        for row in rows:
            with suppress(UnknownKeyError, EncryptionError):
                new.append((row, resealed(row, table, owner, opener, cipher)))
        if new:
            change = resealing.replace_rows(owner, table, [row for row, _ in new], [sealed for _, sealed in new])
            # Where somebody else rotates the key, the next pass finds these rows again.
            with suppress(DataKeyRetiredError):
                self._storage.run(replace(change, sealed_with=cipher.key.id))
        return len(new)
