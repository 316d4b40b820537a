"""The newest items of a thread that fit into a budget, with nothing torn apart that a model needs together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lakemem.errors import InvalidInputError
from lakemem.validation import check_count

BYTES_PER_TOKEN = 4
MEDIA_TOKENS = 1_000
READ_BYTES_PER_TOKEN = 16
READ_BYTES_AT_LEAST = 64 * 1024

_NEVER = -1


def estimate_tokens(item: Mapping[str, Any]) -> int:
    """Estimate an item's tokens without a tokenizer: one for every 4 bytes of its JSON in UTF-8.

    An image, a sound or a file that stands in the item as a ``data:`` URL counts as 1,000 tokens. For prose in
    English this is about right, and for JSON too much.
    """
    return math.ceil(_size(item) / BYTES_PER_TOKEN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """How much of the newest end of a thread to read.

    A window is a run of items up to the newest one. It is never over its bounds, so that it is empty where the
    newest items, with what belongs to them, do not fit. A tool's result stands in it only with the call that it
    answers, an approval with its request, and what a model said after reasoning only with that reasoning.

    Args:
        tokens: how many tokens at the most.
        items: how many items at the most.
        count: says how many tokens an item takes, such as ``lambda item: len(encoding.encode(json.dumps(item)))``
            with an encoding of tiktoken.
        max_bytes: how much the server reads at the most, in bytes of JSON; by default 16 for each token, and 64 KiB
            at least. A window of items that take more bytes for a token, such as images, may hold less than fits.

    Raises:
        InvalidInputError: a bound is missing, not a whole number, or negative.
    """

    tokens: int | None = None
    items: int | None = None
    count: Callable[[Mapping[str, Any]], int] = estimate_tokens
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.tokens is None and self.items is None:
            raise InvalidInputError("a window needs a bound: tokens=, items=, or both")
        for name in ("tokens", "items", "max_bytes"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))

    @property
    def read_bytes(self) -> int | None:
        """How many bytes of JSON to read at the most; None for no bound."""
        if self.max_bytes is None and self.tokens is not None:
            return max(self.tokens * READ_BYTES_PER_TOKEN, READ_BYTES_AT_LEAST)
        return self.max_bytes

    def fit(self, items: Sequence[Mapping[str, Any]], *, free: bool) -> int:
        """Return the index at which the longest window begins; ``len(items)`` where nothing fits.

        Args:
            items: the newest items of a thread, the oldest of them first.
            free: whether the first of them belongs to nothing that stands before it.
        """
        needs = _needs(items)
        earliest = 0 if free or (items and _begins_anew(items[0])) else 1
        if self.items is not None:
            earliest = max(earliest, len(items) - self.items)
        start, lowest, tokens = len(items), len(items), 0
        for index in range(len(items) - 1, earliest - 1, -1):
            if self.tokens is not None:
                tokens += self.count(items[index])
                if tokens > self.tokens:
                    break
            lowest = min(lowest, needs[index])
            if lowest == _NEVER:
                break
            if lowest >= index:
                start = index
        return start


def _needs(items: Sequence[Mapping[str, Any]]) -> list[int]:
    """For each item, the earliest index of what it needs before it: its own without any, -1 where that is missing."""
    calls: dict[object, int] = {}
    needs = []
    response = None
    for index, item in enumerate(items):
        need = index
        for answered in _answers(item):
            need = min(need, calls.get(answered, _NEVER))
        # What a model says after reasoning belongs to it, up to the end of its response.
        if not _of_model(item):
            response = None
        elif response is not None:
            need = min(need, response)
        elif item.get("type") == "reasoning":
            response = index
        needs.append(need)
        calls.update(dict.fromkeys(_asks(item), index))
    return needs


def _asks(item: Mapping[str, Any]) -> list[object]:
    """Names for what later items may answer."""
    kind = str(item.get("type"))
    if kind == "mcp_approval_request":
        return [("approval", item.get("id"))]
    if kind in ("program", "shell_call") or (kind.endswith("_call") and "call_id" in item):
        return [("call", _family(kind), item.get("call_id")), ("call", _family(kind), None)]
    if item.get("role") == "assistant" and isinstance(item.get("tool_calls"), list):
        return [("tool", call.get("id")) for call in item["tool_calls"] if isinstance(call, Mapping)]
    return [("call", _family(kind), None)] if kind == "tool_search_call" else []


def _answers(item: Mapping[str, Any]) -> list[object]:
    """The names of what has to stand before this item."""
    kind = str(item.get("type"))
    found: list[object] = []
    if kind.endswith("_output"):
        # The output of a local shell names its call by `id`; a tool search may have no id at all.
        name = item.get("call_id") or (item.get("id") if kind == "local_shell_call_output" else None)
        found.append(("call", _family(kind), name))
    if item.get("role") == "tool":
        found.append(("tool", item.get("tool_call_id")))
    if item.get("approval_request_id") is not None:
        found.append(("approval", item["approval_request_id"]))
    caller = item.get("caller")
    if isinstance(caller, Mapping) and caller.get("type") == "program":
        found.append(("call", "program", caller.get("caller_id")))
    return found


def _family(kind: str) -> str:
    """``function_call`` and ``function_call_output`` are one family, and so are the others."""
    return kind.removesuffix("_output").removesuffix("_call")


def _of_model(item: Mapping[str, Any]) -> bool:
    kind = str(item.get("type"))
    if item.get("role") is not None:
        return item.get("role") == "assistant"
    return not (kind.endswith("_output") or kind in ("mcp_approval_response", "compaction", "item_reference"))


def _begins_anew(item: Mapping[str, Any]) -> bool:
    """Whether an item stands for itself whatever comes before it."""
    return item.get("role") in ("user", "system", "developer") or item.get("type") == "compaction"


def _size(value: Any) -> int:
    if isinstance(value, str):
        if value.startswith("data:"):
            return MEDIA_TOKENS * BYTES_PER_TOKEN
        return len(value.encode("utf-8", "surrogatepass")) + 2
    if isinstance(value, Mapping):
        return 2 + sum(_size(key) + 2 + _size(part) for key, part in value.items())
    if isinstance(value, list | tuple):
        return 2 + sum(1 + _size(part) for part in value)
    return 4
