"""Engines for the user's own tables, sync and async, on real servers."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from sqlalchemy import JSON, Connection, Engine, NullPool, String, delete, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from lakemem import (
    CachedCredentials,
    ConfigurationError,
    Credential,
    CredentialError,
    Lakebase,
)
from lakemem.integrations.sqlalchemy import create_async_engine, create_engine
from tests.conftest import connect
from tests.support.loops import Attention

T = TypeVar("T")
NOBODY_LISTENS = "postgresql://ada:hunter2@127.0.0.1:1/agents"


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    customer: Mapped[str] = mapped_column(String(40))
    lines: Mapped[dict[str, Any]] = mapped_column(JSON)
    placed_at: Mapped[datetime]


class Engines:
    """Makes engines of one kind, and works with both kinds in the same words."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._made: list[Engine | AsyncEngine] = []

    def make(self, target: Lakebase | None, **options: Any) -> Engine | AsyncEngine:
        engine = create_engine(target, **options) if self.kind == "sync" else create_async_engine(target, **options)
        self._made.append(engine)
        return engine

    async def run(self, engine: Engine | AsyncEngine, work: Callable[[Connection], T]) -> T:
        """Do some work on a connection of the engine's pool."""
        if isinstance(engine, AsyncEngine):
            async with engine.connect() as connection:
                return await connection.run_sync(work)

        def with_connection() -> T:
            with engine.connect() as connection:
                return work(connection)

        return await asyncio.to_thread(with_connection)

    async def dispose(self, engine: Engine | AsyncEngine) -> None:
        if isinstance(engine, AsyncEngine):
            await engine.dispose()
        else:
            engine.dispose()

    async def close(self) -> None:
        for engine in self._made:
            await self.dispose(engine)


@pytest.fixture(params=["sync", "async"])
async def engines(request: pytest.FixtureRequest) -> AsyncIterator[Engines]:
    engines = Engines(request.param)
    yield engines
    await engines.close()


class Tokens:
    """A source of tokens that Postgres takes, and how often it was asked. Its clock stands until it is moved."""

    def __init__(self, target: Lakebase, *, expires_in: float = 3600.0) -> None:
        self.fetched = 0
        self.now = 0.0
        self._target = target
        self._expires_in = expires_in

    def fetch(self) -> Credential:
        self.fetched += 1
        return Credential(self._target.parameters["password"], expires_in=self._expires_in)

    def cached(self) -> CachedCredentials:
        return CachedCredentials(self.fetch, clock=lambda: self.now)


def server_process(connection: Connection) -> int:
    return int(connection.scalar(text("SELECT pg_backend_pid()")) or 0)


async def test_objects_come_back_as_they_were_saved(engines: Engines, target: Lakebase) -> None:
    engine = engines.make(target)
    order = {"customer": "Ada", "lines": {"tea": 2}, "placed_at": datetime(2026, 1, 2, 3, 4)}

    def save(connection: Connection) -> uuid.UUID:
        Base.metadata.create_all(connection)
        with Session(connection, expire_on_commit=False) as session:
            session.add(saved := Order(**order))
            session.commit()
            connection.commit()
            return saved.id

    def load(connection: Connection) -> Order | None:
        with Session(connection) as session:
            return session.get(Order, saved)

    def clear(connection: Connection) -> int:
        with Session(connection) as session:
            session.execute(delete(Order))
            session.commit()
            connection.commit()
            return len(session.scalars(select(Order)).all())

    saved = await engines.run(engine, save)
    loaded = await engines.run(engine, load)
    assert loaded is not None
    assert {name: getattr(loaded, name) for name in order} == order
    assert await engines.run(engine, clear) == 0


async def test_what_is_not_committed_is_rolled_back(engines: Engines, target: Lakebase) -> None:
    engine = engines.make(target)
    await engines.run(engine, lambda connection: connection.execute(text("CREATE TABLE forgotten ()")))
    assert (
        await engines.run(engine, lambda connection: connection.scalar(text("SELECT to_regclass('forgotten')"))) is None
    )


async def test_each_new_connection_has_the_token_of_its_moment(engines: Engines, target: Lakebase) -> None:
    tokens = Tokens(target)
    engine = engines.make(target, credentials=tokens.cached(), poolclass=NullPool)
    for _ in range(3):
        await engines.run(engine, server_process)
    assert tokens.fetched == 1

    tokens.now += 3601
    for _ in range(3):
        await engines.run(engine, server_process)
    assert tokens.fetched == 2


async def test_a_pooled_connection_asks_for_no_token(engines: Engines, target: Lakebase) -> None:
    tokens = Tokens(target)
    engine = engines.make(target, credentials=tokens.cached())
    first = await engines.run(engine, server_process)
    tokens.now += 3601
    assert await engines.run(engine, server_process) == first
    assert tokens.fetched == 1


async def test_a_connection_that_the_server_closed_is_replaced_without_an_error(
    engines: Engines, target: Lakebase
) -> None:
    engine = engines.make(target)
    first = await engines.run(engine, server_process)
    with connect(target) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [first])
    assert await engines.run(engine, server_process) != first


async def test_a_connection_older_than_its_token_is_replaced(
    engines: Engines, target: Lakebase, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("lakemem.integrations.sqlalchemy.monotonic", lambda: now[0])
    engine = engines.make(target, credentials=Tokens(target, expires_in=60.0).cached())
    first = await engines.run(engine, server_process)
    now[0] = 59.0
    assert await engines.run(engine, server_process) == first
    now[0] = 61.0
    second = await engines.run(engine, server_process)
    assert second != first
    assert await engines.run(engine, server_process) == second


async def test_the_options_of_the_caller_win(
    engines: Engines, target: Lakebase, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("lakemem.integrations.sqlalchemy.monotonic", lambda: now[0])
    engine = engines.make(
        target,
        credentials=Tokens(target, expires_in=60.0).cached(),
        pool_recycle=-1,
        pool_pre_ping=False,
        connect_args={"application_name": "orders", "prepare_threshold": None},
    )

    def look(connection: Connection) -> tuple[Any, ...]:
        threshold = connection.connection.driver_connection.prepare_threshold  # type: ignore[union-attr]
        return connection.scalar(text("SHOW application_name")), threshold

    first = await engines.run(engine, server_process)
    assert await engines.run(engine, look) == ("orders", None)
    now[0] = 3600.0
    assert await engines.run(engine, server_process) == first, "the caller's pool_recycle keeps it"

    with connect(target) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [first])
    with pytest.raises(DBAPIError):
        await engines.run(engine, server_process)


async def test_the_serializers_of_the_caller_are_used(engines: Engines, target: Lakebase) -> None:
    engine = engines.make(
        target, json_serializer=lambda value: json.dumps([value]), json_deserializer=lambda data: ["read", data]
    )

    def round_trip(connection: Connection) -> Any:
        connection.execute(
            text("CREATE TEMPORARY TABLE orders (id uuid, customer text, lines json, placed_at timestamp)")
        )
        connection.execute(Order.__table__.insert().values(customer="Ada", lines={}, placed_at=datetime.now()))  # type: ignore[attr-defined]
        return connection.scalar(select(Order.lines))

    how, data = await engines.run(engine, round_trip)
    assert (how, json.loads(data)) == ("read", [{}])


async def test_two_identities_never_share_a_pool(engines: Engines, target: Lakebase) -> None:
    ada, bob = Tokens(target), Tokens(target)
    for tokens in (ada, bob):
        await engines.run(engines.make(target, credentials=tokens.cached()), server_process)
    assert (ada.fetched, bob.fetched) == (1, 1)


async def test_a_token_does_not_stop_the_event_loop(target: Lakebase) -> None:
    attention = Attention()

    def fetch() -> Credential:
        attention.ask()
        return Credential(target.parameters["password"])

    async def process(**options: Any) -> int:
        engine = create_async_engine(target, **options)
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(server_process)
        finally:
            await engine.dispose()

    assert await process(credentials=CachedCredentials(fetch))
    assert attention.answers == [True]


async def test_no_secret_is_shown(engines: Engines, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    engine = engines.make(Lakebase.dsn(NOBODY_LISTENS), echo="debug", echo_pool="debug")
    with pytest.raises(DBAPIError) as failure:
        await engines.run(engine, server_process)
    shown = [repr(engine), str(engine.url), engine.url.render_as_string(hide_password=False)]
    assert "hunter2" not in " ".join([*shown, str(failure.value), repr(failure.value), caplog.text])


async def test_a_token_that_cannot_be_fetched_is_a_credential_error(engines: Engines, target: Lakebase) -> None:
    def fetch() -> Credential:
        raise RuntimeError("hunter2")

    engine = engines.make(target, credentials=CachedCredentials(fetch))
    with pytest.raises(CredentialError) as failure:
        await engines.run(engine, server_process)
    assert "hunter2" not in str(failure.value)


@pytest.mark.parametrize(
    "options",
    [
        {"url": "postgresql://elsewhere"},
        {"creator": psycopg.connect},
        {"async_creator": psycopg.AsyncConnection.connect},
        {"pool": NullPool(lambda: None)},  # type: ignore[arg-type]
        {"connect_args": {"password": "hunter2"}},
        {"connect_args": {"host": "elsewhere"}},
    ],
    ids=lambda options: next(iter(options)),
)
async def test_an_option_that_contradicts_the_target_is_refused(engines: Engines, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as failure:
        engines.make(Lakebase.dsn(NOBODY_LISTENS), **options)
    assert next(iter(options)) in str(failure.value)
    assert "hunter2" not in str(failure.value)


async def test_a_url_is_not_a_target(engines: Engines) -> None:
    with pytest.raises(ConfigurationError, match=r"Lakebase\.dsn"):
        engines.make(NOBODY_LISTENS)  # type: ignore[arg-type]


async def test_without_a_target_the_environment_says_where(
    engines: Engines, target: Lakebase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEMEM_DSN", psycopg.conninfo.make_conninfo(**target.parameters))
    assert await engines.run(engines.make(None), server_process)


async def test_an_embedded_server_runs_until_its_engine_is_disposed(tmp_path: Path) -> None:
    target = Lakebase.embedded(tmp_path)
    sync, asynchronous = Engines("sync"), Engines("async")
    first, second = sync.make(target), asynchronous.make(target)
    assert await sync.run(first, server_process)
    assert await asynchronous.run(second, server_process)
    await sync.dispose(first)
    assert await asynchronous.run(second, server_process), "the other engine is still at work"

    await asynchronous.dispose(second)
    await asyncio.to_thread(_wait_until_stopped, tmp_path)
    assert await sync.run(first, server_process), "an engine that was disposed of can be used again"
    await sync.dispose(first)


def _wait_until_stopped(folder: Path) -> None:
    deadline = time.monotonic() + 10
    while (folder / "data" / "postmaster.pid").exists():
        assert time.monotonic() < deadline, "the embedded server still runs"
        time.sleep(0.02)
