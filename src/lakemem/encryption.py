"""Encryption in the application: the keys, and how one text is sealed with them. Pure but for the extra it needs.

A master key, which Postgres never sees, wraps the data keys of users; a user's data key seals what is stored of that
user. Whoever has the database alone reads neither.
"""

from __future__ import annotations

import hmac
import json
import os
import uuid
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

from lakemem.errors import ConfigurationError, EncryptionError, InvalidInputError, MissingExtraError
from lakemem.protocols import KeyWrapper

ENVIRONMENT = "LAKEMEM_MASTER_KEYS"
"""The environment variable with the master keys."""

MASTER_KEY_BYTES = 32
_KEY_BYTES = 32
_SALT_BYTES = 24
_NONCE_BYTES = 12
_TAG_BYTES = 16
_VERSION = b"\x01"
_ID_END = 1 + 16
_HEADER_BYTES = _ID_END + _SALT_BYTES
OVERHEAD = _HEADER_BYTES + _TAG_BYTES
"""Bytes that a sealed text is longer than the plain one."""

Place: TypeAlias = Sequence[str | int]
"""Where a sealed text belongs: the table, the row as far as it is known before it is written, and the field."""


class MasterKeys:
    """Master keys by their ids: the current one wraps data keys, and each of them unwraps what it has wrapped.

    ::

        MasterKeys({"2026-05": old, "2026-11": new})

    Args:
        keys: 32 random bytes under each id, such as ``lakemem keys new`` makes. An id is stored beside what its key has
            wrapped, and must always mean the same key.
        current: the id of the one that wraps; by default the last.

    Raises:
        ConfigurationError: there is none, one has not 32 bytes, or `current` is none of them.
    """

    def __init__(self, keys: Mapping[str, bytes], *, current: str | None = None) -> None:
        _aead()
        if not keys:
            raise ConfigurationError("encryption needs a master key: `lakemem keys new` makes one")
        for name, key in keys.items():
            if not isinstance(name, str) or not name.strip() or len(name) > 100:
                raise ConfigurationError("the id of a master key is a text of at most 100 characters")
            if not isinstance(key, bytes) or len(key) != MASTER_KEY_BYTES:
                raise ConfigurationError(f"the master key {name!r} must be {MASTER_KEY_BYTES} bytes")
        self._current = list(keys)[-1] if current is None else current
        if self._current not in keys:
            raise ConfigurationError(f"there is no master key {self._current!r} among those given")
        self._keys = dict(keys)

    @classmethod
    def from_text(cls, text: str, *, source: str = "the text") -> MasterKeys:
        """Read master keys from a JSON object: under each id a key in Base64; the last one wraps.

        Raises:
            ConfigurationError: it is none. The message does not repeat it.
        """
        try:
            found = json.loads(text)
            keys = {name: b64decode(key, validate=True) for name, key in found.items()}
        except (ValueError, AttributeError, TypeError):
            raise ConfigurationError(
                f'{source} has no master keys: they are a JSON object such as {{"2026-11": "..."}}, each of 32 bytes '
                "in Base64; `lakemem keys new` makes one"
            ) from None
        return cls(keys)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> MasterKeys | None:
        """Read what ``LAKEMEM_MASTER_KEYS`` holds, as :meth:`from_text` does; None where it is not set.

        Raises:
            ConfigurationError: it holds something else.
        """
        text = (os.environ if environ is None else environ).get(ENVIRONMENT, "").strip()
        return cls.from_text(text, source=ENVIRONMENT) if text else None

    @property
    def current(self) -> str:
        """The id of the key that wraps."""
        return self._current

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Encrypt a data key under the current master key.

        NIST SP 800-38D, 8.3, allows 2^32 random nonces a key: here that is one for each user, and once more for each
        rotation.
        """
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + bytes(_aead()(self._keys[self._current]).encrypt(nonce, key, context))

    def unwrap(self, wrapped: bytes, master_key: str, context: bytes) -> bytes:
        """Decrypt a data key that the master key of this id has wrapped.

        Raises:
            EncryptionError: there is no such master key, or it is another one.
        """
        if master_key not in self._keys:
            raise EncryptionError(f"the master key {master_key!r} is not among those given: a data key needs it")
        plain = _opened(self._keys[master_key], wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], context)
        if plain is None:
            raise EncryptionError(
                f"the master key {master_key!r} does not open a data key: it is another key than the one of this id, "
                "or the row was changed"
            )
        return plain

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(self._keys)}>"


class Encryption:
    """How what users store is encrypted, before it leaves the process.

    Args:
        keys: master keys, or whatever else wraps the data keys of users, such as a key management service.
        keep_keys: seconds for which a process may use a data key without asking for it again. A key that is dropped
            stops working everywhere within this time.
        max_keys: how many data keys a process keeps; the one unused for longest goes first.
        reads_plain: whether what was stored before, and is not encrypted, is read as it is. False refuses it: then
            nobody who can write to the database can put a plain text in the place of an encrypted one.

    Raises:
        MissingExtraError: the extra `encryption` is not installed.
        ConfigurationError: a number cannot be.
    """

    def __init__(
        self, keys: KeyWrapper, *, keep_keys: float = 300.0, max_keys: int = 10_000, reads_plain: bool = True
    ) -> None:
        _aead()
        if keep_keys <= 0 or max_keys < 1:
            raise ConfigurationError("keep_keys must be more than 0 seconds, and max_keys at least 1")
        self.keys = keys
        self.keep_keys = keep_keys
        self.max_keys = max_keys
        self.reads_plain = reads_plain

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Encryption | None:
        """Encryption with the master keys of ``LAKEMEM_MASTER_KEYS``; None where it is not set."""
        keys = MasterKeys.from_env(environ)
        return None if keys is None else cls(keys)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} by {self.keys!r}>"


@dataclass(frozen=True, slots=True)
class DataKey:
    """The key of one owner.

    Attributes:
        key: seals.
        hash_key: makes the hashes by which equal contents are found. It stays when `key` is replaced, so that they are
            found across a rotation.
    """

    id: uuid.UUID
    key: bytes = field(repr=False)
    hash_key: bytes = field(repr=False)

    @classmethod
    def new(cls, *, after: DataKey | None = None) -> DataKey:
        """A new one, which takes the place of another."""
        hash_key = os.urandom(_KEY_BYTES) if after is None else after.hash_key
        return cls(uuid.uuid4(), os.urandom(_KEY_BYTES), hash_key)

    def wrapped(self, keys: KeyWrapper, owner: str) -> bytes:
        return keys.wrap(self.key + self.hash_key, _wrapping_context(owner, self.id))

    @classmethod
    def unwrapped(cls, keys: KeyWrapper, owner: str, id: uuid.UUID, wrapped: bytes, master_key: str) -> DataKey:
        plain = keys.unwrap(wrapped, master_key, _wrapping_context(owner, id))
        if len(plain) != 2 * _KEY_BYTES:
            raise EncryptionError("what was unwrapped is no data key")
        return cls(id, plain[:_KEY_BYTES], plain[_KEY_BYTES:])


@dataclass(frozen=True, slots=True)
class OwnerKeys:
    """The data keys of one owner: those that open, and among them the one that seals, if there is one yet."""

    owner: str
    by_id: Mapping[uuid.UUID, DataKey]
    current: DataKey | None


class Cipher:
    """Seals what is stored of one owner.

    Every text has a key of its own, made from the data key and half of a salt, and the other half is its nonce: so the
    bound of NIST SP 800-38D, 8.3, of 2^32 random nonces for one key is never near, however much an owner stores.
    XAES-256-GCM (https://c2sp.org/XAES-256-GCM) splits its nonce in the same way, and the AWS Encryption SDK derives a
    key for each message.
    """

    def __init__(self, owner: str, key: DataKey) -> None:
        self.owner = owner
        self.key = key

    def seal(self, plain: bytes, place: Place, *, repeatable: bool = False) -> bytes:
        """Encrypt a text for its place: it opens nowhere else.

        Args:
            repeatable: whether the same text at the same place is to become the same bytes, so that Postgres can tell.
                Then the salt is a keyed hash of both, as Rails has it for its deterministic attributes.
        """
        context = _context(self.owner, place)
        salt = self.digest(context, plain)[:_SALT_BYTES] if repeatable else os.urandom(_SALT_BYTES)
        header = _VERSION + self.key.id.bytes + salt
        return header + bytes(
            _aead()(_message_key(self.key.key, salt)).encrypt(salt[-_NONCE_BYTES:], plain, header + context)
        )

    def digest(self, *parts: bytes) -> bytes:
        """A hash of these parts that nobody can make without the key."""
        lengths = b"".join(len(part).to_bytes(8, "big") for part in parts)
        return hmac.digest(self.key.hash_key, lengths + b"".join(parts), "sha256")


class UnknownKeyError(Exception):
    """The data keys of an owner have to be loaded before something of theirs can be opened."""

    def __init__(self, owner: str, key_id: uuid.UUID) -> None:
        super().__init__("a data key is not loaded")
        self.owner = owner
        self.key_id = key_id

    def as_error(self) -> EncryptionError:
        """What a caller is told where it cannot be loaded."""
        return EncryptionError(
            "something is encrypted with a key that is not there: the keys of its owner were dropped, and it can be "
            "read no more"
        )


class Opener:
    """Opens what was sealed, with the keys that are known.

    Args:
        keys: of owners.
        reads_plain: whether what is not sealed passes.
    """

    def __init__(self, keys: Mapping[str, OwnerKeys], *, reads_plain: bool) -> None:
        self._keys = keys
        self._reads_plain = reads_plain

    def open(self, sealed: bytes, owner: str, place: Place) -> bytes:
        """Decrypt what was sealed for this owner and place.

        Raises:
            UnknownKeyError: the owner's keys are not known, or this one is not among them.
            EncryptionError: it was sealed for another place, or was changed.
        """
        key_id = key_id_of(sealed)
        if key_id is None:
            raise _not_for_here(place)
        keys = self._keys.get(owner)
        if keys is None or key_id not in keys.by_id:
            raise UnknownKeyError(owner, key_id)
        header, salt = sealed[:_HEADER_BYTES], sealed[_ID_END:_HEADER_BYTES]
        plain = _opened(
            _message_key(keys.by_id[key_id].key, salt),
            salt[-_NONCE_BYTES:],
            sealed[_HEADER_BYTES:],
            header + _context(owner, place),
        )
        if plain is None:
            raise _not_for_here(place)
        return plain

    def plain(self, text: Any, place: Place) -> Any:
        """What is not sealed, where that is allowed.

        Raises:
            EncryptionError: it is not.
        """
        if not self._reads_plain:
            raise EncryptionError(
                f"something in {place[0]} is not encrypted, and `reads_plain=False` refuses it: "
                "run `lakemem keys encrypt`"
            )
        return text


def key_id_of(sealed: bytes) -> uuid.UUID | None:
    """The data key that something was sealed with; None where it is nothing sealed."""
    if len(sealed) < OVERHEAD or sealed[:1] != _VERSION:
        return None
    return uuid.UUID(bytes=sealed[1:_ID_END])


def new_master_key(name: str) -> str:
    """A master key as ``LAKEMEM_MASTER_KEYS`` has it.

    Raises:
        InvalidInputError: the name is blank or too long.
    """
    if not name.strip() or len(name) > 100:
        raise InvalidInputError("the id of a master key is a text of at most 100 characters")
    return json.dumps({name: b64encode(os.urandom(MASTER_KEY_BYTES)).decode()})


def _context(owner: str, place: Place) -> bytes:
    return json.dumps([owner, *place]).encode()


def _wrapping_context(owner: str, key_id: uuid.UUID) -> bytes:
    return json.dumps(["lakemem data key", owner, str(key_id)]).encode()


def _message_key(key: bytes, salt: bytes) -> bytes:
    """A key for one text: HKDF (RFC 5869) without its first step, for the data key is random already."""
    expand, sha256 = _derivation()
    return bytes(expand(sha256, _KEY_BYTES, b"lakemem 1" + salt[:-_NONCE_BYTES]).derive(key))


def _opened(key: bytes, nonce: bytes, sealed: bytes, context: bytes) -> bytes | None:
    from cryptography.exceptions import InvalidTag

    try:
        return bytes(_aead()(key).decrypt(nonce, sealed, context))
    except (InvalidTag, ValueError):
        return None


def _not_for_here(place: Place) -> EncryptionError:
    return EncryptionError(
        f"something in {place[0]} does not open: it was changed, cut off, or comes from another user or another place"
    )


@cache
def _derivation() -> tuple[Any, Any]:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    return HKDFExpand, SHA256()


@cache
def _aead() -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise MissingExtraError("encryption", "encryption") from None
    return AESGCM
