"""Runs of days, and how they are counted."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta
from typing import Literal, NamedTuple, TypeAlias

EARLIEST, LATEST = date(2, 1, 1), date(9998, 12, 31)
"""Where days without a beginning begin, and days without an end end: every time zone has them."""

# The last of them falls into the next year.
FIRST_MONTHS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}

Unit: TypeAlias = Literal["day", "week", "weekend", "month", "year"]


class Days(NamedTuple):
    """Days from the first to the one before `after`; with a month, and perhaps its day, those of any year."""

    first: date
    after: date
    month: int | None = None
    day: int | None = None

    @property
    def are_valid(self) -> bool:
        return EARLIEST <= self.first < self.after <= LATEST


def in_calendar(year: int, month: int | None = None, day: int | None = None) -> Days:
    """A year, a month or a day; ValueError where the calendar does not have it."""
    if month is None:
        return whole("year", date(year, 1, 1))
    return whole("month" if day is None else "day", date(year, month, day or 1))


def of_any_year(month: int, day: int | None, today: date) -> Days:
    """A month or a day of any year, as the last one that has begun; ValueError where no year has it."""
    for year in range(today.year, today.year - 9, -1):  # a leap day is up to eight years back
        if (day or 1) <= monthrange(year, month)[1] and date(year, month, day or 1) <= today:
            return in_calendar(year, month, day)._replace(month=month, day=day)
    raise ValueError("no year has this day")


def season(name: str, year: int) -> Days:
    first = date(year, FIRST_MONTHS[name], 1)
    return Days(first, moved(first, 3, "month"))


def whole(unit: Unit, day: date, steps: int = 0) -> Days:
    """The day, week, weekend, month or year that lies so many steps from the one that holds a day."""
    if unit == "weekend":
        monday = whole("week", day, steps).first
        return Days(monday + timedelta(5), monday + timedelta(7))
    if unit == "week":
        day -= timedelta(day.weekday())
    elif unit != "day":
        day = day.replace(day=1) if unit == "month" else day.replace(month=1, day=1)
    first = moved(day, steps, unit)
    return Days(first, moved(first, 1, unit))


def moved(day: date, steps: int, unit: Unit) -> date:
    """The day so many days, weeks, months or years later; the last of its month where that is shorter."""
    if unit in ("day", "week"):
        return day + steps * timedelta(7 if unit == "week" else 1)
    years, month = divmod(day.month - 1 + steps * (12 if unit == "year" else 1), 12)
    year = day.year + years
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))
