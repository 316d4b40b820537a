"""Making, upgrading and checking lakemem's tables."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from lakemem import (
    AsyncMemory,
    Lakebase,
    SchemaError,
    SchemaOutdatedError,
    SchemaTooNewError,
    StorageError,
)
from lakemem._sql import migrations
from lakemem.cli import main
from tests.support.catalog import catalog
from tests.support.processes import run_at_once

NAMES = [f"{migration.number:04}_{migration.name}" for migration in migrations()]
QUOTED = 'My "Agents"; -- Ünï {schema} \\ \''


def execute(target: Lakebase, statement: LiteralString | sql.Composed, **login: str) -> None:
    with psycopg.connect(make_conninfo(**{**target.parameters, **login}), autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture
def bare_target(empty_target: Lakebase, admin_dsn: str) -> Lakebase:
    """A database in which not even the extension is, and a login that may install it."""
    admin = Lakebase.dsn(make_conninfo(admin_dsn, dbname=str(empty_target.database), client_encoding="utf8"))
    execute(admin, "DROP EXTENSION vector")
    return admin


@pytest.fixture
def stranger(target: Lakebase, admin_dsn: str) -> Iterator[Lakebase]:
    """A login to the same database that has no rights on anything."""
    name, password = f"stranger_{secrets.token_hex(4)}", secrets.token_hex(8)
    admin = Lakebase.dsn(make_conninfo(admin_dsn, dbname=str(target.database)))
    role = sql.Identifier(name)
    execute(admin, sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))
    yield Lakebase.dsn(make_conninfo(**{**target.parameters, "user": name, "password": password}))
    execute(admin, sql.SQL("DROP OWNED BY {}").format(role))
    execute(admin, sql.SQL("DROP ROLE {}").format(role))


async def works(memory: AsyncMemory) -> bool:
    async with memory:
        user = memory.for_user("alice")
        await user.save("colour", "blue")
        await user.thread("t").append([{"n": 1}])
        return [hit.key for hit in await user.search("blue")] == ["colour"]


# async only:
async def test_processes_that_set_up_a_fresh_database_at_once_all_succeed(bare_target: Lakebase) -> None:
    outputs = run_at_once(
        "import asyncio, os\n"
        "from lakemem import AsyncMemory, Lakebase, Memory\n"
        "target = Lakebase.dsn(os.environ['DSN'])\n",
        "if int(os.environ['NUMBER']) % 2:\n"
        "    print(*Memory(target).setup())\n"
        "else:\n"
        "    print(*asyncio.run(AsyncMemory(target).setup()))\n"
        "with Memory(target):\n"
        "    pass\n",
        count=8,
        DSN=make_conninfo(**bare_target.parameters),
    )
    applied = [name for output in outputs for name in output.split()]
    assert sorted(applied) == NAMES, "each migration was applied once, by one of them"
    assert await works(AsyncMemory(bare_target))


# end async only
async def test_setup_can_be_repeated(empty_target: Lakebase) -> None:
    memory = AsyncMemory(empty_target)
    assert await memory.setup() == NAMES
    first = catalog(empty_target)
    assert await memory.setup() == []
    assert catalog(empty_target) == first
    async with memory:
        assert await memory.setup() == []


@pytest.mark.parametrize("schema", ["lakemem", QUOTED, "select", "Ä" * 31])
async def test_the_script_for_a_dba_makes_the_same_tables(
    empty_target: Lakebase, capsys: pytest.CaptureFixture[str], schema: str
) -> None:
    assert main(["migrate", "--sql", "--schema", schema]) == 0
    script = capsys.readouterr().out
    with psycopg.connect(make_conninfo(**empty_target.parameters), autocommit=True) as connection:
        connection.execute(script.encode())
    scripted = catalog(empty_target, schema)
    assert len(scripted["migrations"]) == len(NAMES)
    assert await works(AsyncMemory(empty_target, schema=schema))

    execute(empty_target, sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
    assert await AsyncMemory(empty_target, schema=schema).setup() == NAMES
    assert catalog(empty_target, schema) == scripted


async def test_schemas_of_one_database_share_nothing(target: Lakebase) -> None:
    other = AsyncMemory(target, schema="other")
    await other.setup()
    assert await works(other)
    async with AsyncMemory(target) as memory:
        assert await memory.for_user("alice").items() == []
        assert await memory.for_user("alice").threads() == []


async def test_the_extension_may_be_in_a_schema_of_its_own(empty_target: Lakebase, bare_target: Lakebase) -> None:
    execute(bare_target, 'CREATE SCHEMA "my extensions"; CREATE EXTENSION vector SCHEMA "my extensions"')
    execute(bare_target, 'GRANT USAGE ON SCHEMA "my extensions" TO PUBLIC')
    memory = AsyncMemory(empty_target)
    assert await memory.setup() == NAMES
    assert await works(memory)


async def test_a_role_that_may_not_install_the_extension_is_told_so(
    empty_target: Lakebase, bare_target: Lakebase
) -> None:
    with pytest.raises(SchemaError, match="CREATE EXTENSION vector"):
        await AsyncMemory(empty_target).setup()
    assert catalog(empty_target)["tables"] == []
    execute(bare_target, "CREATE EXTENSION vector")
    assert await AsyncMemory(empty_target).setup() == NAMES


async def test_open_makes_no_tables_unless_it_is_told_to(empty_target: Lakebase) -> None:
    with pytest.raises(SchemaOutdatedError, match="lakemem migrate"):
        await AsyncMemory(empty_target).open()
    assert catalog(empty_target)["tables"] == []
    assert await works(AsyncMemory(empty_target, migrate=True))


async def refused(memory: AsyncMemory, error: type[SchemaError], *, by_setup: bool) -> str:
    """Hold that a memory does not open on these tables, and return what it says."""
    with pytest.raises(error) as caught:
        await memory.open()
    assert type(caught.value) is error
    assert not memory._storage.is_open
    if by_setup:
        with pytest.raises(error):
            await memory.setup()
    health = await memory.health()
    assert (health.status, health.detail) == ("degraded", str(caught.value))
    return str(caught.value)


async def test_tables_that_miss_a_migration_are_refused_until_they_are_upgraded(target: Lakebase) -> None:
    execute(target, "DELETE FROM lakemem.migrations")
    assert "lakemem migrate" in await refused(AsyncMemory(target), SchemaOutdatedError, by_setup=False)


async def test_a_migration_whose_number_was_left_out_is_applied_later(
    empty_target: Lakebase, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = migrations()
    some = [migration for migration in every if migration.number in (1, 5)]
    with monkeypatch.context() as patch:
        for module in ("lakemem.schema", "lakemem._async.migrate"):
            patch.setattr(f"{module}.migrations", lambda: tuple(some))
        assert await AsyncMemory(empty_target).setup() == ["0001_initial", "0005_memory_ttl"]
    assert await AsyncMemory(empty_target).setup() == [NAMES[every.index(each)] for each in every if each not in some]
    assert await works(AsyncMemory(empty_target))


async def test_tables_of_a_newer_lakemem_are_refused(target: Lakebase) -> None:
    execute(target, "INSERT INTO lakemem.migrations (number, name, checksum) VALUES (9999, 'later', 'unknown')")
    before = catalog(target)
    for migrate in (False, True):
        message = await refused(AsyncMemory(target, migrate=migrate), SchemaTooNewError, by_setup=True)
        assert "9999" in message
        assert "upgrade the package" in message
    assert catalog(target) == before


@pytest.mark.parametrize("change", ["checksum = 'another'", "checksum = upper(checksum)", "number = 0"])
async def test_tables_of_a_changed_migration_are_refused(target: Lakebase, change: LiteralString) -> None:
    execute(target, f"UPDATE lakemem.migrations SET {change} WHERE number = 1")
    before = catalog(target)
    for migrate in (False, True):
        await refused(AsyncMemory(target, migrate=migrate), SchemaError, by_setup=True)
    assert catalog(target) == before


async def test_a_migration_that_fails_leaves_nothing_behind(empty_target: Lakebase) -> None:
    # A table that stands in the way of the last one that the first migration makes.
    execute(empty_target, "CREATE SCHEMA lakemem; CREATE TABLE lakemem.applied_writes (other text)")
    before = catalog_tables(empty_target)
    with pytest.raises(SchemaError, match="tables that are not lakemem's"):
        await AsyncMemory(empty_target).setup()
    assert catalog_tables(empty_target) == before
    execute(empty_target, "DROP TABLE lakemem.applied_writes")
    assert await AsyncMemory(empty_target).setup() == NAMES


def catalog_tables(target: Lakebase) -> list[tuple[Any, ...]]:
    with psycopg.connect(make_conninfo(**target.parameters)) as connection:
        return connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'lakemem'").fetchall()


async def test_a_role_that_may_not_create_a_schema_is_told_so(stranger: Lakebase) -> None:
    with pytest.raises(StorageError, match="permission denied") as caught:
        await AsyncMemory(stranger, schema="mine").setup()
    assert (caught.value.sqlstate, caught.value.retryable) == ("42501", False)
    assert "grant" in str(caught.value)
    assert "password" not in str(caught.value)


async def test_a_role_that_may_not_even_look_is_told_so(stranger: Lakebase) -> None:
    with pytest.raises(StorageError, match="permission denied"):
        await AsyncMemory(stranger).open()
    assert (await AsyncMemory(stranger).health()).status == "down"


async def test_a_role_with_rights_on_rows_alone_can_do_all_but_change_tables(
    target: Lakebase, stranger: Lakebase
) -> None:
    role = sql.Identifier(str(stranger.parameters["user"]))
    execute(target, sql.SQL("GRANT USAGE ON SCHEMA lakemem TO {}").format(role))
    execute(target, sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA lakemem TO {}").format(role))
    memory = AsyncMemory(stranger)
    assert await memory.setup() == []
    assert await works(memory)
    assert (await memory.health()).row_level_security is True
    execute(target, "DELETE FROM lakemem.migrations")
    with pytest.raises(StorageError, match="permission denied"):
        await memory.setup()


async def test_a_database_in_another_encoding_is_refused(admin_dsn: str) -> None:
    name = sql.Identifier(f"lakemem_test_latin_{secrets.token_hex(4)}")
    admin = Lakebase.dsn(admin_dsn)
    execute(admin, sql.SQL("CREATE DATABASE {} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0").format(name))
    try:
        memory = AsyncMemory(Lakebase.dsn(make_conninfo(admin_dsn, dbname=name.as_string().strip('"'))))
        with pytest.raises(SchemaError, match="UTF8"):
            await memory.setup()
        with pytest.raises(SchemaError, match="UTF8"):
            await memory.open()
    finally:
        execute(admin, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
