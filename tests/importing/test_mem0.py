"""mem0's memories, in the table and the rows that mem0 2.2 writes on pgvector."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lakemem import AsyncMemory, Lakebase
from lakemem.cli import main
from tests.conftest import connect
from tests.importing.conftest import checksum, dsn
from tests.support.embedders import TopicEmbedder
from tests.support.rows import Rows

NAMESPACE = ("mem0",)
CREATED, UPDATED = "2026-01-21T14:56:26.438619+00:00", "2026-02-21T14:56:26.553556+00:00"


class Mem0:
    """Writes as mem0 does."""

    def __init__(self, connection: psycopg.Connection[Any], table: str = "mem0") -> None:
        self._connection = connection
        self._table = table
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute(f"CREATE TABLE {table} (id UUID PRIMARY KEY, vector vector(4), payload JSONB)")
        connection.execute(f"CREATE INDEX ON {table} USING hnsw (vector vector_cosine_ops)")
        connection.execute(f"CREATE INDEX ON {table} USING gin(to_tsvector('simple', payload->>'text_lemmatized'))")

    def add(self, data: str, *, vector: list[float] | None = None, **payload: Any) -> str:
        memory_id = str(uuid.uuid4())
        whole = {
            "data": data, "hash": "faf2dc188b3ee990c59323b1cb3c037b", "text_lemmatized": data, "role": "user",
            "created_at": CREATED, "updated_at": CREATED, **payload,
        }  # fmt: skip
        values = (memory_id, str(vector or [0.5, 0, 0, 0]), json.dumps(whole))
        self._connection.execute(f"INSERT INTO {self._table} (id, vector, payload) VALUES (%s, %s, %s)", values)
        return memory_id

    def change(self, memory_id: str, **payload: Any) -> None:
        changed = (json.dumps(payload), memory_id)
        self._connection.execute(f"UPDATE {self._table} SET payload = payload || %s::jsonb WHERE id = %s", changed)


@pytest.fixture
def mem0(source: Lakebase) -> Iterator[Mem0]:
    with connect(source) as connection:
        yield Mem0(connection)


@pytest.fixture
def run_import(source: Lakebase, target: Lakebase) -> Any:
    def run(*arguments: str) -> int:
        before = checksum(source)
        code = main(["import", "mem0", "--from", dsn(source), "--dsn", dsn(target), *arguments])
        assert checksum(source) == before
        return code

    return run


async def test_memories_come_over_to_those_whose_they_are(
    mem0: Mem0, run_import: Any, target: Lakebase, capsys: pytest.CaptureFixture[str]
) -> None:
    first = mem0.add(
        "I like long answers", user_id="ada", agent_id="helper", run_id="r1", topic="style", updated_at=UPDATED
    )
    mem0.add("Noted", user_id="ada", agent_id="helper", role="assistant", actor_id="bot", expiration_date="2099-01-31")
    mem0.add("Likes tea", user_id="bob")
    mem0.add("Agents only", agent_id="helper", user_id="")
    mem0.add("Runs only", run_id="r2")
    assert run_import() == 0
    out = capsys.readouterr().out
    assert "4 looked at; came over: 4 memories" in out
    assert "left behind: 1 whose owner is not known" in out
    async with AsyncMemory(target) as memory:
        ada = memory.for_user("ada")
        record = await ada.get(first, namespace=NAMESPACE)
        assert record is not None
        assert (record.value, record.text, record.version) == ("I like long answers", "I like long answers", 1)
        assert record.metadata == {"agent_id": "helper", "run_id": "r1", "topic": "style", "role": "user"}
        assert record.valid_from == datetime.fromisoformat(UPDATED)
        [other] = [each for each in await ada.items() if each.key != first]
        assert other.metadata == {"agent_id": "helper", "role": "assistant", "actor_id": "bot"}
        assert other.expires_at == datetime(2099, 2, 1, tzinfo=UTC)
        assert [hit.key for hit in await ada.search("long answers")] == [first]
        assert [each.value for each in await memory.for_user("bob").items()] == ["Likes tea"]
        assert [each.value for each in await memory.for_scope("helper").items()] == ["Agents only"]
        assert await memory.for_user("helper").items() == []
    rows = Rows(target, "user:ada")
    assert rows("SELECT created_at, valid_from FROM lakemem.memories WHERE key = %s", first) == [
        (datetime.fromisoformat(CREATED), datetime.fromisoformat(UPDATED))
    ]
    assert rows("SELECT embedding_model FROM lakemem.memories WHERE embedding IS NOT NULL") == []


async def test_a_second_import_brings_what_is_new_and_spares_what_changed_here(
    mem0: Mem0, run_import: Any, target: Lakebase, capsys: pytest.CaptureFixture[str]
) -> None:
    same, there, here, deleted = (mem0.add(text, user_id="ada") for text in ("same", "there", "here", "deleted"))
    assert run_import() == 0
    assert run_import() == 0
    assert "came over: nothing new" in capsys.readouterr().out
    async with AsyncMemory(target) as memory:
        ada = memory.for_user("ada")
        await ada.update(here, "mine", namespace=NAMESPACE)
        await ada.delete(deleted, namespace=NAMESPACE)
        mem0.change(there, data="there, anew", updated_at=UPDATED)
        mem0.change(here, data="theirs", updated_at=UPDATED)
        new = mem0.add("new", user_id="ada")
        assert run_import() == 0
        assert "came over: 2 memories" in capsys.readouterr().out
        assert {each.key: (each.version, each.value) for each in await ada.items()} == {
            same: (1, "same"), there: (2, "there, anew"), here: (2, "mine"), new: (1, "new"),
        }  # fmt: skip


async def test_vectors_are_taken_over_where_their_model_is_named(mem0: Mem0, run_import: Any, target: Lakebase) -> None:
    dog = mem0.add("a dog", user_id="ada", vector=[3, 0, 0, 0])
    mem0.add("pasta", user_id="ada", vector=[0, 3, 0, 0])
    assert run_import("--embedding-model", "topics") == 0
    embedder = TopicEmbedder()
    async with AsyncMemory(target, embedder=embedder) as memory:
        [hit, *_] = await memory.for_user("ada").search("puppy")
        assert hit.key == dog
        assert hit.similarity == pytest.approx(0.894, abs=0.01)
        assert "a dog" not in embedder.texts


async def test_an_embedder_gives_vectors_to_those_without(
    mem0: Mem0, run_import: Any, target: Lakebase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    dog = mem0.add("a dog", user_id="ada", vector=[0, 3, 0, 0])
    mem0.add("nothing of that", agent_id="helper")
    embedder = "tests.support.embedders:TopicEmbedder"
    assert run_import("--embedder", embedder) == 0
    assert "2 memories, 2 vectors" in capsys.readouterr().out
    assert run_import("--embedder", embedder) == 0
    assert "came over: nothing new" in capsys.readouterr().out
    async with AsyncMemory(target, embedder=TopicEmbedder()) as memory:
        [hit] = await memory.for_user("ada").search("puppy")
        assert (hit.key, hit.record.embedded, hit.arms) == (dog, True, ("dense", "lexical"))
        assert (await memory.for_scope("helper").items())[0].embedded


@pytest.mark.parametrize(
    ("options", "owner"),
    [
        (["--user", "eve"], "user:eve"),
        (["--scope", "team"], "scope:team"),
        (["--users", "{users}"], "user:ada@example.com"),
    ],
)
async def test_the_options_can_say_whose_they_become(
    mem0: Mem0, run_import: Any, target: Lakebase, tmp_path: Path, options: list[str], owner: str
) -> None:
    users = tmp_path / "users.json"
    users.write_text('{"ada": "ada@example.com"}')
    mem0.add("x", user_id="ada")
    mem0.add("y", user_id="bob")
    assert run_import(*(option.replace("{users}", str(users)) for option in options)) == 0
    kind, _, name = owner.partition(":")
    async with AsyncMemory(target) as memory:
        view = memory.for_user(name) if kind == "user" else memory.for_scope(name)
        records = {each.value: each.metadata["user_id"] for each in await view.items()}
        assert records == ({"x": "ada"} if "--users" in options else {"x": "ada", "y": "bob"})
        assert await memory.for_user("ada").items() == await memory.for_user("bob").items() == []


async def test_payloads_of_other_versions_and_what_cannot_be_stored(
    mem0: Mem0, run_import: Any, target: Lakebase, capsys: pytest.CaptureFixture[str]
) -> None:
    naive = mem0.add("naive", user_id="ada", created_at="2025-03-04T05:06:07", updated_at=None)
    never = mem0.add("never", user_id="ada", created_at=None, updated_at="soon", expiration_date="soon")
    mem0.add("", user_id="ada")
    mem0.add("big", user_id="ada", notes="x" * 70_000)
    mem0.add("nobody", user_id="a" * 300)
    for _ in range(2):
        assert run_import("--namespace", "old.facts") == 0
    out = capsys.readouterr().out
    assert "memories that have no text" in out
    assert "because metadata takes" in out
    assert "because user_id has 300 characters" in out
    async with AsyncMemory(target) as memory:
        records = {each.key: each for each in await memory.for_user("ada").items(namespace=("old", "facts"))}
    assert records.keys() == {naive, never}
    assert records[naive].valid_from == datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
    assert (records[never].valid_from.year, records[never].expires_at, records[never].version) == (1970, None, 1)


async def test_the_collection_is_found_by_its_name(
    source: Lakebase, run_import: Any, target: Lakebase, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_import() == 1
    assert "--table" in capsys.readouterr().err
    with connect(source) as connection:
        connection.execute("CREATE SCHEMA vectors")
        Mem0(connection, "vectors.agents").add("x", user_id="ada")
    assert run_import("--table", "agents", "--source-schema", "vectors") == 0
    async with AsyncMemory(target) as memory:
        assert [each.value for each in await memory.for_user("ada").items()] == ["x"]
