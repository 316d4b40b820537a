"""``lakemem worker``: does jobs until it is told to stop, and leaves none half done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from lakemem import ConfigurationError, Extractor, Lakebase, Memory
from lakemem.cli import main
from lakemem.commands.worker import extractor_of
from tests.support.embedders import TopicEmbedder
from tests.support.rows import Rows

MODULE = """
import sys, time
from tests.support.embedders import TopicEmbedder
from tests.support.extractors import SentenceExtractor

class Slow(SentenceExtractor):
    def extract(self, turns, known):
        print("asked", file=sys.stderr, flush=True)
        time.sleep(1)
        return super().extract(turns, known)

def fail(proposals):
    raise ValueError("tea")

extractor = SentenceExtractor()
made = lambda: SentenceExtractor()
failing = SentenceExtractor(fail)
embedder = TopicEmbedder()
no_extractor = 3
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app_with_extractors.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "app_with_extractors", raising=False)


@pytest.fixture
def spoken(target: Lakebase) -> Lakebase:
    with Memory(target) as memory:
        memory.for_user("alice").remember([{"role": "user", "content": "I like tea."}])
    return target


def work(target: Lakebase, *arguments: str) -> int:
    return main(["worker", *arguments, "--dsn", make_conninfo(**target.parameters)])


def facts(target: Lakebase) -> list[Any]:
    with Memory(target) as memory:
        return [record.value for record in memory.for_user("alice").items(kind="fact")]


def test_what_is_due_is_done(spoken: Lakebase, capsys: pytest.CaptureFixture[str]) -> None:
    assert work(spoken, "app_with_extractors:extractor", "--once") == 0
    printed, told = capsys.readouterr()
    done = "1 jobs done, 1 facts, 0 dropped, 0 vectors, 0 failed attempts, 0 given up, 0 lost\n"
    assert printed == done
    assert told == f"the worker is ready\n{done}"
    assert facts(spoken) == ["The user says: I like tea"]


def test_vectors_are_filled_in_without_an_extractor(target: Lakebase, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(_: object) -> None:
        raise OSError

    with Memory(target, embedder=TopicEmbedder(spoil=refuse)) as memory:
        memory.for_user("alice").save("pet", "a dog")
    assert work(target, "--embedder", "app_with_extractors:embedder", "--once") == 0
    assert "1 vectors" in capsys.readouterr().out
    with Memory(target) as memory:
        [record] = memory.for_user("alice").items()
        assert record.embedded


def test_dead_jobs_are_listed_and_tried_again(spoken: Lakebase, capsys: pytest.CaptureFixture[str]) -> None:
    assert work(spoken, "app_with_extractors:failing", "--once", "--max-attempts", "1") == 0
    assert "1 given up" in capsys.readouterr().out
    assert work(spoken, "--dead") == 0
    listed = capsys.readouterr().out
    assert listed.startswith("user:alice extract ")
    assert "1 attempts, ValueError" in listed
    assert work(spoken, "app_with_extractors:extractor", "--once", "--retry-dead") == 0
    printed, told = capsys.readouterr()
    assert told.startswith("1 jobs are queued again\n")
    assert printed.startswith("1 jobs done, 1 facts")
    assert work(spoken, "--dead") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["extractor", "made", "Slow"])
def test_an_extractor_is_an_object_or_what_makes_it(name: str) -> None:
    assert isinstance(extractor_of(f"app_with_extractors:{name}"), Extractor)


def test_what_is_no_extractor_is_named(spoken: Lakebase, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigurationError, match="is no extractor"):
        extractor_of("app_with_extractors:no_extractor")
    assert work(spoken, "--once") == 1
    assert "needs an extractor" in capsys.readouterr().err


def started(target: Lakebase, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lakemem", "worker", *arguments, "--dsn", make_conninfo(**target.parameters)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def read_until(process: subprocess.Popen[str], said: Callable[[str], bool]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if said(line):
            return
    raise AssertionError("it ended before it said so")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_job_at_hand_be_finished(spoken: Lakebase, number: signal.Signals) -> None:
    with started(spoken, "app_with_extractors:Slow") as process:
        read_until(process, lambda line: line == "asked\n")
        process.send_signal(number)
        printed, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert printed.startswith("1 jobs done, 1 facts")
    assert facts(spoken) == ["The user says: I like tea"]


def test_a_second_signal_gives_the_job_back(spoken: Lakebase) -> None:
    with started(spoken, "app_with_extractors:Slow") as process:
        read_until(process, lambda line: line == "asked\n")
        # Two of one kind may arrive as one.
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    jobs = Rows(spoken, "user:alice")("SELECT status, attempts, leased_until FROM lakemem.jobs")
    assert jobs == [("queued", 0, None)]
    assert facts(spoken) == []


def test_an_idle_worker_stops_at_once(target: Lakebase) -> None:
    with started(target, "app_with_extractors:extractor", "--interval", "60") as process:
        read_until(process, lambda line: line == "the worker is ready\n")
        time.sleep(0.3)
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
