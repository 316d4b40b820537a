"""Every statement of the .sql files is one that Postgres understands, and finds its rows by their owner."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.pq import ExecStatus

from lakemem import Lakebase
from lakemem._sql import bind_statements, prepared_statements
from lakemem.testing import DatabaseFactory

STATEMENTS = {name: text.decode() for name, text in bind_statements("lakemem").items()}
# Several statements at once cannot be prepared; migrations run them.
SCRIPTS = {name for name, text in STATEMENTS.items() if ";\n" in text}

OWNER = "user:alice 7"
# Values for parameters, by their names; the others are NULL.
PARAMETERS: dict[str, Any] = {
    "after": 3,
    "answer": "1",
    "attempt": 1,
    "attempts": [1],
    "background": True,
    "events": ["{}"],
    "last_sequence": 1,
    "lease_for": 10.0,
    "max_attempts": 2,
    "outcome": "erred",
    "pause": 1.0,
    "request": "{}",
    "run_id": "run 7",
    "takes_over": True,
    "timeout": 60.0,
    "on_busy": "queue",
    "addresses": '[{"namespace": ["preferences"], "key": "key 7"}]',
    "after_key": "",
    "after_namespace": [],
    "after_owner": "",
    "after_position": 0,
    "after_thread": "",
    "after_version": 0,
    "arms": 2,
    "before": "9",
    "blobs": [b"blob"],
    "cap": 1,
    "channel_versions": '{"a": "1"}',
    "channels": ["a"],
    "checkpoint": b"{}",
    "checkpoint_ns": "",
    "conditions": "[]",
    "content_hash": b"hash",
    "content_hashes": [b"hash"],
    "current": True,
    "depth": 2,
    "dry_run": True,
    "embedding": str([0.1] * 64),
    "embedding_model": "model/64",
    "embedding_models": ["model/64"],
    "embeddings": [str([0.1] * 64)],
    "expires_in": 60.0,
    "filter": "{}",
    "first": uuid.UUID(int=0),
    "fork_id": "fork",
    "from_thread": "",
    "half_life": 60.0,
    "idxs": [0],
    "importance": 0.5,
    "items": ['{"n": 1}'],
    "key": "key 7",
    "kind": "fact",
    "last": uuid.UUID(int=9),
    "keys": ["key 7"],
    "least_change": 0.01,
    "limit": 10,
    "merge": 0.95,
    "older_than": 60.0,
    "locks": ["a lock"],
    "max_bytes": 1_000_000,
    "max_characters": 1_000,
    "max_items": 100,
    "max_text": 1_000,
    "metadata": "{}",
    "model": "model/64",
    "namespace": ["preferences"],
    "namespaces": ['{"preferences"}'],
    "offset": 0,
    "owner": OWNER,
    "patterns": "[]",
    "position": 3,
    "query": "Which words are common?",
    "ranked": 1_000,
    "replace": True,
    "similarity": 0.8,
    "sets_expiry": True,
    "sets_metadata": True,
    "sets_title": True,
    "slides": True,
    "run_ids": ["run"],
    "target_id": "target",
    "task_id": "task",
    "task_path": "",
    "text": "some words",
    "text_hashes": [b"hash"],
    "texts": ["some words"],
    "thread_id": "thread 7",
    "title": "A title",
    "to_thread": "thread 9",
    "ttls": [60.0],
    "twin_keys": ["key 8"],
    "twin_versions": ["1"],
    "type": "json",
    "types": ["json"],
    "value": '"blue"',
    "values": ['"blue"'],
    "versions": ["1"],
    "write_id": uuid.UUID(int=1),
}

# 20 users with 100 rows each in every table.
ROWS = """
    CREATE TEMPORARY TABLE given AS
        SELECT 'user:alice ' || u AS owner, n FROM generate_series(1, 20) AS u, generate_series(1, 100) AS n;
    INSERT INTO lakemem.threads (owner, thread_id) SELECT owner, 'thread ' || n FROM given;
    INSERT INTO lakemem.thread_items
        SELECT owner, 'thread ' || n % 10, n, json_build_object('content', repeat('x', 300)) FROM given;
    INSERT INTO lakemem.checkpoints
        SELECT owner, 'thread ' || n % 10, '', n::text, NULL, 'json', repeat('x', 300)::bytea,
            '{"a": "1", "b": "1"}', '{}'
        FROM given;
    INSERT INTO lakemem.checkpoint_blobs
        SELECT owner, 'thread ' || n % 10, '', 'a', n::text, 'json', repeat('x', 300)::bytea FROM given;
    INSERT INTO lakemem.checkpoint_blobs (owner, thread_id, checkpoint_ns, channel, version, kind, spans)
        SELECT owner, 'thread ' || n % 10, '', 'b', n::text, 'list', ARRAY[n, n] FROM given;
    INSERT INTO lakemem.checkpoint_segments
        SELECT owner, 'thread ' || n % 10, '', 'b', n, 1, 'json', repeat('x', 300)::bytea FROM given;
    INSERT INTO lakemem.checkpoint_positions
        SELECT owner, 'thread ' || n, '', 'b', n FROM given;
    INSERT INTO lakemem.checkpoint_writes
        SELECT owner, 'thread ' || n % 10, '', n::text, 'task', 0, '', 'a', 'json', repeat('x', 300)::bytea FROM given;
    INSERT INTO lakemem.memories (
        owner, namespace, key, version, value, text, content_hash, valid_from, embedding, embedding_model
    )
        SELECT owner, '{preferences}', 'key ' || n, 1, '1', 'some words about ' || n, '', now(),
            (SELECT array_agg(random() * d + n) FROM generate_series(1, 64) AS d)::real[]::vector::halfvec, 'model/64'
        FROM given;
    INSERT INTO lakemem.memory_events (owner, namespace, key, action)
        SELECT owner, '{preferences}', 'key ' || n, 'save' FROM given;
    INSERT INTO lakemem.run_usage
        SELECT owner, 'thread ' || n % 10, 'run ' || n, n, NULL, 1, 1, 1, 1, 1, 1 FROM given;
    INSERT INTO lakemem.applied_writes SELECT owner, gen_random_uuid() FROM given;
    INSERT INTO lakemem.jobs (owner, job_id, kind) SELECT owner, 'job ' || n, 'extract' FROM given;
    INSERT INTO lakemem.runs (owner, run_id, kind, background, request, metadata, max_attempts, deadline)
        SELECT owner, 'run ' || n, 'stream', true, '{}', '{}', 2, now() + interval '1 hour' FROM given;
    INSERT INTO lakemem.holds (owner, name, reason, placed_by) SELECT owner, 'hold ' || n, 'why', 'who' FROM given;
    INSERT INTO lakemem.held_rows (owner, table_name, content) SELECT owner, 'thread_items', '{}' FROM given;
    INSERT INTO lakemem.run_events SELECT owner, 'run ' || n, e, 1, '{}' FROM given, generate_series(0, 9) AS e;
    INSERT INTO lakemem.quarantine (
        owner, quarantine_id, action, reason, trust, namespace, key, draft, expires_at
    )
        SELECT owner, n::text, 'save', 'why', 'tool', '{}', 'k', '{}', now() + interval '1 day' FROM given;
    INSERT INTO lakemem.indexes
        SELECT DISTINCT owner, 'model/64', now(), 20, 100 FROM given
        UNION ALL SELECT 'user:bob ' || n, 'model/64', now(), 20, 100 FROM generate_series(1, 2000) AS n;
    INSERT INTO lakemem.indexed_cells
        SELECT owner, n, n, n, array_fill(n::real, ARRAY[64])::vector::halfvec FROM given;
    INSERT INTO lakemem.indexed_memories
        SELECT
            owner, n, array_fill(n::real, ARRAY[64])::vector::halfvec, 1, 'key ' || n,
            '{preferences}'
        FROM given;
    INSERT INTO lakemem.indexed_words SELECT owner, 'word ' || n, ARRAY[n] FROM given;
    INSERT INTO lakemem.data_keys (owner, key_id, wrapped, master_key, retired_at)
        SELECT owner, gen_random_uuid(), '', 'master', now() FROM given;
    ANALYZE;
"""


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory, admin_dsn: str) -> Iterator[Lakebase]:
    created = databases.create()
    with psycopg.connect(make_conninfo(admin_dsn, dbname=str(created.database)), autocommit=True) as admin:
        admin.execute(ROWS)
    yield created
    databases.drop(created)


@pytest.fixture
def connection(target: Lakebase) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """As the role that lakemem logs in with, on behalf of one of the users."""
    with psycopg.connect(make_conninfo(**target.parameters), autocommit=True) as connection:
        connection.execute("SELECT set_config('lakemem.owner', %s, false)", [OWNER])
        yield connection


def prepare(connection: psycopg.Connection[Any], name: str) -> list[str]:
    """Prepare a statement under the name `it`, and return the names of its parameters in their order."""
    parameters: list[str] = []

    def numbered(match: re.Match[str]) -> str:
        if match[1] not in parameters:
            parameters.append(match[1])
        return f"${parameters.index(match[1]) + 1}"

    text = re.sub(r"%\((\w+)\)s", numbered, STATEMENTS[name])
    if parameters:
        text = text.replace("%%", "%")
    prepare_text(connection, text)
    return parameters


def prepare_text(connection: psycopg.Connection[Any], text: str) -> None:
    result = connection.pgconn.prepare(b"it", text.encode())
    assert result.status == ExecStatus.COMMAND_OK, result.error_message.decode()


def explain(connection: psycopg.Connection[Any], parameters: list[str], mode: str) -> list[dict[str, Any]]:
    """Return the nodes of the plan that Postgres makes for the prepared statement."""
    connection.execute(sql.SQL("SET plan_cache_mode = {}").format(mode))
    call = sql.SQL("({})").format(sql.SQL(", ").join(PARAMETERS.get(name) for name in parameters))
    row = connection.execute(sql.SQL("EXPLAIN (FORMAT JSON) EXECUTE it {}").format(call)).fetchone()
    assert row is not None
    return list(nodes(row[0][0]["Plan"]))


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    if plan.get("One-Time Filter") == "false":
        return  # what stands below is never run
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def scanned_without_owner(plan: list[dict[str, Any]]) -> list[str]:
    """Say which tables a plan reads otherwise than by an index that begins with the owner."""
    found = []
    for node in plan:
        kind = node["Node Type"]
        by_owner = "(owner = " in node.get("Index Cond", "")
        if kind in ("Index Scan", "Index Only Scan", "Bitmap Index Scan"):
            if not by_owner:
                found.append(f"{kind} on {node['Index Name']} by {node.get('Index Cond')}")
        elif kind == "Tid Scan" and node.get("TID Cond", "").startswith("(ctid = "):
            continue  # one row, which another step has found
        elif kind.endswith("Scan") and "Relation Name" in node and kind != "Bitmap Heap Scan":
            found.append(f"{kind} on {node['Relation Name']}")
    return found


@pytest.mark.parametrize("name", sorted(STATEMENTS.keys() - SCRIPTS))
def test_every_statement_can_be_prepared(connection: psycopg.Connection[Any], name: str) -> None:
    prepare(connection, name)


def test_only_the_preparation_of_migrations_is_a_script() -> None:
    assert {"schema.ensure_migrations"} == SCRIPTS


# As owners that nobody is.
OF_NOBODY = {
    "jobs.owners",
    "jobs.dead",
    "running.due",
    "running.backlog",
    "running.dead",
    "runs.moved",
    "runs.owner_of",
    "store.owners_of_expired",
    "sweeping.threads",
    "sweeping.owners_of_old_writes",
    "sweeping.ended_runs",
    "quarantine.of_everybody",
    "quarantine.owners_of_expired",
    "keys.wrapped_by_others",
    "keys.counts",
    "keys.owners",
    "consolidating.next_owner",
    "reembedding.counts",
    "reembedding.unfilled",
    "reembedding.unmoved",
}

OF_OWNERS = sorted(
    name
    for name, text in STATEMENTS.items()
    if re.search(r'"lakemem"\.(thread|checkpoint|memor|applied_writes|jobs|run|quarantine|data_keys)', text)
    and name not in SCRIPTS | OF_NOBODY
)


def test_the_statements_of_owners_are_found() -> None:
    assert {name.partition(".")[0] for name in OF_OWNERS} >= {"threads", "memories", "checkpoints", "store", "writes"}


SEARCHES = sorted(
    name for name in OF_OWNERS if name.startswith(("recall.", "indexed.")) or ("store" in name and "search" in name)
)


def settle(connection: psycopg.Connection[Any]) -> None:
    """Make the settings under which searches are planned, for good."""
    text = STATEMENTS["recall.settings"].replace(", true)", ", false)")
    connection.execute(text, {"also_read": []})


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("name", sorted(set(OF_OWNERS) - set(SEARCHES)))
def test_every_statement_finds_its_rows_by_their_owner(
    connection: psycopg.Connection[Any], name: str, mode: str
) -> None:
    parameters = prepare(connection, name)
    assert scanned_without_owner(explain(connection, parameters, mode)) == []


@pytest.mark.parametrize("statistics", ["none", "of an empty table", "as it is"])
@pytest.mark.parametrize("name", SEARCHES)
def test_no_statistics_turn_the_plan_of_a_search(
    connection: psycopg.Connection[Any], admin_dsn: str, target: Lakebase, name: str, statistics: str
) -> None:
    with psycopg.connect(make_conninfo(admin_dsn, dbname=str(target.database))) as admin:
        # Rolled back; the plan is asked for before, as the login that is confined.
        if statistics != "as it is":
            admin.execute("DELETE FROM pg_statistic WHERE starelid = 'lakemem.memories'::regclass")
            pages = "relpages = 0, reltuples = -1" if statistics == "none" else "relpages = 1, reltuples = 0"
            admin.execute(f"UPDATE pg_class SET {pages} WHERE oid = 'lakemem.memories'::regclass")
        admin.execute(
            "SELECT set_config('role', rolname, true) FROM pg_roles WHERE oid = %s::regrole", [role(connection)]
        )
        admin.execute("SELECT set_config('lakemem.owner', %s, true)", [OWNER])
        settle(admin)
        parameters = prepare(admin, name)
        plan = explain(admin, parameters, "force_generic_plan")
        admin.rollback()
    assert scanned_without_owner(plan) == []
    assert [node["Hash Cond"] for node in plan if "place" in node.get("Hash Cond", "")] or name in FEW_STEPS
    assert not [node for node in plan if node["Node Type"] == "Nested Loop" and "place" in node.get("Join Filter", "")]
    assert "Seq Scan" not in {node["Node Type"] for node in plan}


FEW_STEPS = {"recall.rows", "recall.nearest", "indexed.nearest"}


def role(connection: psycopg.Connection[Any]) -> str:
    return connection.info.user


def test_a_scan_of_a_whole_table_would_be_noticed(connection: psycopg.Connection[Any]) -> None:
    prepare_text(connection, "SELECT * FROM lakemem.migrations WHERE name = $1")
    assert scanned_without_owner(explain(connection, ["key"], "force_custom_plan")) == ["Seq Scan on migrations"]


@pytest.mark.parametrize("name", ["reembedding.unfilled", "reembedding.unmoved"])
def test_a_page_of_all_memories_begins_where_the_one_before_ended(
    connection: psycopg.Connection[Any], name: str
) -> None:
    parameters = prepare(connection, name)
    connection.execute(STATEMENTS["maintenance.in_order"].replace("true", "false"))
    plan = explain(connection, parameters, "force_generic_plan")
    [scan] = [node for node in plan if node["Node Type"] == "Index Scan" and node["Index Name"] == "memories_pkey"]
    assert scan["Index Cond"].startswith("(ROW(owner, key, version) >= ROW(")
    assert "Sort" not in {node["Node Type"] for node in plan}


def test_a_prepared_statement_has_the_name_of_its_text() -> None:
    """A pooler lends a server on which another version, or one on another schema, has prepared its own."""
    found = [
        statement
        for schema, vector_schema in (("lakemem", "public"), ("other", "public"), ("lakemem", "extensions"))
        for statement in prepared_statements(schema, vector_schema).values()
    ]
    texts = {statement.name: statement.text for statement in found}
    assert all(texts[statement.name] == statement.text for statement in found)
    assert len(texts) == len({(name.split()[2], text) for name, text in texts.items()})
    assert max(map(len, texts)) <= 63
