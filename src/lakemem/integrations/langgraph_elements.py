"""What stayed the same in a channel's value since the version before, so that only what is new is stored.

A list consists of its elements, a mapping of its entries, and any other value of itself. Values may change in
place between two checkpoints, so that an element's identity says nothing: its content is compared, as ormsgpack
packs it, which takes a quarter of a microsecond for a message.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from threading import Lock
from typing import Any, Literal, TypeAlias, cast

from lakemem import caches
from lakemem.errors import MissingExtraError
from lakemem.spans import Spans, joined, positions_of, spans_of

try:
    import ormsgpack
    from langchain_core.load.serializable import Serializable
except ImportError as error:
    raise MissingExtraError("langgraph", "lakemem.integrations.langgraph") from error

Kind: TypeAlias = Literal["list", "dict", "value"]

MAX_SPANS = 64
"""A value that edits have cut into more runs than this is stored anew."""
REMEMBERED_BYTES = 64 * 1024 * 1024
"""What a saver keeps to compare with, for the channels that it read or wrote last."""

# What msgpack would fold into another type is refused, and compared as the serializer writes it.
_STRICT = (
    ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The contents of elements, one behind the other: alike where the elements are.

    Attributes:
        types: the type of each element.
        packed: their contents.
    """

    types: list[type]
    packed: bytes = field(repr=False)

    def extends(self, other: Fingerprint) -> bool:
        """Whether the first elements are those of `other`."""
        return self.packed.startswith(other.packed) and self.types[: len(other.types)] == other.types

    def of_each(self) -> list[tuple[type, bytes]]:
        """The fingerprint of every single element."""
        contents = ormsgpack.unpackb(_array_header(len(self.types)) + self.packed, ext_hook=ormsgpack.Ext)
        return list(zip(self.types, map(ormsgpack.packb, contents), strict=True))


@dataclass(frozen=True, slots=True)
class Elements:
    """A value, taken apart."""

    kind: Kind
    elements: Sequence[Any] = field(repr=False)
    fingerprint: Fingerprint


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """A version of a channel that is in the database, and where its elements are there."""

    version: str
    kind: Kind
    spans: Spans
    fingerprint: Fingerprint


def taken_apart(value: Any, serialized: Callable[[Any], tuple[str, bytes]]) -> Elements:
    """Return the elements of a value.

    Args:
        serialized: says what an element contains where ormsgpack cannot.
    """
    if type(value) is list:
        return Elements("list", value, _fingerprint(value, list(map(_content, value)), value, serialized))
    if type(value) is dict:
        # Keys are serialised as keys: not every serializer tells a tuple from a list elsewhere.
        entries = [{key: part} for key, part in value.items()]
        contents = [[key, _content(part)] for key, part in value.items()]
        return Elements("dict", entries, _fingerprint(value.values(), contents, entries, serialized))
    return Elements("value", [value], _fingerprint([value], [value], [value], serialized))


def put_together(kind: Kind, elements: list[Any]) -> Any:
    """The inverse of :func:`taken_apart`."""
    if kind == "list":
        return elements
    return {key: part for entry in elements for key, part in entry.items()} if kind == "dict" else elements[0]


def composed(known: KnownVersion | None, value: Elements) -> tuple[Spans, Sequence[Any]]:
    """Say of which positions a value consists, and which of its elements are new.

    Elements that the known version has too keep their positions. Each position is used once, so that no two
    elements of a value become one object when it is read.
    """
    elements = value.elements
    all_new: Spans = ((-1, -len(elements)),)
    if known is None or known.kind != value.kind:
        return all_new, elements
    if value.fingerprint.extends(known.fingerprint):
        added = elements[len(known.fingerprint.types) :]
        spans = joined(known.spans)
        return ((*spans, (-1, -len(added))), added) if added else (spans, added)
    positions = _positions(known, value.fingerprint)
    spans = spans_of(positions)
    if len(spans) > MAX_SPANS:
        return all_new, elements
    return spans, [element for element, position in zip(elements, positions, strict=True) if position < 0]


class KnownVersions:
    """The versions that a saver read or wrote last, up to a number of bytes; safe to use from many threads."""

    def __init__(self, capacity: int = REMEMBERED_BYTES) -> None:
        self._capacity = capacity
        self._size = 0
        self._versions: OrderedDict[tuple[str, ...], KnownVersion] = OrderedDict()
        self._lock = Lock()
        caches.register(self)

    def get(self, *channel: str) -> KnownVersion | None:
        """Return the version that is known of a channel: its owner, thread, namespace and name."""
        with self._lock:
            known = self._versions.get(channel)
            if known is not None:
                self._versions.move_to_end(channel)
            return known

    def keep(self, known: KnownVersion, *channel: str) -> None:
        """Know this version in place of the one before."""
        with self._lock:
            self._drop(channel)
            self._versions[channel] = known
            self._size += _size(known)
            while self._size > self._capacity:
                self._drop(next(iter(self._versions)))

    def forget(self, *channel: str) -> None:
        """Know nothing of a channel."""
        with self._lock:
            self._drop(channel)

    def forget_thread(self, owner: str, thread_id: str) -> None:
        """Know nothing of a thread's channels."""
        with self._lock:
            for channel in [each for each in self._versions if each[:2] == (owner, thread_id)]:
                self._drop(channel)

    def forget_owner(self, owner: str) -> None:
        """Know nothing of an owner's channels."""
        with self._lock:
            for channel in [each for each in self._versions if each[0] == owner]:
                self._drop(channel)

    def _drop(self, channel: tuple[str, ...]) -> None:
        known = self._versions.pop(channel, None)
        if known is not None:
            self._size -= _size(known)


def _positions(known: KnownVersion, new: Fingerprint) -> list[int]:
    """For each new element the position where it is stored; -1, -2 ... for those that are not."""
    free: dict[tuple[type, bytes], list[int]] = {}
    for position, content in zip(positions_of(known.spans), known.fingerprint.of_each(), strict=True):
        free.setdefault(content, []).append(position)
    for positions in free.values():
        positions.reverse()
    added = 0
    found = []
    for content in new.of_each():
        if places := free.get(content):
            found.append(places.pop())
        else:
            added += 1
            found.append(-added)
    return found


def _fingerprint(
    parts: Iterable[Any],
    contents: Sequence[Any],
    elements: Sequence[Any],
    serialized: Callable[[Any], tuple[str, bytes]],
) -> Fingerprint:
    try:
        packed = ormsgpack.packb(contents, option=_STRICT)[len(_array_header(len(contents))) :]
    except TypeError:
        packed = b"".join(map(partial(_packed_alone, serialized), contents, elements))
    return Fingerprint([type(part) for part in parts], packed)


def _packed_alone(serialized: Callable[[Any], tuple[str, bytes]], content: Any, element: Any) -> bytes:
    try:
        return ormsgpack.packb(content, option=_STRICT)
    except TypeError:
        # An extension, so that no list of a type and bytes looks like it.
        return ormsgpack.packb(ormsgpack.Ext(0, ormsgpack.packb(serialized(element))))


def _content(part: Any) -> Any:
    """What a message or a document consists of; of anything else, itself."""
    if not _is_serializable(cast(Hashable, type(part))):
        return part
    more = part.__pydantic_extra__
    return [part.__dict__, more] if more else part.__dict__


@cache
def _is_serializable(type_: Any) -> bool:
    # An ABC takes ten times as long to say so.
    return issubclass(type_, Serializable)


def _array_header(length: int) -> bytes:
    """How msgpack begins an array (https://github.com/msgpack/msgpack/blob/master/spec.md#array-format-family)."""
    if length < 16:
        return bytes([0x90 | length])
    if length < 65536:
        return b"\xdc" + length.to_bytes(2, "big")
    return b"\xdd" + length.to_bytes(4, "big")


def _size(known: KnownVersion) -> int:
    return len(known.fingerprint.packed) + 8 * len(known.fingerprint.types) + 16 * len(known.spans)
