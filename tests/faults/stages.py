"""Where the rounds take place: a Postgres of their own behind a proxy, or a Lakebase of the emulator."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg.conninfo import make_conninfo

from lakemem import AsyncMemory, Lakebase
from lakemem.connecting import LakebaseConnector
from lakemem.lakebase import LakebaseCredentials
from lakemem.testing import DatabaseFactory, LakebaseEmulator
from tests.faults.proxy import Proxy
from tests.faults.servers import Disk, Server, small_disk

POOL = {"max_size": 4, "timeout": 1.0}
"""Fewer connections than tasks."""


class Place(Protocol):
    """Where a round takes place."""

    def memory(self) -> AsyncMemory:
        """A memory like a client's; it is not open."""
        ...

    def sound_memory(self) -> AsyncMemory:
        """One that nothing stands in the way of."""
        ...

    def look(self) -> psycopg.Connection[Any]:
        """A session of the superuser in the database."""
        ...


class Stage:
    """A Postgres with lakemem's tables, and the way to it that can be broken.

    Attributes:
        target: the database, by way of the proxy.
        server: where it is now; a failover changes it.
        disk: the server's, where it has one of its own.
    """

    def __init__(self, server: Server, database: Lakebase, proxy: Proxy, disk: Disk | None) -> None:
        self.server = server
        self.proxy = proxy
        self.disk = disk
        self._database = database
        self._standbys = 0

    @property
    def target(self) -> Lakebase:
        return self.proxy.target

    @property
    def direct(self) -> Lakebase:
        """The database, past the proxy."""
        return Lakebase.dsn(make_conninfo(**{**self._database.parameters, "host": str(self.server.data)}))

    def memory(self) -> AsyncMemory:
        return AsyncMemory(self.target, **POOL)  # type: ignore[arg-type]

    def sound_memory(self) -> AsyncMemory:
        return AsyncMemory(self.direct)

    def look(self) -> psycopg.Connection[Any]:
        return self.server.admin(str(self._database.database))

    @property
    def database(self) -> str:
        return str(self._database.database)

    def make_standby(self) -> Server:
        """A server that follows this one, and has whatever this one acknowledges."""
        self._standbys += 1
        return self.server.standby(self.server.folder.parent / f"standby-{self._standbys}")

    def fail_over(self, standby: Server) -> None:
        """Let the standby take over; clients find it where they found the other."""
        standby.promote()
        self.server = standby
        self.proxy.lead_to(self.direct)


@contextlib.contextmanager
def stage(folder: Path, *, on_small_disk: bool = False) -> Iterator[Stage]:
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(small_disk(folder / "disk")) if on_small_disk else None
        server = Server((folder if disk is None else disk.folder) / "server")
        server.start()
        # What a full disk meets is then more than spare segments.
        server.configure("ALTER SYSTEM SET min_wal_size = '32MB'", "ALTER SYSTEM SET wal_recycle = off")
        database = DatabaseFactory(server.admin_dsn).create()
        proxy = stack.enter_context(Proxy(database))
        made = Stage(server, database, proxy, disk)
        try:
            yield made
        finally:
            made.server.kill()


class SharedStage:
    """A database of a server that others use, too: only the way to it can be broken."""

    def __init__(self, database: Lakebase, admin_dsn: str, proxy: Proxy) -> None:
        self.proxy = proxy
        self._database = database
        self._admin_dsn = admin_dsn

    def memory(self) -> AsyncMemory:
        return AsyncMemory(self.proxy.target, **POOL)  # type: ignore[arg-type]

    def sound_memory(self) -> AsyncMemory:
        return AsyncMemory(self._database)

    def look(self) -> psycopg.Connection[Any]:
        return psycopg.connect(make_conninfo(self._admin_dsn, dbname=str(self._database.database)))


class CloudStage:
    """A Lakebase of the emulator, with names to resolve and tokens that end.

    Attributes:
        emulator: the workspace; it can be told what goes wrong.
    """

    def __init__(self, emulator: LakebaseEmulator) -> None:
        self.emulator = emulator
        self._target = Lakebase.endpoint(
            emulator.endpoint, port=emulator.postgres_port, sslrootcert=str(emulator.certificate_authority)
        )

    def memory(self) -> AsyncMemory:
        memory = AsyncMemory(self._target, **POOL)  # type: ignore[arg-type]
        credentials = LakebaseCredentials(self._target, workspace_client=self.emulator.client())
        # As an app does that has no PGHOSTADDR; the emulator's names are in no DNS.
        memory._storage._connector = LakebaseConnector(  # type: ignore[attr-defined]
            self._target, credentials, resolve=self.emulator.resolve
        )
        return memory

    sound_memory = memory

    def look(self) -> psycopg.Connection[Any]:
        admin = self.emulator.workspace.instances[self.emulator.instance].lakebase.compute._admin
        return psycopg.connect(**{**admin, "dbname": self.database})

    @property
    def database(self) -> str:
        return "databricks_postgres"


@contextlib.contextmanager
def cloud_stage() -> Iterator[CloudStage]:
    with LakebaseEmulator(token_lifetime=2.0, postgres_version=18) as emulator:
        made = CloudStage(emulator)
        asyncio.run(made.memory().setup())
        yield made
