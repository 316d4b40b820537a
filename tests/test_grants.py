"""The rights that `lakemem grants` gives: enough for the whole library, and not one too many."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict
from uuid import uuid4

import psycopg
import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from psycopg import sql
from psycopg.conninfo import make_conninfo

from lakemem import CallableEmbedder, ConfigurationError, Lakebase, Memory, TokenUsage, Window, Worked
from lakemem._sql import bind_statements
from lakemem.cli import main
from lakemem.grants import RIGHTS, Missing, grant_statements, missing_rights
from lakemem.integrations.langgraph import LakebaseSaver
from lakemem.operations import running, threads
from lakemem.testing import DatabaseFactory
from tests.conftest import connect
from tests.support.extractors import SentenceExtractor

SERVED = (
    "threads.",
    "transcripts.",
    "turns.",
    "memories.",
    "recall.",
    "files.",
    "archive.",
    "quarantine.",
    "archive_work.",
    "forgetting.note",
    "remembering.",
    "jobs.",
    "indexed.",
    "indexing.",
    "runs.",
    "running.",
    "checkpoints.",
    "writes.",
    "store.",
    "schema.applied",
    "consolidating.",
    "keys.of_owner",
    "keys.make",
    "keys.check",
    "keys.drop",
    "keys.rotate",
    "keys.forget_retired",
    "resealing.",
)
"""What an app runs; all else is for whoever owns the tables."""


class Role:
    """A role that owns nothing, with a name that has to be quoted."""

    def __init__(self, admin_dsn: str, target: Lakebase) -> None:
        self.name = f'app "{secrets.token_hex(4)}" %s; --'
        self.target = Lakebase.dsn(make_conninfo(**{**target.parameters, "user": self.name, "password": "secret"}))
        self._admin_dsn = admin_dsn
        self._admin(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'"))

    def drop(self, database: str) -> None:
        with psycopg.connect(self._admin_dsn, dbname=database, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(self.name)))
        self._admin(sql.SQL("DROP ROLE {}"))

    def _admin(self, statement: sql.SQL) -> None:
        with psycopg.connect(self._admin_dsn, autocommit=True) as admin:
            admin.execute(statement.format(sql.Identifier(self.name)))


@pytest.fixture
def role(admin_dsn: str, target: Lakebase) -> Iterator[Role]:
    made = Role(admin_dsn, target)
    yield made
    made.drop(str(target.database))


@pytest.fixture
def owner(target: Lakebase) -> Iterator[psycopg.Connection[Any]]:
    with connect(target) as connection:
        yield connection


def grant(owner: psycopg.Connection[Any], role: Role, **options: Any) -> None:
    for statement in grant_statements(role.name, "lakemem", **options):
        owner.execute(statement)


class State(TypedDict):
    said: Annotated[list[str], lambda old, new: old + new]


def ask(state: State) -> State:
    return {"said": [interrupt("more?")]}


def use_everything(memory: Memory) -> None:
    """Call what the library offers, at least once each."""
    user = memory.for_user("alice")
    thread = user.thread("t")
    thread.append([{"role": "user", "content": "hello"}, {"role": "user", "content": "again"}])
    assert [message.position for message in thread.messages()] == [1, 2]
    assert thread.pop() == {"role": "user", "content": "again"}
    assert len(user.threads()) == 1
    for _ in range(2):
        assert thread.store_usage(TokenUsage(requests=1), run_id="run")
    assert [turn.usage.requests for turn in thread.turns()] == [1]
    assert thread.window(Window(items=1)) == [{"role": "user", "content": "hello"}]
    assert thread.replace_tail(thread.messages(), [{"type": "compaction"}])
    assert thread.update(title="Greetings", expires_in=60).title == "Greetings"
    fork = thread.fork(at=thread.messages()[-1].position)
    assert [hit.thread_id for hit in user.search_threads("hello")] == []
    fork.append([{"role": "user", "content": "hello"}])
    assert [hit.thread_id for hit in user.search_threads("hello")] == [fork.thread_id]
    assert [record["kind"] for record in user.export(fork.thread_id)] == ["thread", "item", "item"]
    assert fork.rewind(to=0) == 2
    assert fork.delete()
    thread.clear()
    assert thread.delete()
    assert thread.info() is None

    user.save("color", "green", namespace=("likes",), metadata={"sure": True})
    user.update("color", "blue", namespace=("likes",))
    assert [hit.record.key for hit in user.search("blue")] == ["color"]
    assert [record.value for record in user.items()] == ["blue"]
    assert user.delete("color", namespace=("likes",))
    user.save("food", "soup")
    assert user.delete("food", erase=True)
    assert user.get("food") is None
    user.remember([{"role": "user", "content": "I like soup."}], thread_id="t")
    assert memory.worker(SentenceExtractor()).run_once() == Worked(jobs=1, facts=1)

    run_id = user.runs.create({}, idempotency_key="once").run_id
    take = running.claim("user:alice", worker=None, lease=60, takes_over=True, max_attempts=2, per_owner=None)
    claimed = memory._storage.run(take)
    assert claimed is not None
    at = running.Position(owner="user:alice", run_id=run_id, attempt=1, last_sequence=-1)
    assert memory._storage.run(running.append(at, ["{}"], lease=60)).status == "in_progress"
    assert len(user.runs.events(run_id)) == len(user.runs.list()) == 1
    at = running.Position(owner="user:alice", run_id=run_id, attempt=1, last_sequence=0)
    end = running.Ending(outcome="waiting", question="1")
    assert memory._storage.run(running.append(at, [], lease=60, ending=end)).status == "waiting"
    assert user.runs.resume(run_id, 1).answer == 1
    assert user.runs.cancel(run_id) is not None
    assert user.runs.delete(run_id)

    graph = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").add_edge("ask", END)
    compiled = graph.compile(checkpointer=LakebaseSaver(user))
    config: Any = {"configurable": {"thread_id": "g"}}
    compiled.invoke({"said": []}, config)
    assert compiled.invoke(Command(resume="no"), config)["said"] == ["no"]
    assert len(list(compiled.get_state_history(config))) > 1
    compiled.checkpointer.delete_thread("g")

    marked = threads.append("user:alice", "m", [{"n": 1}])
    for _ in range(2):
        memory._storage.run(marked, write_id=WRITE)
    assert len(user.thread("m").items()) == 1

    expired = user.thread("expired")
    expired.update(expires_in=1e-6)
    assert expired.append([{"n": 1}]) == range(1, 2)
    expired.update(expires_in=1e-6)
    assert memory._storage.run(threads.remove_expired(user.owner, 10)) == 1


WRITE = uuid4()


def test_the_whole_library_runs_with_the_granted_rights(owner: psycopg.Connection[Any], role: Role) -> None:
    grant(owner, role)
    with Memory(role.target) as memory:
        use_everything(memory)
        assert memory.health().status == "ok"


def test_without_grants_the_error_says_what_to_do(role: Role) -> None:
    with pytest.raises(Exception, match="lakemem grants"), Memory(role.target):
        pass


@pytest.fixture(scope="module")
def granted(databases: DatabaseFactory, admin_dsn: str) -> Iterator[Role]:
    """A role with all rights, in a database that tests share: what they take from it, a transaction gives back."""
    target = databases.create()
    role = Role(admin_dsn, target)
    with connect(target) as owner:
        grant(owner, role)
    yield role
    role.drop(str(target.database))
    databases.drop(target)


@pytest.fixture(scope="module")
def served(granted: Role) -> dict[str, bytes]:
    """The statements that an app runs, to be explained: that takes the same rights as to run them."""
    statements = {name: statement for name, statement in bind_statements("lakemem").items() if name.startswith(SERVED)}
    with connect(granted.target) as app:
        statements |= of_functions(app)
    return {name: b"EXPLAIN (GENERIC_PLAN) " + numbered(statement) for name, statement in statements.items()}


def test_no_statement_needs_another_right(granted: Role, served: dict[str, bytes]) -> None:
    with connect(granted.target) as app:
        for statement in served.values():
            app.execute(statement)


@pytest.mark.parametrize(
    ("table", "privilege"), [(table, privilege) for table, privileges in RIGHTS.items() for privilege in privileges]
)
def test_each_right_is_needed_by_a_statement(
    granted: Role, served: dict[str, bytes], admin_dsn: str, table: str, privilege: str
) -> None:
    revoke = sql.SQL("REVOKE {} ON {} FROM {}").format(
        sql.SQL(privilege), sql.Identifier("lakemem", table), sql.Identifier(granted.name)
    )
    login = make_conninfo(admin_dsn, dbname=str(granted.target.database))
    # Those that name the table first: they are the ones to be refused.
    ordered = sorted(served.values(), key=lambda statement: table.encode() not in statement)
    with psycopg.connect(login, autocommit=True) as admin, admin.transaction(force_rollback=True):
        admin.execute(revoke)
        admin.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(granted.name)))
        assert any(is_refused(admin, statement) for statement in ordered)


def is_refused(connection: psycopg.Connection[Any], statement: bytes) -> bool:
    try:
        connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


def of_functions(app: psycopg.Connection[Any]) -> dict[str, bytes]:
    """What the functions that statements call do with the rights of their caller."""
    bodies = app.execute("SELECT prosrc FROM pg_proc WHERE pronamespace = 'lakemem'::regnamespace AND NOT prosecdef")
    found = [text for (body,) in bodies for text in re.findall(r"^    (DELETE FROM [^;]+)", body, re.MULTILINE)]
    assert found
    found = [re.sub(r"\b(?:of|by)_(owner|thread|job|lease)\b", r"%(\1)s", text) for text in found]
    # What a trigger does, with the rows of any table that it is on.
    found.append(
        "INSERT INTO lakemem.held_rows (owner, table_name, content)"
        " SELECT owner, '', row_to_json(i) FROM lakemem.thread_items AS i"
    )
    return {text: text.encode() for text in found}


def numbered(statement: bytes) -> bytes:
    """Named parameters as $1, $2, ...: what the server itself reads."""
    names: dict[bytes, int] = {}

    def number(match: re.Match[bytes]) -> bytes:
        return b"$%d" % names.setdefault(match[1], len(names) + 1)

    return re.sub(rb"%\((\w+)\)s", number, statement).replace(b"%%", b"%")


def test_what_is_missing_is_told_until_nothing_is(owner: psycopg.Connection[Any], role: Role) -> None:
    pairs = sum(len(privileges) for privileges in RIGHTS.values())
    missing = missing_rights(owner, role.name, "lakemem")
    assert len(missing) == pairs + 1
    assert Missing("USAGE", "SCHEMA", "lakemem") in missing
    for statement in grant_statements(role.name, "lakemem")[:-1]:
        owner.execute(statement)
    assert missing_rights(owner, role.name, "lakemem") == [Missing("INSERT", "TABLE", "applied_writes")]
    for _ in range(2):
        grant(owner, role)
    assert missing_rights(owner, role.name, "lakemem") == []


def test_a_role_that_is_not_there_and_tables_that_are_not_there_are_told(
    owner: psycopg.Connection[Any], role: Role
) -> None:
    assert missing_rights(owner, "nobody", "lakemem") == [Missing("LOGIN", "ROLE", "nobody")]
    assert Missing("SELECT", "TABLE", "threads") in missing_rights(owner, role.name, "elsewhere")


def test_the_audit_log_cannot_be_changed_with_the_granted_rights(owner: psycopg.Connection[Any], role: Role) -> None:
    grant(owner, role)
    with connect(role.target) as app:
        for attempt in ("UPDATE lakemem.memory_events SET key = ''", "DELETE FROM lakemem.memory_events"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                app.execute(attempt)


def test_with_own_rows_a_login_reads_and_writes_as_no_one_else(
    owner: psycopg.Connection[Any], role: Role, target: Lakebase
) -> None:
    with Memory(target) as memory:
        memory.for_user("alice").save("secret", "of alice")
    grant(owner, role, own_rows=True)
    assert missing_rights(owner, role.name, "lakemem", own_rows=True) == []
    with Memory(role.target) as memory:
        assert memory.for_user("alice").items() == []
        with pytest.raises(Exception, match="lacks a right"):
            memory.for_user("alice").save("secret", "forged")
        memory.for_user(role.name).save("mine", 1)
        assert [record.key for record in memory.for_user(role.name).items()] == ["mine"]
    with Memory(target) as memory:
        assert [record.value for record in memory.for_user("alice").items()] == ["of alice"]


def test_own_rows_are_told_as_missing(owner: psycopg.Connection[Any], role: Role) -> None:
    grant(owner, role)
    missing = missing_rights(owner, role.name, "lakemem", own_rows=True)
    assert {right.object for right in missing} == {"POLICY"}


def test_the_command_prints_applies_and_checks(
    role: Role, target: Lakebase, capsys: pytest.CaptureFixture[str]
) -> None:
    dsn = make_conninfo(**target.parameters)
    assert main(["grants", "--to", role.name]) == 0
    printed = capsys.readouterr().out
    assert main(["grants", "--to", role.name, "--check", "--dsn", dsn]) == 1
    assert "missing: SELECT on table threads" in capsys.readouterr().err
    with connect(target) as connection:
        connection.execute(printed)  # type: ignore[arg-type]
    assert main(["grants", "--to", role.name, "--check", "--dsn", dsn]) == 0
    assert main(["grants", "--to", role.name, "--apply", "--dsn", dsn]) == 0
    assert "every right" in capsys.readouterr().out


def test_a_database_that_is_not_open_to_everybody_is_opened_to_the_role(
    role: Role, target: Lakebase, owner: psycopg.Connection[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    owner.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(str(target.database))))
    assert Missing("CONNECT", "DATABASE", str(target.database)) in missing_rights(owner, role.name, "lakemem")
    assert main(["grants", "--to", role.name, "--apply", "--dsn", make_conninfo(**target.parameters)]) == 0
    assert "every right" in capsys.readouterr().out


def test_a_role_that_is_missing_outside_of_a_lakebase_is_not_made(
    target: Lakebase, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["grants", "--to", "nobody", "--apply", "--dsn", make_conninfo(**target.parameters)]) == 1
    assert "CREATE ROLE" in capsys.readouterr().err


def test_an_app_sees_nothing_of_the_memories_of_everybody(
    owner: psycopg.Connection[Any], role: Role, target: Lakebase
) -> None:
    grant(owner, role)
    embedder = CallableEmbedder(lambda texts: [[1.0]] * len(texts), model="one", dimensions=1)
    with Memory(role.target) as memory:
        memory.for_user("alice").save("secret", 1)
        with pytest.raises(ConfigurationError, match="only the owner of the tables"):
            memory.reembed(embedder)
    for connection, seen in ((connect(role.target), 0), (owner, 1)):
        connection.execute("SELECT set_config('lakemem.owner', 'maintenance', false)")
        assert connection.execute("SELECT count(*) FROM lakemem.memories").fetchone() == (seen,)
        assert connection.execute("UPDATE lakemem.memories SET importance = 0 RETURNING 1").fetchall() == []
        assert connection.execute("DELETE FROM lakemem.memories RETURNING 1").fetchall() == []
