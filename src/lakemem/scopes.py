"""The names of those whom memories belong to: users, and scopes that several share. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias
from urllib.parse import quote

from lakemem.errors import InvalidInputError
from lakemem.validation import check_identifier

Scope: TypeAlias = str | Mapping[str, str]
"""A name, such as ``"acme"``, or several that make one scope together: ``{"team": "billing", "agent": "support"}``."""


def user_owner(user_id: str) -> str:
    """The owner of a user's rows.

    Raises:
        InvalidInputError: the id cannot name a user.
    """
    return f"user:{check_identifier('user_id', user_id)}"


def scope_owner(scope: Scope) -> str:
    """The owner of the rows of a scope; no two scopes have the same one, and the order of its parts is all the same.

    Raises:
        InvalidInputError: this cannot name a scope.
    """
    if not isinstance(scope, Mapping):
        return f"scope:{check_identifier('scope', scope)}"
    if not scope:
        raise InvalidInputError("a scope of several parts needs one at least, such as {'team': 'billing'}")
    parts = sorted((check_identifier("scope", name), check_identifier("scope", value)) for name, value in scope.items())
    joined = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in parts)
    return f"scopes:{check_identifier('scope', joined)}"
