"""The names of those whom memories belong to: users, and scopes that several share. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias
from urllib.parse import quote

from lakemem.errors import InvalidInputError
from lakemem.validation import check_identifier

Scope: TypeAlias = str | Mapping[str, str]
"""A name, such as ``"acme"``, or several that make one scope together: ``{"team": "billing", "agent": "support"}``."""


def user_owner(user_id: str, name: str = "user_id") -> str:
    """The owner of a user's rows.

    Args:
        name: what the caller calls the id, for the message of an error.

    Raises:
        InvalidInputError: the id cannot name a user.
    """
    return f"user:{check_identifier(name, user_id)}"


def scope_owner(scope: Scope, name: str = "scope") -> str:
    """The owner of the rows of a scope; no two scopes have the same one, and the order of its parts is all the same.

    Args:
        name: what the caller calls the scope, for the message of an error.

    Raises:
        InvalidInputError: this cannot name a scope.
    """
    if not isinstance(scope, Mapping):
        return f"scope:{check_identifier(name, scope)}"
    if not scope:
        raise InvalidInputError("a scope of several parts needs one at least, such as {'team': 'billing'}")
    parts = sorted((check_identifier(name, label), check_identifier(name, value)) for label, value in scope.items())
    joined = "&".join(f"{quote(label, safe='')}={quote(value, safe='')}" for label, value in parts)
    return f"scopes:{check_identifier(name, joined)}"
