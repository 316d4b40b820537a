"""Tells what is new in an input from the history that a client sent along with it."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

# Servers and clients make these up; they say nothing of what was said.
_MADE_UP = frozenset({"id", "status", "annotations", "logprobs", "provider_data", "phase"})


def after_echo(stored: Sequence[Mapping[str, Any]], given: Sequence[Mapping[str, Any]], *, from_start: bool) -> int:
    """Return the index at which the new items of an input begin; ``len(given)`` where all of it is stored.

    The input is read as history, and then what is new. The history ends at the item of the input that fits the
    thread best: its predecessors in the input are, in order, the predecessors in the thread, and it stands as
    near the thread's end as can be. Between two of them the thread may have more, such as tool calls that the
    client does not show, but no message of the user.

    Args:
        stored: the newest items of the thread, the oldest of them first.
        given: what the client sent.
        from_start: whether `stored` is all that the thread ever had.
    """
    history = _History(stored, from_start=from_start)
    anchor = history.best_anchor([_key(item) for item in given])
    if anchor is not None:
        return anchor + 1
    if any(item.get("type") == "compaction" for item in stored):
        # The history may be in the summary, where nothing can recognise it.
        others = [index for index, item in enumerate(given) if item.get("role") != "user"]
        return others[-1] + 1 if others else 0
    return 0


class _Chain(NamedTuple):
    """How far the items before a match agree."""

    length: int
    without_gap: int
    """How many of the last of them have no message between them in the thread that is not in the input."""
    covers_input: bool
    exhausts_thread: bool
    """Whether the first of them is the first message of the thread."""


@dataclass(frozen=True, slots=True)
class _Rank:
    """Which match is the best one: the greatest, by these in their order."""

    leaves_no_answers: bool
    """Whether none of a model's items that follow in the input is in the thread."""
    explained: bool
    """Whether nothing of the input before the match contradicts the thread, as far as that goes back."""
    place: int
    length: int
    leaves_something: bool
    index: int

    def key(self) -> tuple[bool, bool, int, int, bool, int]:
        return (
            self.leaves_no_answers, self.explained, self.place, self.length, self.leaves_something, self.index,
        )  # fmt: skip


class _History:
    """The keys of the items of a thread, and where they stand."""

    def __init__(self, stored: Sequence[Mapping[str, Any]], *, from_start: bool) -> None:
        self._from_start = from_start and not any(item.get("type") == "compaction" for item in stored[:1])
        self._users = [item.get("role") == "user" for item in stored]
        self._places: dict[Hashable, list[int]] = {}
        # Before each place: how many messages, and where the last of the user's.
        self._messages = [0]
        self._last_user: list[int] = []
        last_user = -1
        for place, item in enumerate(stored):
            self._places.setdefault(_key(item), []).append(place)
            self._last_user.append(last_user)
            self._messages.append(self._messages[-1] + ("role" in item))
            last_user = place if self._users[place] else last_user

    def best_anchor(self, given: Sequence[Hashable]) -> int | None:
        """Return the index of the last item of the input that is history."""
        known = [index for index, key in enumerate(given) if key in self._places]
        last_answer = max((index for index in known if not self._users[self._places[given[index]][0]]), default=-1)
        ranks: list[_Rank] = []
        before: Mapping[int, _Chain] = {}
        index_before = -1
        # What the thread does not have says nothing of what it has: such as what only the client shows.
        for index in known:
            known_before = given[index_before] if index_before >= 0 else None
            chains = {
                place: self._chain(place, known_before, before, adjacent=index == index_before + 1)
                for place in self._places[given[index]]
            }
            more = index + 1 < len(given)
            ranks += [
                _Rank(
                    leaves_no_answers=index >= last_answer,
                    explained=chain.covers_input or chain.exhausts_thread,
                    place=place,
                    length=chain.length,
                    leaves_something=more,
                    index=index,
                )
                for place, chain in chains.items()
                if self._can_be_anchor(place, chain, followed=more, first=chain.length == index + 1)
            ]
            before, index_before = chains, index
        return max(ranks, key=_Rank.key).index if ranks else None

    def _chain(self, place: int, key_before: Hashable, before: Mapping[int, _Chain], *, adjacent: bool) -> _Chain:
        if not before:
            return _Chain(1, 1, True, self._messages[place] == 0)
        places = self._places[key_before]
        nearest = bisect_left(places, place) - 1
        if nearest < 0 or places[nearest] < self._last_user[place]:
            return _Chain(1, 1, False, self._messages[place] == 0)
        previous, chain = places[nearest], before[places[nearest]]
        gap = not adjacent or self._messages[place] > self._messages[previous + 1]
        return chain._replace(length=chain.length + 1, without_gap=1 if gap else chain.without_gap + 1)

    def _can_be_anchor(self, place: int, chain: _Chain, *, followed: bool, first: bool) -> bool:
        """Whether a match means an echo: people say the same thing twice, and models hardly ever do."""
        if not self._users[place] or self._messages[place + 1] == self._messages[-1]:
            return True
        # The input and the thread begin in the same way, and the input goes on: a client that keeps no answers.
        return chain.without_gap > 1 or (followed and first and chain.exhausts_thread and self._from_start)


def _key(item: Mapping[str, Any]) -> Hashable:
    """What an item says, in whichever of its forms."""
    kind = item.get("type")
    for name in ("call_id", "approval_request_id", "tool_call_id"):
        if isinstance(item.get(name), str):
            return kind or item.get("role"), item[name]
    if "role" not in item:
        return _canonical(item)
    text, parts = _content(item.get("content"))
    calls = item.get("tool_calls")
    return item["role"], text, tuple(parts), _canonical(calls) if calls else None


def _content(content: Any) -> tuple[str, list[str]]:
    """The text of a message, and its other parts."""
    texts, others = [], []
    for part in content if isinstance(content, list | tuple) else [content]:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif part is not None:
            others.append(_canonical(part))
    return "".join(texts).strip(), others


def _canonical(value: Any) -> str:
    return json.dumps(_told(value), sort_keys=True, default=str)


def _told(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _told(part) for key, part in value.items() if key not in _MADE_UP and part is not None}
    return [_told(part) for part in value] if isinstance(value, list | tuple) else value
