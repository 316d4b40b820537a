"""What each form of a date means."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import NamedTuple, TypeAlias, cast

from lakemem.dates.days import Days, Unit, in_calendar, moved, of_any_year, season, whole
from lakemem.dates.words import (
    CLEAR_MONTH,
    DAY,
    EACH,
    END,
    FEAST,
    FEASTS,
    FEW,
    FRIDAYS,
    MONTH,
    MONTH_NOT_VERB,
    MONTHS,
    NOT_COUNTED,
    NUMBER,
    NUMBERED,
    ONES,
    ORDINAL,
    ORDINALS,
    SEASON,
    TENS,
    WEEKDAY,
    WEEKDAYS,
    YEAR,
)

Reader: TypeAlias = Callable[[re.Match[str], date], Days | None]


class Rule(NamedTuple):
    """A form of dates.

    Attributes:
        pattern: how it is written.
        read: what it means on a day; None for words that look like a date and are none. ValueError where the
            calendar has no such day.
        needs_certainty: whether it is a date only after a word such as "in" or "since".
    """

    pattern: re.Pattern[str]
    read: Reader
    needs_certainty: bool


RULES: list[Rule] = []
"""The first one that matches counts."""


def _rule(*patterns: str, needs_certainty: bool = False) -> Callable[[Reader], Reader]:
    def add(read: Reader) -> Reader:
        RULES.extend(Rule(re.compile(pattern), read, needs_certainty) for pattern in patterns)
        return read

    return add


_WHICH = r"(?P<which>last|this past|past|previous|this coming|this|current|coming|next|every)"


# Dates of the calendar


@_rule(
    r"(?P<year>[12][0-9]{3})(?P<dash>[-/])(?P<month>0[1-9]|1[0-2])(?P=dash)(?P<day>[0-3][0-9])"
    rf"(?:t[0-9:.]{{2,15}}(?:z|[+-][0-9:]{{2,6}})?)?{END}",
    rf"(?P<year>(?:19|20)[0-9]{{2}})-(?P<month>0[1-9]|1[0-2]){END}",
)
def _iso(match: re.Match[str], today: date) -> Days:
    year, month, day = (match.groupdict().get(part) for part in ("year", "month", "day"))
    return in_calendar(int(year or 0), int(month or 0), int(day) if day else None)


@_rule(
    rf"(?:on )?(?:the )?{ORDINAL} of {MONTH}(?:,? {YEAR}|{END})",
    rf"(?:on )?(?:{WEEKDAY},? )?(?:the )?{DAY}(?:(?P<of> of)|\.)? {MONTH}(?:,? {YEAR}|{END}(?(of)|{MONTH_NOT_VERB}))",
    rf"(?:on )?(?:{WEEKDAY},? )?{MONTH} (?:the )?{DAY}(?:,? {YEAR}|{END}{NOT_COUNTED})",
)
def _days_of_a_month(match: re.Match[str], today: date) -> Days:
    month, day = _month(match), _ordinal(match["day"])
    days = in_calendar(_year(match, today), month, day) if match["year"] else of_any_year(month, day, today)
    if until := match.groupdict().get("until"):
        return Days(days.first, in_calendar(days.first.year, month, _ordinal(until)).after)
    return days


@_rule(rf"{MONTH}(?: of|,)? {YEAR}")
def _month_of_a_year(match: re.Match[str], today: date) -> Days:
    return in_calendar(_year(match, today), _month(match))


@_rule(rf"{SEASON}(?: of|,)? {YEAR}")
def _season_of_a_year(match: re.Match[str], today: date) -> Days:
    return season(match["season"], _year(match, today))


@_rule(rf"{FEAST}(?:,| of| in)? {YEAR}")
def _feast_of_a_year(match: re.Match[str], today: date) -> Days:
    return in_calendar(_year(match, today), *FEASTS[match["feast"]])


@_rule(r"(?P<from>(?:19|20)[0-9]{2}) ?[-\u2013] ?" + YEAR)
def _years(match: re.Match[str], today: date) -> Days:
    return Days(in_calendar(int(match["from"])).first, in_calendar(_year(match, today)).after)


# Days and units that count from today


@_rule(rf"(?P<day>the day before yesterday|yesterday|last night|tomorrow|the day after tomorrow){END}")
def _near_day(match: re.Match[str], today: date) -> Days:
    steps = {"the day before yesterday": -2, "tomorrow": 1, "the day after tomorrow": 2}
    return whole("day", today, steps.get(match["day"], -1))


@_rule(rf"(?:today|tonight|this morning|this afternoon|this evening){END}")
def _today(match: re.Match[str], today: date) -> Days:
    return whole("day", today)


@_rule(rf"half an? (?:day|week|month|year) ago{END}")
def _halves(match: re.Match[str], today: date) -> None:
    return None


@_rule(rf"{NUMBER} (?P<unit>day|night|week|fortnight|month|year)s? (?:ago|back){END}")
def _ago(match: re.Match[str], today: date) -> Days:
    weeks = 2 if match["unit"] == "fortnight" else 1
    return whole(_unit(match), today, -weeks * _number(match["number"]))


@_rule(
    rf"(?P<which>last|past|previous|coming|next) {NUMBER} (?P<unit>day|night|week|month|year)s?{END}(?! of)",
    rf"(?P<which>the last|the past|this past|past|the next) (?P<unit>day|week|month|year){END}(?! of)",
)
def _up_to_or_from_today(match: re.Match[str], today: date) -> Days:
    number = _number(match.groupdict().get("number") or "one")
    if _step(match) > 0:
        return Days(today, moved(today, number, _unit(match)) + timedelta(1))
    return Days(moved(today, -number, _unit(match)), today + timedelta(1))


@_rule(rf"{_WHICH} (?P<unit>week|weekend|month|year){END}(?! of)")
def _this_or_last(match: re.Match[str], today: date) -> Days | None:
    return None if match["which"] == "every" else whole(_unit(match), today, _step(match))


@_rule(rf"(?P<unit>week|weekend|month|year) before last{END}")
def _before_last(match: re.Match[str], today: date) -> Days:
    return whole(_unit(match), today, -2)


@_rule(rf"(?:over|on|at|during) the weekend{END}(?! of)")
def _latest_weekend(match: re.Match[str], today: date) -> Days:
    return whole("weekend", today, 0 if today.weekday() >= WEEKDAYS.index("saturday") else -1)


@_rule(rf"(?:on )?{WEEKDAY}(?: of)? (?P<which>last|this|next) week{END}")
def _weekday_of_a_week(match: re.Match[str], today: date) -> Days:
    return whole("day", whole("week", today, _step(match)).first, WEEKDAYS.index(match["weekday"]))


@_rule(rf"(?:on )?(?:{_WHICH} )?{WEEKDAY}{END}")
def _weekday(match: re.Match[str], today: date) -> Days | None:
    if {match["which"], _word_before(match)} & (EACH | FRIDAYS):
        return None
    ahead = WEEKDAYS.index(match["weekday"]) - today.weekday()
    if match["which"] == "this":
        return whole("day", today, ahead)
    if match["which"] and _step(match) > 0:
        return whole("day", today, (ahead - 1) % 7 + 1)
    return whole("day", today, ahead % 7 - 7)


# What comes back each year


@_rule(rf"{_WHICH} (?:{MONTH}{MONTH_NOT_VERB}|{SEASON}|{FEAST}){END}")
def _of_the_last_or_next_year(match: re.Match[str], today: date) -> Days:
    if match["which"] == "every" and match["month"]:
        return of_any_year(_month(match), None, today)

    def in_year(year: int) -> Days:
        if match["season"]:
            return season(match["season"], year)
        return in_calendar(year, *(FEASTS[match["feast"]] if match["feast"] else (_month(match),)))

    near = [in_year(year) for year in range(today.year - 2, today.year + 3)]
    if _step(match) < 0:
        return max(days for days in near if days.after <= today)
    if _step(match) > 0:
        return min(days for days in near if days.first > today)
    return next((days for days in near if days.first <= today < days.after), in_year(today.year))


@_rule(rf"{FEAST}{END}")
def _feast(match: re.Match[str], today: date) -> Days:
    return of_any_year(*FEASTS[match["feast"]], today)


@_rule(rf"{SEASON}{END}", needs_certainty=True)
def _latest_season(match: re.Match[str], today: date) -> Days:
    this_year = season(match["season"], today.year)
    return this_year if this_year.first <= today else season(match["season"], today.year - 1)


@_rule(rf"{MONTH}{END}", needs_certainty=True)
@_rule(rf"{CLEAR_MONTH}{END}")
def _month_of_any_year(match: re.Match[str], today: date) -> Days:
    return of_any_year(_month(match), None, today)


# Years


@_rule(YEAR, needs_certainty=True)
@_rule(rf"(?:of|from|by|year|the|my|our|your|his|her|their) {YEAR}")
def _certain_year(match: re.Match[str], today: date) -> Days:
    return in_calendar(_year(match, today))


@_rule(rf"(?!'){YEAR}(?! \w{{1,20}}s\b)")
def _likely_year(match: re.Match[str], today: date) -> Days | None:
    return None if _word_before(match) in NUMBERED else in_calendar(_year(match, today))


# Words to numbers


def _year(match: re.Match[str], today: date) -> int:
    written = match["year"]
    if not written.startswith("'"):
        return int(written)
    year = today.year // 100 * 100 + int(written[1:])
    return year if year <= today.year + 20 else year - 100


def _month(match: re.Match[str]) -> int:
    return MONTHS.index(match["month"][:3]) + 1


def _ordinal(written: str) -> int:
    return ORDINALS.get(written) or int(written.rstrip("stndrh"))


def _number(written: str) -> int:
    if written.isdecimal():
        return int(written)
    numbers = {**FEW, **ONES, **TENS}
    return numbers.get(written) or sum(numbers[word] for word in re.split("[ -]", written))


def _unit(match: re.Match[str]) -> Unit:
    return cast("Unit", {"night": "day", "fortnight": "week"}.get(match["unit"], match["unit"]))


def _step(match: re.Match[str]) -> int:
    """-1 for the one before this, 1 for the one after it, 0 for this."""
    which = match["which"].split()[-1]
    return {"last": -1, "past": -1, "previous": -1, "next": 1, "coming": 1}.get(which, 0)


def _word_before(match: re.Match[str]) -> str:
    return match.string[max(0, match.start() - 16) : match.start()].rstrip(" .:#").rpartition(" ")[2]
