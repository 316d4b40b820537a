# Generated from src/lakemem/_async/login.py by tools/unasync.py: edit that file, then run `make generate`.
"""Connections that know how to log in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import psycopg
from psycopg import Connection

from lakemem.connecting import Connector
from lakemem.errors import LakememError
from lakemem.sqlstate import refused_login, translate
from lakemem.waiting import call_blocking

Row: TypeAlias = tuple[Any, ...]


@dataclass
class Logins:
    """Why the last login of a pool failed; None when it did not."""

    last_failure: LakememError | None = None


class Login(Connection[Row]):
    """A connection that logs in as its connector says: with a token of now, and once more if that is refused.

    Unless the caller says otherwise, it is autocommit (a pipeline is a transaction without BEGIN and COMMIT), and
    psycopg itself prepares nothing: behind a pooler, its names would meet those of other clients.

    Attributes:
        prepared: the statements that :func:`~lakemem._sync.exchange.exchange` has prepared on it.
        keeps_prepared: whether what was prepared is there the next time.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepared: set[bytes] = set()
        self.keeps_prepared = True

    @classmethod
    def connect(  # type: ignore[override]
        cls, conninfo: str = "", *, connector: Connector, logins: Logins | None = None, **parameters: Any
    ) -> Self:
        try:
            connection = cls._log_in(connector, parameters)
        except (psycopg.Error, LakememError) as error:
            if logins is not None:
                logins.last_failure = translate(error) if isinstance(error, psycopg.Error) else error
            raise
        if logins is not None:
            logins.last_failure = None
        return connection

    @classmethod
    def _log_in(cls, connector: Connector, parameters: dict[str, Any], *, again: bool = True) -> Self:
        login = call_blocking(connector.parameters)
        try:
            return super().connect(**{"autocommit": True, "prepare_threshold": None, **login, **parameters})
        except psycopg.OperationalError as error:
            if not (again and refused_login(error) and connector.refused(login)):
                raise
        return cls._log_in(connector, parameters, again=False)
