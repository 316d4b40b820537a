"""Servers, clients and a database, of which some fail in the middle: what clients have got is what is stored.

The servers are real processes behind real sockets, the clients plain HTTP. They know nothing but what the page on runs
says: to connect again, to whichever server answers, with the number of the last event.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from lakemem import Lakebase
from lakemem.embedded import EmbeddedPostgres, _stop_server
from lakemem.testing import DatabaseFactory
from tests.conftest import embedded_server
from tests.server.conftest import event_of
from tests.server.test_processes import Process, serving

LONG = bool(os.environ.get("LAKEMEM_TEST_LONG"))
ROUNDS = 5 if LONG else 1
RUNS = 32
WORDS = 60
FOR_A_CLIENT = 90.0


class Client:
    """Begins a run and follows it to its end, whatever fails meanwhile.

    Attributes:
        events: what it has got, each number once.
        connections: how often it had to connect.
        returns: how often of these it had events already.
    """

    def __init__(self, servers: list[Process]) -> None:
        self._servers = servers
        self._key = secrets.token_hex(8)
        self.events: list[dict[str, Any]] = []
        self.connections = self.returns = 0

    async def follow(self) -> None:
        async with asyncio.timeout(FOR_A_CLIENT):
            while not await self._connect(random.choice(self._servers)):
                await asyncio.sleep(0.1)

    async def _connect(self, server: Process) -> bool:
        """Take what comes; whether that is all."""
        self.connections += 1
        self.returns += bool(self.events)
        with contextlib.suppress(httpx.TransportError):
            async with self._asked(server) as answer:
                if answer.status_code != 200:
                    assert answer.status_code == 503, await answer.aread()
                    return False
                async for block in _blocks(answer):
                    if block == "data: [DONE]":
                        return True
                    self.events.append(event_of(block))
        return False

    @asynccontextmanager
    async def _asked(self, server: Process) -> AsyncIterator[httpx.Response]:
        if self.events:
            path = f"/responses/{self.run_id}?stream=true&starting_after={self.events[-1]['sequence_number']}"
            async with server.http.stream("GET", path) as answer:
                yield answer
        else:
            body = {"input": str(WORDS), "stream": True, "background": True}
            # Nobody knows whether an earlier one came through.
            key = {"idempotency-key": self._key}
            async with server.http.stream("POST", "/responses", json=body, headers=key) as answer:
                yield answer

    @property
    def run_id(self) -> str:
        return str(self.events[0]["response_id"])


async def _blocks(answer: httpx.Response) -> AsyncIterator[str]:
    block = ""
    async for line in answer.aiter_lines():
        if line:
            block += f"{line}\n"
        elif block:
            yield block.strip()
            block = ""


async def check(client: Client, server: Process) -> int:
    """Compare what was emitted, stored and received; return the attempts of the run."""
    numbers = [event["sequence_number"] for event in client.events]
    assert numbers == list(range(len(numbers))), "a client got an event twice, or out of order, or missed one"
    path = f"/responses/{client.run_id}?stream=true"
    async with server.http.stream("GET", path) as answer:
        stored = [event_of(block) async for block in _blocks(answer) if block != "data: [DONE]"]
    assert client.events == stored
    said: dict[int, list[int]] = {}
    for event in stored:
        if event["type"] == "response.output_text.delta":
            found = re.fullmatch(r"(\d+):(\d+) ", event["delta"])
            assert found is not None
            said.setdefault(int(found[1]), []).append(int(found[2]))
    assert list(said) == sorted(said), "an attempt wrote after a later one had begun"
    for words in said.values():
        assert words == list(range(len(words)))
    last = max(said)
    assert len(said[last]) == WORDS
    assert stored[-1]["type"] == "response.completed"
    answer = stored[-1]["response"]
    assert answer["output"][0]["content"][0]["text"] == "".join(f"{last}:{n} " for n in range(WORDS))
    assert answer["attempt_number"] == last
    return last


async def run_through_faults(target: Lakebase, folder: Path, notes: Path) -> None:
    async with AsyncExitStack() as stack:
        ways = [serving(target, "killable:speaks", notes, "--concurrency", "24") for _ in range(2)]
        servers = list(await asyncio.gather(*(stack.enter_async_context(way) for way in ways)))
        clients = [Client(servers) for _ in range(RUNS)]
        following = [asyncio.create_task(client.follow()) for client in clients]
        while not all(len(client.events) > 2 for client in clients):
            await asyncio.sleep(0.02)
        # Both in the middle of the runs, in either order.
        faults = [kill(random.choice(servers)), restart(folder)]
        random.shuffle(faults)
        for fault in faults:
            await asyncio.sleep(random.uniform(0.0, 0.6))
            await fault
        await asyncio.gather(*following)
        (survivor,) = [server for server in servers if server.process.poll() is None]
        attempts = [await check(client, survivor) for client in clients]
        assert any(client.returns for client in clients), "no client had to come back"
        ids = {client.run_id for client in clients}
        assert len(ids) == RUNS, "an idempotency key gave two clients one run"
        listed = (await survivor.http.get("/health")).json()
        assert listed["status"] == "healthy"
        print(
            f"{RUNS} runs, {sum(len(client.events) for client in clients)} events, "
            f"{sum(client.connections for client in clients)} connections, "
            f"{sum(client.returns for client in clients)} of them to go on, {sum(each > 1 for each in attempts)} taken "
            "over, none lost, none doubled"
        )


async def kill(server: Process) -> None:
    server.process.kill()
    await asyncio.to_thread(server.process.wait)


async def restart(folder: Path) -> None:
    await asyncio.to_thread(_stop_server, next(folder.glob("*/postmaster.pid")).parent)
    await asyncio.sleep(0.2)
    await asyncio.to_thread(EmbeddedPostgres(folder, version=18).start)


async def test_clients_of_servers_that_are_killed_and_of_a_database_that_restarts_get_every_event_once(
    tmp_path: Path,
) -> None:
    notes = tmp_path / "notes"
    notes.touch()
    with TemporaryDirectory(prefix="lakemem-served-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with contextmanager(embedded_server)(folder, 18) as dsn, DatabaseFactory(dsn) as databases:
            for _ in range(ROUNDS):
                await run_through_faults(databases.create(), folder, notes)
