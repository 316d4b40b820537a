"""One user's rows are no one else's, held by the database itself: forced row-level security on every table."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, LiteralString, TypeAlias

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from lakemem import (
    AsyncMemory,
    AsyncScopedMemory,
    Lakebase,
    MemoryNotFoundError,
    StorageError,
    ThreadNotFoundError,
)
from lakemem.operations import running, threads
from lakemem.operations.checkpoints import Address, Blob, Composition
from lakemem.testing import DatabaseFactory
from lakemem.thread_types import TokenUsage
from tests.support.belongings import add_data_key, add_index
from tests.support.rows import Rows

TABLES = (
    "threads", "thread_items", "checkpoints", "checkpoint_blobs", "checkpoint_writes",
    "checkpoint_segments", "checkpoint_positions", "run_usage", "memories", "memory_events", "applied_writes",
    "jobs", "runs", "run_events", "quarantine", "holds", "held_rows", "data_keys",
    "indexes", "indexed_cells", "indexed_memories", "indexed_words",
)  # fmt: skip
Call: TypeAlias = Callable[[AsyncScopedMemory], Awaitable[Any]]


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all tests here: each works on users of its own."""
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture
async def memory(target: Lakebase) -> Any:
    # One connection, so that each call borrows the one that the call before gave back.
    async with AsyncMemory(target, max_size=1) as memory:
        yield memory


@pytest.fixture
async def alice(memory: AsyncMemory, target: Lakebase) -> AsyncScopedMemory:
    """A user who has a row in every table."""
    alice = memory.for_user(f"alice {uuid.uuid4()}")
    await alice.save("colour", "blue", metadata={"a": 1})
    await alice.remember([{"role": "user", "content": "I like blue."}])
    await memory._storage.run(threads.append(alice.owner, "t", [{"content": "hello"}]), write_id=uuid.uuid4())
    await alice.thread("expired").append([{"content": "hello"}])
    await alice.thread("expired").update(expires_in=1e-6)
    address = Address("t", "", "1")
    await alice.checkpoints.put(
        address,
        parent_checkpoint_id=None,
        checkpoint=Blob("json", b"{}"),
        metadata="{}",
        channel_versions='{"a": "1", "c": "1"}',
        blobs={"a": ("1", Blob("json", b"1"))},
        compositions={"c": ("1", Composition("list", ((-1, -1),), Blob("json", b"[1]"), 1, None))},
    )
    await alice.thread("t").store_usage(TokenUsage(requests=1))
    await alice.checkpoints.put_writes(address, task_id="1", task_path="", writes=[(0, "a", Blob("json", b"2"))])
    await alice.runs.create({}, run_id="r")
    claim = running.claim(alice.owner, worker=None, lease=60, takes_over=False, max_attempts=1, per_owner=None)
    assert await memory._storage.run(claim) is not None
    at = running.Position(owner=alice.owner, run_id="r", attempt=1, last_sequence=-1)
    assert (await memory._storage.run(running.append(at, ["{}"], lease=60))).status == "in_progress"
    with Rows(target, alice.owner).connect() as connection:
        connection.execute(
            "INSERT INTO lakemem.quarantine"
            " (owner, quarantine_id, action, reason, trust, namespace, key, draft, expires_at)"
            " VALUES (%s, 'q', 'save', 'doubtful', 'tool', '{}', 'k', '{}', now() + interval '1 day')",
            [alice.owner],
        )
    add_index(target, alice.owner)
    add_data_key(target, alice.owner)
    await alice.thread("t").append([{"content": "taken back"}])
    await alice.hold("case 17", placed_by="legal", reason="a claim")
    await alice.thread("t").pop()
    return alice


@pytest.fixture
async def bob(memory: AsyncMemory) -> AsyncScopedMemory:
    return memory.for_user(f"bob {uuid.uuid4()}")


def everything(target: Lakebase, owner: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows that an owner sees."""
    rows = Rows(target, owner)
    return {table: rows(f"SELECT * FROM lakemem.{table} ORDER BY 1, 2, 3") for table in TABLES}  # type: ignore[arg-type]


def plain(target: Lakebase, statement: LiteralString) -> list[tuple[Any, ...]]:
    with psycopg.connect(make_conninfo(**target.parameters), autocommit=True) as connection:
        return connection.execute(statement).fetchall()


def test_every_table_is_confined_also_for_its_owner(target: Lakebase) -> None:
    tables = plain(
        target,
        """
        SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity,
            (SELECT array_agg(p.polname::text ORDER BY p.polname) FROM pg_policy AS p WHERE p.polrelid = c.oid)
        FROM pg_class AS c
        WHERE c.relnamespace = 'lakemem'::regnamespace AND c.relkind IN ('r', 'p')
        ORDER BY c.relname
        """,
    )
    more = {
        "memories": ["also_read", "expired", "maintenance"],
        "threads": ["maintenance", "sweep"],
        "data_keys": ["maintenance"],
        "indexes": ["also_read"],
        "indexed_cells": ["also_read"],
        "indexed_memories": ["also_read"],
        "indexed_words": ["also_read"],
        "applied_writes": ["sweep"],
        "jobs": ["jobs"],
        "runs": ["dead", "due", "sweep", "tails"],
        "quarantine": ["maintenance", "sweep"],
        "holds": ["sweep"],
    }
    expected = [(name, True, True, sorted([*more.get(name, []), "owner_only"])) for name in TABLES]
    of_nobody = [("migrations", True, True, ["everybody"]), ("secrets", True, True, ["functions"])]
    assert tables == sorted([*expected, *of_nobody])


def test_every_policy_holds_reading_and_writing_of_every_role_to_the_owner(target: Lakebase) -> None:
    policies = plain(
        target,
        """
        SELECT tablename, permissive, roles::text, cmd, qual, with_check
        FROM pg_policies WHERE schemaname = 'lakemem' AND policyname = 'owner_only'
        """,
    )
    assert sorted(table for table, *_ in policies) == sorted(TABLES)
    once, for_each_row = (
        "(owner = ( SELECT current_setting('lakemem.owner'::text, true) AS current_setting))",
        "(owner = current_setting('lakemem.owner'::text, true))",
    )
    for table, permissive, roles, command, reading, writing in policies:
        assert (permissive, roles, command, reading) == ("PERMISSIVE", "{public}", "ALL", once)
        assert writing == (for_each_row if table in ("memories", "memory_events") else once)


async def test_of_rows_that_are_written_together_each_is_held_to_its_owner(
    alice: AsyncScopedMemory, bob: AsyncScopedMemory, target: Lakebase
) -> None:
    """As many saves do it: the owner is set for each row. One that names somebody else is refused, and all with it."""
    insert: LiteralString = """
        INSERT INTO lakemem.memories (owner, namespace, key, version, value, text, content_hash, valid_from)
        SELECT named, '{}', key, 1, '1', 't', '', now()
        FROM (
            SELECT set_config('lakemem.owner', owner, true), named, key
            FROM unnest(%s::text[], %s::text[], %s::text[]) AS of_all (owner, named, key)
            OFFSET 0
        ) AS given
    """
    owners = [alice.owner, bob.owner]
    with Rows(target, alice.owner).connect() as connection:
        assert connection.execute(insert, [owners, owners, ["mine", "mine"]]).rowcount == 2
        for named in ([alice.owner, alice.owner], [bob.owner, bob.owner], owners[::-1]):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(insert, [owners, named, ["theirs", "theirs too"]])
    for user in (alice, bob):
        assert await user.get("mine") is not None
        assert await user.get("theirs") is None
        assert await user.get("theirs too") is None


def test_every_primary_key_begins_with_the_owner(target: Lakebase) -> None:
    keys = plain(
        target,
        """
        SELECT conrelid::regclass::text, (
            SELECT attname::text FROM pg_attribute WHERE attrelid = conrelid AND attnum = conkey[1]
        )
        FROM pg_constraint WHERE contype = 'p' AND connamespace = 'lakemem'::regnamespace
        """,
    )
    assert dict(keys) == {
        **{f"lakemem.{table}": "owner" for table in TABLES},
        "lakemem.migrations": "number",
        "lakemem.secrets": "name",
    }


async def test_the_tests_do_not_run_as_a_role_that_nothing_confines(memory: AsyncMemory) -> None:
    assert (await memory.health()).row_level_security is True


async def test_without_an_owner_there_are_no_rows_even_for_the_owner_of_the_tables(
    alice: AsyncScopedMemory, target: Lakebase
) -> None:
    rows = everything(target, alice.owner)
    assert all(rows.values()), "alice has a row in every table"
    owners = plain(target, "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'lakemem'")
    assert owners == plain(target, "SELECT current_user::text")
    assert not any(everything(target, "").values())
    for table in TABLES:
        assert plain(target, f"SELECT * FROM lakemem.{table}") == []  # type: ignore[arg-type]


async def test_direct_sql_as_another_owner_reaches_nothing(
    alice: AsyncScopedMemory, bob: AsyncScopedMemory, target: Lakebase
) -> None:
    before = everything(target, alice.owner)
    with Rows(target, bob.owner).connect() as connection:
        for table in map(sql.Identifier, TABLES):
            changes = (
                sql.SQL("UPDATE lakemem.{} SET owner = owner").format(table),
                sql.SQL("UPDATE lakemem.{} SET owner = {}").format(table, bob.owner),
                sql.SQL("DELETE FROM lakemem.{} WHERE owner = {}").format(table, alice.owner),
                sql.SQL("DELETE FROM lakemem.{}").format(table),
            )
            for change in changes:
                assert connection.execute(change).rowcount == 0
        inserts: tuple[LiteralString, ...] = (
            "INSERT INTO lakemem.threads (owner, thread_id) VALUES (%s, 'new')",
            "INSERT INTO lakemem.thread_items VALUES (%s, 't', 9, '{}')",
            "INSERT INTO lakemem.checkpoints VALUES (%s, 't', '', '2', NULL, 'json', '', '{}', '{}')",
            "INSERT INTO lakemem.checkpoint_blobs VALUES (%s, 't', '', 'b', '1', 'json', '')",
            "INSERT INTO lakemem.checkpoint_writes VALUES (%s, 't', '', '1', '2', 0, '', 'a', 'json', '')",
            "INSERT INTO lakemem.checkpoint_segments VALUES (%s, 't', '', 'b', 9, 1, 'json', '')",
            "INSERT INTO lakemem.checkpoint_positions VALUES (%s, 't', '', 'b', 9)",
            "INSERT INTO lakemem.run_usage VALUES (%s, 't', 'r', 1, NULL, 1, 1, 1, 1, 1, 1)",
            "INSERT INTO lakemem.memories (owner, namespace, key, version, value, text, content_hash, valid_from)"
            " VALUES (%s, '{}', 'k', 1, '1', 't', '', now())",
            "INSERT INTO lakemem.memory_events (owner, namespace, key, action) VALUES (%s, '{}', 'k', 'save')",
            "INSERT INTO lakemem.applied_writes VALUES (%s, gen_random_uuid())",
            "INSERT INTO lakemem.jobs (owner, job_id, kind) VALUES (%s, 'embed', 'embed')",
            "INSERT INTO lakemem.runs (owner, run_id, kind, background, request, metadata, max_attempts, deadline)"
            " VALUES (%s, 'r', 'stream', true, '{}', '{}', 1, now())",
            "INSERT INTO lakemem.run_events VALUES (%s, 'r', 9, 1, '{}')",
            "INSERT INTO lakemem.holds (owner, name, reason, placed_by) VALUES (%s, 'n', 'r', 'p')",
            "INSERT INTO lakemem.held_rows (owner, table_name, content) VALUES (%s, 'threads', '{}')",
            "INSERT INTO lakemem.indexes VALUES (%s, 'm', now(), 1, 1)",
            "INSERT INTO lakemem.indexed_cells VALUES (%s, 9, 1, 1, '[1,0]')",
            "INSERT INTO lakemem.indexed_memories VALUES (%s, 9, '[1,0]', 1, 'k', '{}')",
            "INSERT INTO lakemem.indexed_words VALUES (%s, 'w', '{1}')",
        )
        for insert in inserts:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(insert, [alice.owner])
    assert everything(target, alice.owner) == before


async def test_giving_a_row_away_is_refused(alice: AsyncScopedMemory, bob: AsyncScopedMemory, target: Lakebase) -> None:
    with Rows(target, alice.owner).connect() as connection:
        for table in map(sql.Identifier, TABLES):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL("UPDATE lakemem.{} SET owner = {}").format(table, bob.owner))


async def drained(records: AsyncIterator[Any]) -> list[Any]:
    return [record async for record in records]


READS: dict[str, Call] = {
    "get": lambda user: user.get("colour"),
    "items": lambda user: user.items(),
    "filtered items": lambda user: user.items(filter={"a": 1}, limit=None),
    "search": lambda user: user.search("colour blue"),
    "threads": lambda user: user.threads(),
    "thread.items": lambda user: user.thread("t").items(),
    "thread.messages": lambda user: user.thread("t").messages(),
    "thread.info": lambda user: user.thread("t").info(),
    "filtered threads": lambda user: user.threads(filter={}, limit=None),
    "search_threads": lambda user: user.search_threads("hello"),
    "export": lambda user: drained(user.export()),
    "export of a thread": lambda user: drained(user.export("t")),
    "thread.rewind": lambda user: user.thread("t").rewind(to=0),
    "threads.remove_expired": lambda user: user._storage.run(threads.remove_expired(user.owner, 100)),
    "checkpoints.get": lambda user: user.checkpoints.get("t", "", "1"),
    "the newest checkpoint": lambda user: user.checkpoints.get("t", ""),
    "checkpoints.list": lambda user: user.checkpoints.list(),
    "delete": lambda user: user.delete("colour"),
    "erase": lambda user: user.delete("colour", erase=True),
    "thread.pop": lambda user: user.thread("t").pop(),
    "thread.clear": lambda user: user.thread("t").clear(),
    "thread.delete": lambda user: user.thread("t").delete(),
    "checkpoints.take": lambda user: user.checkpoints.take(Address("t", "", "1")),
    "checkpoints.delete_thread": lambda user: user.checkpoints.delete_thread("t"),
    "runs.get": lambda user: user.runs.get("r"),
    "runs.list": lambda user: user.runs.list(),
    "runs.cancel": lambda user: user.runs.cancel("r"),
    "runs.delete": lambda user: user.runs.delete("r"),
}


@pytest.mark.parametrize("call", READS)
async def test_another_user_finds_nothing_and_removes_nothing(
    alice: AsyncScopedMemory, bob: AsyncScopedMemory, target: Lakebase, call: str
) -> None:
    before = everything(target, alice.owner)
    assert not await READS[call](bob)
    assert everything(target, alice.owner) == before
    of_bob = everything(target, bob.owner)
    # That somebody took out all of a user's is in the log, though it was nothing.
    assert len(of_bob.pop("memory_events")) == (call == "export")
    assert not any(of_bob.values())


async def test_what_another_user_writes_under_the_same_names_is_theirs(
    alice: AsyncScopedMemory, bob: AsyncScopedMemory, target: Lakebase
) -> None:
    before = everything(target, alice.owner)
    with pytest.raises(MemoryNotFoundError):
        await bob.update("colour", "red")
    assert (await bob.save("colour", "red")).version == 1
    assert (await bob.update("colour", "green")).version == 2
    with pytest.raises(ThreadNotFoundError):
        await bob.thread("t").fork(at=1)
    assert (await bob.thread("expired").update(title="mine")).title == "mine"
    assert await bob.thread("t").append([{"n": 2}]) == range(1, 2)
    await bob.thread("t").fork(at=1, thread_id="another")
    assert len(await bob.threads()) == 3
    address = Address("t", "", "1")
    await bob.checkpoints.put(
        address,
        parent_checkpoint_id=None,
        checkpoint=Blob("json", b"[]"),
        metadata="{}",
        channel_versions='{"a": "1"}',
        blobs={"a": ("1", Blob("json", b"9"))},
    )
    await bob.checkpoints.put_writes(address, task_id="1", task_path="", writes=[(-1, "a", Blob("json", b"8"))])
    stored = await bob.checkpoints.get("t", "")
    assert stored is not None
    assert (dict(stored.channels), list(stored.writes)) == (
        {"a": Blob("json", b"9")},
        [("1", "a", Blob("json", b"8"))],
    )
    assert everything(target, alice.owner) == before


async def setting_of_the_next_borrower(memory: AsyncMemory) -> object:
    pool = memory._storage._pool  # type: ignore[attr-defined]
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT current_setting('lakemem.owner', true), count(*) FROM lakemem.threads"
        )
        setting, count = await cursor.fetchone()
    assert count == 0
    return setting


async def test_the_owner_does_not_stay_with_the_connection(memory: AsyncMemory, alice: AsyncScopedMemory) -> None:
    await alice.get("colour")
    assert not await setting_of_the_next_borrower(memory)
    await alice.thread("t").append([{"n": 1}])
    assert not await setting_of_the_next_borrower(memory)


async def test_the_owner_does_not_stay_with_the_connection_after_an_error(
    memory: AsyncMemory, alice: AsyncScopedMemory, target: Lakebase
) -> None:
    rows = Rows(target, alice.owner)
    rows("ALTER TABLE lakemem.thread_items ADD CONSTRAINT nothing_more CHECK (position < 100) NOT VALID")
    try:
        with pytest.raises(StorageError):
            await alice.thread("t").append([{"n": n} for n in range(100)])
    finally:
        rows("ALTER TABLE lakemem.thread_items DROP CONSTRAINT nothing_more")
    assert not await setting_of_the_next_borrower(memory)
    with pytest.raises(MemoryNotFoundError):
        await alice.update("nothing", 1)
    assert not await setting_of_the_next_borrower(memory)
    # An argument that the driver itself refuses, after the owner was sent.
    broken = threads.append(alice.owner, "\x00", [{"n": 1}])
    with pytest.raises(StorageError):
        await memory._storage.run(broken)
    assert not await setting_of_the_next_borrower(memory)
    assert await alice.get("colour") is not None


async def test_what_looks_like_another_owner_is_a_name_like_any_other(
    memory: AsyncMemory, alice: AsyncScopedMemory
) -> None:
    name = alice.owner.removeprefix("user:")
    for other in (
        memory.for_scope(name),
        memory.for_user(alice.owner),
        memory.for_scope(f"user:{name}"),
        memory.for_user(f"{name}' OR true --"),
        memory.for_user(name.upper()),
        memory.for_user(f"{name} "),
        memory.for_user("%"),
    ):
        assert await other.items() == []
        assert await other.threads() == []
