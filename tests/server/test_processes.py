"""Servers as processes of their own, behind real sockets: one is killed, and its clients go on at another."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from psycopg.conninfo import make_conninfo

from lakemem import Lakebase
from lakemem.cli import main
from tests.server.conftest import event_of, text_of
from tests.server.killable import STEPS
from tests.support.rows import Rows


@dataclass(frozen=True)
class Process:
    """A server that somebody has begun from the command line."""

    process: subprocess.Popen[bytes]
    http: httpx.AsyncClient

    async def ended(self, run_id: str) -> dict[str, Any]:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    answer = (await self.http.get(f"/responses/{run_id}")).json()
                    if answer["status"] not in ("queued", "in_progress"):
                        return dict(answer)
                await asyncio.sleep(0.05)

    async def blocks(self, path: str, body: dict[str, Any] | None = None) -> AsyncIterator[str]:
        """The blocks of a stream, until it ends or breaks."""
        method = "GET" if body is None else "POST"
        with contextlib.suppress(httpx.TransportError):
            async with self.http.stream(method, path, json=body) as answer:
                assert answer.status_code == 200, await answer.aread()
                block = ""
                async for line in answer.aiter_lines():
                    if line:
                        block += f"{line}\n"
                    elif block:
                        yield block.strip()
                        block = ""


@asynccontextmanager
async def serving(target: Lakebase, name: str, notes: Path, *options: str) -> AsyncIterator[Process]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    dsn = make_conninfo(**target.parameters)
    command = [sys.executable, "-m", "lakemem", "serve", f"tests.server.{name}", "--dsn", dsn]
    process = subprocess.Popen(
        [*command, "--port", str(port), *options],
        env={**os.environ, "NOTES": str(notes)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            async with asyncio.timeout(30):
                while True:
                    assert process.poll() is None, "it ended before it began"
                    with contextlib.suppress(httpx.TransportError):
                        await http.get("/health")
                        break
                    await asyncio.sleep(0.05)
            yield Process(process, http)
    finally:
        # Its own group, with the workers of the first process.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@asynccontextmanager
async def both(target: Lakebase, name: str, notes: Path, *options: str) -> AsyncIterator[tuple[Process, Process]]:
    """Two servers; the second one sleeps until it is told to go on, so that the first one gets the run."""
    async with AsyncExitStack() as stack:
        ways = serving(target, name, notes, *options), serving(target, name, notes)
        first, second = await asyncio.gather(*(stack.enter_async_context(way) for way in ways))
        second.process.send_signal(signal.SIGSTOP)
        yield first, second


def times_done(notes: Path) -> Counter[str]:
    return Counter(line.split()[-1] for line in notes.read_text().splitlines())


async def test_a_client_goes_on_at_another_process_when_its_own_is_killed(target: Lakebase, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.touch()
    rows = Rows(target, "user:local-user")
    async with both(target, "killable_graph:graph", notes) as (first, second):
        blocks = []
        async for block in first.blocks("/responses", {"input": "Work", "stream": True}):
            blocks.append(block)
            if len(times_done(notes)) == 3:
                first.process.kill()
                # Its lease would end so late that nobody here waits for it.
                rows("UPDATE lakemem.runs SET leased_until = leased_until + interval '5 minutes'")
                second.process.send_signal(signal.SIGCONT)
        assert "[DONE]" not in blocks[-1]
        events = [event_of(block) for block in blocks]
        done_before = len(times_done(notes))
        assert 0 < done_before < STEPS
        path = f"/responses/{events[0]['response']['id']}?stream=true"
        rest = second.blocks(f"{path}&starting_after={events[-1]['sequence_number']}")
        events += [event_of(block) async for block in rest if block != "data: [DONE]"]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert events == [event_of(block) async for block in second.blocks(path) if block != "data: [DONE]"]
        answer = events[-1]["response"]
        assert (answer["status"], answer["attempt_number"]) == ("completed", 2)
        assert text_of(answer) == "".join(f"step {number}" for number in range(STEPS))
        # What had a checkpoint is not done again; the step that was under way may be.
        done = times_done(notes)
        assert len(done) == STEPS
        assert sum(done.values()) <= STEPS + 1


async def test_processes_end_in_time_and_hand_over_what_they_have(target: Lakebase, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.touch()
    async with both(target, "killable:steps", notes, "--workers", "2", "--drain", "0.4") as (first, second):
        begun = (await first.http.post("/responses", json={"input": "Work", "background": True})).json()
        while len(times_done(notes)) < 3:
            await asyncio.sleep(0.02)
        second.process.send_signal(signal.SIGCONT)
        first.process.terminate()
        await asyncio.to_thread(first.process.wait, 30)
        ended = await second.ended(begun["id"])
        assert ended["status"] == "completed"
        assert sum(times_done(notes).values()) <= STEPS + 1


async def test_a_request_that_kills_its_process_does_not_take_all_of_them(target: Lakebase, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.touch()
    async with serving(target, "killable:poison", notes, "--workers", "2") as server:
        answer = await server.http.post("/responses", json={"input": "x", "background": True})
        run_id = None
        with contextlib.suppress(httpx.TransportError):
            answer = await server.http.post("/responses", json={"input": "poison", "background": True})
            run_id = answer.json()["id"]
        assert run_id is not None
        ended = await server.ended(run_id)
        assert (ended["status"], ended["error"]["code"]) == ("failed", "attempts_exhausted")
        assert len(notes.read_text().splitlines()) == 2
        well = (await server.http.post("/responses", json={"input": "x"})).json()
        assert text_of(well) == "well"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("tests.server.killable:none", "has no none"),
        ("no_such_module:agent", "there is no module no_such_module"),
        ("tests.server.killable:STEPS", "nothing that can be served"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(
    name: str, complaint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEMEM_DSN", "postgresql://127.0.0.1:1/none")
    assert main(["serve", name]) == 1
    assert complaint in capsys.readouterr().err
