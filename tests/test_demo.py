"""`lakemem demo`, as a person runs it: a process of its own, on an embedded Postgres."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.folders import server_folder
from tests.support_http import JsonServer, Refusal
from tests.support_http.models import chat_completions, responses

KEY = "sk-do-not-tell"
FRAMEWORKS = {"the OpenAI Agents SDK": [], "LangGraph": ["--langgraph"]}
OF_A_MODEL = ("OPENAI_", "DATABRICKS_", "LAKE", "PG")


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """One folder for the whole module, so that only the first demo has to make a server."""
    with server_folder("demo") as folder:
        yield Path(folder)


def demo(data: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the demo with nothing configured but `environ`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OF_A_MODEL)}
    return subprocess.run(
        [sys.executable, "-m", "lakemem", "demo", *arguments],
        env={**clean, "XDG_DATA_HOME": str(data), "COLUMNS": "200", **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def conversations(output: str) -> dict[str, str]:
    """Each part of the output, by its heading."""
    parts = re.split(r"^─+ (.*?) ─+$", output, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_demo_shows_that_the_agent_remembers_its_user_and_nobody_else(data: Path, framework: str) -> None:
    done = demo(data, *FRAMEWORKS[framework])
    assert (done.returncode, done.stderr) == (0, "")
    begin, *_ = done.stdout.split("─")
    assert f"with {framework} on embedded Postgres 18" in begin
    assert "a scripted model stands in" in begin
    assert list(data.iterdir())

    first, second, bobs, stored, next_steps = conversations(done.stdout).values()
    assert "I work in the workspace analytics-eu" in first
    assert 'save_memory({"key": "preferred_workspace"' in first
    assert 'Agent: You began with: "Hi, I am Ada.' in first
    assert "search_memories(" in second
    assert re.search(r"Agent: From earlier .* analytics-eu.* short answers with a code sample.*\d ms", second)
    assert "Agent: I know nothing about you yet." in bobs
    assert "analytics-eu" not in bobs

    threads, memories = stored.split("Memories")
    assert re.findall(r"│ (ada|bob) +│ [0-9a-f-]{36} +│ \d\d:\d\d:\d\d", threads) == ["ada", "ada", "bob"]
    memories, hits = memories.split("Search:")
    # Also after an earlier run of the other framework there is one version of each, and all are Ada's.
    assert sorted(re.findall(r"│ (\w+) +│ (\w+) +│ The user .* │ (\d) +│", memories)) == [
        ("ada", "answer_style", "1"),
        ("ada", "name", "1"),
        ("ada", "preferred_workspace", "1"),
    ]
    assert re.search(r"│ ada +│ preferred_workspace +│ 1\.00 +│ 0\.\d\d +│ 1\.00 +│ 1\.00 +│ workspac", hits)
    assert "│ bob" not in hits
    assert re.search(r"ada: 3 found in [\d.]+ ms\. +bob: 0 found in [\d.]+ ms", hits)

    assert ("lakemem demo --langgraph" in next_steps) == (framework != "LangGraph")
    assert "README.md" in next_steps
    assert "set LAKEMEM_DSN, then run lakemem migrate" in next_steps


@pytest.fixture
def server() -> Iterator[JsonServer]:
    answers = {
        "/v1/responses": responses,
        "/v1/chat/completions": chat_completions,
        "/serving-endpoints/chat/completions": chat_completions,
    }
    with JsonServer(answers) as server:
        yield server


@pytest.mark.parametrize(
    ("framework", "provider", "path"),
    [
        ("the OpenAI Agents SDK", "openai", "/v1/responses"),
        ("LangGraph", "openai", "/v1/chat/completions"),
        ("the OpenAI Agents SDK", "databricks", "/serving-endpoints/chat/completions"),
        ("LangGraph", "databricks", "/serving-endpoints/chat/completions"),
    ],
)
def test_a_model_that_is_configured_takes_the_place_of_the_script(
    data: Path, server: JsonServer, framework: str, provider: str, path: str
) -> None:
    environ = {
        "openai": {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{server.url}/v1"},
        "databricks": {"DATABRICKS_HOST": f"{server.url}/", "DATABRICKS_TOKEN": KEY},
    }[provider]
    done = demo(data, *FRAMEWORKS[framework], **environ, LAKEMEM_DEMO_MODEL="tiny [model]")
    assert (done.returncode, done.stderr) == (0, "")
    assert "The model is tiny [model]." in done.stdout
    assert "scripted" not in done.stdout
    assert KEY not in done.stdout

    first, second, bobs, stored, _ = conversations(done.stdout).values()
    # Shown as the model said it: square brackets are the markup of the library that prints it.
    assert 'Agent: Found [/b]: {"saved": "introduction"}' in first
    assert "I work in the workspace analytics-eu" in second
    assert 'Agent: Found [/b]: {"memories": []}' in bobs
    assert "│ introduction" in stored

    assert {asked for asked, _ in server.requests} == {path}
    for _, body in server.requests:
        assert body["model"] == "tiny [model]"
        assert len(body["tools"]) == 6
        assert "long-term memory" in str(body)
        assert "user_id" not in str(body)


def test_a_model_that_refuses_is_a_message_and_not_a_traceback(data: Path) -> None:
    def refuse(body: object) -> None:
        raise Refusal(401, f"the key {KEY} is wrong")

    with JsonServer({"/v1/responses": refuse}) as server:
        done = demo(data, OPENAI_API_KEY=KEY, OPENAI_BASE_URL=f"{server.url}/v1")
    assert done.returncode == 1
    assert "lakemem: the model gpt-4.1-mini did not answer (AuthenticationError): check the key" in done.stderr
    assert "Traceback" not in done.stderr
    assert KEY not in done.stdout + done.stderr


def test_a_database_that_cannot_be_reached_is_a_message_and_not_a_traceback(data: Path) -> None:
    done = demo(data, LAKEMEM_DSN="postgresql://ada:hunter2@127.0.0.1:1/agents")
    assert done.returncode == 1
    assert re.fullmatch(r"lakemem: Postgres cannot be reached: [^\n]*\n", done.stderr)
    assert "hunter2" not in done.stdout + done.stderr
