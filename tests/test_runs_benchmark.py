"""The benchmark of runs: what its client makes of a stream, its goals, and that it runs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import runs
from long_runs import clients
from long_runs.bench import delays
from long_runs.clients import first_id, numbers, said
from side_by_side.bench import Result
from side_by_side.vendor import IS_THERE

ROOT = Path(__file__).parents[1]
BENCHMARK = ROOT / "benchmarks" / "runs.py"
LONG = bool(os.environ.get("LAKEMEM_TEST_LONG"))

# As either server writes them.
OURS = b'id: 7\ndata: {"sequence_number":7,"response_id":"resp_1","type":"x","delta":"@12.500000 34 ..."}\n\n'
PEERS = b'data: {"type": "x", "delta": "@12.500000 34 ...", "sequence_number": 7, "response_id": "resp_1"}\n\n'


@pytest.mark.parametrize("frame", [OURS, PEERS])
async def test_an_event_says_when_and_by_whom_it_was_emitted(frame: bytes) -> None:
    async def pieces(*all: bytes):  # type: ignore[no-untyped-def]
        for piece in all:
            yield piece

    assert said(frame * 2) == [(12.5, 34), (12.5, 34)]
    assert numbers(frame) == [7]
    assert await first_id(pieces(b": keep-alive\n", frame)) == "resp_1"
    with pytest.raises(RuntimeError):
        await first_id(pieces(b"data: [DONE]\n\n"))


async def test_a_stream_is_taken_in_the_pieces_in_which_it_was_sent() -> None:
    asked = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in (b"data: 1\n\ndata: 2\n\n", b"data: [DONE]\n\n", b""):
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with clients.tailing(port, "resp_1") as pieces:
            assert [piece async for piece in pieces] == [b"data: 1\n\ndata: 2\n\n", b"data: [DONE]\n\n"]
    assert asked[0].startswith(b"GET /responses/resp_1?stream=true HTTP/1.1\r\n")


def test_delays_are_milliseconds_and_none_are_no_figure() -> None:
    found = delays([0.004, 0.002, 0.003])
    assert (found.p50, found.p99) == (3.0, 4.0)
    with pytest.raises(RuntimeError, match="no event was delivered"):
        delays([])


@pytest.mark.parametrize(
    ("case", "metric", "ours", "is_met"),
    [
        ("events-8", "events/s", 1_000.0, True),
        ("events-8", "events/s", 999.0, False),
        ("delivery-same-p99-ms", "ms", 51.0, False),
        ("takeover-seconds", "s", 2.9, True),
        ("idle-queries-per-second", "statements/s", 5.1, False),
    ],
)
def test_goals(case: str, metric: str, ours: float, is_met: bool) -> None:
    (goal,) = [goal for goal in runs.GOALS[case] if goal.metric == metric]
    reached = goal.reached(Result(case, metric, ours, 100.0, None))
    assert reached is not None
    assert goal.is_met(reached) is is_met


def measured(results: Path, *arguments: str) -> list[dict[str, object]]:
    command = [sys.executable, str(BENCHMARK), "--quick", "--results", str(results), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in (results / "runs.md").read_text()
    assert {path.name for path in results.iterdir()} == {"runs.json", "runs.md", "runs.png"}
    rows = json.loads((results / "runs.json").read_text())
    assert all(set(row) == {"case", "metric", "ours", "peer", "floor"} for row in rows)
    return list(rows)


@pytest.mark.long
def test_it_runs_in_small(tmp_path: Path) -> None:
    rows = measured(tmp_path, "--without-peer", "--only", "events-8", "--only", "idle-queries-per-second")
    assert {row["case"] for row in rows} == {"events-8", "idle-queries-per-second"}
    assert all(row["ours"] is not None and row["ours"] > 0 and row["peer"] is None for row in rows)  # type: ignore[operator]


@pytest.mark.skipif(not (LONG and IS_THERE), reason="with LAKEMEM_TEST_LONG=1, after make test-peers")
def test_it_has_a_figure_for_each_case(tmp_path: Path) -> None:
    rows = measured(tmp_path)
    assert {row["case"] for row in rows} == set(runs.CASES)
    assert all(row["ours"] is not None and row["peer"] is not None for row in rows)
