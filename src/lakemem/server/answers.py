"""From what an agent gives to the events of its run. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lakemem.errors import InvalidInputError
from lakemem.responses import Event, Item, ResponseEvents, message_item, new_id, text_of
from lakemem.run_types import Run, RunEvent
from lakemem.server.shapes import response_of

RESUMED = "response.resumed"

_OF_THE_RUN = {f"response.{part}" for part in ("created", "queued", "in_progress")}
_ENDS = {f"response.{part}" for part in ("completed", "incomplete", "failed", "cancelled")}
_TOLD = ("usage", "metadata", "model", "custom_outputs", "incomplete_details")


class Answer:
    """The events of one attempt at a run: its items have their places after those that stand of earlier attempts.

    An agent may give whole events of the Responses API, or the few that MLflow's helpers make (a delta, an item that
    is done): what a client relies on besides is filled in. It may also give texts, whole items, and a whole response.

    Attributes:
        told: what the agent said of the answer besides its output: usage, custom_outputs and the like.
        failure: the code and the message, where it said that it failed.
    """

    def __init__(self, run: Run, kept: Sequence[Item] = ()) -> None:
        self._run = run
        self._kept = list(kept)
        self._events = ResponseEvents()
        self._events.next_place = len(kept)
        self._announced: set[int] = set()
        self._places: dict[str, int] = {}
        self._text_id: str | None = None
        self._text: list[str] = []
        self.told: dict[str, Any] = {}
        self.failure: tuple[str, str] | None = None
        self.is_incomplete = False

    @property
    def output(self) -> list[Item]:
        """The items that are done, with those that stand of earlier attempts."""
        return [*self._kept, *self._events.output]

    @property
    def waits(self) -> bool:
        """Whether the agent has asked something, and goes on when somebody answers."""
        return (self.told.get("custom_outputs") or {}).get("interrupts") is not None

    def opening(self, discard_after: int | None) -> list[Event]:
        """The first events of an attempt. The id of the run is in the first one of all.

        Args:
            discard_after: the number of the last event that stands, where there were earlier attempts.
        """
        if discard_after is None:
            shown = response_of(self._run)
            return [{"type": f"response.{part}", "response": shown} for part in ("created", "in_progress")]
        return [
            {
                "type": RESUMED,
                "attempt": self._run.attempt,
                "from_seq": self._run.last_sequence + 1,
                "discard_after_seq": discard_after,
                "conversation_id": self._run.thread_id,
            }
        ]

    def of(self, given: Any) -> list[Event]:
        """The events that one thing makes which the agent gave."""
        return [_without_number(event) for event in self._of(_plain(given))]

    def closing(self) -> list[Event]:
        """The events of a message that came in pieces and was not closed."""
        if self._text_id is None:
            return []
        message = message_item("".join(self._text), self._text_id)
        self._text_id, self._text = None, []
        return [_without_number(event) for event in self._events.item(message)]

    def ending(self, run: Run) -> list[Event]:
        """The last event of a run as it will be then."""
        shown = response_of(run, self.told)
        return [{"type": f"response.{shown['status']}", "response": shown, "custom_outputs": shown["custom_outputs"]}]

    def _of(self, given: Any) -> list[Event]:
        if given is None:
            return []
        if isinstance(given, str):
            self._text_id = self._text_id or new_id("msg")
            self._text.append(given)
            return self._events.delta(self._text_id, given)
        closing = self.closing()
        if isinstance(given, list):
            return [*closing, *self._whole({"output": given})]
        if not isinstance(given, Mapping):
            raise InvalidInputError(f"an agent gives texts, events, items and responses, not {type(given).__name__}")
        return [*closing, *self._of_mapping(dict(given))]

    def _of_mapping(self, event: dict[str, Any]) -> list[Event]:
        kind = event.get("type")
        if kind is None and "output" in event:
            return self._whole(event)
        if kind in _OF_THE_RUN:
            return []
        if kind in _ENDS:
            return self._end(event)
        if kind == "error" or (kind is None and event.get("error")):
            self._fail(event.get("error") or event)
            return []
        return self._item(event) if _is_item(event) else self._part(event)

    def _part(self, event: Event) -> list[Event]:
        kind, item = event.get("type"), event.get("item")
        if kind == "response.output_item.done" and isinstance(item, Mapping):
            return self._item(dict(item), self._place(event))
        if kind == "response.output_text.delta" and self._place_of(event) not in self._announced:
            return self._events.delta(str(event.get("item_id")), str(event.get("delta", "")))
        if kind == "response.output_item.added" and isinstance(item, Mapping):
            place = self._place(event)
            place = self._events.next_place if place is None else place
            self._events.take(place)
            self._announced.add(place)
            if item.get("id") is not None:
                self._places[str(item["id"])] = place
            return [{**event, "output_index": place}]
        place = self._place_of(event)
        return [event if place is None else {**event, "output_index": place}]

    def _item(self, item: Item, place: int | None = None) -> list[Event]:
        if place is None:
            place = self._places.get(str(item.get("id")))
        if place is not None and self._events.is_done(place):
            return []
        if place is not None and place in self._announced:
            return [self._events.done(item, place)]
        return self._events.item(_named(item), place=place)

    def _whole(self, response: Mapping[str, Any]) -> list[Event]:
        """A response that came in one piece."""
        self._hear(response)
        output = response.get("output") or []
        items = output if isinstance(output, list) else [output]
        return [event for item in items for event in self._of_whole_item(_plain(item))]

    def _of_whole_item(self, item: Any) -> list[Event]:
        if isinstance(item, str):
            return self._events.item(message_item(item, new_id("msg")))
        if not isinstance(item, Mapping):
            raise InvalidInputError(f"the output of an agent is a list of items, not of {type(item).__name__}")
        return self._item(dict(item))

    def _end(self, event: Event) -> list[Event]:
        """The agent's own last event: what it holds that did not come before is given now."""
        response = _plain(event.get("response")) or {}
        self._hear({**response, **{name: event[name] for name in ("custom_outputs",) if event.get(name)}})
        self.is_incomplete = event["type"] == "response.incomplete"
        if event["type"] == "response.failed":
            self._fail(response.get("error") or {})
            return []
        output = response.get("output") or []
        return [
            made
            for number, item in enumerate(output)
            if not self._events.is_done(len(self._kept) + number)
            for made in self._item(dict(_plain(item)), len(self._kept) + number)
        ]

    def _hear(self, response: Mapping[str, Any]) -> None:
        self.told |= {name: response[name] for name in _TOLD if response.get(name) is not None}
        if response.get("status") == "incomplete":
            self.is_incomplete = True
        if response.get("status") == "failed":
            self._fail(response.get("error") or {})

    def _fail(self, error: Any) -> None:
        error = error if isinstance(error, Mapping) else {"message": error}
        self.failure = (str(error.get("code") or "server_error"), str(error.get("message") or "the agent failed"))

    def _place(self, event: Event) -> int | None:
        """Where the agent says that an item stands, after those of earlier attempts."""
        number = event.get("output_index")
        return len(self._kept) + number if isinstance(number, int) else None

    def _place_of(self, event: Event) -> int | None:
        place = self._place(event)
        return self._places.get(str(event.get("item_id"))) if place is None else place


def standing(events: Iterable[RunEvent]) -> list[tuple[int, Item]]:
    """The items that are done in a run so far, each with the number of the event that says so."""
    done: list[tuple[int, Item]] = []
    for happened in events:
        event = happened.event
        if event.get("type") == RESUMED:
            done = [(number, item) for number, item in done if number <= event["discard_after_seq"]]
        elif event.get("type") == "response.output_item.done":
            done.append((happened.sequence_number, event["item"]))
    return done


def _is_item(given: Mapping[str, Any]) -> bool:
    """Whether it is an item itself, and no event about one."""
    if str(given.get("type", "message")).startswith("response."):
        return False
    return any(name in given for name in ("role", "call_id", "summary"))


def _named(item: Item) -> Item:
    """An item with an id, and a message of an agent's with the parts that clients read."""
    kind = item.get("type", "message")
    if kind == "message" and isinstance(item.get("content"), str):
        return message_item(text_of(item), item.get("id") or new_id("msg"))
    if kind == "function_call_output":
        return item
    return {**item, "type": kind, "id": item.get("id") or new_id("msg" if kind == "message" else "item")}


def _plain(given: Any) -> Any:
    return given.model_dump(mode="json", exclude_none=True) if hasattr(given, "model_dump") else given


def _without_number(event: Event) -> Event:
    """Postgres gives the numbers."""
    return {name: value for name, value in event.items() if name != "sequence_number"}
