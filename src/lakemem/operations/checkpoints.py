"""LangGraph's checkpoints as Postgres keeps them: bytes and names, nothing of LangGraph's own types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from lakemem.errors import ConflictError
from lakemem.operations import Operation, Rows
from lakemem.operations.threads import turn_of_thread
from lakemem.spans import Spans, flat, paired
from lakemem.validation import check_identifier, check_limit


@dataclass(frozen=True, slots=True)
class Blob:
    """A serialised value: the serializer's name for its format, and the bytes."""

    type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reused:
    """The version of a channel whose elements a later version uses again."""

    version: str
    spans: Spans


@dataclass(frozen=True, slots=True)
class Composition:
    """A value by its elements: those that are stored already, and those to store.

    Attributes:
        kind: what the elements make up.
        spans: which elements, in their order; negative for those to store.
        added: the elements to store, serialised as one list; None where there are none.
        added_count: how many these are.
        reused: where the others were found; None where all are new.
    """

    kind: str
    spans: Spans
    added: Blob | None
    added_count: int
    reused: Reused | None


@dataclass(frozen=True, slots=True)
class StoredElements:
    """A value as it was stored by its elements.

    Attributes:
        version: the channel's version.
        kind: what the elements make up.
        spans: the positions of the elements, in their order.
        segments: (position of the first element, elements serialised as one list), by position.
    """

    version: str
    kind: str
    spans: Spans
    segments: Sequence[tuple[int, Blob]]


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """One checkpoint, as it was stored.

    Attributes:
        checkpoint: the checkpoint without the values of the channels below.
        metadata: JSON text.
        channels: channel -> value, for those that are stored whole.
        composed: channel -> elements, for those that are stored by element.
        writes: (task id, channel, value), in the order in which a superstep applies them.
    """

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str
    parent_checkpoint_id: str | None
    checkpoint: Blob
    metadata: str = field(repr=False)
    channels: Mapping[str, Blob]
    composed: Mapping[str, StoredElements]
    writes: Sequence[tuple[str, str, Blob]]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a checkpoint belongs."""

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str


class ReusedVersionGone(ConflictError):
    """The version whose elements were to be used again was pruned or deleted. Nothing was written."""


def put(
    owner: str,
    address: Address,
    *,
    parent_checkpoint_id: str | None,
    checkpoint: Blob,
    metadata: str,
    channel_versions: str,
    blobs: Mapping[str, tuple[str, Blob]],
    compositions: Mapping[str, tuple[str, Composition]] | None = None,
) -> Operation[Mapping[str, int]]:
    """Store a checkpoint and the channel values that are new with it, all or nothing.

    Args:
        channel_versions: JSON text, channel -> version; null for a value that stands in the checkpoint itself.
        blobs: channel -> (version, value), for the channels that changed and are stored whole.
        compositions: channel -> (version, elements), for those that are stored by element.

    Returns:
        channel -> the position behind which its new elements were placed, for those stored by element.

    Raises:
        ReusedVersionGone: elements that a composition uses again are no longer there. Nothing was written.
    """
    parameters = {
        **_address(owner, address),
        "parent_checkpoint_id": parent_checkpoint_id,
        "type": checkpoint.type,
        "checkpoint": checkpoint.data,
        "channel_versions": channel_versions,
        "metadata": metadata,
        "channels": list(blobs),
        "versions": [version for version, _ in blobs.values()],
        "types": [blob.type for _, blob in blobs.values()],
        "blobs": [blob.data for _, blob in blobs.values()],
    }
    if compositions:
        return Operation(
            statement="checkpoints.put_composed",
            owner=owner,
            parameters={**parameters, **_compositions(compositions)},
            parse=_positions_before,
            fallback={},
            writes=True,
            turn=turn_of_thread(owner, address.thread_id),
        )
    return Operation(
        statement="checkpoints.put",
        owner=owner,
        parameters=parameters,
        parse=lambda rows: {},
        fallback={},
        writes=True,
        turn=turn_of_thread(owner, address.thread_id),
    )


def put_writes(
    owner: str,
    address: Address,
    *,
    task_id: str,
    task_path: str,
    writes: Sequence[tuple[int, str, Blob]],
) -> Operation[None]:
    """Store what a task wrote: (index, channel, value), each index once.

    A write that is there already is kept, unless its index is negative: then it is replaced.
    """
    return Operation(
        statement="checkpoints.put_writes",
        owner=owner,
        parameters={
            **_address(owner, address),
            "task_id": task_id,
            "task_path": task_path,
            "idxs": [index for index, _, _ in writes],
            "channels": [channel for _, channel, _ in writes],
            "types": [blob.type for _, _, blob in writes],
            "blobs": [blob.data for _, _, blob in writes],
        },
        parse=lambda rows: None,
        fallback=None,
        writes=True,
        turn=turn_of_thread(owner, address.thread_id),
    )


def get(
    owner: str, thread_id: str, checkpoint_ns: str, checkpoint_id: str | None
) -> Operation[StoredCheckpoint | None]:
    """The checkpoint with this id, or the newest where it is None."""
    parameters = {
        "owner": owner,
        "thread_id": check_identifier("thread_id", thread_id),
        "checkpoint_ns": checkpoint_ns,
    }
    return Operation(
        statement="checkpoints.latest" if checkpoint_id is None else "checkpoints.get",
        owner=owner,
        parameters=parameters if checkpoint_id is None else {**parameters, "checkpoint_id": checkpoint_id},
        parse=lambda rows: stored_checkpoint(rows[0]) if rows else None,
        fallback=None,
    )


def listing(
    owner: str,
    *,
    thread_id: str | None = None,
    checkpoint_ns: str | None = None,
    checkpoint_id: str | None = None,
    before: str | None = None,
    filter: str = "{}",
    limit: int | None = None,
    after: StoredCheckpoint | None = None,
) -> Operation[list[StoredCheckpoint]]:
    """Checkpoints, the newest first. What is None does not filter; `filter` is JSON that metadata contains.

    Args:
        after: the last one of the page before.
    """
    return Operation(
        statement="checkpoints.list",
        owner=owner,
        parameters={
            "owner": owner,
            "thread_id": thread_id,
            "checkpoint_ns": checkpoint_ns,
            "checkpoint_id": checkpoint_id,
            "before": before,
            "filter": filter,
            "limit": check_limit(limit),
            "after_id": None if after is None else after.checkpoint_id,
            "after_thread": None if after is None else after.thread_id,
            "after_ns": None if after is None else after.checkpoint_ns,
        },
        parse=lambda rows: [stored_checkpoint(row) for row in rows],
        fallback=[],
    )


def take(owner: str, address: Address) -> Operation[Blob | None]:
    """Remove a checkpoint that is stored whole, and return it; None where there is none."""
    return Operation(
        statement="checkpoints.take",
        owner=owner,
        parameters=_address(owner, address),
        parse=lambda rows: Blob(*rows[0]) if rows else None,
        fallback=None,
        writes=True,
        # Who takes it goes on from it, and cannot do so later.
        waits=False,
    )


def delete_thread(owner: str, thread_id: str) -> Operation[None]:
    return Operation(
        statement="checkpoints.delete_thread",
        # So that a checkpoint stored at the same time goes whole, or stays whole.
        first="threads.hold",
        owner=owner,
        parameters={"owner": owner, "thread_id": check_identifier("thread_id", thread_id)},
        parse=lambda rows: None,
        fallback=None,
        writes=True,
    )


def _address(owner: str, address: Address) -> dict[str, Any]:
    return {
        "owner": owner,
        "thread_id": check_identifier("thread_id", address.thread_id),
        "checkpoint_ns": address.checkpoint_ns,
        "checkpoint_id": address.checkpoint_id,
    }


def _compositions(compositions: Mapping[str, tuple[str, Composition]]) -> dict[str, Any]:
    reused = {channel: each.reused for channel, (_, each) in compositions.items() if each.reused is not None}
    added = {
        channel: (each.added, each.added_count) for channel, (_, each) in compositions.items() if each.added is not None
    }
    return {
        "composed_channels": list(compositions),
        "composed_versions": [version for version, _ in compositions.values()],
        "kinds": [each.kind for _, each in compositions.values()],
        "spans": [_array(each.spans) for _, each in compositions.values()],
        "reused_channels": list(reused),
        "reused_versions": [each.version for each in reused.values()],
        "reused_spans": [_array(each.spans) for each in reused.values()],
        "added_channels": list(added),
        "added_counts": [count for _, count in added.values()],
        "added_types": [blob.type for blob, _ in added.values()],
        "added_blobs": [blob.data for blob, _ in added.values()],
    }


def _array(spans: Spans) -> str:
    """As Postgres writes an array: arrays of different lengths do not fit into one array."""
    return "{" + ",".join(map(str, flat(spans))) + "}"


def _positions_before(rows: Rows) -> Mapping[str, int]:
    if not rows:
        raise ReusedVersionGone(
            "the checkpoint before this one was pruned or deleted at the same time: store all its values again"
        )
    return dict(rows)


def stored_checkpoint(row: tuple[Any, ...]) -> StoredCheckpoint:
    """Read a row of `{checkpoint_columns}`."""
    (
        thread_id,
        checkpoint_ns,
        checkpoint_id,
        parent_checkpoint_id,
        type_,
        checkpoint,
        metadata,
        channels,
        types,
        blobs,
        composed,
        composed_versions,
        kinds,
        spans,
        segment_channels,
        segment_positions,
        segment_types,
        segment_blobs,
        tasks,
        write_channels,
        write_types,
        write_blobs,
    ) = row
    segments: dict[str, list[tuple[int, Blob]]] = {channel: [] for channel in composed or ()}
    for channel, position, blob in zip(
        segment_channels or (),
        segment_positions or (),
        map(Blob, segment_types or (), segment_blobs or ()),
        strict=True,
    ):
        segments[channel].append((position, blob))
    return StoredCheckpoint(
        thread_id=thread_id,
        checkpoint_ns=checkpoint_ns,
        checkpoint_id=checkpoint_id,
        parent_checkpoint_id=parent_checkpoint_id,
        checkpoint=Blob(type_, checkpoint),
        metadata=metadata,
        channels=dict(zip(channels or (), map(Blob, types or (), blobs or ()), strict=True)),
        composed={
            channel: StoredElements(version, kind, _spans(bounds), sorted(segments[channel], key=itemgetter(0)))
            for channel, version, kind, bounds in zip(
                composed or (), composed_versions or (), kinds or (), spans or (), strict=True
            )
        },
        writes=list(
            zip(
                tasks or (),
                write_channels or (),
                map(Blob, write_types or (), write_blobs or ()),
                strict=True,
            )
        ),
    )


def _spans(array: str) -> Spans:
    return paired([int(bound) for bound in array[1:-1].split(",")])
