"""Nobody meets what another one has by the classes of compat, the tools of a model, HTTP, or the command line."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest
from agents.tool_context import ToolContext
from psycopg.conninfo import make_conninfo
from starlette.routing import Route

from lakemem import Lakebase, compat
from lakemem.cli import _parser, main
from lakemem.compat import (
    AsyncCheckpointSaver,
    AsyncDatabricksSession,
    AsyncDatabricksStore,
    CheckpointSaver,
    DatabricksStore,
    LongTermMemory,
    ShortTermMemory,
    close_shared_pools,
)
from lakemem.integrations import langgraph, openai_agents
from lakemem.server import create_app
from lakemem.tool_specs import FILE_TOOL_NAME, TOOL_SPECS
from tests.isolation import surfaces
from tests.isolation.hostile import ARGUMENTS
from tests.isolation.ledger import Ledger
from tests.isolation.surfaces import Call, Calls, Names, Own, covered, public
from tests.isolation.test_fuzz import LONG, Record, a_world, report
from tests.isolation.world import Surface, World

NAMES = ("a.b", "a-b", "a_b", "A.B", "a%b", "user:a.b", "a.b' OR '1'='1", "%", "*", "../a.b", "{a.b}", "sweep")
"""Look-alikes that a header and an argument of a command can carry."""


@pytest.fixture
async def world(target: Lakebase, admin_dsn: str) -> AsyncIterator[World]:
    async with a_world(target, admin_dsn) as world:
        await world.seed(NAMES[:8] if LONG else NAMES[:2])
        yield world


async def try_all(world: World, tried: list[Surface]) -> None:
    """Look for others' things under the names that all have, under private ones, and under hostile ones."""
    some = world.users if LONG else world.users[:1]
    for victim in world.users[-3:] if LONG else world.users[-1:]:
        await world.probes(victim, tried)
    await world.arguments(world.users[0], ARGUMENTS if LONG else ARGUMENTS[-3:], tried)
    for user in some:
        await world.same_names([user], tried)


def check(ledger: Ledger, what: str, started: float, record_property: Record) -> None:
    report(ledger, what, started, record_property)
    assert ledger.total.leaks == 0, "\n".join(ledger.findings[:20])
    assert ledger.total.attempts > 5


def test_every_public_method_of_compat_is_tried() -> None:
    classes = {name for name in compat.__all__ if isinstance(getattr(compat, name), type)}
    lent = {"setup", "close"}
    for cls, calls, base in (
        (AsyncDatabricksSession, surfaces.SESSION, "LakebaseSession"),
        (AsyncCheckpointSaver, surfaces.SAVER, "AsyncLakebaseSaver"),
        (CheckpointSaver, surfaces.synced(surfaces.SAVER), "LakebaseSaver"),
        (AsyncDatabricksStore, surfaces.STORE, "AsyncLakebaseStore"),
        (DatabricksStore, surfaces.synced(surfaces.STORE), "LakebaseStore"),
        (LongTermMemory, surfaces.LONG_TERM, "LongTermMemory"),
        (ShortTermMemory, {}, "ShortTermMemory"),
    ):
        assert public(cls) - surfaces.NO_ROWS[base] - covered(calls) - lent == set()
        classes.remove(cls.__name__)
    assert classes == {"CompatWarning", "MemoryItem"}


async def test_compat(world: World, target: Lakebase, record_property: Record) -> None:
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        opened: list[Any] = []

        def one_for_each(cls: Callable[..., Any]) -> Callable[[str], Any]:
            @cache
            def made(name: str) -> Any:
                opened.append(cls(target=target, user=name, max_size=2))
                return opened[-1]

            return made

        @cache
        def session(name: str) -> Callable[[str], AsyncDatabricksSession]:
            return lambda thread_id: AsyncDatabricksSession(thread_id, target=target, user=name)

        long_term = LongTermMemory(target=target)
        stack.callback(long_term.close)
        await try_all(
            world,
            [
                Surface("AsyncDatabricksSession", surfaces.SESSION, session),
                Surface("AsyncCheckpointSaver", surfaces.SAVER, one_for_each(AsyncCheckpointSaver)),
                Surface("CheckpointSaver", surfaces.synced(surfaces.SAVER), one_for_each(CheckpointSaver), True),
                Surface("AsyncDatabricksStore", surfaces.STORE, one_for_each(AsyncDatabricksStore)),
                Surface("DatabricksStore", surfaces.synced(surfaces.STORE), one_for_each(DatabricksStore), True),
                Surface("LongTermMemory", surfaces.LONG_TERM, partial(Own, long_term), True),
            ],
        )
        for each in opened:
            closing = each.close()
            if closing is not None:
                await closing
        await close_shared_pools()
    check(world.ledger, "of compat", started, record_property)


def arguments_of(name: str, x: Names) -> dict[str, str]:
    given = {"key": x.key, "value": "mine", "query": x.text or "anything"}
    spec = next(spec for spec in TOOL_SPECS if spec.name == name)
    return {argument: given[argument] for argument in spec.arguments}


def tool_calls(call: Callable[[str, str, dict[str, Any]], Any]) -> Calls:
    """A call of each tool, given whose run it is: `call(user, tool, arguments)`."""

    def of(name: str) -> Call:
        return lambda user, x: call(user, name, arguments_of(name, x))

    files = {
        f"{FILE_TOOL_NAME}: {command}": _file_call(call, command, **more)
        for command, more in (("view", {}), ("delete", {}), ("create", {"file_text": "mine"}))
    }
    return {**{spec.name: of(spec.name) for spec in TOOL_SPECS}, **files}


def _file_call(call: Callable[[str, str, dict[str, Any]], Any], command: str, **more: str) -> Call:
    return lambda user, x: call(user, FILE_TOOL_NAME, {"command": command, "path": x.path, **more})


async def test_tools(world: World, record_property: Record) -> None:
    """What a model writes into a call is never taken for a user, whatever it is."""
    started = time.perf_counter()
    sdk = {
        tool.name: tool
        for kind in ("facts", "files")
        for tool in openai_agents.memory_tools(world.memory, kind=kind)  # type: ignore[arg-type]
    }
    graph = {
        tool.name: tool
        for kind in ("facts", "files")
        for tool in langgraph.memory_tools(world.memory, kind=kind)  # type: ignore[arg-type]
    }
    claim = {"user_id": "a.b", "owner": "user:a.b", "scope": "a.b"}

    def by_sdk(user: str, name: str, arguments: dict[str, Any]) -> Any:
        given = json.dumps({**arguments, **(claim if user == "sweep" else {})})
        context = ToolContext(context={"user_id": user}, tool_name=name, tool_call_id="1", tool_arguments=given)
        return sdk[name].on_invoke_tool(context, given)  # type: ignore[union-attr]

    def by_graph(user: str, name: str, arguments: dict[str, Any]) -> Any:
        return graph[name].ainvoke(arguments, {"configurable": {"user_id": user}})

    tried = [
        Surface("tools of the Agents SDK", tool_calls(by_sdk), str),
        Surface("tools of LangGraph", tool_calls(by_graph), str),
    ]
    assert sdk.keys() == graph.keys() == {name.partition(":")[0] for name in tried[0].calls}
    await try_all(world, tried)
    check(world.ledger, "of the tools", started, record_property)


async def test_http(world: World, record_property: Record) -> None:
    """Users are verified: whatever else a request says of a user, a thread or a run is no way to another one's."""
    started = time.perf_counter()

    async def agent(request: dict[str, Any]) -> str:
        return "an answer"

    app = create_app(agent, memory=world.memory, identify=unquote, drain=0.1)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://here", timeout=60) as http:

            def ask(method: str, path: Callable[[Names], str], **body: Any) -> Call:
                async def asked(user: str, x: Names) -> Any:
                    headers = {"x-forwarded-access-token": quote(user), "x-forwarded-user": "a.b"}
                    given = {name: value(x) if callable(value) else value for name, value in body.items()}
                    options = {"content": json.dumps(given)} if given else {}
                    answer = await http.request(method, path(x), headers=headers, **options)
                    content = answer.text
                    with contextlib.suppress(ValueError):
                        content = answer.json()
                    if isinstance(content, dict):
                        content.pop("metrics", None)
                    return (answer.status_code, content)

                return asked

            def at(suffix: str = "") -> Callable[[Names], str]:
                return lambda x: f"/responses/{quote(x.run, safe='', errors='replace')}{suffix}"

            calls = {
                "retrieve": ask("GET", at()),
                "retrieve: claiming to be another": ask("GET", at("?user_id=a.b")),
                "list_input_items": ask("GET", at("/input_items")),
                "cancel": ask("POST", at("/cancel")),
                "create: after another's": ask(
                    "POST", lambda x: "/responses", input="mine", previous_response_id=lambda x: x.run
                ),
                "create: in a thread": ask(
                    "POST",
                    lambda x: "/invocations",
                    input="mine",
                    custom_inputs=lambda x: {"thread_id": x.thread, "user_id": "a.b"},
                ),
                "create: answering": ask(
                    "POST",
                    lambda x: "/responses",
                    input="mine",
                    background=True,
                    custom_inputs=lambda x: {"thread_id": x.thread, "resume": "yes"},
                ),
                "delete": ask("DELETE", at()),
                "health": ask("GET", lambda x: "/health"),
                "info": ask("GET", lambda x: "/agent/info"),
            }
            routes = {route.name for route in app.routes if isinstance(route, Route)}
            assert routes == covered(calls)
            await try_all(world, [Surface("HTTP", calls, str)])
    check(world.ledger, "over HTTP", started, record_property)


NOT_OF_A_USER = {
    # They work on tables, servers and roles, or for everybody as each of their owners, and print numbers.
    "demo", "migrate", "doctor", "grants", "provision", "emulator", "serve", "worker", "reembed", "consolidate",
    "sweep",
}  # fmt: skip


async def test_the_command_line(world: World, target: Lakebase, tmp_path: Path, record_property: Record) -> None:
    started = time.perf_counter()
    dsn = make_conninfo(**target.parameters)
    archive = tmp_path / "archive.jsonl"
    archive.write_text("")

    def run(*words: str | Callable[[Names], str], of: str = "--user") -> Call:
        def ran(user: str, x: Names) -> Any:
            given = [word(x) if callable(word) else word for word in words]
            with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
                try:
                    code = main([*given, f"{of}={user}", f"--dsn={dsn}"])
                except SystemExit as left:
                    code = left.code  # type: ignore[assignment]
            return (code, out.getvalue(), err.getvalue())

        return ran

    calls = {
        "export": run("export"),
        "export: of a thread": run("export", lambda x: f"--thread={x.thread}"),
        "runs: list": run("runs", "list"),
        "runs: show": run("runs", "show", lambda x: x.run),
        "runs: cancel": run("runs", "cancel", lambda x: x.run),
        "runs: retry": run("runs", "retry", lambda x: x.run),
        "audit": run("audit"),
        "hold: list": run("hold", "list"),
        "keys: drop": run("keys", "drop", "--reason", "asked for"),
        "quarantine: list": run("quarantine", "list"),
        "quarantine: release": run("quarantine", "release", lambda x: x.key),
        "quarantine: reject": run("quarantine", "reject", lambda x: x.key),
        "import": run("import", "archive", str(archive)),
        "erase: dry": run("erase"),
        "erase": run("erase", "--yes"),
    }
    commands = next(
        action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)
    ).choices.keys()
    assert commands - NOT_OF_A_USER == covered(calls)
    # Redirecting is of the whole process, so one at a time; and off the loop, for some commands run one of their own.
    lock = asyncio.Lock()

    def alone(call: Call) -> Call:
        async def ran(user: str, x: Names) -> Any:
            async with lock:
                return await asyncio.to_thread(call, user, x)

        return ran

    tried = [Surface("command line", {name: alone(call) for name, call in calls.items()}, str)]
    await world.probes(world.users[-1], tried)
    for user in world.users[: 4 if LONG else 1]:
        await world.same_names([user], tried)
    check(world.ledger, "by the command line", started, record_property)
