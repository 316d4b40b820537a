"""Files in memory: read as they are, and changed if they still are as they were read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lakemem.errors import InvalidInputError
from lakemem.file_memory.files import Change, File, Files, Part
from lakemem.file_paths import is_key
from lakemem.guarding import Redact
from lakemem.memory_types import ProposedWrite, Trust
from lakemem.operations import Operation, Rows, drafting, memories
from lakemem.operations.drafting import Embedded
from lakemem.trust import below
from lakemem.validation import MAX_VALUE_BYTES, check_namespace, encode_json, indexable

FOLDER = "files"
"""The last label of the namespaces in which files are."""
WRITTEN_BY: Trust = "model"


def namespace_of(namespace: Sequence[str]) -> list[str]:
    return check_namespace([*check_namespace(namespace), FOLDER])


def read(owner: str, namespace: Sequence[str], parts: Sequence[Part]) -> Operation[Files]:
    """The files in some ranges of keys. What another writer put there under a key that is no path is passed over."""

    def files(rows: Rows) -> Files:
        return {
            key: File(version, size, None if value is None else _text(json.loads(value)), trust)
            for key, version, size, value, trust in rows
            if is_key(key)
        }

    return Operation(
        statement="files.read",
        owner=owner,
        parameters={"owner": owner, "namespace": list(namespace), **_ranges(parts)},
        parse=files,
        fallback={},
        # An agent that is shown no files believes that there are none.
        waits=False,
    )


def search_text(change: Change) -> str | None:
    """What search reads of a new version: the words of its path, and its text."""
    return None if change.text is None else indexable(drafting.describe(change.key, change.text))


def redacted(change: Change, redact: Redact) -> Change:
    """A new text without what is not to be stored.

    Raises:
        InvalidInputError: what is not to be stored is in the path.
    """
    if change.text is None or change.is_move:
        return change
    if redact(change.key) != change.key:
        raise InvalidInputError("the path holds a secret or a personal identifier: choose another one")
    return replace(change, text=redact(change.text))


def proposed(owner: str, namespace: Sequence[str], change: Change) -> ProposedWrite | None:
    """What a policy is shown of a new text."""
    text = None if change.is_move else search_text(change)
    if text is None:
        return None
    return ProposedWrite(
        owner=owner, namespace=tuple(namespace), key=change.key, text=text, kind="fact", trust=WRITTEN_BY
    )


def draft(namespace: Sequence[str], change: Change) -> drafting.Draft:
    """A new text as a memory, to be saved once it is released."""
    return drafting.draft(
        change.key,
        change.text,
        namespace=namespace,
        text=None,
        metadata=None,
        importance=0.5,
        thread_id=None,
        position=None,
        occurred_at=None,
        expires_in=None,
        trust=WRITTEN_BY,
    )


def write(
    owner: str,
    namespace: Sequence[str],
    changes: Sequence[Change],
    embedded: Sequence[Embedded],
    parts: Sequence[Part],
) -> Operation[bool]:
    """Make changes, all or none of them: none where the files that were read have changed since, and then False.

    Args:
        embedded: the vectors of the changes' texts.
        parts: the ranges of keys that were read.
    """
    values = [
        None if change.text is None else encode_json("the file", change.text, limit=MAX_VALUE_BYTES)
        for change in changes
    ]
    # All commands on a tree of files have one order, so that no file comes to stand where a directory is.
    locks = [memories.key_lock(owner, namespace, key) for key in ("", *(change.key for change in changes))]
    return Operation(
        statement="files.write",
        owner=owner,
        parameters={
            "owner": owner,
            "namespace": list(namespace),
            "keys": [change.key for change in changes],
            "versions": [change.version for change in changes],
            "values": values,
            "content_hashes": [b"" if value is None else drafting.content_hash(value) for value in values],
            "texts": [search_text(change) for change in changes],
            "origins": [change.origin for change in changes],
            "embeddings": [each.vector for each in embedded],
            "embedding_models": [each.model for each in embedded],
            "locks": locks,
            "trust": WRITTEN_BY,
            "less_trusted": below(WRITTEN_BY),
            **_ranges(parts),
        },
        parse=lambda rows: bool(rows[0][0]),
        fallback=False,
        writes=True,
        first="store.lock",
        # It rests on what was just read.
        waits=False,
    )


def _ranges(parts: Sequence[Part]) -> Mapping[str, Any]:
    return {
        "lows": [part.low for part in parts],
        "highs": [part.high for part in parts],
        "with_texts": [part.with_text for part in parts],
    }


def _text(value: Any) -> str:
    """A file's text; a memory of another kind is shown as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
