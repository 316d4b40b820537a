"""The newest end of a thread as a model needs it: windows, what is new, compaction, turns and what they used."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lakemem.echoes import after_echo
from lakemem.errors import InvalidInputError
from lakemem.operations import Operation, Rows
from lakemem.operations.threads import encode_items
from lakemem.thread_types import Message, TokenUsage, Turn
from lakemem.validation import check_count, check_identifier, check_limit
from lakemem.windows import Window

# More than any bound, and within a bigint.
_UNBOUNDED = 2**60
# The client shows one message where the thread has this many items, calls of tools among them.
_STORED_PER_GIVEN = 8
_STORED_AT_LEAST = 64


def window(owner: str, thread_id: str, window: Window) -> Operation[list[dict[str, Any]]]:
    if not isinstance(window, Window):
        raise InvalidInputError(f"window must be a lakemem.Window, not {type(window).__name__}")

    def fitting(rows: Rows) -> list[dict[str, Any]]:
        items = [json.loads(item) for item, _ in rows if item is not None]
        return items[window.fit(items, free=not rows or rows[0][1]) :]

    return Operation(
        statement="turns.window",
        owner=owner,
        parameters={
            "owner": owner,
            "thread_id": thread_id,
            "max_bytes": _UNBOUNDED if window.read_bytes is None else window.read_bytes,
            # One more, to see what the first item follows on.
            "max_items": _UNBOUNDED if window.items is None else window.items + 1,
        },
        parse=fitting,
        fallback=[],
    )


def new_items(owner: str, thread_id: str, given: str | Sequence[Mapping[str, Any]]) -> Operation[list[dict[str, Any]]]:
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    # Only what could be stored can be new.
    encode_items(items)
    asked = [dict(item) for item in items]
    limit = _STORED_AT_LEAST + _STORED_PER_GIVEN * len(asked)

    def unknown(rows: Rows) -> list[dict[str, Any]]:
        stored = [json.loads(item) for _, item, _ in rows]
        from_start = len(rows) < limit and (not rows or rows[0][0] == 1)
        return asked[after_echo(stored, asked, from_start=from_start) :]

    return Operation(
        statement="threads.messages",
        owner=owner,
        parameters={"owner": owner, "thread_id": thread_id, "limit": check_limit(limit)},
        parse=unknown,
        fallback=asked,
    )


def oldest(owner: str, thread_id: str, limit: int) -> Operation[list[Message]]:
    return Operation(
        statement="turns.oldest",
        owner=owner,
        parameters={"owner": owner, "thread_id": thread_id, "limit": check_limit(limit)},
        parse=lambda rows: [Message(place, json.loads(item), created) for place, item, created in rows],
        fallback=[],
    )


def replace_tail(
    owner: str,
    thread_id: str,
    expected: Sequence[Message] | None,
    replacement: Sequence[Mapping[str, Any]],
    *,
    prune_to: int | None,
) -> Operation[bool]:
    if expected is not None and not expected:
        raise InvalidInputError("expected must name the items to replace; None for all of them")
    if expected and prune_to is not None and prune_to >= expected[0].position:
        raise InvalidInputError("prune_to must be the position of an item before those that are replaced")
    return Operation(
        statement="turns.replace_tail",
        owner=owner,
        parameters={
            "owner": owner,
            "thread_id": thread_id,
            "whole": expected is None,
            "positions": [message.position for message in expected or ()],
            "times": [message.created_at for message in expected or ()],
            "prune_to": None if prune_to is None else check_count("prune_to", prune_to),
            "items": encode_items(replacement),
        },
        parse=bool,
        fallback=False,
        writes=True,
        first="threads.hold",
    )


def turns(owner: str, thread_id: str, limit: int | None) -> Operation[list[Turn]]:
    return Operation(
        statement="turns.list",
        owner=owner,
        parameters={"owner": owner, "thread_id": thread_id, "limit": check_limit(limit)},
        parse=lambda rows: [
            Turn(position=place, item=json.loads(item), started_at=started, items=items, usage=_usage(used))
            for place, item, started, items, *used in rows
        ],
        fallback=[],
    )


def store_usage(owner: str, thread_id: str, usage: TokenUsage, run_id: str | None) -> Operation[bool]:
    numbers = asdict(usage)
    for name in ("runs", "models"):
        del numbers[name]
    return Operation(
        statement="turns.store_usage",
        owner=owner,
        parameters={
            "owner": owner,
            "thread_id": thread_id,
            "run_id": uuid.uuid4().hex if run_id is None else check_identifier("run_id", run_id),
            "model": check_identifier("a model", usage.models[0]) if usage.models else None,
            **{name: check_count(name, number) for name, number in numbers.items()},
        },
        parse=bool,
        fallback=True,
        writes=True,
    )


def usage(owner: str, thread_id: str) -> Operation[TokenUsage]:
    return Operation(
        statement="turns.usage",
        owner=owner,
        parameters={"owner": owner, "thread_id": thread_id},
        parse=lambda rows: _usage(rows[0]),
        fallback=TokenUsage(),
    )


def _usage(row: Sequence[Any]) -> TokenUsage:
    runs, models, requests, input_tokens, cached, output_tokens, reasoning, total = row
    return TokenUsage(
        input_tokens=input_tokens or 0,
        output_tokens=output_tokens or 0,
        total_tokens=total or 0,
        cached_tokens=cached or 0,
        reasoning_tokens=reasoning or 0,
        requests=requests or 0,
        runs=runs,
        models=tuple(models or ()),
    )
