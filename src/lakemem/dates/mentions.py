"""How a text is gone through for dates: single ones, ranges, and those with an open end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import TypeAlias

from lakemem.dates.days import EARLIEST, LATEST, Days
from lakemem.dates.rules import RULES
from lakemem.dates.words import BEGIN

Read: TypeAlias = "tuple[Days | None, int] | None"
"""Days, or None for words that are no date; and where the text goes on. None where nothing was understood."""

_WORD = re.compile(rf"{BEGIN}[0-9a-z][\w']*")
# "the last week" is not "last week".
_THE = r"(?:the (?!last|past|next))?"
_PART_OF = rf"(?:(?:early|mid|late|(?:beginning|start|middle|end) of)[ -])?{_THE}"
_IN = re.compile(
    r"(?:in|during|throughout|around|early|mid|late"
    r"|(?:beginning|start|middle|end|half|weeks?|weekends?|month|days?) of)[ -]"
    rf"{_THE}{_PART_OF}(?:month of )?"
)
_OPEN = re.compile(rf"(?P<which>since|before|after|until|till|prior to) {_THE}{_PART_OF}")
_FROM = re.compile(rf"(?:from|between) {_THE}{_PART_OF}")
_TO = re.compile(rf"(?: (?:to|until|till|through) | ?[-\u2013] ?){_THE}{_PART_OF}")
_AND = re.compile(rf" (?:and|or) {_THE}{_PART_OF}")

_OPENED: dict[str, Callable[[Days], Days]] = {
    "since": lambda days: Days(days.first, LATEST),
    "after": lambda days: Days(days.after, LATEST),
    "before": lambda days: Days(EARLIEST, days.first),
    "prior to": lambda days: Days(EARLIEST, days.first),
    "until": lambda days: Days(EARLIEST, days.after),
    "till": lambda days: Days(EARLIEST, days.after),
}


def mentioned_days(text: str, today: date) -> Iterator[Days]:
    """Read what begins at each word, and go on behind what was understood."""
    text = " ".join(text.lower().replace("\u2019", "'").split())
    position = 0
    while word := _WORD.search(text, position):
        found = _mention(text, word.start(), today)
        while found:
            days, position = found
            if days is not None:
                yield days
            # "in May and June": the second is as certain as the first.
            also = _AND.match(text, position) if days else None
            found = _named(text, also.end(), today, is_certain=True) if also else None
        position = max(position, word.end())


def _mention(text: str, position: int, today: date) -> Read:
    if words := _FROM.match(text, position):
        if found := _range(text, words.end(), today, _TO) or _range(text, words.end(), today, _AND):
            return found
    elif words := _IN.match(text, position):
        return _range(text, words.end(), today, _TO) or _named(text, words.end(), today, is_certain=True)
    elif words := _OPEN.match(text, position):
        days, end = _named(text, words.end(), today, is_certain=True) or (None, position)
        if days is not None and (opened := _OPENED[words["which"]](days)).are_valid:
            return opened, end
    return _named(text, position, today, is_certain=False)


def _range(text: str, position: int, today: date, joint: re.Pattern[str]) -> Read:
    first, end = _named(text, position, today, is_certain=True) or (None, position)
    words = joint.match(text, end)
    if first is None or not words:
        return None
    last, end = _named(text, words.end(), today, is_certain=True) or (None, position)
    if last is None:
        return None
    if first.month or first.first > last.first:
        # "March" in "March to June 2020" is the last one before that June.
        first, _ = _named(text, position, last.first, is_certain=True) or (None, position)
    if first is None:
        return None
    return Days(min(first.first, last.first), max(first.after, last.after)), end


def _named(text: str, position: int, today: date, *, is_certain: bool) -> Read:
    """Read the date at a position; it `is_certain` to be one where the words before it say so."""
    for rule in RULES:
        if (is_certain or not rule.needs_certainty) and (match := rule.pattern.match(text, position)):
            try:
                days = rule.read(match, today)
            except (ValueError, OverflowError):  # the calendar has no such day
                continue
            if days is None or days.are_valid:
                return days, match.end()
    return None
