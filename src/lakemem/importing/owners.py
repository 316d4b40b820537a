"""Whose the imported threads and memories become: the sources do not know, so that the user says it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lakemem.errors import ConfigurationError
from lakemem.scopes import scope_owner, user_owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """Finds the owner of a thread, or of a namespace of the store.

    Attributes:
        everything: ``user:ID`` or ``scope:ID``, whose everything becomes.
        pattern: finds the user in a thread's id, or in a namespace joined by dots: its group ``user``, else its
            first.
        metadata_key: the key under which the metadata of checkpoints names the user.
        users: what was found (without a pattern, the thread's id or the namespace) -> user id.
    """

    everything: str | None = None
    pattern: re.Pattern[str] | None = None
    metadata_key: str | None = None
    users: Mapping[str, str] | None = None

    @classmethod
    def of(
        cls,
        *,
        user: str | None = None,
        scope: str | None = None,
        pattern: str | None = None,
        metadata_key: str | None = None,
        users: Mapping[str, str] | None = None,
    ) -> Owners:
        """Check what was given.

        Raises:
            ConfigurationError: it says nothing, or more than one thing.
        """
        each = [given for given in (pattern, metadata_key, users) if given is not None]
        if [user is not None, scope is not None, bool(each)].count(True) != 1:
            raise ConfigurationError(
                "say whose the data becomes: one user's, one scope's, or each thread its own user's (by a pattern, "
                "a metadata key, or a list of users)"
            )
        if user is not None:
            return cls(everything=user_owner(user, "user"))
        if scope is not None:
            return cls(everything=scope_owner(scope))
        return cls(pattern=_compiled(pattern), metadata_key=metadata_key, users=users)

    def owner_of(self, name: str, named: Sequence[str] = ()) -> str | None:
        """Return the owner of a thread or namespace, or None where it is not known.

        Args:
            named: the users whom its own metadata names; if they are several, nothing is known.
        """
        if self.everything is not None:
            return self.everything
        found = self._found(name, named)
        if found is not None and self.users is not None:
            found = self.users.get(found)
        return None if found is None else user_owner(found)

    def _found(self, name: str, named: Sequence[str]) -> str | None:
        if named:
            return named[0] if len(named) == 1 else None
        if self.pattern is not None:
            match = self.pattern.search(name)
            return None if match is None else match["user" if "user" in self.pattern.groupindex else 1]
        return name if self.users is not None else None


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigurationError(f"{pattern!r} is not a regular expression: {error}") from None
    if not compiled.groups:
        raise ConfigurationError(f"the regular expression {pattern!r} needs a group for the user: (?P<user>...)")
    return compiled
