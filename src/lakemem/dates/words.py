"""The words of dates, as parts of regular expressions that match texts in lower case.

No part matches a text of any length, so that a match takes bounded time.
"""

from __future__ import annotations


def _numbers(words: str) -> dict[str, int]:
    return {word: number for number, word in enumerate(words.split(), 1)}


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# A date is no part of a longer word, number, price, version, time, path or address.
BEGIN = r"(?<![\w$€£¥#@&=+/\\_-])(?<![0-9][.,:\u2013])"
END = r"(?![\w@\\])(?![.,:/\u2013-][0-9])(?![$€£¥])(?! ?[%°€£])"

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
# The others are verbs, adjectives or first names, too.
CLEAR_MONTH = r"(?P<month>january|february|july|september|october|november|december)"

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
WEEKDAY = rf"(?P<weekday>{'|'.join(WEEKDAYS)})"

SEASON = r"(?P<season>spring|summer|autumn|fall|winter)"

FEASTS = {
    "christmas eve": (12, 24),
    "christmas": (12, 25),
    "boxing day": (12, 26),
    "new year's eve": (12, 31),
    "new year's day": (1, 1),
    "valentine's day": (2, 14),
    "halloween": (10, 31),
}
FEAST = rf"(?P<feast>{'|'.join(FEASTS)})(?: day)?"

ONES = _numbers(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60}
FEW = {"a couple of": 2, "couple of": 2, "an": 1, "a": 1}
NUMBER = (
    rf"(?P<number>[0-9]{{1,3}}|(?:{'|'.join(TENS)})(?:[ -](?:{'|'.join(ONES)})\b)?"
    rf"|(?:{'|'.join(ONES)})\b|(?:{'|'.join(FEW)})\b)"
)
ORDINALS = _numbers(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth twenty-first twenty-second twenty-third "
    "twenty-fourth twenty-fifth twenty-sixth twenty-seventh twenty-eighth twenty-ninth thirtieth thirty-first"
)
ORDINAL = rf"(?P<day>{'|'.join(ORDINALS)})"
_DAY_NUMBER = r"(?:3[01]|[12][0-9]|0?[1-9])(?:st|nd|rd|th)?\b"
DAY = rf"(?P<day>{_DAY_NUMBER})(?: ?(?:-|\u2013|to|and|until|through) ?(?:the )?(?P<until>{_DAY_NUMBER}))?"

# A number of these is neither a year nor the day of a month.
NOT_COUNTED = (
    r"(?! (?:am|pm|bc|percent|degrees?|dollars?|euros?|cents?|pounds?|francs?|usd|eur|gbp|chf|bucks|people|persons?"
    r"|users?|guests?|members?|employees|customers|students|votes?|times|words?|pages?|lines?|items?|rows?|files?"
    r"|tokens?|characters?|points?|pieces?|copies|photos|books|steps?|reps|laps|calories|kcal|hours?|minutes?|mins?"
    r"|seconds?|secs?|days?|weeks?|months?|years?|miles?|kilomet(?:er|re)s?|met(?:er|re)s?|feet|foot|inch(?:es)?|km|cm"
    r"|mm|m|kg|g|mg|lbs?|ounces?|lit(?:er|re)s?|ml|kb|mb|gb|tb|hz|watts?|volts?|square|of|more|or more)\b)"
)
YEAR = rf"(?P<year>(?:19|20)[0-9]{{2}}|'[0-9]{{2}}){END}{NOT_COUNTED}"
# Words that make a number of four digits no year.
NUMBERED = _set(
    "at between v version release model code pin id no number nr room gate flight bus route highway line page chapter "
    "section part item step port error channel apartment suite order invoice ticket issue rfc iso windows office "
    "server studio usd eur gbp chf"
)

# Behind "this may" and "7 may": what may follow a month, and hardly a verb.
MONTH_NOT_VERB = (
    r"(?:(?<!may)(?<!march)|"
    r"(?= ?(?:$|[?!.,;:()\"]|(?:and|or|in|on|at|with|for|from|to|until|when|about|before|after|did)\b)))"
)
EACH = _set("every each any some most")
FRIDAYS = _set("good black casual")
