"""LangGraph's store, as its own Postgres store writes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from langgraph.store.postgres.aio import AsyncPostgresStore

from lakemem import AsyncMemory, CallableEmbedder, Lakebase
from lakemem.cli import main
from lakemem.integrations.langgraph import AsyncLakebaseStore
from tests.conftest import connect
from tests.importing.conftest import Import, dsn
from tests.support.locks import wait_until_blocked

ALICE, BOB = ("user_memories", "alice"), ("user_memories", "bob-b")


def letters(texts: list[str]) -> list[list[float]]:
    """Texts that share letters are close."""
    return [[float(text.count(letter)) + 0.01 for letter in "abcdefghijklmnop"] for text in texts]


class Embedder(CallableEmbedder):
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(self._letters, model="letters", dimensions=16)

    def _letters(self, texts: list[str]) -> list[list[float]]:
        self.asked.extend(texts)
        return letters(texts)


@pytest.fixture
async def postgres_store(source: Lakebase) -> AsyncIterator[AsyncPostgresStore]:
    index = {"dims": 16, "embed": letters, "fields": ["text"]}
    async with AsyncPostgresStore.from_conn_string(dsn(source), index=index) as store:  # type: ignore[arg-type]
        await store.setup()
        yield store


async def test_items_come_over_with_their_values_and_times(
    postgres_store: AsyncPostgresStore, target: Lakebase, run_import: Import, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(700):
        await postgres_store.aput(("many", "v1"), f"k{number}", {"text": f"ünï {number}", "nested": {"n": [number]}})
    for text in ("hay", "needle"):
        await postgres_store.aput(("one",), "k", {"text": text}, ttl=30)
    assert run_import("--scope", "team") == 0
    assert "2 looked at; came over: 701 memories" in capsys.readouterr().out
    async with AsyncMemory(target) as memory:
        store = AsyncLakebaseStore(memory.for_scope("team"))
        for namespace in (("many", "v1"), ("one",)):
            mine = await store.asearch(namespace, limit=1000)
            theirs = await postgres_store.asearch(namespace, limit=1000)
            assert {item.key: (item.value, item.created_at, item.updated_at) for item in mine} == {
                item.key: (item.value, item.created_at, item.updated_at) for item in theirs
            }
        assert mine[0].created_at < mine[0].updated_at
        assert await store.alist_namespaces() == await postgres_store.alist_namespaces()
        assert [item.key for item in await store.asearch((), query="needles")] == ["k"]
        assert await memory.for_user("team").items() == []


async def test_vectors_are_taken_over_when_the_same_model_made_them(
    postgres_store: AsyncPostgresStore, target: Lakebase, run_import: Import
) -> None:
    for key, text in (("1", "aaa"), ("2", "aab"), ("3", "ccc")):
        await postgres_store.aput(("t",), key, {"text": text})
    await postgres_store.aput(("t",), "several", {"text": "ppp", "more": "ooo"}, index=["text", "more"])
    assert run_import("--user", "alice", "--vectors-by", "letters") == 0
    embedder = Embedder()
    async with AsyncMemory(target, embedder=embedder) as memory:
        alice = memory.for_user("alice")
        hits = await alice.search("aaaa")
        assert [hit.key for hit in hits] == ["1", "2", "3"]
        assert hits[0].similarity == pytest.approx(1.0, abs=0.01)
        assert {record.key: record.embedded for record in await alice.items()} == {
            "1": True, "2": True, "3": True, "several": False,
        }  # fmt: skip
    assert embedder.asked == ["aaaa"]


async def test_without_a_word_about_their_model_vectors_stay_behind(
    postgres_store: AsyncPostgresStore, target: Lakebase, run_import: Import
) -> None:
    await postgres_store.aput(("t",), "1", {"text": "aaa"})
    assert run_import("--user", "alice") == 0
    async with AsyncMemory(target, embedder=Embedder()) as memory:
        [record] = await memory.for_user("alice").items()
        assert not record.embedded
        [hit] = await memory.for_user("alice").search("aaa")
        assert hit.matched_terms == ("aaa",)


async def test_a_second_import_brings_what_is_new_and_spares_what_changed_here(
    postgres_store: AsyncPostgresStore, target: Lakebase, run_import: Import, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in ("same", "changed there", "changed here", "deleted here"):
        await postgres_store.aput(("t",), key, {"n": 1})
    assert run_import("--user", "alice") == 0
    capsys.readouterr()
    assert run_import("--user", "alice") == 0
    assert "came over: nothing new" in capsys.readouterr().out
    async with AsyncMemory(target) as memory:
        alice = memory.for_user("alice")
        await alice.save("changed here", {"n": "here"}, namespace=("t",))
        await alice.delete("deleted here", namespace=("t",))
        await postgres_store.aput(("t",), "changed there", {"n": 2})
        await postgres_store.aput(("t",), "new", {"n": 3})
        assert run_import("--user", "alice") == 0
        assert "came over: 2 memories" in capsys.readouterr().out
        assert {record.key: (record.version, record.value["n"]) for record in await alice.items()} == {
            "same": (1, 1), "changed there": (2, 2), "changed here": (2, "here"), "new": (1, 3),
        }  # fmt: skip
    with connect(target) as connection:
        connection.execute("SELECT set_config('lakemem.owner', 'user:alice', false)")
        events = connection.execute(
            "SELECT version, action FROM lakemem.memory_events WHERE key = 'changed there' ORDER BY event_id"
        ).fetchall()
    assert events == [(1, "save"), (2, "save")]


async def test_the_namespace_says_whose_an_item_is(
    postgres_store: AsyncPostgresStore,
    target: Lakebase,
    run_import: Import,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await postgres_store.aput(ALICE, "k", {"n": 1})
    await postgres_store.aput(BOB, "k", {"n": 2})
    await postgres_store.aput(("settings",), "k", {"n": 3})
    pattern = r"^user_memories\.(?P<user>[^.]+)"
    assert run_import("--user-from", pattern) == 0
    assert "left behind: 1 whose owner is not known" in capsys.readouterr().out
    users = tmp_path / "users.json"
    users.write_text('{"bob-b": "bob@b"}')
    assert run_import("--user-from", pattern, "--users", str(users)) == 0
    async with AsyncMemory(target) as memory:
        for user, namespace, n in (("alice", ALICE, 1), ("bob-b", BOB, 2), ("bob@b", BOB, 2)):
            [record] = await memory.for_user(user).items()
            assert (record.namespace, record.value) == (namespace, {"n": n})
        assert await memory.for_user("settings").items() == []


async def test_items_that_lakemem_does_not_take_are_counted_and_left_behind(
    postgres_store: AsyncPostgresStore, target: Lakebase, run_import: Import, capsys: pytest.CaptureFixture[str]
) -> None:
    await postgres_store.aput(("t",), "k" * 300, {"n": 1})
    await postgres_store.aput(("t",), "big", {"text": "x" * 1_100_000}, index=False)
    await postgres_store.aput(("t",), "fine", {"n": 2})
    assert run_import("--user", "alice") == 0
    out = capsys.readouterr().out
    assert "1 items because key has 300 characters" in out
    assert "1 items because value takes 1,1" in out
    async with AsyncMemory(target) as memory:
        assert [record.key for record in await memory.for_user("alice").items()] == ["fine"]


async def test_items_expire_when_they_would_have(
    postgres_store: AsyncPostgresStore, source: Lakebase, target: Lakebase, run_import: Import
) -> None:
    await postgres_store.aput(("t",), "gone", {"n": 1}, ttl=10)
    await postgres_store.aput(("t",), "there", {"n": 2}, ttl=10)
    with connect(source) as connection:
        connection.execute("UPDATE store SET expires_at = now() - interval '1 second' WHERE key = 'gone'")
        connection.execute("UPDATE store SET expires_at = now() + interval '1 minute' WHERE key = 'there'")
        [(expires_at,)] = connection.execute("SELECT expires_at FROM store WHERE key = 'there'").fetchall()
    assert run_import("--user", "alice") == 0
    async with AsyncMemory(target) as memory:
        [record] = await memory.for_user("alice").items()
        assert (record.key, record.expires_at) == ("there", expires_at)
        item = await AsyncLakebaseStore(memory.for_user("alice"), ttl={}).aget(("t",), "there")
        [later] = await memory.for_user("alice").items()
        assert item is not None
        assert later.expires_at is not None
        assert later.expires_at > datetime.now(UTC) + timedelta(minutes=9), "each read puts its end off, as before"


async def test_what_an_agent_saves_during_an_import_wins(
    postgres_store: AsyncPostgresStore, target: Lakebase, run_import: Import
) -> None:
    """Both write the first version of a memory: the import waits, fails, and looks again."""
    await postgres_store.aput(("t",), "k", {"n": "there"})
    await postgres_store.aput(("t",), "other", {"n": "there"})
    with connect(target) as agent, connect(target) as observer:
        agent.execute("SELECT set_config('lakemem.owner', 'user:alice', false)")
        agent.execute("BEGIN")
        agent.execute(
            "INSERT INTO lakemem.memories (owner, namespace, key, version, value, text, content_hash, valid_from)"
            " VALUES ('user:alice', '{t}', 'k', 1, '{\"n\": \"here\"}', 'here', '', now())"
        )
        importing = asyncio.create_task(asyncio.to_thread(run_import, "--user", "alice"))
        await asyncio.to_thread(wait_until_blocked, observer)
        agent.execute("COMMIT")
        assert await importing == 0
    async with AsyncMemory(target) as memory:
        records = await memory.for_user("alice").items()
        assert {record.key: record.value["n"] for record in records} == {"k": "here", "other": "there"}


async def test_source_and_target_can_be_one_database(target: Lakebase) -> None:
    async with AsyncPostgresStore.from_conn_string(dsn(target)) as store:
        await store.setup()
        await store.aput(("t",), "k", {"n": 1})
    assert main(["import", "--from", dsn(target), "--dsn", dsn(target), "--user", "alice"]) == 0
    async with AsyncMemory(target) as memory:
        assert [record.value for record in await memory.for_user("alice").items()] == [{"n": 1}]
