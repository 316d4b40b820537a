"""What a sealed text looks like in its column."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from typing import Any

from lakemem.encryption import Cipher, Opener, Place, key_id_of

MARK = "lakemem.sealed"
"""The field of JSON that a sealed text stands in."""
_TYPE = "+lakemem"
"""What the type of a serialised value ends with where that is sealed."""
_SEALED_TEXT = re.compile(r'<sealed v="([\w-]+)"/>')
_SEALED_STRING = re.compile(rf'"{re.escape(MARK)}:([\w-]+)"')
_SHOWN = ("role", "type")
"""The fields of an item that stay readable: SQL tells by them where a turn begins."""


def item(cipher: Cipher, thread_id: str, text: str, *, repeatable: bool = False) -> str:
    """An item as JSON: who spoke, or what it is, stays readable; it cannot be changed without the key."""
    found = json.loads(text)
    shown = _shown(found)
    place = ("thread_items", thread_id, "item", json.dumps(shown, sort_keys=True))
    body = _encoded(cipher.seal(text.encode(), place, repeatable=repeatable))
    return json.dumps({**shown, MARK: body}, ensure_ascii=False, separators=(",", ":"))


def open_item(opener: Opener, owner: str, thread_id: str, text: str) -> str:
    place = ("thread_items", thread_id, "item")
    if MARK not in text:
        return str(opener.plain(text, place))
    found = json.loads(text)
    shown = {name: value for name, value in found.items() if name != MARK}
    sealed = _sealed_body(found) if shown.keys() <= set(_SHOWN) else None
    if sealed is None:
        return str(opener.plain(text, place))
    return opener.open(sealed, owner, (*place, json.dumps(shown, sort_keys=True))).decode()


def sealed_item(text: str) -> bytes | None:
    return _sealed_body(json.loads(text)) if MARK in text else None


def _sealed_body(found: Mapping[str, Any]) -> bytes | None:
    body = found.get(MARK)
    return _decoded(body) if isinstance(body, str) else None


def _shown(found: Mapping[str, Any]) -> dict[str, str]:
    fields = {name: found.get(name) for name in _SHOWN}
    # Only plain names: anything else is content.
    return {
        name: value for name, value in fields.items() if isinstance(value, str) and re.fullmatch(r"\w{1,64}", value)
    }


def value(cipher: Cipher, place: Place, text: str) -> str:
    """A JSON value: an object stays an object, so that it can be told from other values."""
    body = _encoded(cipher.seal(text.encode(), place))
    return json.dumps({MARK: body} if text.lstrip().startswith("{") else f"{MARK}:{body}", separators=(",", ":"))


def open_value(opener: Opener, owner: str, place: Place, text: str) -> str:
    sealed = sealed_value(text)
    return str(opener.plain(text, place)) if sealed is None else opener.open(sealed, owner, place).decode()


def sealed_value(text: str) -> bytes | None:
    if MARK not in text:
        return None
    found = json.loads(text)
    if isinstance(found, dict) and len(found) == 1 and isinstance(found.get(MARK), str):
        return _decoded(found[MARK])
    match = _SEALED_STRING.fullmatch(text)
    return _decoded(match[1]) if match else None


def text(cipher: Cipher, place: Place, plain: str) -> str:
    """What search would read: a tag, of which Postgres makes no words. An empty text says nothing, and stays.

    The same text of the same memory is sealed the same, so that a save that changes nothing is seen to.
    """
    return f'<sealed v="{_encoded(cipher.seal(plain.encode(), place, repeatable=True))}"/>' if plain else plain


def open_text(opener: Opener, owner: str, place: Place, stored: str) -> str:
    sealed = sealed_text(stored)
    if sealed is None:
        return str(opener.plain(stored, place)) if stored else stored
    return opener.open(sealed, owner, place).decode()


def sealed_text(stored: str) -> bytes | None:
    match = _SEALED_TEXT.fullmatch(stored)
    return _decoded(match[1]) if match else None


def blob(cipher: Cipher, place: Place, type_: str, data: bytes, *, repeatable: bool = False) -> tuple[str, bytes]:
    """A serialised value, and its type, which says that it is sealed."""
    return type_ + _TYPE, cipher.seal(data, (*place, type_), repeatable=repeatable)


def open_blob(opener: Opener, owner: str, place: Place, type_: str, data: bytes) -> tuple[str, bytes]:
    sealed = sealed_blob(type_, data)
    if sealed is None:
        return type_, opener.plain(data, place)
    plain_type = type_.removesuffix(_TYPE)
    return plain_type, opener.open(sealed, owner, (*place, plain_type))


def sealed_blob(type_: str, data: bytes) -> bytes | None:
    return bytes(data) if type_.endswith(_TYPE) else None


def _encoded(sealed: bytes) -> str:
    return urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _decoded(text: str) -> bytes | None:
    """What was sealed; None where this only looks like it."""
    try:
        found = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (NotBase64, ValueError):
        return None
    return None if key_id_of(found) is None else found
