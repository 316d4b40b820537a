"""Names that look like others, or like something else than a name."""

# ruff: noqa: RUF001 - what looks like something else is what they are for
from __future__ import annotations

import unicodedata

LOOK_ALIKES = (
    "a.b", "a-b", "a_b", "a%b", "a*b", "a b", " a.b", "a.b ", "A.B", "a..b", "a/b", "a\\b", "a:b", "a@b", "a,b", "a|b",
    "ａ.b", "а.b", "a\u200b.b", "a\u202e.b", "a\ufeff.b", "a․b", "a\u00ad.b", "a.b\u0307",
    unicodedata.normalize("NFC", "zoë"), unicodedata.normalize("NFD", "zoë"), "ſ", "s", "K", "K", "İ", "i",
    "%", "_", "*", ".*", "%%", "{a.b}", "{}", "NULL", "null", "true", "0", "00", "$user", "public",
    "user:a.b", "scope:a.b", "scopes:a.b", "user:user:a.b", "team=a.b", "a.b&c=d",
    "sweep", "maintenance", "expired", "runs", "dead runs", "tails", "jobs",
    "a.b' OR '1'='1", "a.b'; DROP TABLE lakemem.threads; --", "a.b') OR true) --", "\") OR 1=1 --", "$1", "%(owner)s",
    "'||current_setting('lakemem.owner')||'", "../a.b", "../../etc/passwd", "a.b/../../a-b", "/a.b", "./a.b", "~",
    "%2e%2e%2fa.b", "%00", "\\x61.b", "a.b#", "a.b?user_id=a-b", "💣", "👩‍👩‍👧", "x" * 255, "x" * 254 + "y",
)  # fmt: skip
"""Each may be a user. No two are one, whatever folds, trims, matches or interprets them."""

ARGUMENTS = (
    "", " ", "\t", "\x00", "a\x00b", "\x7f", "\ud800", "a\udfff", "x" * 256, "é" * 301, "x" * 1_000_000,
    "%", "_", "*", ".", "..", "../t", "/memories/../../t", "t' OR '1'='1", "'; DELETE FROM lakemem.threads; --",
    "$1", "%(owner)s", "{}", "[]", "null", "user:a.b", "a.b", "t\u200b", "T", "ｔ", "\u202et", "-1", "1e999",
    "\r\nSet-Cookie: a=b",
)  # fmt: skip
"""What a thread, a key or a run may be said to be called. Most of it is refused."""
