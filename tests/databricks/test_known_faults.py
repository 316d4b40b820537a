"""Faults that were measured in other packages for Lakebase, and must not be here.

============================================================  ===================================================
a cached engine serves another identity                       here, test_users
a race makes an engine for each of many requests              here
one failed refresh is an error while the token is valid       test_tokens
a refused token stays in the cache                            test_tokens
fetching a token stalls the event loop                        test_tokens
parts of a token are logged                                   conftest, around every test of this folder
a connection that the server closed reaches the agent         test_tokens
the search path decides which tables are read                 here
the extension can be in one schema only                       here
a role or database whose name has to be quoted                here, tests/test_grants
embedding stalls the event loop, or holds a connection        here
one lock makes a pool do one thing at a time                  tests/langgraph/test_savers
search loses rows of one user among those of many             here
several statements a call                                     tests/_async/test_round_trips
============================================================  ===================================================
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from lakemem import AsyncMemory, CallableEmbedder, Lakebase, Memory
from lakemem.integrations.databricks import on_behalf_of
from lakemem.testing import LakebaseEmulator
from tests.conftest import connect
from tests.databricks.conftest import CREDENTIALS
from tests.support.loops import Attention


async def test_many_requests_of_one_user_at_once_share_one_pool_and_one_token(
    app: LakebaseEmulator, memory: AsyncMemory
) -> None:
    user = "racer@example.com"
    if user not in app.workspace.identities:
        app.admit(app.add_user(user), create=False)
    headers = [{"x-forwarded-access-token": app.login(user)} for _ in range(16)]
    app.requests.clear()
    async with on_behalf_of(memory, login="user") as requests:

        async def ask(header: dict[str, str]) -> None:
            async with requests.of(header):
                pass

        outcomes = await asyncio.gather(*[ask(header) for header in headers], return_exceptions=True)
        assert requests.users == [user]
    # This user may not read the tables: all of them are told so, after one token.
    assert len(outcomes) == 16
    assert app.requests.count(CREDENTIALS) == 1


def test_tables_of_the_same_name_in_public_are_never_touched(target: Lakebase) -> None:
    with connect(target) as connection:
        for table in ("threads", "thread_items", "memories"):
            connection.execute(
                sql.SQL("CREATE TABLE public.{} (LIKE lakemem.{} INCLUDING ALL)").format(
                    sql.Identifier(table), sql.Identifier(table)
                )
            )
        with Memory(target) as memory:
            memory.for_user("alice").save("color", "green")
            memory.for_user("alice").thread("t").append([{"role": "user"}])
        for table in ("threads", "thread_items", "memories"):
            count = connection.execute(sql.SQL("SELECT count(*) FROM public.{}").format(sql.Identifier(table)))
            assert count.fetchone() == (0,)


def test_two_schemas_of_one_database_share_the_extension(empty_target: Lakebase) -> None:
    for schema in ("first", 'se"cond one'):
        with Memory(empty_target, schema=schema, migrate=True) as memory:
            memory.for_user("alice").save("schema", schema)
    for schema in ("first", 'se"cond one'):
        with Memory(empty_target, schema=schema) as memory:
            assert [record.value for record in memory.for_user("alice").items()] == [schema]


def test_a_database_whose_name_has_to_be_quoted(admin_dsn: str, target: Lakebase) -> None:
    strange = 'it\'s a\\strange %s "base"'
    with connect(target, dbname="postgres", **_admin(admin_dsn)) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(strange), sql.Identifier(str(target.database))
            )
        )
        try:
            moved = Lakebase.dsn(make_conninfo(**{**target.parameters, "dbname": strange}))
            with Memory(moved) as memory:
                memory.for_user("alice").save("color", "green")
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(strange)))


def _admin(admin_dsn: str) -> dict[str, str]:
    from psycopg.conninfo import conninfo_to_dict

    login = conninfo_to_dict(admin_dsn)
    return {name: str(login[name]) for name in ("user", "password") if login.get(name)}


def embedder_of(meanwhile: Callable[[], object]) -> CallableEmbedder:
    def embed(texts: Sequence[str]) -> list[list[float]]:
        meanwhile()
        return [[1.0, float(len(text))] for text in texts]

    return CallableEmbedder(embed, model="slow", dimensions=2)


async def test_embedding_holds_no_connection_and_does_not_stall_the_event_loop(target: Lakebase) -> None:
    all_there, attention = threading.Barrier(4), Attention()

    def embed() -> None:
        # With a connection held, there would be two at a time.
        all_there.wait(timeout=10)
        attention.ask()

    async with AsyncMemory(target, embedder=embedder_of(embed), embedding_deadline=60, max_size=2) as memory:
        user = memory.for_user("alice")
        await asyncio.gather(*[user.search(f"question {n}") for n in range(4)])
    assert not all_there.broken
    assert attention.answers == [True] * 4


@pytest.mark.parametrize("others", [2000])
async def test_a_user_with_few_memories_among_many_finds_all_of_theirs(target: Lakebase, others: int) -> None:
    async with AsyncMemory(target, embedder=embedder_of(lambda: None)) as memory:
        crowd = memory.for_user("crowd")
        await asyncio.gather(*[crowd.save(f"k{n}", "x" * (n % 50 + 1)) for n in range(others)])
        few = memory.for_user("few")
        for n in range(12):
            await few.save(f"mine {n}", "y" * (40 + n))
        hits = await few.search("xxxxx", limit=10)
    assert len(hits) == 10
    assert all(hit.record.key.startswith("mine") for hit in hits)
