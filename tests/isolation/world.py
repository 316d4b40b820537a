"""Many users who have the same things under the same names, and look at each other through every way into memory."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg
from langgraph.checkpoint.base import empty_checkpoint
from psycopg import sql
from psycopg.conninfo import make_conninfo

from lakemem import AsyncFileMemory, AsyncMemory, FileMemory, Lakebase, Memory, TokenUsage
from lakemem.grants import PRIVATE_TABLES
from lakemem.integrations.langgraph import AsyncLakebaseSaver, AsyncLakebaseStore, LakebaseSaver, LakebaseStore
from lakemem.integrations.openai_agents import LakebaseSession
from lakemem.operations import running, threads
from lakemem.scopes import user_owner
from tests.isolation import surfaces
from tests.isolation.ledger import Ledger, Outcome, new_mark
from tests.isolation.surfaces import Call, Calls, Names, finished

SHARED = Names("colour", "t", "r", str(uuid.UUID(int=1)), "notes", "/memories/notes.md", "blue")
"""What everybody has under these names."""


def private_names() -> Names:
    """Names that only their owner knows."""
    # One word to Postgres, without an ending that it would leave out.
    token = uuid.uuid4().hex[:12].translate(str.maketrans("0123456789abcdef", "bcdfghjklmnpqrtv"))
    return Names(
        f"key {token}",
        f"t {token}",
        f"r {token}",
        str(uuid.uuid4()),
        f"n {token}",
        f"/memories/{token}.md",
        f"w{token}",
    )


@dataclass(frozen=True)
class User:
    name: str
    mark: str = field(default_factory=new_mark)
    names: Names = field(default_factory=private_names)

    @property
    def owner(self) -> str:
        return user_owner(self.name)


@dataclass(frozen=True)
class Surface:
    """A way into memory: its calls, what they are made on for a user, and whether they block."""

    name: str
    calls: Calls
    subject: Callable[[str], Any]
    blocks: bool = False


@dataclass
class World:
    """Args: a memory of each kind on one database, and how a superuser logs in to look at all of it."""

    memory: AsyncMemory
    sync: Memory
    admin: str
    ledger: Ledger
    users: list[User] = field(default_factory=list)

    def surfaces(self) -> list[Surface]:
        user, twin = self.memory.for_user, self.sync.for_user
        both = (
            ("memories", surfaces.SCOPED), ("quarantine", surfaces.QUARANTINE), ("threads", surfaces.THREAD),
            ("checkpoints", surfaces.CHECKPOINTS), ("runs", surfaces.RUNS),
        )  # fmt: skip

        def session(name: str) -> Callable[[str], LakebaseSession]:
            return lambda thread_id: LakebaseSession(user(name).thread(thread_id))

        return [
            Surface("the memory itself", surfaces.ROOT, lambda _: self.memory),
            *(Surface(name, calls, user) for name, calls in both),
            Surface("files", surfaces.FILES, lambda name: AsyncFileMemory(user(name))),
            *(Surface(f"{name}, sync", calls, twin, blocks=True) for name, calls in both),
            Surface("files, sync", surfaces.FILES, lambda name: FileMemory(twin(name)), blocks=True),
            Surface("OpenAI Agents session", surfaces.SESSION, session),
            Surface("LangGraph saver", surfaces.SAVER, lambda name: AsyncLakebaseSaver(user(name))),
            Surface("LangGraph saver, sync", surfaces.synced(surfaces.SAVER), lambda n: LakebaseSaver(twin(n)), True),
            Surface("LangGraph store", surfaces.STORE, lambda name: AsyncLakebaseStore(user(name))),
            Surface("LangGraph store, sync", surfaces.synced(surfaces.STORE), lambda n: LakebaseStore(twin(n)), True),
        ]

    async def seed(self, names: Iterable[str]) -> None:
        """Give users a row in every table, under the names that all have and under ones of their own."""
        for name in names:
            user = User(name)
            self.users.append(user)
            await self._seed(user, SHARED)
            await self._seed(user, user.names)

    async def _seed(self, user: User, x: Names) -> None:
        mine = self.memory.for_user(user.name)
        texts = f"{x.text} {user.mark}"
        await mine.save(x.key, texts, metadata={"label": x.label, "of": user.mark})
        await mine.save(x.key, texts, namespace=(x.label,), metadata={"label": x.label}, thread_id=x.thread)
        await mine.remember([{"role": "user", "content": f"I like {texts}."}], thread_id=x.thread)
        thread = mine.thread(x.thread)
        await thread.append([{"role": "user", "content": texts}, {"role": "assistant", "content": texts}])
        await thread.update(title=user.mark, metadata={"label": x.label})
        await thread.store_usage(TokenUsage(requests=1, input_tokens=7), run_id=x.run)
        await AsyncFileMemory(mine).create(x.path, texts)
        config = {"configurable": {"thread_id": x.thread, "checkpoint_ns": ""}}
        values = {"messages": [texts] * 8, "c": texts}
        checkpoint = {
            **empty_checkpoint(), "id": x.checkpoint, "channel_values": values,
            "channel_versions": {"messages": "1", "c": "1"},
        }  # fmt: skip
        saver = AsyncLakebaseSaver(mine)
        put = await saver.aput(
            config, checkpoint, {"source": "loop", "step": 1, "parents": {}}, checkpoint["channel_versions"]
        )
        await saver.aput_writes(put, [("c", texts)], "task")
        await mine.runs.create({"input": texts}, run_id=x.run, metadata={"of": user.mark})
        run = self.memory._storage.run
        claim = running.claim(mine.owner, worker=None, lease=600, takes_over=False, max_attempts=1, per_owner=None)
        assert await run(claim) is not None
        at = running.Position(owner=mine.owner, run_id=x.run, attempt=1, last_sequence=-1)
        await run(running.append(at, [f'{{"text": "{user.mark}"}}'], lease=600))

    async def same_names(self, users: Sequence[User], calls_of: Sequence[Surface]) -> None:
        """Users work, all at once, under the names that everybody has. Nobody meets what another one has."""
        for surface in calls_of:
            others = self.snapshot(besides=users)
            await asyncio.gather(*(self.turn(surface, user, SHARED) for user in users))
            self.check_unchanged(surface, others, self.snapshot(besides=users))

    async def arguments(self, user: User, given: Sequence[str], calls_of: Sequence[Surface]) -> None:
        """One user gives hostile names to every call."""
        for surface in calls_of:
            others = self.snapshot(besides=[user])
            for text in given:
                await self.turn(surface, user, Names(text, text, text, text, text, text, text))
            self.check_unchanged(surface, others, self.snapshot(besides=[user]))

    async def probes(self, victim: User, calls_of: Sequence[Surface]) -> None:
        """Two users who have nothing name what somebody has, and what nobody has: the answers are the same."""
        prober, control, free = User(f"p {uuid.uuid4()}"), User(f"p {uuid.uuid4()}"), private_names()
        for surface in calls_of:
            for name, call in surface.calls.items():
                outcome = await self._call(surface, call, prober, victim.names)
                same = await self._call(surface, call, control, free)
                self.ledger.note(surface.name, name, outcome, {prober.mark})
                self.ledger.compare(
                    surface.name,
                    name,
                    outcome.normal([*victim.names.all(), prober.name]),
                    same.normal([*free.all(), control.name]),
                )

    async def turn(self, surface: Surface, user: User, names: Names | None = None) -> None:
        """Make every call of a surface, under names that everybody has or under those given."""
        names = SHARED if names is None else names
        for name, call in surface.calls.items():
            self.ledger.note(surface.name, name, await self._call(surface, call, user, names), {user.mark})

    async def _call(self, surface: Surface, call: Call, user: User, names: Names) -> Outcome:
        if surface.blocks:
            return await asyncio.to_thread(_blocking, partial(call, surface.subject(user.name), names))
        return await finished(partial(call, surface.subject(user.name), names))

    def snapshot(self, besides: Sequence[User]) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of the users, but of some, as a superuser sees them: their numbers and their fingerprints."""
        owners = [user.owner for user in self.users if user not in besides]
        query = sql.SQL(
            "SELECT owner, count(*), md5(string_agg(md5(t::text), '' ORDER BY md5(t::text)))"
            " FROM lakemem.{} AS t WHERE owner = ANY (%s) GROUP BY owner ORDER BY owner"
        )
        with psycopg.connect(self.admin, autocommit=True) as connection:
            tables = [
                name
                for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'lakemem'")
                if name in PRIVATE_TABLES
            ]
            return {
                table: connection.execute(query.format(sql.Identifier(table)), [owners]).fetchall() for table in tables
            }

    def check_unchanged(
        self, surface: Surface, before: dict[str, list[tuple[Any, ...]]], after: dict[str, list[tuple[Any, ...]]]
    ) -> None:
        for table, rows in before.items():
            if changed := set(rows) ^ set(after[table]):
                owners = {row[0] for row in changed}
                self.ledger.row(surface.name).changed += len(owners)
                self.ledger.findings.append(f"{surface.name} changed {table} of {len(owners)} others")


def _blocking(begin: Callable[[], Any]) -> Outcome:
    return asyncio.run(finished(begin))


class Noise:
    """Others who work on the same pool meanwhile: their calls are cancelled, or fail within the transaction."""

    def __init__(self, memory: AsyncMemory, seed: int) -> None:
        self._memory = memory
        self._random = random.Random(seed)
        self._tasks: list[asyncio.Task[None]] = []
        self.cancelled = 0
        self.failed = 0

    async def __aenter__(self) -> Noise:
        self._tasks = [asyncio.create_task(self._make(f"busy {number}")) for number in range(2)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _make(self, name: str) -> None:
        mark = new_mark()
        user = self._memory.for_user(name)
        run = self._memory._storage.run
        works: list[Callable[[], Awaitable[Any]]] = [
            lambda: user.save("colour", mark),
            lambda: user.search("blue"),
            lambda: user.thread("t").append([{"content": mark}] * 50),
            # The server refuses it once the owner is set.
            lambda: run(threads.append(user.owner, "\x00", [{"content": mark}])),
        ]
        while True:
            task = asyncio.ensure_future(self._random.choice(works)())
            await asyncio.sleep(self._random.random() * 0.006)
            if self._random.random() < 0.5:
                task.cancel()
            with suppress(Exception):
                try:
                    await task
                except asyncio.CancelledError:
                    self.cancelled += 1
                    current = asyncio.current_task()
                    if current is not None and current.cancelling():
                        raise
                except Exception:
                    self.failed += 1
            await asyncio.sleep(0.01)


def admin_of(admin_dsn: str, target: Lakebase) -> str:
    return make_conninfo(admin_dsn, dbname=str(target.database))
