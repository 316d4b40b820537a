"""A database that another test had is as good as a new one, or is not given out."""

from __future__ import annotations

import secrets
from typing import LiteralString

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from lakemem import Lakebase, Memory
from tests.conftest import connect
from tests.support.databases import SpareDatabases
from tests.support.rows import Rows


@pytest.fixture
def spare(spare_databases: SpareDatabases) -> SpareDatabases:
    return spare_databases


def as_admin(admin_dsn: str, target: Lakebase, statement: LiteralString) -> None:
    with psycopg.connect(make_conninfo(admin_dsn, dbname=str(target.database)), autocommit=True) as connection:
        connection.execute(statement)


def fill(target: Lakebase) -> None:
    with Memory(target) as memory:
        user = memory.for_user("alice")
        user.save("colour", "blue")
        user.thread("t").append([{"n": 1}])
        user.runs.create({})


def test_what_comes_back_is_given_out_again_without_its_rows(spare: SpareDatabases) -> None:
    target = spare.take()
    fill(target)
    spare.give_back(target)
    again = spare.take()
    assert str(again.database).partition("_again_")[0] == str(target.database).partition("_again_")[0]
    with Memory(again) as memory:
        user = memory.for_user("alice")
        assert (user.items(), user.threads(), user.runs.list()) == ([], [], [])
        assert user.save("colour", "green").version == 1
    assert Rows(again, "user:alice")("SELECT event_id FROM lakemem.memory_events") == [(1,)]
    spare.give_back(again)


def test_a_table_that_has_grown_is_planned_for_as_an_empty_one(spare: SpareDatabases) -> None:
    target = spare.take()
    with Memory(target) as memory:
        memory.for_user("alice").thread("t").append([{"text": secrets.token_hex(1000)} for _ in range(60)])
    spare.give_back(target)
    again = spare.take()
    with connect(again) as connection:
        assert connection.execute("SELECT pg_relation_size('lakemem.thread_items')").fetchone() == (0,)
    spare.give_back(again)


def test_who_is_left_of_a_test_does_not_come_into_that_of_another(spare: SpareDatabases) -> None:
    target = spare.take()
    left = connect(target)
    spare.give_back(target)
    with pytest.raises(psycopg.OperationalError):
        left.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        connect(target)


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE public.mine (n int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE lakemem.runs NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE lakemem.runs ADD COLUMN mine int",
        "ALTER TABLE lakemem.runs ALTER COLUMN metadata SET DEFAULT '{}'",
        "DROP POLICY owner_only ON lakemem.memories",
        "ALTER POLICY owner_only ON lakemem.memories USING (true)",
        "GRANT SELECT ON lakemem.memories TO PUBLIC",
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        "DELETE FROM lakemem.migrations WHERE number = 1",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''1MB''', current_database()); END $$",
        "DROP EXTENSION vector CASCADE",
        "ANALYZE",
    ],
)
def test_one_in_which_more_was_changed_than_rows_is_not_given_out_again(
    spare: SpareDatabases, admin_dsn: str, change: LiteralString
) -> None:
    target = spare.take()
    fill(target)
    as_admin(admin_dsn, target, change)
    spare.give_back(target)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        connect(target)
    again = spare.take()
    assert str(again.database).partition("_again_")[0] != str(target.database).partition("_again_")[0]
    spare.give_back(again)
