"""Server-sent events: how an event goes over the wire, and from which one on a client wants them. Pure.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from lakemem.errors import InvalidInputError

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}
"""No proxy is to keep events back, or to compress them."""

DONE = "data: [DONE]\n\n"

KEEP_ALIVE = ": keep-alive\n"
"""A line of its own, without an empty one after it: once there was an id, that would be an event without data to the
`openai` client, which then fails."""

_LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}
"""What some clients take for the end of a line."""

ALL = -1
"""The cursor before the first event."""


def frame(event: str, number: int, run_id: str) -> str:
    """An event, which is an object in JSON, with its number: that is the cursor to go on after it."""
    if not event.isascii():
        event = event.translate(_LINE_ENDS)
    rest = event.removeprefix("{")
    comma = "" if rest == "}" else ","
    return f'id: {number}\ndata: {{"sequence_number":{number},"response_id":{json.dumps(run_id)}{comma}{rest}\n\n'


def cursor_of(query: Mapping[str, str], headers: Mapping[str, str]) -> int:
    """Return the number of the last event that a client has; -1 for none.

    ``Last-Event-ID`` counts before ``starting_after``: a browser that connects anew sends the first URL again.

    Raises:
        InvalidInputError: it is not a number from -1 up.
    """
    if given := headers.get("last-event-id"):
        return _cursor("Last-Event-ID", given)
    if given := query.get("starting_after"):
        return _cursor("starting_after", given)
    return ALL


def _cursor(name: str, given: str) -> int:
    digits = given.removeprefix("-")
    if digits.isascii() and digits.isdecimal() and len(digits) <= 18 and int(given) >= ALL:
        return int(given)
    raise InvalidInputError(f"{name} must be the sequence_number of an event, or -1 for all events")
