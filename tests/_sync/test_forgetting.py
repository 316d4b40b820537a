# Generated from tests/_async/test_forgetting.py by tools/unasync.py: edit that file, then run `make generate`.
"""What is erased is gone from every table; what is on hold stays; and the log tells of both, and names nobody."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from lakemem import (
    Consolidation,
    ErasedError,
    Erasure,
    InvalidInputError,
    Lakebase,
    LakememError,
    Memory,
    OnHoldError,
    Retention,
    ScopedMemory,
    StorageError,
    StorageUnavailableError,
    Swept,
    degrading,
)
from lakemem.grants import grant_statements
from lakemem.testing import DatabaseFactory
from lakemem.testing.concurrency import gather
from tests._sync.belongings import fill
from tests.conftest import connect
from tests.faults import Poll, Proxy
from tests.support.embedders import TopicEmbedder
from tests.support.rows import Rows

SAID = "a whale of a secret"
HELD = {"holds", "held_rows"}
"""Tables in which somebody who is not on hold has nothing."""


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all tests here: each works on users of its own."""
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture
def memory(target: Lakebase) -> Iterator[Memory]:
    with Memory(target) as memory:
        yield memory


@pytest.fixture
def alice(memory: Memory) -> ScopedMemory:
    return memory.for_user(f"alice-{uuid.uuid4()}@example.com")


@pytest.fixture
def bob(memory: Memory) -> ScopedMemory:
    return memory.for_user(f"bob-{uuid.uuid4()}@example.com")


def id_of(user: ScopedMemory) -> str:
    return user.owner.partition(":")[2]


def fill_all(memory: Memory, target: Lakebase, user: ScopedMemory, said: str) -> dict[str, int]:
    """Give a user rows in all tables, and return how many."""
    fill(memory, user, said)
    Rows(target, user.owner)(
        "INSERT INTO lakemem.quarantine"
        " (owner, quarantine_id, action, reason, trust, namespace, key, draft, expires_at)"
        " VALUES (%s, 'q', 'save', 'doubtful', 'tool', '{}', 'k', to_json(%s::text), now() + interval '1 day')",
        user.owner,
        said,
    )
    return user.residue()


def as_superuser(admin_dsn: str, target: Lakebase) -> psycopg.Connection[tuple[Any, ...]]:
    """Whom no row-level security confines."""
    return psycopg.connect(make_conninfo(admin_dsn, dbname=str(target.database)), autocommit=True)


def tables_with(connection: psycopg.Connection[tuple[Any, ...]], text: str) -> set[str]:
    """The tables, views and statistics of the whole database in which a row has this text, by pg_class."""
    found = set()
    relations = connection.execute(
        "SELECT c.oid::regclass::text FROM pg_class AS c"
        " WHERE c.relkind IN ('r', 'p', 'm') AND c.relnamespace <> 'information_schema'::regnamespace"
    ).fetchall()
    for (name,) in relations:
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} AS t WHERE strpos(t::text, %s) > 0)").format(sql.SQL(name))
        if connection.execute(query, [text]).fetchall() == [(True,)]:
            found.add(name.removeprefix("lakemem."))
    return found


def files_with(connection: psycopg.Connection[tuple[Any, ...]], text: str) -> set[str]:
    """The tables, indexes and TOAST tables in whose files the bytes of a text are."""
    connection.execute("CHECKPOINT")
    rows = connection.execute(
        "SELECT c.oid::regclass::text FROM pg_class AS c"
        " WHERE c.relkind IN ('r', 'i', 't', 'm', 'S') AND pg_relation_filepath(c.oid) IS NOT NULL"
        "     AND pg_relation_size(c.oid) > 0"
        "     AND position(%s::bytea IN pg_read_binary_file(pg_relation_filepath(c.oid))) > 0",
        [text.encode()],
    )
    return {name for (name,) in rows}


def test_a_user_has_something_in_every_table_and_after_an_erasure_in_none(
    memory: Memory, target: Lakebase, alice: ScopedMemory, bob: ScopedMemory, admin_dsn: str
) -> None:
    said = f"{SAID} {uuid.uuid4()}"
    before = fill_all(memory, target, alice, said)
    of_bob = fill_all(memory, target, bob, "something else")
    with as_superuser(admin_dsn, target) as connection:
        owned = connection.execute(
            "SELECT c.relname::text FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid"
            " WHERE c.relnamespace = 'lakemem'::regnamespace AND c.relkind IN ('r', 'p') AND a.attname = 'owner'"
        )
        assert before.keys() == {name for (name,) in owned} - HELD, "a new table: fill it in belongings.py"
        others = connection.execute(
            "SELECT c.relname::text FROM pg_class AS c WHERE c.relnamespace = 'lakemem'::regnamespace"
            " AND c.relkind NOT IN ('i', 'S', 't', 'c') AND c.relname <> ALL (%s)",
            [[*before, *HELD]],
        )
        assert {name for (name,) in others} == {"migrations", "secrets"}, "a relation that no erasure looks into"
        assert tables_with(connection, id_of(alice)) == before.keys()
        assert len(tables_with(connection, said)) >= 5

        receipt = alice.erase(requested_by="dpo@example.com", reason="case 17")

        assert {table: count for table, count in receipt.counts.items() if count} == before
        assert receipt.rows == sum(before.values()) - before["memory_events"]
        assert alice.residue() == {}
        assert tables_with(connection, id_of(alice)) == tables_with(connection, said) == set()
    assert bob.residue() == of_bob
    assert (alice.items(), alice.threads(), alice.runs.list()) == ([], [], [])
    assert alice.history("colour", namespace=("likes",)) == []


def test_no_byte_is_left_in_a_file_once_the_tables_are_rewritten(databases: DatabaseFactory, admin_dsn: str) -> None:
    """And until then there are some: in dead rows, in indexes, and in the statistics of the planner."""
    target = databases.create()
    said = f"{SAID} {uuid.uuid4()}"
    with Memory(target) as memory:
        alice = memory.for_user("alice.lastname@example.com")
        fill_all(memory, target, alice, said)
        # Of a table without rows, ANALYZE leaves the statistics as they were.
        fill_all(memory, target, memory.for_user("bob"), "something else")
        with as_superuser(admin_dsn, target) as connection:
            connection.execute("ANALYZE")
            alice.erase()
            for text in (said, id_of(alice)):
                assert "lakemem.memories" in files_with(connection, text)
            assert "lakemem.memories_pkey" in files_with(connection, id_of(alice))
            assert "pg_statistic" in tables_with(connection, id_of(alice))
            for statement in ("ANALYZE", "VACUUM FULL"):
                connection.execute(statement)
            for text in (said, id_of(alice)):
                assert files_with(connection, text) == tables_with(connection, text) == set()
    databases.drop(target)


def test_the_receipt_is_json_that_names_nobody_and_shows_when_it_was_changed(alice: ScopedMemory) -> None:
    alice.save("k", SAID)
    before = datetime.now(UTC)
    receipt = alice.erase(requested_by=id_of(alice), reason="case 17")
    printed = json.loads(str(receipt))
    assert printed == receipt.to_dict()
    assert id_of(alice) not in str(receipt)
    assert receipt.requested_by == receipt.owner
    assert receipt.owner.startswith("erased:")
    assert abs((receipt.erased_at - before).total_seconds()) < 60
    again = Erasure(**{**{name: printed[name] for name in printed if name != "digest"}, "erased_at": receipt.erased_at})
    assert again.digest == printed["digest"]
    changed = Erasure(owner=receipt.owner, event_id=9, erased_at=receipt.erased_at, actor=receipt.actor)
    assert changed.digest != receipt.digest
    with pytest.raises(AttributeError):
        receipt.reason = "another"  # type: ignore[misc]


def test_erasing_again_finds_nothing_and_two_people_have_two_names(alice: ScopedMemory, bob: ScopedMemory) -> None:
    alice.save("k", 1)
    first, second, of_bob = alice.erase(), alice.erase(), bob.erase()
    assert first.owner == second.owner != of_bob.owner
    assert (first.rows, second.rows) == (1, 0)
    assert second.event_id > first.event_id


def test_the_log_outlives_the_person_and_does_not_name_it(
    alice: ScopedMemory, target: Lakebase, admin_dsn: str
) -> None:
    alice.save("a key that tells", 1, namespace=("a place",))
    alice.delete("a key that tells", namespace=("a place",))
    receipt = alice.erase(requested_by="dpo@example.com", reason="case 17")
    alice.save("later", 1)
    events = [event for event in alice.audit()]
    assert [event.action for event in events] == ["save", "delete", "erase_all", "save"]
    assert [event.key for event in events] == [None, None, None, "later"]
    erased = events[2]
    assert (erased.requested_by, erased.reason, erased.at) == ("dpo@example.com", "case 17", receipt.erased_at)
    assert erased.details == receipt.counts
    with as_superuser(admin_dsn, target) as connection:
        log = connection.execute(
            "SELECT t::text FROM lakemem.memory_events AS t WHERE owner = %s", [receipt.owner]
        ).fetchall()
    assert len(log) == 3
    assert not any(id_of(alice) in row or "a key that tells" in row or "a place" in row for (row,) in log)


@pytest.mark.parametrize("names", ["reason", "requested_by"])
def test_what_the_log_keeps_must_not_name_the_person(alice: ScopedMemory, names: str) -> None:
    alice.save("k", 1)
    with pytest.raises(InvalidInputError, match=f"{names} stays in the audit log"):
        alice.erase(**{names: f"as {id_of(alice)} asked"})
    with pytest.raises(InvalidInputError, match="name stays"):
        alice.hold(f"case of {id_of(alice)}", placed_by="legal", reason="a claim")
    assert alice.get("k") is not None


def test_a_hold_keeps_everything_until_it_is_released(memory: Memory, target: Lakebase, alice: ScopedMemory) -> None:
    before = fill_all(memory, target, alice, SAID)
    hold = alice.hold("case 17", placed_by="legal@example.com", reason="a claim")
    assert alice.hold("case 17", placed_by="somebody else", reason="another") == hold
    assert alice.holds() == [hold]
    refused = (
        alice.erase,
        lambda: alice.delete("colour", namespace=("likes",), erase=True),
        lambda: alice.forget(key="town", erase=True),
        lambda: alice.thread("t").delete(),
        lambda: alice.runs.delete("done"),
    )
    for call in refused:
        with pytest.raises(OnHoldError, match="legal hold"):
            call()
    assert alice.residue() == {**before, "holds": 1, "memory_events": before["memory_events"] + 1}
    assert alice.delete("town"), "what is only not found any more stays in the history"
    assert alice.release("case 18", released_by="legal@example.com") is False
    assert alice.release("case 17", released_by="legal@example.com", reason="settled") is True
    assert alice.holds() == []
    events = [event for event in alice.audit() if event.action in ("hold", "release")]
    assert [(event.action, event.requested_by, event.reason, event.details) for event in events] == [
        ("hold", "legal@example.com", "a claim", {"name": "case 17"}),
        ("release", "legal@example.com", "settled", {"name": "case 17"}),
    ]
    assert (alice.erase()).counts["memories"] == before["memories"]
    assert alice.residue() == {}


def test_an_agent_goes_on_under_a_hold_and_what_it_takes_back_is_kept(
    alice: ScopedMemory, target: Lakebase, memory: Memory
) -> None:
    fill(memory, alice, SAID)
    thread, rows = alice.thread("t"), Rows(target, alice.owner)
    alice.hold("case 17", placed_by="legal", reason="a claim")
    assert thread.pop() == {"n": 2}
    assert thread.replace_tail(None, [{"summary": True}])
    thread.clear()
    alice.checkpoints.delete_thread("t")
    kept = rows("SELECT table_name, content FROM lakemem.held_rows ORDER BY row_id")
    assert [content["item"] for table, content in kept if table == "thread_items"] == [
        {"n": 2},
        {"content": SAID},
        {"summary": True},
    ]
    tables = {table for table, _ in kept}
    assert tables == {
        "thread_items", "run_usage", "checkpoints", "checkpoint_blobs", "checkpoint_writes", "checkpoint_segments",
    }  # fmt: skip
    alice.hold("case 18", placed_by="legal", reason="another claim")
    alice.release("case 17", released_by="legal")
    assert rows("SELECT count(*) FROM lakemem.held_rows") == [(len(kept),)], "another hold is there"
    alice.release("case 18", released_by="legal")
    assert rows("SELECT count(*) FROM lakemem.held_rows") == [(0,)]
    thread.append([{"n": 3}])
    thread.pop()
    assert rows("SELECT count(*) FROM lakemem.held_rows") == [(0,)]


def test_a_sweep_passes_by_who_is_on_hold(databases: DatabaseFactory) -> None:
    target = databases.create()
    with Memory(target) as memory:
        alice, bob = memory.for_user("alice"), memory.for_user("bob")
        for user in (alice, bob):
            fill(memory, user, SAID)
            rows = Rows(target, user.owner)
            rows("UPDATE lakemem.threads SET expires_at = now() - interval '1 s' WHERE thread_id = 't'")
            rows("UPDATE lakemem.memories SET expires_at = now() - interval '1 s' WHERE key = 'town'")
            rows("UPDATE lakemem.runs SET completed_at = now() - interval '90 days' WHERE run_id = 'done'")
        alice.hold("case 17", placed_by="legal", reason="a claim")
        before = alice.residue()
        swept = memory.sweep(Retention(last=1))
        assert (swept.threads, swept.memories, swept.runs) == (1, 1, 1)
        assert alice.residue() == before
        policy = Consolidation(duplicates=None, max_facts=0, erase=True)
        assert (memory.consolidate(policy)).closed > 0
        assert alice.residue() == before
        alice.release("case 17", released_by="legal")
        swept = memory.sweep(Retention(last=1))
        assert (swept.threads, swept.memories, swept.runs) == (1, 1, 1)
        assert memory.sweep(Retention(last=1)) == Swept()
    databases.drop(target)


@pytest.fixture
def app(target: Lakebase, admin_dsn: str) -> Iterator[Lakebase]:
    """The login of an app, with the rights of `lakemem grants`."""
    role = f"app_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'of-the-app'").format(sql.Identifier(role)))
    with connect(target) as connection:
        for statement in grant_statements(role, "lakemem"):
            connection.execute(statement)
    yield Lakebase.dsn(make_conninfo(**{**target.parameters, "user": role, "password": "of-the-app"}))
    with as_superuser(admin_dsn, target) as connection:
        connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_an_app_may_erase_and_neither_hold_nor_release_nor_change_the_log(
    memory: Memory, target: Lakebase, alice: ScopedMemory, app: Lakebase
) -> None:
    before = fill_all(memory, target, alice, SAID)
    alice.hold("case 17", placed_by="legal", reason="a claim")
    with Memory(app) as of_app:
        user = of_app.for_user(id_of(alice))
        for forbidden in (
            lambda: user.hold("case 18", placed_by="me", reason="none"),
            lambda: user.release("case 17", released_by="me"),
        ):
            with pytest.raises(StorageError, match="lacks a right"):
                forbidden()
        with pytest.raises(StorageError, match="lacks a right"):
            assert [event for event in user.audit()]
        assert user.thread("t").pop() == {"n": 2}
        with pytest.raises(OnHoldError):
            user.erase()
        with Rows(app, alice.owner).connect() as connection:
            for forbidden_sql in (
                "UPDATE lakemem.memory_events SET action = 'save'",
                "DELETE FROM lakemem.memory_events",
                "SELECT * FROM lakemem.memory_events",
                "SELECT * FROM lakemem.secrets",
                "SELECT * FROM lakemem.held_rows",
                "DELETE FROM lakemem.held_rows",
                "DELETE FROM lakemem.holds",
                "SELECT lakemem.pseudonym('user:alice')",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(forbidden_sql)  # type: ignore[arg-type]
            with pytest.raises(psycopg.errors.Error) as raised:
                connection.execute("SELECT lakemem.log_erasure(%s, NULL, NULL, '{}')", [alice.owner])
            assert raised.value.sqlstate == "LM005", "the log is touched only when nothing else is left"
        alice.release("case 17", released_by="legal")
        receipt = user.erase(reason="case 17")
    assert receipt.counts["thread_items"] == before["thread_items"] - 1
    assert alice.residue() == {}
    assert receipt.actor == app.parameters["user"]


def test_who_logs_in_for_itself_erases_nobody_else(
    memory: Memory, target: Lakebase, alice: ScopedMemory, admin_dsn: str
) -> None:
    alice.save("k", 1)
    before = alice.residue()
    role = f"ada_{uuid.uuid4().hex[:12]}"
    with as_superuser(admin_dsn, target) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'hers'").format(sql.Identifier(role)))
    with connect(target) as connection:
        for statement in grant_statements(role, "lakemem", own_rows=True):
            connection.execute(statement)
    login = Lakebase.dsn(make_conninfo(**{**target.parameters, "user": role, "password": "hers"}))
    with Memory(login) as of_ada:
        for call in (of_ada.for_user(id_of(alice)).erase, of_ada.for_user(id_of(alice)).residue):
            with pytest.raises(StorageError, match="lacks a right"):
                call()
        ada = of_ada.for_user(role)
        ada.save("k", 1)
        receipt = ada.erase()
        assert (receipt.rows, receipt.actor) == (1, receipt.owner)
        assert ada.residue() == {}
    assert alice.residue() == before
    with as_superuser(admin_dsn, target) as connection:
        connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def when_blocked(target: Lakebase, do: Callable[[], object]) -> None:
    """Do something as soon as a call waits for a lock."""

    def is_blocked() -> bool:
        with connect(target) as connection:
            query = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
            return connection.execute(query, [target.database]).fetchall() == [(True,)]

    Poll.until(is_blocked)
    do()


def lock_out(target: Lakebase, owner: str, lock: LiteralString) -> psycopg.Connection[tuple[Any, ...]]:
    """A transaction that has the lock on an owner's writes."""
    connection = Rows(target, owner).connect()
    connection.autocommit = False
    connection.execute(f"SELECT {lock}(hashtextextended('lakemem writes of ' || %s, 0))", [owner])
    return connection


def test_an_erasure_waits_for_who_is_writing_and_takes_what_they_wrote(target: Lakebase, alice: ScopedMemory) -> None:
    alice.thread("t").append([{"n": 1}])
    with lock_out(target, alice.owner, "pg_advisory_xact_lock_shared") as writer:
        writer.execute("INSERT INTO lakemem.threads (owner, thread_id) VALUES (%s, 'new')", [alice.owner])
        receipts: list[Any] = gather([alice.erase, lambda: when_blocked(target, writer.commit)])
    assert receipts[0].counts["threads"] == 2
    assert alice.residue() == {}


WRITES: dict[str, Callable[[ScopedMemory], Any]] = {
    "update": lambda user: user.update("k", metadata={"a": 1}),
    "revert": lambda user: user.revert("k", 1),
    "save": lambda user: user.save("k", "new"),
    "fork": lambda user: user.thread("t").fork(at=1, thread_id="fork"),
    "append": lambda user: user.thread("t").append([{"new": True}]),
    "replace_tail": lambda user: user.thread("t").replace_tail(None, [{"new": True}]),
    "copy_thread": lambda user: user.checkpoints.copy_thread("t", "copy"),
    "consolidate": lambda user: user.consolidate(Consolidation(half_life=1)),
}


@pytest.mark.parametrize("write", WRITES)
def test_what_is_written_meanwhile_comes_after_and_brings_nothing_back(
    target: Lakebase, alice: ScopedMemory, memory: Memory, write: str
) -> None:
    """Nothing is copied from what is being erased."""
    fill(memory, alice, SAID)
    alice.save("k", SAID)
    alice.save("k", f"{SAID} 2")

    def attempt() -> None:
        with suppress(LakememError):
            WRITES[write](alice)

    with lock_out(target, alice.owner, "pg_advisory_xact_lock") as erasing:
        erasing.execute("SELECT lakemem.erase_all(%s, NULL, NULL)", [alice.owner])
        gather([attempt, lambda: when_blocked(target, erasing.commit)])
    for table in alice.residue():
        rows = Rows(target, alice.owner)(f"SELECT t::text FROM lakemem.{table} AS t")  # type: ignore[arg-type]
        assert not any(SAID in row for (row,) in rows)


@pytest.mark.parametrize("seed", range(2))
def test_writers_at_full_speed_are_erased_whole_or_come_after(alice: ScopedMemory, target: Lakebase, seed: int) -> None:
    """Each turn writes a thread with two items, and a memory: an erasure leaves all of a call or nothing."""

    def write(writer: int) -> None:
        for n in range(25):
            thread = alice.thread(f"{writer} {n % 3}")
            thread.append([{"n": n}, {"n": n}])
            alice.save(f"{writer} {n % 3}", n)

    def erase() -> None:
        for place in range(8):
            receipts[place] = alice.erase()

    receipts: dict[int, Erasure] = {}
    gather([*(lambda writer=writer: write(writer) for writer in range(3)), erase])
    rows = Rows(target, alice.owner)
    torn = rows(
        "SELECT thread_id, t.last_position, count(i.position) FROM lakemem.threads AS t"
        " FULL JOIN lakemem.thread_items AS i USING (owner, thread_id) GROUP BY 1, 2"
        " HAVING count(i.position) IS DISTINCT FROM t.last_position"
    )
    assert torn == []
    numbers = rows("SELECT key, array_agg(version ORDER BY version) FROM lakemem.memories GROUP BY key")
    assert all(versions == list(range(1, len(versions) + 1)) for _, versions in numbers)
    stored = sum(receipt.counts["thread_items"] for receipt in receipts.values())
    assert stored + rows("SELECT count(*) FROM lakemem.thread_items")[0][0] == 3 * 25 * 2
    alice.erase()
    assert alice.residue() == {}


def test_a_crash_in_the_middle_leaves_everything(
    memory: Memory, target: Lakebase, alice: ScopedMemory, admin_dsn: str
) -> None:
    fill_all(memory, target, alice, SAID)
    everything = [record for record in alice.export()]
    before = alice.residue()

    def kill() -> None:
        with as_superuser(admin_dsn, target) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )

    def erase() -> None:
        with pytest.raises(StorageUnavailableError):
            alice.erase()

    # Checkpoints and memories are deleted by then, and runs are next.
    with Rows(target, alice.owner).connect() as reader, reader.transaction():
        reader.execute("SELECT FROM lakemem.runs FOR UPDATE")
        gather([erase, lambda: when_blocked(target, kill)])
    assert alice.residue() == before
    assert [record for record in alice.export()] == everything


def test_rows_that_an_erasure_leaves_undo_it(databases: DatabaseFactory) -> None:
    """Such as those of a table which it may not empty."""
    target = databases.create()
    with Memory(target) as memory:
        alice = memory.for_user("alice")
        fill(memory, alice, SAID)
        with connect(target) as connection:
            connection.execute("CREATE RULE keep AS ON DELETE TO lakemem.jobs DO INSTEAD NOTHING")
            connection.execute("CREATE TABLE lakemem.later (owner text, note text)")
            connection.execute("INSERT INTO lakemem.later VALUES ('user:alice', 'x'), ('user:bob', 'y')")
        before = alice.residue()
        assert before["later"] == 1
        with pytest.raises(StorageError, match="left rows, and was undone on table jobs"):
            alice.erase()
        assert alice.residue() == before
        with connect(target) as connection:
            connection.execute("DROP RULE keep ON lakemem.jobs")
        assert (alice.erase()).counts["later"] == 1
        with connect(target) as connection:
            assert connection.execute("SELECT note FROM lakemem.later").fetchall() == [("y",)]
    databases.drop(target)


def robust(target: Lakebase) -> Memory:
    return degrading(Memory(target), deadline=0.5, open_deadline=3.0, cooldown=0.05)


def stored(memory: Memory) -> None:
    def well() -> bool:
        health = memory.health()
        return health.status == "ok" and not health.pending_writes

    Poll.until(well)


def test_what_waits_in_this_process_goes_with_the_rest(target: Lakebase) -> None:
    name = str(uuid.uuid4())
    with Proxy(target) as proxy:
        with robust(proxy.target) as memory:
            alice, bob = memory.for_user(f"alice {name}"), memory.for_user(f"bob {name}")
            alice.save("before", 1)
            proxy.refuse()
            for user in (alice, bob):
                assert (user.save("late", SAID)).version == 0
            with pytest.raises(StorageUnavailableError):
                alice.erase()
            assert (memory.health()).pending_writes == 2, "an erasure that failed drops nothing"
            # Nobody replays, so that the erasure meets what waits.
            memory._storage._background.stop()
            proxy.restore()

            def erased() -> bool:
                with suppress(StorageUnavailableError):
                    receipts.append(alice.erase())
                return bool(receipts)

            receipts: list[Erasure] = []
            Poll.until(erased)
            assert receipts[0].counts["memories"] == 1
            assert (memory.health()).pending_writes == 1
            bob.save("later", 1)
            memory._storage._background.start()
            stored(memory)
            assert alice.items() == []
            assert {record.key for record in bob.items()} == {"late", "later"}

            def saved() -> bool:
                with suppress(ErasedError):
                    alice.save("again", 1)
                return alice.get("again") is not None

            Poll.until(saved)


def test_what_waits_in_another_process_is_refused_when_it_comes(
    target: Lakebase, caplog: pytest.LogCaptureFixture
) -> None:
    name = str(uuid.uuid4())
    with Proxy(target) as proxy:
        with robust(proxy.target) as elsewhere, Memory(target) as memory:
            users = [elsewhere.for_user(f"{who} {name}") for who in ("alice", "bob")]
            proxy.refuse()
            for user in users:
                user.save("late", SAID)
                user.thread("t").append([{"content": SAID}])
            alice = memory.for_user(f"alice {name}")
            alice.erase()
            proxy.restore()
            stored(elsewhere)
            assert (elsewhere.health()).failed_writes == 2
            assert alice.residue() == {}
            assert len(users[1].items()) == 1
            assert len(users[1].thread("t").items()) == 1
    refused = [record.message for record in caplog.records if "refused for good" in record.message]
    assert len(refused) == 2
    assert "erased since" in refused[0]
    assert SAID not in caplog.text


def test_vectors_of_what_was_said_are_not_kept_in_this_process(target: Lakebase) -> None:
    embedder = TopicEmbedder()
    with Memory(target, embedder=embedder) as memory, Memory(target) as another:
        alice = memory.for_user(str(uuid.uuid4()))
        alice.save("pet", "a dog")
        alice.search("pet: a dog")
        assert embedder.texts == ["pet: a dog"]
        another.for_user(id_of(alice)).erase()
        alice.search("pet: a dog")
        assert embedder.texts == ["pet: a dog"] * 2
