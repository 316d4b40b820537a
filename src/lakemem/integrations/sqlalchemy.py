"""SQLAlchemy: engines for your own tables, whose connections log in with a token of now (extra ``sqlalchemy``).

Source: https://docs.sqlalchemy.org/en/20/core/engines.html#generating-dynamic-authentication-tokens
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import psycopg

from lakemem._async.login import AsyncLogin
from lakemem._sync.login import Login
from lakemem.connecting import Connector, connector_for
from lakemem.errors import ConfigurationError, MissingExtraError
from lakemem.protocols import CredentialProvider
from lakemem.target import Lakebase
from lakemem.waiting import monotonic

try:
    import sqlalchemy
    from sqlalchemy import event
    from sqlalchemy.exc import DisconnectionError
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.ext.asyncio import create_async_engine as _create_async_engine
except ImportError as error:
    raise MissingExtraError("sqlalchemy", "lakemem.integrations.sqlalchemy") from error

_URL = "postgresql+psycopg://"
_WHAT_THE_TARGET_SAYS = ("url", "creator", "async_creator", "pool")
_HOW_TO_LOG_IN = ("conninfo", "host", "hostaddr", "port", "dbname", "user", "password")
# Of psycopg, which SQLAlchemy counts on; a Login alone has those of lakemem's own pool.
_PSYCOPG_DEFAULTS = {"autocommit": False, "prepare_threshold": 5}


def create_engine(
    target: Lakebase | None = None, *, credentials: CredentialProvider | None = None, **engine_options: Any
) -> sqlalchemy.Engine:
    """Return an engine on ``postgresql+psycopg``. It connects when it is first used.

    Each new connection logs in through SQLAlchemy's event ``do_connect``: with a token of that moment, and once
    more with a new one where Postgres refuses the first. A connection that the server closed, or that is older
    than its token, is replaced when it is taken from the pool. The URL and the repr hold no password.

    Every call makes an engine and a pool of its own, so no identity is ever served a connection of another's.

    Args:
        target: where the database is; by default what :meth:`Lakebase.from_env` finds.
        credentials: gives the password for each new connection; by default that of the target.
        engine_options: of :func:`sqlalchemy.create_engine`; they win over what is chosen here, which is
            ``pool_pre_ping=True``, and for ``pool_recycle`` the lifetime of the tokens.

    Raises:
        ConfigurationError: an option says where to connect or how to log in, as target and credentials do.
    """
    connector, options = _chosen(target, credentials, engine_options)
    engine = sqlalchemy.create_engine(_URL, **options)
    event.listen(engine, "engine_disposed", lambda _: connector.close())

    @event.listens_for(engine, "do_connect")
    def log_in(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> psycopg.Connection[Any]:
        return Login.connect(connector=connector, **{**_PSYCOPG_DEFAULTS, **parameters})

    if "pool_recycle" not in options:
        _recycle_with_token(engine, connector)
    return engine


def create_async_engine(
    target: Lakebase | None = None, *, credentials: CredentialProvider | None = None, **engine_options: Any
) -> AsyncEngine:
    """Return the asyncio twin of :func:`create_engine`, with the same arguments.

    The event ``do_connect`` runs on the event loop and cannot be awaited, so a token that is fetched in it stops
    the loop. This engine logs in by SQLAlchemy's ``async_creator`` instead, where the fetch is awaited on a
    thread. SQLAlchemy then does not send ``do_connect``, and leaves the arguments of the connection to the
    creator: the dialect's own (JSON and hstore among them) and ``connect_args`` are handed on as always.
    """
    connector, options = _chosen(target, credentials, engine_options)
    connect_args = options.pop("connect_args", {})

    async def log_in() -> psycopg.AsyncConnection[Any]:
        _, parameters = engine.dialect.create_connect_args(engine.url)
        return await AsyncLogin.connect(connector=connector, **{**_PSYCOPG_DEFAULTS, **parameters, **connect_args})

    engine = _create_async_engine(_URL, async_creator=log_in, **options)
    # An embedded server takes a moment to stop, and the event loop goes on meanwhile.
    event.listen(
        engine.sync_engine,
        "engine_disposed",
        lambda _: threading.Thread(target=connector.close, name="lakemem-close").start(),
    )
    if "pool_recycle" not in options:
        _recycle_with_token(engine.sync_engine, connector)
    return engine


def _chosen(
    target: Lakebase | None, credentials: CredentialProvider | None, options: Mapping[str, Any]
) -> tuple[Connector, dict[str, Any]]:
    target = Lakebase.from_env() if target is None else target
    if not isinstance(target, Lakebase):
        raise ConfigurationError("an engine needs a target: for a URL write Lakebase.dsn(url)")
    contradicting = [name for name in _WHAT_THE_TARGET_SAYS if name in options]
    contradicting += [f"connect_args[{name!r}]" for name in _HOW_TO_LOG_IN if name in options.get("connect_args", {})]
    if contradicting:
        raise ConfigurationError(
            f"{', '.join(contradicting)}: the target and its credentials say already where to connect and how to "
            "log in; leave that to them, or use SQLAlchemy's own create_engine"
        )
    return connector_for(target, credentials), {"pool_pre_ping": True, **options}


def _recycle_with_token(engine: sqlalchemy.Engine, connector: Connector) -> None:
    """Replace a connection older than its token at checkout.

    SQLAlchemy's `pool_recycle` does that too, but has to be known before the first token is.
    """

    @event.listens_for(engine, "connect")
    def born(connection: Any, record: Any) -> None:
        record.info["lakemem.born"] = monotonic()

    @event.listens_for(engine, "checkout")
    def check_age(connection: Any, record: Any, proxy: Any) -> None:
        if monotonic() - record.info["lakemem.born"] > connector.max_age:
            raise DisconnectionError("the connection is older than its token")
