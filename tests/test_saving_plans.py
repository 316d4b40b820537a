"""What a write of one memory reads: that memory, whatever the planner knows of the table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from lakemem import Lakebase
from lakemem.testing import DatabaseFactory
from tests.test_statements import OWNER, PARAMETERS, STATEMENTS, explain, prepare

ROWS = """
    INSERT INTO lakemem.memories (owner, namespace, key, version, value, text, content_hash, valid_from)
        SELECT %s, '{preferences}', 'key ' || n, 1, '1', 'some words about ' || n, '', now()
        FROM generate_series(1, 3000) AS n
"""
OF_ONE_MEMORY = ["update", "revert", "get", "get_then", "history", "delete", "erase"]
PROBING = ["save_unless_near"]
READ = """
    SELECT seq_scan, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
    FROM pg_stat_xact_user_tables WHERE relid = 'lakemem.memories'::regclass
"""
SAVES: dict[str, dict[str, Any]] = {
    "new": {"key": "a new one"},
    "in place of another": {},
    "late": {"valid_from": "2026-01-01Z"},
    "the same": {"value": "1", "text": "some words about 7", "metadata": "{}", "content_hash": b""},
}


@pytest.fixture(scope="module", params=["analyzed", "unknown"])
def target(request: pytest.FixtureRequest, databases: DatabaseFactory, admin_dsn: str) -> Iterator[Lakebase]:
    created = databases.create()
    with psycopg.connect(make_conninfo(admin_dsn, dbname=str(created.database)), autocommit=True) as admin:
        admin.execute("ALTER TABLE lakemem.memories SET (autovacuum_enabled = false)")
        admin.execute(ROWS, [OWNER])
        if request.param == "analyzed":
            admin.execute("ANALYZE lakemem.memories")
    yield created
    databases.drop(created)


@pytest.fixture
def connection(target: Lakebase) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(make_conninfo(**target.parameters), autocommit=True) as connection:
        connection.execute("SELECT set_config('lakemem.owner', %s, false)", [OWNER])
        yield connection


@pytest.fixture(autouse=True)
def parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"overlap": 0.6, "as_of": "2026-01-01Z", "valid_from": "2026-01-01Z", "version": 1, "yields_to": ["user"]}
    for name, value in given.items():
        monkeypatch.setitem(PARAMETERS, name, value)


def reads(connection: psycopg.Connection[tuple[Any, ...]], name: str, mode: str) -> list[bool]:
    """Of each scan of the table, whether it is one by the key."""
    plan = explain(connection, prepare(connection, f"memories.{name}"), mode)
    scans = [node for node in plan if node.get("Relation Name") == "memories" and node["Node Type"].endswith("Scan")]
    return ["(key = " in node.get("Index Cond", "") for node in scans]


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("name", OF_ONE_MEMORY)
def test_a_write_of_one_memory_looks_it_up_by_its_key(
    connection: psycopg.Connection[tuple[Any, ...]], name: str, mode: str
) -> None:
    scans = reads(connection, name, mode)
    assert scans
    assert all(scans)


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("given", SAVES.values(), ids=SAVES)
def test_a_save_reads_no_more_than_the_versions_of_its_memory(
    connection: psycopg.Connection[tuple[Any, ...]], given: dict[str, Any], mode: str
) -> None:
    save = STATEMENTS["memories.save"]
    parameters = {name: PARAMETERS.get(name) for name in re.findall(r"%\((\w+)\)s", save)}
    parameters |= {"importance": "0.5", "position": "3", "expires_in": None, "embedding": None, "embedding_model": None}
    parameters |= {"valid_from": None, "sources": [], "less_trusted": [], "trust": "user", "closing": "save", **given}
    connection.execute("SELECT set_config('plan_cache_mode', %s, false)", [mode])
    with connection.transaction(force_rollback=True):
        connection.execute(save, parameters)
        read = connection.execute(READ).fetchone()
    assert read is not None
    assert read[0] == 0
    assert read[1] < 10


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("name", PROBING)
def test_only_a_look_for_duplicates_goes_through_the_memories_once(
    connection: psycopg.Connection[tuple[Any, ...]], name: str, mode: str
) -> None:
    assert reads(connection, name, mode).count(False) == 1
