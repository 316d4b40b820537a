"""One run: the servers, and what is shared by the cases."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from side_by_side.bench import Bench
from side_by_side.rounds import Figures

from lakemem import Lakebase
from long_runs.servers import Contender


@dataclass(kw_only=True)
class RunsBench(Bench):
    """What a case is given.

    Attributes:
        ours, peer: the servers; the peer is None where it is not installed.
        floor: the database of the floor.
        clients: of the case with idle ones.
        delivered: what the cases about delivery share, once one of them has measured it.
    """

    ours: Contender
    peer: Contender | None
    floor: Lakebase
    clients: int
    delivered: dict[tuple[str, str], Figures] = field(default_factory=dict)

    @property
    def contenders(self) -> list[Contender]:
        return [self.ours] if self.peer is None else [self.ours, self.peer]

    async def admin(self, database: Lakebase) -> AsyncConnection[tuple[int]]:
        """A login that sees all rows."""
        dsn = make_conninfo(self.server.admin_dsn, dbname=database.database)
        return await AsyncConnection.connect(dsn, autocommit=True)

    def set(self, setting: str, value: str | None) -> None:
        """Change a setting of the server, at once for all."""
        with psycopg.connect(self.server.admin_dsn, autocommit=True) as connection:
            name = psycopg.sql.Identifier(setting)
            if value is None:
                connection.execute(psycopg.sql.SQL("ALTER SYSTEM RESET {}").format(name))
            else:
                connection.execute(psycopg.sql.SQL("ALTER SYSTEM SET {} = {}").format(name, psycopg.sql.Literal(value)))
            connection.execute("SELECT pg_reload_conf()")


def figures(*, count: int, seconds: float, cpu: float = 0.0) -> Figures:
    """Of work that has no calls with times of their own."""
    return Figures(count=count, rate=count / seconds, p50=0.0, p99=0.0, client_cpu=cpu / max(count, 1) * 1e6)


def delays(times: list[float]) -> Figures:
    """Of things that took so many seconds each."""
    if not times:
        raise RuntimeError("no event was delivered while its client was there: the machine is too busy")
    return replace(Figures.of(times, 1.0, 0.0), rate=0.0)
