"""Checkpoints, and what they consist of."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lakemem.encryption import Cipher, Opener, Place
from lakemem.operations import Operation, Rows
from lakemem.operations import resealing as work
from lakemem.operations.resealing import Table
from lakemem.sealing.forms import blob, open_blob
from lakemem.sealing.rule import Parameters, Row, Rule


def _checkpoint(thread_id: str, checkpoint_ns: str, checkpoint_id: str) -> Place:
    return ("checkpoints", thread_id, checkpoint_ns, checkpoint_id, "checkpoint")


def _channel(thread_id: str, checkpoint_ns: str, channel: str) -> Place:
    """Of a value of a channel, or of some of its elements: which version it is, the checkpoint says."""
    return ("checkpoint_blobs", thread_id, checkpoint_ns, channel)


def _segment(thread_id: str, checkpoint_ns: str, channel: str) -> Place:
    return ("checkpoint_segments", thread_id, checkpoint_ns, channel)


def _write(thread_id: str, checkpoint_ns: str, checkpoint_id: str, task_id: str, channel: str) -> Place:
    return ("checkpoint_writes", thread_id, checkpoint_ns, checkpoint_id, task_id, channel)


def _blobs(
    cipher: Cipher, places: Sequence[Place], types: Sequence[str], blobs: Sequence[bytes]
) -> tuple[list[str], list[bytes]]:
    pairs = [blob(cipher, *each) for each in zip(places, types, blobs, strict=True)]
    return [type_ for type_, _ in pairs], [data for _, data in pairs]


def _seal_checkpoint(cipher: Cipher, given: Parameters) -> Mapping[str, Any]:
    where = given["thread_id"], given["checkpoint_ns"]
    type_, checkpoint = blob(cipher, _checkpoint(*where, given["checkpoint_id"]), given["type"], given["checkpoint"])
    places = [_channel(*where, channel) for channel in given["channels"]]
    types, blobs = _blobs(cipher, places, given["types"], given["blobs"])
    changed = {"type": type_, "checkpoint": checkpoint, "types": types, "blobs": blobs}
    if "added_channels" in given:
        places = [_segment(*where, channel) for channel in given["added_channels"]]
        added_types, added_blobs = _blobs(cipher, places, given["added_types"], given["added_blobs"])
        changed |= {"added_types": added_types, "added_blobs": added_blobs}
    return changed


def _seal_writes(cipher: Cipher, given: Parameters) -> Mapping[str, Any]:
    where = given["thread_id"], given["checkpoint_ns"], given["checkpoint_id"], given["task_id"]
    places = [_write(*where, channel) for channel in given["channels"]]
    types, blobs = _blobs(cipher, places, given["types"], given["blobs"])
    return {"types": types, "blobs": blobs}


def _open_checkpoints(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
    """Rows of `{checkpoint_columns}`."""
    return [_open_checkpoint(opener, operation.owner, row) for row in rows]


def _open_checkpoint(opener: Opener, owner: str, row: Row) -> Row:
    columns = list(row)
    where, checkpoint_id = (row[0], row[1]), row[2]
    columns[4], columns[5] = open_blob(opener, owner, _checkpoint(*where, checkpoint_id), row[4], row[5])
    if row[7]:
        places: list[Place] = [_channel(*where, channel) for channel in row[7]]
        columns[8], columns[9] = _open_blobs(opener, owner, places, row[8], row[9])
    if row[14]:
        places = [_segment(*where, channel) for channel in row[14]]
        columns[16], columns[17] = _open_blobs(opener, owner, places, row[16], row[17])
    if row[18]:
        tasks = zip(row[18], row[19], strict=True)
        places = [_write(*where, checkpoint_id, task_id, channel) for task_id, channel in tasks]
        columns[20], columns[21] = _open_blobs(opener, owner, places, row[20], row[21])
    return tuple(columns)


def _open_blobs(
    opener: Opener, owner: str, places: Sequence[Place], types: Sequence[str], blobs: Sequence[bytes]
) -> tuple[list[str], list[bytes]]:
    pairs = [open_blob(opener, owner, *each) for each in zip(places, types, blobs, strict=True)]
    return [type_ for type_, _ in pairs], [data for _, data in pairs]


def _open_taken(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
    given = operation.parameters
    place = _checkpoint(given["thread_id"], given["checkpoint_ns"], given["checkpoint_id"])
    return [open_blob(opener, operation.owner, place, *row) for row in rows]


def _checkpoint_of(fields: Mapping[str, Any]) -> Place:
    return _checkpoint(fields["thread_id"], fields["checkpoint_ns"], fields["checkpoint_id"])


def _channel_of(fields: Mapping[str, Any]) -> Place:
    return _channel(fields["thread_id"], fields["checkpoint_ns"], fields["channel"])


def _segment_of(fields: Mapping[str, Any]) -> Place:
    return _segment(fields["thread_id"], fields["checkpoint_ns"], fields["channel"])


def _write_of(fields: Mapping[str, Any]) -> Place:
    return _write(*(fields[name] for name in ("thread_id", "checkpoint_ns", "checkpoint_id", "task_id", "channel")))


def _archived(place_of: Callable[[Mapping[str, Any]], Place], content: str = "blob") -> tuple[Rule, Rule]:
    """How records of an archive are opened on their way out, and sealed on their way in."""

    def opened(opener: Opener, operation: Operation[Any], rows: Rows) -> Rows:
        records = [json.loads(record) for (record,) in rows]
        for record in records:
            if record[content] is not None:
                data = b64decode(record[content])
                type_, data = open_blob(opener, operation.owner, place_of(record), record["type"], data)
                record["type"], record[content] = type_, b64encode(data).decode()
        return [(json.dumps(record),) for record in records]

    def sealed(cipher: Cipher, given: Parameters) -> Mapping[str, Any]:
        records = json.loads(given["records"])
        for record in records:
            if record[content] is not None:
                data = b64decode(record[content])
                type_, data = blob(cipher, place_of(record), record["type"], data, repeatable=True)
                record["type"], record[content] = type_, b64encode(data).decode()
        return {"records": json.dumps(records)}

    return Rule(open=opened), Rule(seal=sealed)


PLACES: Mapping[Table, Callable[[Mapping[str, Any]], Place]] = {
    work.CHECKPOINTS: _checkpoint_of,
    work.VALUES: _channel_of,
    work.SEGMENTS: _segment_of,
    work.WRITES: _write_of,
}

_EXPORTED_SEGMENTS, _IMPORTED_SEGMENTS = _archived(_segment_of)
_EXPORTED_VALUES, _IMPORTED_VALUES = _archived(_channel_of)
_EXPORTED_CHECKPOINTS, _IMPORTED_CHECKPOINTS = _archived(_checkpoint_of, "checkpoint")
_EXPORTED_WRITES, _IMPORTED_WRITES = _archived(_write_of)

RULES: Mapping[str, Rule] = {
    "checkpoints.put": Rule(seal=_seal_checkpoint),
    "checkpoints.put_composed": Rule(seal=_seal_checkpoint),
    "checkpoints.put_writes": Rule(seal=_seal_writes),
    "checkpoints.get": Rule(open=_open_checkpoints),
    "checkpoints.latest": Rule(open=_open_checkpoints),
    "checkpoints.list": Rule(open=_open_checkpoints),
    "checkpoints.take": Rule(open=_open_taken),
    "pruning.history": Rule(open=_open_checkpoints),
    "pruning.copy": Rule(copies=(work.CHECKPOINTS, work.VALUES, work.SEGMENTS, work.WRITES)),
    "archive_work.segments": _EXPORTED_SEGMENTS,
    "archive_work.values": _EXPORTED_VALUES,
    "archive_work.checkpoints": _EXPORTED_CHECKPOINTS,
    "archive_work.writes": _EXPORTED_WRITES,
    "archive_work.put_segments": _IMPORTED_SEGMENTS,
    "archive_work.put_values": _IMPORTED_VALUES,
    "archive_work.put_checkpoints": _IMPORTED_CHECKPOINTS,
    "archive_work.put_writes": _IMPORTED_WRITES,
}
