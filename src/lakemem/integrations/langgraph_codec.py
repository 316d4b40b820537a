"""From LangGraph's checkpoints to rows and back (extra ``langgraph``). It does no I/O."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from lakemem.errors import MissingExtraError
from lakemem.integrations.langgraph_configs import config_of, encode_metadata
from lakemem.integrations.langgraph_elements import (
    Elements,
    Kind,
    KnownVersion,
    KnownVersions,
    composed,
    put_together,
    taken_apart,
)
from lakemem.operations.checkpoints import Blob, Composition, Reused, StoredCheckpoint, StoredElements
from lakemem.spans import placed

try:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import (
        WRITES_IDX_MAP,
        BaseCheckpointSaver,
        ChannelVersions,
        Checkpoint,
        CheckpointMetadata,
        CheckpointTuple,
        get_checkpoint_id,
        get_serializable_checkpoint_metadata,
    )
    from langgraph.checkpoint.serde.base import SerializerProtocol
    from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
except ImportError as error:
    raise MissingExtraError("langgraph", "lakemem.integrations.langgraph") from error

MAX_INLINE_TEXT = 1024
"""A longer text is stored apart, and so not again with every checkpoint that it stands in."""
VERSION_DIGITS = 8
MIN_COMPOSED_BYTES = 1024
"""A smaller value is stored whole, in one row."""


@dataclass(frozen=True, slots=True)
class EncodedCheckpoint:
    """A checkpoint as `Checkpoints.put` takes it.

    Attributes:
        arguments: of `Checkpoints.put`, beside the address.
        elements: channel -> what its composition was made of.
    """

    arguments: Mapping[str, Any] = field(repr=False)
    elements: Mapping[str, Elements] = field(repr=False)


class CheckpointCodec(BaseCheckpointSaver[str]):
    """What both savers share.

    It remembers which versions of large values it read or wrote last, so that a checkpoint that follows takes
    up their elements. Nothing depends on that but the space a checkpoint takes.
    """

    def __init__(self, *, serde: SerializerProtocol | None = None) -> None:
        super().__init__(serde=serde)
        self._known = KnownVersions()

    def get_next_version(self, current: str | int | None, channel: None) -> str:
        """Return a version that sorts behind `current`, with as many digits at least.

        The random end keeps two branches apart that go on from the same checkpoint: each stores its own value.
        A checkpoint names a dozen versions, so they are short.
        """
        digits = "0" if current is None else str(current).partition(".")[0]
        return f"{int(digits) + 1:0{max(len(digits), VERSION_DIGITS)}}.{secrets.token_urlsafe(6)}"

    def _encode_checkpoint(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
        *,
        owner: str,
    ) -> EncodedCheckpoint:
        """Small plain values stay within the checkpoint; of every other, each version is stored once."""
        versions, values = checkpoint["channel_versions"], checkpoint["channel_values"]
        apart = {name for name, value in values.items() if name in versions and not _is_small(value)}
        changed = [name for name in new_versions if name in apart]
        large = {name: elements for name in changed if (elements := self._elements(values[name])) is not None}
        body = {
            **checkpoint,
            "channel_values": {name: value for name, value in values.items() if name not in apart},
        }
        arguments = {
            "parent_checkpoint_id": get_checkpoint_id(config),
            "checkpoint": self._dump(body),
            "metadata": encode_metadata(get_serializable_checkpoint_metadata(config, metadata)),
            "channel_versions": json.dumps(
                {name: str(versions[name]) if name in apart else None for name in values if name in versions}
            ),
            "blobs": {
                name: (str(new_versions[name]), self._dump(values[name])) for name in changed if name not in large
            },
            "compositions": {
                name: (str(new_versions[name]), self._composition(_channel(owner, config, name), elements))
                for name, elements in large.items()
            },
        }
        return EncodedCheckpoint(arguments, large)

    def _remember_written(
        self, config: RunnableConfig, encoded: EncodedCheckpoint, before: Mapping[str, int], *, owner: str
    ) -> None:
        """Know the versions that were stored, and the positions that their new elements got."""
        for name, (version, composition) in encoded.arguments["compositions"].items():
            if name in before:
                spans = placed(composition.spans, before[name])
                known = KnownVersion(version, encoded.elements[name].kind, spans, encoded.elements[name].fingerprint)
                self._known.keep(known, *_channel(owner, config, name))

    def _encode_anew(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
        *,
        owner: str,
    ) -> EncodedCheckpoint:
        """Encode a checkpoint with all its values, since what was known is no longer in the database."""
        for name in new_versions:
            self._known.forget(*_channel(owner, config, name))
        return self._encode_checkpoint(config, checkpoint, metadata, new_versions, owner=owner)

    def _encode_writes(self, writes: Sequence[tuple[str, Any]]) -> list[tuple[int, str, Blob]]:
        """What was written, for `Checkpoints.put_writes`: of several errors, interrupts or resumes the last counts."""
        by_index = {
            WRITES_IDX_MAP.get(channel, place): (channel, value) for place, (channel, value) in enumerate(writes)
        }
        return [(index, channel, self._dump(value)) for index, (channel, value) in by_index.items()]

    def _decode(self, config: RunnableConfig | None, stored: StoredCheckpoint) -> CheckpointTuple:
        checkpoint = cast(Checkpoint, self._load(stored.checkpoint))
        values = checkpoint["channel_values"]
        values.update({name: self._load(blob) for name, blob in stored.channels.items()})
        values.update({name: self._put_together(parts) for name, parts in stored.composed.items()})
        parent = stored.parent_checkpoint_id
        return CheckpointTuple(
            config=config_of(config, stored, stored.checkpoint_id),
            checkpoint=checkpoint,
            metadata=json.loads(stored.metadata),
            parent_config=None if parent is None else config_of(config, stored, parent),
            pending_writes=[(task, channel, self._load(blob)) for task, channel, blob in stored.writes],
        )

    def _decode_history(self, ancestors: Sequence[StoredCheckpoint], channels: Sequence[str]) -> dict[str, Any]:
        """What each channel was last set to, and the writes to it since, the oldest first."""
        history: dict[str, Any] = {channel: {"writes": []} for channel in channels}
        for stored in ancestors:
            found = self._decode(None, stored)
            for channel, entry in history.items():
                if "seed" in entry:
                    continue
                entry["writes"] = [write for write in found.pending_writes or () if write[1] == channel] + entry[
                    "writes"
                ]
                if channel in found.checkpoint["channel_values"]:
                    entry["seed"] = found.checkpoint["channel_values"][channel]
        return history

    def _remember_read(self, stored: StoredCheckpoint, checkpoint: Checkpoint, *, owner: str) -> None:
        """Know the versions that were read, before anybody changes them in place."""
        for name, parts in stored.composed.items():
            channel = (owner, stored.thread_id, stored.checkpoint_ns, name)
            known = self._known.get(*channel)
            if known is not None and known.version == parts.version:
                continue
            fingerprint = taken_apart(checkpoint["channel_values"][name], self._serialized).fingerprint
            # What goes on from it has as many elements in common with this one, and more.
            if known is None or not known.fingerprint.extends(fingerprint):
                self._known.keep(
                    KnownVersion(parts.version, cast(Kind, parts.kind), parts.spans, fingerprint), *channel
                )

    def _elements(self, value: Any) -> Elements | None:
        """The value taken apart, if it is worth it."""
        if not isinstance(value, list | dict | str | bytes):
            return None
        elements = taken_apart(value, self._serialized)
        return elements if len(elements.fingerprint.packed) >= MIN_COMPOSED_BYTES else None

    def _composition(self, channel: tuple[str, ...], value: Elements) -> Composition:
        known = self._known.get(*channel)
        spans, added = composed(known, value)
        is_reused = known is not None and len(added) < len(value.elements)
        return Composition(
            kind=value.kind,
            spans=spans,
            added=self._dump(list(added)) if added else None,
            added_count=len(added),
            reused=Reused(known.version, known.spans) if known is not None and is_reused else None,
        )

    def _put_together(self, stored: StoredElements) -> Any:
        segments = [(position, self._load(blob)) for position, blob in stored.segments]
        elements: list[Any] = []
        for first, last in stored.spans:
            for position, segment in segments:
                if position <= last and position + len(segment) > first:
                    elements.extend(segment[max(first - position, 0) : last - position + 1])
        return put_together(cast(Kind, stored.kind), elements)

    def _serialized(self, value: Any) -> tuple[str, bytes]:
        # A cipher writes the same value differently each time.
        serde = self.serde.serde if isinstance(self.serde, EncryptedSerializer) else self.serde
        return serde.dumps_typed(value)

    def _dump(self, value: Any) -> Blob:
        return Blob(*self.serde.dumps_typed(value))

    def _load(self, blob: Blob) -> Any:
        return self.serde.loads_typed((blob.type, blob.data))


def _channel(owner: str, config: RunnableConfig, name: str) -> tuple[str, ...]:
    configurable = config["configurable"]
    return owner, str(configurable["thread_id"]), configurable.get("checkpoint_ns", ""), name


def _is_small(value: Any) -> bool:
    if type(value) is str:
        return len(value) <= MAX_INLINE_TEXT
    return value is None or type(value) in (int, float, bool)
