"""Dates in questions: each form that is read, and what only looks like a date."""

from __future__ import annotations

import re
import time
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakemem import InvalidInputError
from lakemem.dates import MAX_PERIODS, Period, mentioned_periods

ZONE = timezone(timedelta(hours=2))
WEDNESDAY = datetime(2023, 8, 16, 14, 30, tzinfo=ZONE)
OPEN_START, OPEN_END = date(2, 1, 1), date(9998, 12, 31)

SPANS = {
    # Days
    "2023-05-07": "2023-05-07",
    "What happened on 2023-05-07?": "2023-05-07",
    "the deploy of 2023-05-07T12:30:00Z": "2023-05-07",
    "2023-05-07T12:30:00.123+02:00": "2023-05-07",
    "2023/05/07": "2023-05-07",
    "7 May 2023": "2023-05-07",
    "07 May 2023": "2023-05-07",
    "7th May, 2023": "2023-05-07",
    "7. May 2023": "2023-05-07",
    "the 7th of May 2023": "2023-05-07",
    "the seventh of May, 2023": "2023-05-07",
    "the twenty-first of May 2023": "2023-05-21",
    "May 7th, 2023": "2023-05-07",
    "MAY 7, 2023": "2023-05-07",
    "May the 7th 2023": "2023-05-07",
    "on Sunday, 7 May 2023, at noon": "2023-05-07",
    "Sunday, May 7th, 2023": "2023-05-07",
    "Dec. 5, 2022": "2022-12-05",
    "5 Sept '22": "2022-09-05",
    "29 February 2020": "2020-02-29",
    "today": "2023-08-16",
    "What is on tonight?": "2023-08-16",
    "this morning": "2023-08-16",
    "yesterday's meeting": "2023-08-15",
    "last night": "2023-08-15",
    "the day before yesterday": "2023-08-14",
    "tomorrow": "2023-08-17",
    "the day after tomorrow": "2023-08-18",
    "three days ago": "2023-08-13",
    "10 days ago": "2023-08-06",
    "a couple of days ago": "2023-08-14",
    "twenty-one days ago": "2023-07-26",
    "thirty days ago": "2023-07-17",
    "two nights ago": "2023-08-14",
    "on Friday": "2023-08-11",
    "What did I eat Friday?": "2023-08-11",
    "last Friday": "2023-08-11",
    "this past Friday": "2023-08-11",
    "on Wednesday": "2023-08-09",
    "last Wednesday": "2023-08-09",
    "Monday": "2023-08-14",
    "this Wednesday": "2023-08-16",
    "this Friday": "2023-08-18",
    "this Monday": "2023-08-14",
    "next Monday": "2023-08-21",
    "next Wednesday": "2023-08-23",
    "coming Friday": "2023-08-18",
    "Friday last week": "2023-08-11",
    "on Monday of last week": "2023-08-07",
    "Friday next week": "2023-08-25",
    "Friday night": "2023-08-11",
    "Christmas 2020": "2020-12-25",
    "Christmas Eve 2020": "2020-12-24",
    "Christmas Day of 2020": "2020-12-25",
    "last Christmas": "2022-12-25",
    "next Christmas": "2023-12-25",
    "this Christmas": "2023-12-25",
    "New Year\u2019s Eve 2021": "2021-12-31",
    "last Halloween": "2022-10-31",
    # Months, seasons and years
    "in May 2023": "2023-05",
    "May of 2023": "2023-05",
    "May, 2023": "2023-05",
    "May '23": "2023-05",
    "May \u201999": "1999-05",
    "2023-05": "2023-05",
    "Sept. 2022": "2022-09",
    "mid-May 2023": "2023-05",
    "31 April 2023": "2023-04",
    "last May": "2023-05",
    "last August": "2022-08",
    "next May": "2024-05",
    "this May?": "2023-05",
    "last December": "2022-12",
    "last month": "2023-07",
    "this month": "2023-08",
    "next month": "2023-09",
    "a month ago": "2023-07",
    "eight months ago": "2022-12",
    "in the summer of 2022": "2022-06..2022-08",
    "summer 2022": "2022-06..2022-08",
    "fall of '21": "2021-09..2021-11",
    "winter 2022": "2022-12..2023-02",
    "last summer": "2022-06..2022-08",
    "this summer": "2023-06..2023-08",
    "next spring": "2024-03..2024-05",
    "last winter": "2022-12..2023-02",
    "in the spring": "2023-03..2023-05",
    "in autumn": "2022-09..2022-11",
    "during the summer": "2023-06..2023-08",
    "2022": "2022",
    "in 2022": "2022",
    "What did I do in 2022?": "2022",
    "the 2022 elections": "2022",
    "my 2019 trip": "2019",
    "Paris 2019": "2019",
    "late 2022": "2022",
    "at the end of 2022": "2022",
    "(2022)": "2022",
    "in '22": "2022",
    "last year": "2022",
    "this year": "2023",
    "next year": "2024",
    "two years ago": "2021",
    "an year back": "2022",
    # Weeks, and runs of days
    "this week": "2023-08-14..2023-08-20",
    "last week": "2023-08-07..2023-08-13",
    "next week": "2023-08-21..2023-08-27",
    "the week before last": "2023-07-31..2023-08-06",
    "three weeks ago": "2023-07-24..2023-07-30",
    "a fortnight ago": "2023-07-31..2023-08-06",
    "this weekend": "2023-08-19..2023-08-20",
    "last weekend": "2023-08-12..2023-08-13",
    "next weekend": "2023-08-26..2023-08-27",
    "over the weekend": "2023-08-12..2023-08-13",
    "in the last two weeks": "2023-08-02..2023-08-16",
    "the past 10 days": "2023-08-06..2023-08-16",
    "over the past three months": "2023-05-16..2023-08-16",
    "in the last year": "2022-08-16..2023-08-16",
    "past month": "2023-07-16..2023-08-16",
    "this past week": "2023-08-09..2023-08-16",
    "in the next three days": "2023-08-16..2023-08-19",
    "5-12 May 2023": "2023-05-05..2023-05-12",
    "from 5 to 12 May 2023": "2023-05-05..2023-05-12",
    "between the 5th and the 12th of May": "2023-05-05..2023-05-12",
    "May 5\u201312": "2023-05-05..2023-05-12",
    # From one to another
    "between March and June 2023": "2023-03..2023-06",
    "between March and June": "2023-03..2023-06",
    "from March to June 2030": "2030-03..2030-06",
    "from November to February": "2022-11..2023-02",
    "from November 2021 to February 2022": "2021-11..2022-02",
    "between October and June 2020": "2019-10..2020-06",
    "between 2019 and 2021": "2019..2021",
    "between 2021 and 2019": "2019..2021",
    "from 2019 through 2021": "2019..2021",
    "2019-2021": "2019..2021",
    "2019 \u2013 2021": "2019..2021",
    "from 7 May to 9 June 2023": "2023-05-07..2023-06-09",
    "between 2023-05-07 and 2023-05-09": "2023-05-07..2023-05-09",
    "from Monday to Friday": "2023-08-07..2023-08-11",
    "from Monday until yesterday": "2023-08-14..2023-08-15",
    "from last week until today": "2023-08-07..2023-08-16",
    # With an open end
    "since April": "2023-04..",
    "since last Friday": "2023-08-11..",
    "since the summer of 2022": "2022-06..",
    "since early May": "2023-05..",
    "after 2021": "2022..",
    "after Christmas": "2022-12-26..",
    "before 2021": "..2020",
    "prior to May 2023": "..2023-04",
    "before yesterday": "..2023-08-14",
    "until May": "..2023-05",
}

RECURRING = {
    "in May": [(5, None)],
    "in may": [(5, None)],
    "in early May": [(5, None)],
    "at the end of May": [(5, None)],
    "the second week of March": [(3, None)],
    "in Dec.": [(12, None)],
    "in the month of June": [(6, None)],
    "every May": [(5, None)],
    "January": [(1, None)],
    "in May and June": [(5, None), (6, None)],
    "in April or September": [(4, None), (9, None)],
    "May 7": [(5, 7)],
    "May 7th": [(5, 7)],
    "on 7 May": [(5, 7)],
    "the 7th of May": [(5, 7)],
    "the second of May": [(5, 2)],
    "March 3 in Rome": [(3, 3)],
    "on May 7 we met": [(5, 7)],
    "the 4th of July": [(7, 4)],
    "February 29": [(2, 29)],
    "Christmas": [(12, 25)],
    "Christmas Eve": [(12, 24)],
    "New Year's Eve": [(12, 31)],
    "Halloween": [(10, 31)],
}

SEVERAL = {
    "yesterday or last month": ["2023-08-15", "2023-07"],
    "in 2019 and 2021": ["2019", "2021"],
    "Was it on Monday, on Tuesday or last week?": ["2023-08-14", "2023-08-15", "2023-08-07..2023-08-13"],
}

NO_DATES = [
    "",
    "What does the user like?",
    # Words that are months elsewhere
    "may I ask",
    "this may be wrong",
    "the last may be first",
    "What may happen next may surprise",
    "only 7 may come",
    "the 7th may be too late",
    "you may 3 times",
    "march on",
    "the march on Washington",
    "the second march on Rome",
    "March 3 miles",
    "What did June say to April?",
    "Theresa May",
    "an august person",
    "Jan and Mar",
    "marching in maybe",
    # Days and seasons that are none
    "the sun sat down",
    "she wed on a mon",
    "every Friday",
    "each Monday",
    "on Fridays",
    "Black Friday",
    "every week",
    "spring is in the air, and I fall",
    "hot summers",
    "yesterdays",
    # No number of any year
    "one second",
    "second place",
    "20221",
    "12022",
    "1800",
    "2,022",
    "2022.5",
    "1.2022",
    "v2022",
    "version 2022",
    "Python 3.11",
    "release 2022.1.3",
    "Windows 2000",
    "room 2019",
    "code: 1984",
    "issue #2022",
    "RFC 2022",
    "+2022",
    "555-2022",
    "2022-55555",
    "/srv/2022/log",
    "a_2022",
    "id=2022",
    "me@2022",
    "the 1990s",
    # Times
    "at 7:30",
    "at 20:22",
    "at 2015",
    "2015 pm",
    "7 pm",
    "in 5 minutes",
    "three hours ago",
    # Prices and other numbers of things
    "$2022",
    "2022 €",
    "€ 5 and £2000",
    "USD 2000",
    "2000 dollars",
    "in 2000 words",
    "between 1900 and 2000 people",
    "from 2000 steps to 3000",
    "2000 kcal",
    "2000 elephants",
    "50%",
    # Not of the calendar
    "Feb 30",
    "31 April",
    "2023-02-30",
    "2023-13-01",
    "0 May",
    "May 0",
    "in the last 999 years of the dinosaurs",
    "99 years' war",
    # Without a date, or with one that depends on where it is read
    "recently",
    "lately",
    "the other day",
    "a few weeks ago",
    "some years ago",
    "half a year ago",
    "once, long ago",
    "5/7/2023",
    "7.5.2023",
    "Easter",
    "the last week of school",
    "New Year's resolutions",
    "how long did it last",
    "the past",
    "next to the week",
]


def day_range(text: str) -> tuple[date, date]:
    """The first day of what a table says, and the day after it."""
    first, dots, last = text.partition("..")
    return (
        _days(first)[0] if first else OPEN_START,
        _days(last)[1] if last else OPEN_END if dots else _days(first)[1],
    )


def _days(text: str) -> tuple[date, date]:
    year, month, day = ([int(part) for part in text.split("-")] + [0, 0])[:3]
    if day:
        return date(year, month, day), date(year, month, day) + timedelta(1)
    if month:
        return date(year, month, 1), date(year + month // 12, month % 12 + 1, 1)
    return date(year, 1, 1), date(year + 1, 1, 1)


def days_of(period: Period) -> tuple[date, date]:
    for moment in (period.start, period.end):
        assert (moment.hour, moment.minute, moment.tzinfo) == (0, 0, ZONE)
    return period.start.date(), period.end.date()


@pytest.mark.parametrize(("text", "expected"), SPANS.items())
def test_a_date_is_read(text: str, expected: str) -> None:
    [period] = mentioned_periods(text, WEDNESDAY)
    assert days_of(period) == day_range(expected)
    assert (period.month, period.day) == (None, None)


@pytest.mark.parametrize(("text", "expected"), RECURRING.items())
def test_a_date_without_a_year_is_of_any_year(text: str, expected: list[tuple[int, int | None]]) -> None:
    periods = mentioned_periods(text, WEDNESDAY)
    assert [(period.month, period.day) for period in periods] == expected
    for period in periods:
        assert period.month is not None
        assert (period.start.month, period.start.day) == (period.month, period.day or 1)
        assert period.contains(period.start)
        assert period.start <= WEDNESDAY


@pytest.mark.parametrize(("text", "expected"), SEVERAL.items())
def test_several_dates_stand_in_their_order(text: str, expected: list[str]) -> None:
    assert [days_of(period) for period in mentioned_periods(text, WEDNESDAY)] == [day_range(part) for part in expected]


@pytest.mark.parametrize("text", NO_DATES)
def test_what_only_looks_like_a_date_is_none(text: str) -> None:
    assert mentioned_periods(text, WEDNESDAY) == ()


@pytest.mark.parametrize(
    ("text", "asked", "expected"),
    [
        ("over the weekend", date(2023, 8, 19), "2023-08-19..2023-08-20"),
        ("last weekend", date(2023, 8, 20), "2023-08-12..2023-08-13"),
        ("last weekend", date(2023, 8, 21), "2023-08-19..2023-08-20"),
        ("last week", date(2023, 8, 20), "2023-08-07..2023-08-13"),
        ("last week", date(2023, 8, 21), "2023-08-14..2023-08-20"),
        ("on Friday", date(2023, 8, 18), "2023-08-11"),
        ("on Friday", date(2023, 8, 19), "2023-08-18"),
        ("last Christmas", date(2023, 12, 25), "2022-12-25"),
        ("last Christmas", date(2023, 12, 26), "2023-12-25"),
        ("this winter", date(2024, 1, 10), "2023-12..2024-02"),
        ("last winter", date(2024, 1, 10), "2022-12..2023-02"),
        ("in winter", date(2024, 1, 10), "2023-12..2024-02"),
        ("last month", date(2024, 1, 31), "2023-12"),
        ("one month ago", date(2023, 3, 31), "2023-02"),
        ("past month", date(2023, 3, 31), "2023-02-28..2023-03-31"),
        ("in the last year", date(2024, 2, 29), "2023-02-28..2024-02-29"),
        ("since August", date(2023, 8, 1), "2023-08.."),
        ("since August", date(2023, 7, 31), "2022-08.."),
        ("between March and June", date(2023, 4, 1), "2022-03..2022-06"),
        ("May '44", date(2023, 8, 16), "1944-05"),
        ("May '43", date(2023, 8, 16), "2043-05"),
    ],
)
def test_the_day_of_the_question_decides(text: str, asked: date, expected: str) -> None:
    [period] = mentioned_periods(text, datetime.combine(asked, datetime.min.time(), ZONE))
    assert days_of(period) == day_range(expected)


def test_a_day_begins_where_the_question_is_asked() -> None:
    asked = datetime(2023, 8, 16, 23, 30, tzinfo=UTC)
    [utc] = mentioned_periods("today", asked)
    [tokyo] = mentioned_periods("today", asked.astimezone(ZoneInfo("Asia/Tokyo")))
    assert (utc.start.day, tokyo.start.day) == (16, 17)
    assert utc.contains(asked)
    assert tokyo.contains(asked)
    assert tokyo.end - tokyo.start == timedelta(1)


def test_a_period_is_half_open() -> None:
    [period] = mentioned_periods("May 2023", WEDNESDAY)
    moment = timedelta(microseconds=1)
    assert period.contains(period.start)
    assert not period.contains(period.start - moment)
    assert period.contains(period.end - moment)
    assert not period.contains(period.end)


def test_a_day_of_any_year_is_that_day_where_the_question_is_asked() -> None:
    [period] = mentioned_periods("on 7 May", WEDNESDAY)
    assert period.contains(datetime(1999, 5, 7, 12, tzinfo=ZONE))
    assert period.contains(datetime(2023, 5, 6, 22, tzinfo=UTC))
    assert not period.contains(datetime(2023, 5, 7, 22, tzinfo=UTC))
    [month] = mentioned_periods("in May", WEDNESDAY)
    assert month.contains(datetime(1999, 5, 31, tzinfo=ZONE))
    assert not month.contains(datetime(1999, 6, 1, tzinfo=ZONE))


def test_only_so_many_dates_count() -> None:
    text = ", ".join(f"in {year}" for year in range(1950, 2010))
    periods = mentioned_periods(text, WEDNESDAY)
    assert [period.start.year for period in periods] == list(range(1950, 1950 + MAX_PERIODS))
    assert len(mentioned_periods("in 2022 " * 100, WEDNESDAY)) == 1


@pytest.mark.parametrize("asked_at", [datetime(2023, 8, 16), date(2023, 8, 16), None, "today"])
def test_a_question_is_asked_at_a_moment(asked_at: datetime) -> None:
    with pytest.raises(InvalidInputError):
        mentioned_periods("today", asked_at)


# Any text

WORDS = sorted(
    {word for text in [*SPANS, *RECURRING, *SEVERAL, *NO_DATES] for word in re.findall(r"[\w']+|[^\w\s]|\s", text)}
)
MOMENTS = st.datetimes(
    datetime(2, 1, 2), datetime(9998, 12, 30), timezones=st.sampled_from([UTC, ZONE, timezone(-timedelta(hours=12))])
)
TEXTS = st.text() | st.lists(st.sampled_from(WORDS)).map(" ".join) | st.lists(st.sampled_from(WORDS)).map("".join)


@given(TEXTS, MOMENTS)
def test_any_text_gives_periods_that_end_after_they_begin(text: str, asked_at: datetime) -> None:
    periods = mentioned_periods(text, asked_at)
    assert len(set(periods)) == len(periods) <= MAX_PERIODS
    for period in periods:
        assert period.start < period.end
        assert period.contains(period.start)
        assert not period.contains(period.start - timedelta(days=1)) or period.month
        assert period.day is None or period.month is not None
    assert mentioned_periods(text, asked_at) == periods


FORMATS = [
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%d %B %Y",
    "%B %d, %Y",
    "%d %b %Y",
    "%b. %d %Y",
    "the %dth of %B %Y",
    "%A, %d %B %Y",
]


@given(st.dates(date(1900, 1, 1), date(2099, 12, 31)), st.sampled_from(FORMATS), MOMENTS)
def test_a_written_date_is_read_back(day: date, form: str, asked_at: datetime) -> None:
    [period] = mentioned_periods(f"What did I say on {day.strftime(form)} about it?", asked_at)
    assert (period.start.date(), period.end.date()) == (day, day + timedelta(1))


@given(st.dates(date(1900, 1, 1), date(2099, 12, 31)), st.sampled_from(["%d %B", "%B %dth", "the %dth of %B"]), MOMENTS)
def test_a_written_day_without_a_year_holds_that_day(day: date, form: str, asked_at: datetime) -> None:
    [period] = mentioned_periods(f"What did I say on {day.strftime(form)}?", asked_at)
    assert period.contains(datetime.combine(day, datetime.min.time(), asked_at.tzinfo))


@given(st.integers(1, 400), st.sampled_from(["day", "week", "month", "year"]))
def test_what_was_so_long_ago_lies_in_its_period(count: int, unit: str) -> None:
    [period] = mentioned_periods(f"{count} {unit}s ago", WEDNESDAY)
    days = {"day": 1, "week": 7, "month": 30.436875, "year": 365.2425}[unit] * count
    middle = period.start + (period.end - period.start) / 2
    about = {"day": 1, "week": 7, "month": 31, "year": 366}[unit]
    assert abs((WEDNESDAY - middle) - timedelta(days)) <= timedelta(about)


@pytest.mark.parametrize(
    "part",
    ["may 7 ", "2022 ", "from ", "from may to ", "the last ", "one ", "a", "'", "2022-", "the day before ", "in the "],
)
def test_the_time_grows_with_the_text_alone(part: str) -> None:
    small, large = 2_000, 40_000

    def seconds(length: int) -> float:
        text = part * (length // len(part))
        best = float("inf")
        for _ in range(3):
            before = time.process_time()
            mentioned_periods(text, WEDNESDAY)
            best = min(best, time.process_time() - before)
        return best

    assert seconds(large) < 4 * large / small * seconds(small) + 0.01
