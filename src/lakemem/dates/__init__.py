"""The dates that a question in English names, as periods of time: by rules alone, and the same every time. Pure.

The rules are cautious, for what is found only makes memories of that time a little more likely. Read are:

- days: ``2023-05-07``, ``7 May 2023``, ``May 7th``, ``the 7th of May``, ``5-12 May``, ``Christmas``;
- months, years and seasons: ``in May``, ``May '23``, ``2022``, ``last May``, ``the summer of 2022``;
- what counts from the day of the question: ``yesterday``, ``last week``, ``on Friday``, ``three months ago``,
  ``in the last two weeks``, ``this year``, ``next weekend``;
- from one to another, and with an open end: ``between March and June 2023``, ``since April``, ``before 2021``.

What leaves room is settled thus:

- A week begins on Monday.
- ``last week`` is the calendar week before this one, and so with a month, a year and a weekend. ``the last week``,
  ``past week`` and ``the last two weeks`` end with today. ``three weeks ago`` is the whole of that week.
- A weekday is the last one before today.
- A month or a day without a year is that of any year. Where the end of a range needs a year, it is the last one
  that has begun.
- Seasons are those of the northern hemisphere, summer being June to August. A winter has the year that it begins in.

Not read are ``recently``, ``the other day`` and ``a few weeks ago``, which name no date; ``5/7/2023``, which is in
May here and in July there; times of day; and feasts that move, such as Easter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time

from lakemem.dates.days import Days
from lakemem.dates.mentions import mentioned_days
from lakemem.errors import InvalidInputError
from lakemem.validation import check_datetime

MAX_PERIODS = 16
"""A text that names more is no question about a time; the first of them count."""


@dataclass(frozen=True, slots=True)
class Period:
    """A time that a text names.

    Attributes:
        start: the first moment of it, in the time zone of whoever asked. A period without a beginning starts in
            the year 2.
        end: the first moment after it; in the year 9998 for a period without an end.
        month: 1 to 12 where no year was named, and this month of any year is meant; `start` and `end` are then
            those of the last one that has begun. Else None.
        day: the day of that month; None for all of it.
    """

    start: datetime
    end: datetime
    month: int | None = None
    day: int | None = None

    def contains(self, moment: datetime) -> bool:
        """Whether a moment, which needs a time zone, lies in this period."""
        if self.month is None:
            return self.start <= moment < self.end
        there = moment.astimezone(self.start.tzinfo)
        return there.month == self.month and self.day in (None, there.day)


def mentioned_periods(text: str, asked_at: datetime) -> tuple[Period, ...]:
    """Return the periods that a text names, each once, in their order, 16 at the most.

    The time that this takes grows with the length of the text, and no faster.

    Args:
        text: a question.
        asked_at: when it is asked; its time zone says when a day begins.

    Raises:
        InvalidInputError: `asked_at` is not a datetime, or has no time zone.
    """
    if check_datetime("asked_at", asked_at) is None:
        raise InvalidInputError("asked_at must be a datetime, not None")
    found: dict[Period, None] = {}
    for days in mentioned_days(text, asked_at.date()):
        found[_period(days, asked_at)] = None
        if len(found) == MAX_PERIODS:
            break
    return tuple(found)


def _period(days: Days, asked_at: datetime) -> Period:
    start, end = (datetime.combine(day, time.min, asked_at.tzinfo) for day in (days.first, days.after))
    return Period(start, end, days.month, days.day)
