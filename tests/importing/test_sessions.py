"""Threads of the Agents SDK, as its own SQLAlchemySession writes them."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from lakemem import AsyncMemory, Lakebase, Memory
from lakemem.integrations.openai_agents import LakebaseSession
from tests.conftest import connect
from tests.importing.conftest import Import, dsn
from tests.support.locks import wait_until_blocked

SessionOf = Callable[[str], Any]
"""What makes a SQLAlchemySession; its items are typed by the SDK, and may be any JSON object."""

ITEMS: list[Any] = [
    {"role": "user", "content": "héllo \U0001f333 \x00 \\u0000"},
    {"z": 1, "a": [1.0, 1e22, -0.0, None, True], "content": {"b": {}, "a": ""}},
    {"type": "function_call_output", "output": "x" * 1_000_000},
    {"half": "\ud83d"},
]


async def test_items_come_over_byte_for_byte_in_the_order_of_their_ids(
    session_of: SessionOf, source: Lakebase, target: Lakebase, run_import: Import, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = session_of("one"), session_of("two")
    for item in ITEMS:
        await one.add_items([item])
        await two.add_items([{"role": "user", "content": "between"}])
    with connect(source) as connection:
        # Written on two connections whose clocks said otherwise.
        connection.execute("UPDATE agent_messages SET created_at = '2020-01-01' WHERE id = 3")
    assert run_import("--user", "alice") == 0
    assert "8 items, 2 threads" in capsys.readouterr().out
    with connect(source) as there, connect(target) as here:
        here.execute("SELECT set_config('lakemem.owner', 'user:alice', false)")
        for thread in ("one", "two"):
            stored = here.execute(
                "SELECT position, item::text, created_at FROM lakemem.thread_items"
                " WHERE thread_id = %s ORDER BY position",
                [thread],
            ).fetchall()
            given = there.execute(
                "SELECT row_number() OVER (ORDER BY id), message_data, created_at::timestamptz"
                " FROM agent_messages WHERE session_id = %s ORDER BY id",
                [thread],
            ).fetchall()
            assert stored == given
    async with AsyncMemory(target) as memory:
        session = LakebaseSession(memory.for_user("alice").thread("one"))
        assert await session.get_items() == ITEMS
        assert await memory.for_user("bob").threads() == []
        threads = await memory.for_user("alice").threads()
        with connect(source) as connection:
            rows: list[Any] = connection.execute(
                "SELECT session_id, created_at::timestamptz FROM agent_sessions"
            ).fetchall()
        assert {thread.thread_id: thread.created_at for thread in threads} == dict(rows)


async def test_a_second_import_brings_what_is_new_and_nothing_twice(
    session_of: SessionOf, target: Lakebase, run_import: Import, capsys: pytest.CaptureFixture[str]
) -> None:
    session, idle = session_of("busy"), session_of("empty")
    await idle.add_items([{"n": 0}])
    await idle.clear_session()
    await session.add_items([{"n": 1}, {"n": 2}])
    assert run_import("--user", "alice") == 0
    capsys.readouterr()
    assert run_import("--user", "alice") == 0
    assert "came over: nothing new" in capsys.readouterr().out
    async with AsyncMemory(target) as memory:
        thread = memory.for_user("alice").thread("busy")
        assert await thread.items() == [{"n": 1}, {"n": 2}]
        # An agent goes on here, and an old one there.
        await thread.append([{"n": "here"}])
        await session.add_items([{"n": 3}])
        assert run_import("--user", "alice") == 0
        assert "came over: 1 items" in capsys.readouterr().out
        assert await thread.items() == [{"n": 1}, {"n": 2}, {"n": "here"}, {"n": 3}]
        assert await thread.append([{"n": 4}]) == range(5, 6)


async def test_what_was_removed_here_does_not_come_back(
    session_of: SessionOf, target: Lakebase, run_import: Import
) -> None:
    await session_of("t").add_items([{"n": 1}, {"n": 2}])
    run_import("--user", "alice")
    async with AsyncMemory(target) as memory:
        thread = memory.for_user("alice").thread("t")
        await thread.pop()
        run_import("--user", "alice")
        assert await thread.items() == [{"n": 1}]
        await thread.delete()
        run_import("--user", "alice")
        assert await thread.items() == []


async def test_a_thread_that_lakemem_has_of_its_own_is_left_alone(
    session_of: SessionOf, target: Lakebase, run_import: Import, capsys: pytest.CaptureFixture[str]
) -> None:
    await session_of("t").add_items([{"n": "theirs"}])
    async with AsyncMemory(target) as memory:
        thread = memory.for_user("alice").thread("t")
        await thread.append([{"n": "ours"}])
        assert run_import("--user", "alice") == 0
        assert await thread.items() == [{"n": "ours"}]
        assert "left behind: 1 that are in lakemem already" in capsys.readouterr().out
        # To another user it is a thread of another's.
        assert run_import("--user", "bob") == 0
        assert await memory.for_user("bob").thread("t").items() == [{"n": "theirs"}]


async def test_messages_that_are_no_items_are_counted_and_left_behind(
    session_of: SessionOf, source: Lakebase, target: Lakebase, run_import: Import, capsys: pytest.CaptureFixture[str]
) -> None:
    await session_of("t").add_items([{"n": 1}])
    with connect(source) as connection:
        for text in ("{broken", '["a list"]', '{"n": NaN}', "[" * 100_000):
            connection.execute("INSERT INTO agent_messages (session_id, message_data) VALUES ('t', %s)", [text])
    await session_of("t").add_items([{"n": 2}])
    assert run_import("--user", "alice") == 0
    assert "left behind: 4 items that are no JSON object" in capsys.readouterr().out
    with Memory(target) as memory:
        assert memory.for_user("alice").thread("t").items() == [{"n": 1}, {"n": 2}]


async def test_ids_that_lakemem_does_not_take_are_counted_and_left_behind(
    session_of: SessionOf, target: Lakebase, run_import: Import, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("x" * 300, "fine"):
        await session_of(name).add_items([{"n": 1}])
    assert run_import("--user", "alice") == 0
    assert "left behind: 1 because thread_id has 300 characters" in capsys.readouterr().out
    with Memory(target) as memory:
        assert [thread.thread_id for thread in memory.for_user("alice").threads()] == ["fine"]


async def test_tables_may_have_other_names_and_another_schema(
    session_of: SessionOf, source: Lakebase, target: Lakebase, run_import: Import
) -> None:
    await session_of("t").add_items([{"n": 1}])
    with connect(source) as connection:
        connection.execute('CREATE SCHEMA "my agents"')
        for table, name in (("agent_sessions", "s 1"), ("agent_messages", "m s")):
            connection.execute(f'ALTER TABLE {table} SET SCHEMA "my agents"')
            connection.execute(f'ALTER TABLE "my agents".{table} RENAME TO "{name}"')
    names = ("--source-schema", "my agents", "--sessions-table", "s 1", "--messages-table", "m s")
    assert run_import("--user", "alice", *names) == 0
    with Memory(target) as memory:
        assert memory.for_user("alice").thread("t").items() == [{"n": 1}]


async def test_a_long_thread_is_not_held_in_memory(
    session_of: SessionOf, source: Lakebase, target: Lakebase, run_import: Import
) -> None:
    await session_of("long").add_items([{"n": 0}])
    with connect(source) as connection:
        connection.execute(
            "INSERT INTO agent_messages (session_id, message_data)"
            " SELECT 'long', json_build_object('n', n, 'text', repeat('x', 4000)) FROM generate_series(1, 5000) AS n"
        )
    tracemalloc.start()
    try:
        assert run_import("--user", "alice") == 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000, "20 MB came over"
    with Memory(target) as memory:
        items = memory.for_user("alice").thread("long").items()
    assert [item["n"] for item in items] == list(range(5001))


async def test_an_import_that_was_killed_is_completed_by_the_next(
    session_of: SessionOf, source: Lakebase, target: Lakebase, run_import: Import
) -> None:
    """Killed while it stands in the middle of a thread: half of that thread is written, and not committed."""
    names = ["a", "b", "c", "d"]
    for name in names:
        await session_of(name).add_items([{"thread": name, "n": 0}])
    with connect(source) as connection:
        connection.execute(
            "INSERT INTO agent_messages (session_id, message_data)"
            " SELECT s, json_build_object('thread', s, 'n', n)"
            " FROM unnest(ARRAY['a', 'b', 'c', 'd']) AS s, generate_series(1, 1200) AS n ORDER BY n, s"
        )
    with connect(target) as blocker, connect(target) as observer:
        blocker.execute("SELECT set_config('lakemem.owner', 'user:alice', false)")
        blocker.execute("BEGIN")
        # The second batch of the third thread waits for what becomes of this row.
        blocker.execute(
            "INSERT INTO lakemem.thread_items (owner, thread_id, position, item) VALUES ('user:alice', 'c', 700, '{}')"
        )
        command = ["import", "--from", dsn(source), "--dsn", dsn(target), "--user", "alice"]
        process = subprocess.Popen([sys.executable, "-m", "lakemem", *command], stderr=subprocess.DEVNULL)
        try:
            wait_until_blocked(observer)
        finally:
            process.kill()
            process.wait()
        blocker.execute("ROLLBACK")
    with Memory(target) as memory:
        alice = memory.for_user("alice")
        assert {thread.thread_id for thread in alice.threads()} == {"a", "b"}
        assert run_import("--user", "alice") == 0
        for name in names:
            assert alice.thread(name).items() == [{"thread": name, "n": n} for n in range(1201)]
