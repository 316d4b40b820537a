"""LangGraph's checkpoints as Postgres keeps them: bytes and names, nothing of LangGraph's own types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lakemem.operations import Operation
from lakemem.validation import check_identifier, check_limit


@dataclass(frozen=True, slots=True)
class Blob:
    """A serialised value: the serializer's name for its format, and the bytes."""

    type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """One checkpoint, as it was stored.

    Attributes:
        checkpoint: the checkpoint without the values that `channels` holds.
        metadata: JSON text.
        channels: channel -> value.
        writes: (task id, channel, value), in the order in which a superstep applies them.
    """

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str
    parent_checkpoint_id: str | None
    checkpoint: Blob
    metadata: str = field(repr=False)
    channels: Mapping[str, Blob]
    writes: Sequence[tuple[str, str, Blob]]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a checkpoint belongs."""

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str


def put(
    owner: str,
    address: Address,
    *,
    parent_checkpoint_id: str | None,
    checkpoint: Blob,
    metadata: str,
    channel_versions: str,
    blobs: Mapping[str, tuple[str, Blob]],
) -> Operation[None]:
    """Store a checkpoint and the channel values that are new with it, all or nothing.

    Args:
        channel_versions: JSON text, channel -> version, for every channel.
        blobs: channel -> (version, value), for the channels that changed.
    """
    return Operation(
        statement="checkpoints.put",
        owner=owner,
        parameters={
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
        },
        parse=lambda rows: None,
        fallback=None,
        writes=True,
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
    )


def get(
    owner: str, thread_id: str, checkpoint_ns: str, checkpoint_id: str | None
) -> Operation[StoredCheckpoint | None]:
    """The checkpoint with this id, or the newest where it is None."""
    return Operation(
        statement="checkpoints.get",
        owner=owner,
        parameters={
            "owner": owner,
            "thread_id": check_identifier("thread_id", thread_id),
            "checkpoint_ns": checkpoint_ns,
            "checkpoint_id": checkpoint_id,
        },
        parse=lambda rows: _stored(rows[0]) if rows else None,
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
) -> Operation[list[StoredCheckpoint]]:
    """Checkpoints, the newest first. What is None does not filter; `filter` is JSON that metadata contains."""
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
        },
        parse=lambda rows: [_stored(row) for row in rows],
        fallback=[],
    )


def delete_thread(owner: str, thread_id: str) -> Operation[None]:
    return Operation(
        statement="checkpoints.delete_thread",
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


def _stored(row: tuple[Any, ...]) -> StoredCheckpoint:
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
        tasks,
        write_channels,
        write_types,
        write_blobs,
    ) = row
    return StoredCheckpoint(
        thread_id=thread_id,
        checkpoint_ns=checkpoint_ns,
        checkpoint_id=checkpoint_id,
        parent_checkpoint_id=parent_checkpoint_id,
        checkpoint=Blob(type_, checkpoint),
        metadata=metadata,
        channels=dict(zip(channels or (), map(Blob, types or (), blobs or ()), strict=True)),
        writes=list(
            zip(
                tasks or (),
                write_channels or (),
                map(Blob, write_types or (), write_blobs or ()),
                strict=True,
            )
        ),
    )
