"""The redactor that comes with lakemem: secrets and common personal identifiers, by their shapes. Pure.

A text is read in linear time, whoever wrote it: what repeats in a pattern is bounded, or possessive, so that nothing is
tried again, and what a pattern begins with does not begin within a longer run of the same characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, get_args

from lakemem.errors import InvalidInputError

Category: TypeAlias = Literal["secret", "email", "IBAN", "card number", "phone"]

# Tokens that say by their first letters what they are, with the fewest characters that follow.
_TOKENS = "|".join(
    (
        r"sk-(?:proj-|ant-|or-)?[\w-]{20}",
        r"gh[opusr]_[A-Za-z0-9]{36}",
        r"github_pat_\w{22}",
        r"glpat-[\w-]{20}",
        r"(?:AKIA|ASIA)[A-Z0-9]{16}",
        r"AIza[\w-]{35}",
        r"ya29\.[\w-]{20}",
        r"xox[abeoprs]-[\w-]{10}",
        r"dapi[0-9a-f]{32}",
        r"dose[0-9a-f]{32}",
        r"hf_[A-Za-z0-9]{30}",
        r"npm_[A-Za-z0-9]{36}",
        r"pypi-[\w-]{16}",
        r"SG\.[\w-]{16}\.[\w-]{16}",
        r"[rsp]k_(?:live|test)_[A-Za-z0-9]{16}",
    )
)
_NAMES = (
    r"(?i:pass(?:word|wd|phrase|code)|pwd|secret(?:[ _-]?key)?|(?:api|access|private|auth)[ _-]?key"
    r"|(?:access|auth|refresh|bearer|id|api)[ _-]?token)"
)
_KEY = r"-----{} [A-Z0-9 ]{{0,40}}PRIVATE KEY(?: BLOCK)?-----"


class _Rule(Protocol):
    """Takes one kind of thing out of a text."""

    @property
    def name(self) -> str: ...

    def applied(self, text: str) -> str: ...


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a pattern matches, or the named group of it; `is_one` has the last word."""

    name: str
    pattern: re.Pattern[str]
    is_one: Callable[[str], bool] = bool

    def applied(self, text: str) -> str:
        return self.pattern.sub(self._without, text)

    def _without(self, match: re.Match[str]) -> str:
        group = match.lastgroup or 0
        if match[group].startswith("[redacted") or not self.is_one(match[group]):
            return match[0]
        start, end = match.start(group) - match.start(), match.end(group) - match.start()
        return match[0][:start] + _placeholder(self.name) + match[0][end:]


@dataclass(frozen=True, slots=True)
class _Grouped:
    """What is written in groups, and has a check digit: some groups that follow each other in a run of such.

    Attributes:
        run: matches groups with one separator between them.
        group: matches one group.
        most, most_groups: characters that it has at the most, without separators, and groups.
    """

    name: str
    run: re.Pattern[str]
    group: re.Pattern[str]
    most: int
    most_groups: int
    is_one: Callable[[str], bool]

    def applied(self, text: str) -> str:
        return self.run.sub(lambda match: self._without(match[0]), text)

    def _without(self, run: str) -> str:
        groups = [match.span() for match in self.group.finditer(run)]
        kept, place, number = [], 0, 0
        while number < len(groups):
            if last := self._last_of_one(run, groups, number):
                kept += [run[place : groups[number][0]], _placeholder(self.name)]
                place, number = groups[last - 1][1], last
            else:
                number += 1
        return "".join([*kept, run[place:]])

    def _last_of_one(self, run: str, groups: list[tuple[int, int]], first: int) -> int:
        """Behind which group one ends that begins with the first; 0 where none begins there."""
        compact = ""
        for number in range(first, min(first + self.most_groups, len(groups))):
            start, end = groups[number]
            if len(compact) + end - start > self.most:
                break
            compact += run[start:end]
            if self.is_one(compact):
                return number + 1
        return 0


def _placeholder(name: str) -> str:
    return f"[redacted {name}]"


def _is_card(digits: str) -> bool:
    """Whether these are as many digits as a card has, and the last one is right (ISO/IEC 7812, Luhn)."""
    if not 13 <= len(digits) <= 19 or digits[0] not in "23456":
        return False
    numbers = [int(digit) for digit in reversed(digits)]
    return (sum(numbers[::2]) + sum(sum(divmod(2 * number, 10)) for number in numbers[1::2])) % 10 == 0


def _is_iban(characters: str) -> bool:
    """Whether this has the form of an IBAN, and its check digits are right (ISO 13616, ISO 7064 MOD 97-10)."""
    if not 15 <= len(characters) <= 34 or not re.match(r"[A-Za-z]{2}[0-9]{2}", characters):
        return False
    return int("".join(str(int(character, 36)) for character in characters[4:] + characters[:4])) % 97 == 1


def _has_digit(text: str) -> bool:
    return any(character.isdecimal() for character in text)


_RULES: tuple[_Rule, ...] = (
    _Shape(
        "secret",
        re.compile(rf"{_KEY.format('BEGIN')}(?:(?!-----)[\s\S])*+(?:{_KEY.format('END')})?"),
    ),
    _Shape("secret", re.compile(r"://[^\s:/?#@]{0,200}+:(?P<password>[^\s/]{1,200})@")),
    _Shape("secret", re.compile(r"(?<![\w-])eyJ[\w-]{8,}+\.eyJ[\w-]{8,}+(?:\.[\w-]*+)?")),
    _Shape("secret", re.compile(rf"(?<![\w-])(?:{_TOKENS})[\w-]*+")),
    _Shape("secret", re.compile(r"(?<!\w)[Bb]earer {1,4}(?P<token>[\w.~+/=-]{16,}+)")),
    _Shape(
        "secret",
        re.compile(
            _NAMES + r"[\"']? {0,4}+(?::|=>?) {0,4}+"
            r"(?:\"(?P<double>[^\"\n]{1,500}+)\"|'(?P<single>[^'\n]{1,500}+)'|(?P<bare>[^\s\"',;]{4,500}+))"
        ),
    ),
    # In a sentence, what follows may be any word: a password mostly has a digit.
    _Shape("secret", re.compile(_NAMES + r" is {1,4}[\"']?(?P<said>[^\s\"',;]{4,200}+)"), _has_digit),
    _Shape("email", re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}+@[\w-]{1,63}+(?:\.[\w-]{1,63}+){1,8}+")),
    _Grouped(
        "IBAN",
        re.compile(r"(?<![^\W_])[A-Za-z0-9]++(?: [A-Za-z0-9]++)*+"),
        re.compile(r"[A-Za-z0-9]+"),
        34,
        9,
        _is_iban,
    ),
    _Grouped(
        "card number", re.compile(r"(?<![\w.])[0-9]++(?:[ -][0-9]++)*+(?!\w)"), re.compile(r"[0-9]+"), 19, 5, _is_card
    ),
    _Shape("phone", re.compile(r"(?<![\w+])(?:\+|00)[1-9](?:[ ()./-]{0,2}\d){6,14}(?!\w)")),
    _Shape("phone", re.compile(r"(?:\([0-9]{3}\) ?|(?<![\w.-])[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4}(?![\w-])")),
)
CATEGORIES: tuple[Category, ...] = get_args(Category)


class PatternRedactor:
    """Takes secrets and common personal identifiers out of texts: ``[redacted email]`` stands in their place.

    - ``"secret"``: tokens and API keys of well-known shapes, JSON Web Tokens, private keys, bearer tokens, passwords
      in URLs, and what stands behind a name such as ``password:`` or ``api_key=``;
    - ``"card number"`` and ``"IBAN"``, where their check digits are right;
    - ``"email"``;
    - ``"phone"``: numbers with the code of their country, and those of North America.

    It knows shapes and no names, addresses or numbers that are written in words; a secret of another shape passes.

    Args:
        categories: what to take out; by default all of these.
        patterns: more of it: regular expressions by the names that stand in the place of what they match.

    Raises:
        InvalidInputError: there is no such category, or an expression is none, or matches an empty text.
    """

    def __init__(
        self,
        categories: Iterable[Category] = CATEGORIES,
        *,
        patterns: Mapping[str, str | re.Pattern[str]] | None = None,
    ) -> None:
        wanted = set(categories)
        if unknown := wanted - set(CATEGORIES):
            raise InvalidInputError(f"there is no category {min(map(str, unknown))!r}: {', '.join(CATEGORIES)}")
        own = [_Shape(name, _compiled(name, pattern)) for name, pattern in (patterns or {}).items()]
        self._rules: list[_Rule] = [*own, *(rule for rule in _RULES if rule.name in wanted)]

    def redact(self, text: str) -> str:
        """Return the text without what is to be taken out."""
        for rule in self._rules:
            text = rule.applied(text)
        return text


def _compiled(name: str, pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InvalidInputError(f"the pattern for {name!r} is no regular expression: {error}") from None
    if compiled.match(""):
        raise InvalidInputError(f"the pattern for {name!r} matches an empty text")
    return compiled
