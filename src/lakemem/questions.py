"""What stands in a question: its words, the names it may mention, and which of its words tell memories apart. Pure."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"[^\W_]+(?:['\u2019\-][^\W_]+)*")
_POSSESSIVE = re.compile(r"['\u2019]s$", re.IGNORECASE)

MAX_WORDS = 100
MAX_NAME_WORDS = 3
MAX_OWNERS = 1_000
MAX_WORDS_OF_OWNER = 2_000


def words_of(question: str) -> list[str]:
    """Return the words of a question in their order, without the 's of a possessive; a hundred at the most."""
    return [_POSSESSIVE.sub("", word) for word in _WORD.findall(question)[:MAX_WORDS]]


def names_in(words: Sequence[str]) -> list[str]:
    """Return, in lower case, what may be a name: each word, and up to three in a row."""
    lowered = [word.lower() for word in words]
    return list(
        dict.fromkeys(
            " ".join(lowered[start : start + length])
            for length in range(1, MAX_NAME_WORDS + 1)
            for start in range(len(lowered) - length + 1)
        )
    )


class CommonWords:
    """The words that stand in so many memories of a scope that they tell little apart, as searches have found.

    A question names its user, and so does every memory: a vector of the whole question then finds the name, not what
    is asked. What a search sees of its words is kept here for the next one. Of a word that no search has seen, a
    capital letter says that it may be a name.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[str, OrderedDict[str, bool]] = OrderedDict()
        self._lock = threading.Lock()

    def without(self, owner: str, words: Sequence[str]) -> str | None:
        """Return the words that tell memories apart, as a text; None where those are all of them, or none."""
        with self._lock:
            seen = dict(self._seen.get(owner, ()))
        kept = [
            word
            for place, word in enumerate(words)
            if not seen.get(word.lower(), place > 0 and word[:1].isupper() and word != "I")
        ]
        return " ".join(kept) if 0 < len(kept) < len(words) else None

    def learn(self, owner: str, words: Iterable[str], common: Iterable[str]) -> None:
        """Keep what a search has found: which of these words are common in this scope."""
        found = {word.lower() for word in common}
        with self._lock:
            seen = self._seen.setdefault(owner, OrderedDict())
            self._seen.move_to_end(owner)
            for word in dict.fromkeys(word.lower() for word in words):
                seen[word] = word in found
                seen.move_to_end(word)
            while len(seen) > MAX_WORDS_OF_OWNER:
                seen.popitem(last=False)
            while len(self._seen) > MAX_OWNERS:
                self._seen.popitem(last=False)
