# Generated from tests/_async/test_production.py by tools/unasync.py: edit that file, then run `make generate`.
"""A deployed app refuses a login for which Postgres does not keep users apart."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from lakemem import ConfigurationError, Lakebase, Memory
from lakemem.doctor import Doctor, Finding
from lakemem.grants import grant_statements
from tests.conftest import connect

PASSWORD = secrets.token_hex(8)


def as_admin(admin_dsn: str, target: Lakebase) -> Lakebase:
    return Lakebase.dsn(make_conninfo(admin_dsn, dbname=str(target.database)))


@pytest.fixture
def app(admin_dsn: str, target: Lakebase) -> Iterator[Lakebase]:
    """A role that has rights to the tables, and does not own them."""
    name = f"app_{secrets.token_hex(4)}"
    with connect(as_admin(admin_dsn, target)) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), PASSWORD))
        for statement in grant_statements(name, "lakemem"):
            connection.execute(statement)
        yield Lakebase.dsn(make_conninfo(**{**target.parameters, "user": name, "password": PASSWORD}))
        connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def finding(target: Lakebase, *, production: bool) -> Finding:
    found = {each.step: each for each in Doctor(target, schema="lakemem", production=production).findings()}
    return found["row-level security"]


def check_is_refused(target: Lakebase, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Memory(target, production=True).open()
    failed = finding(target, production=True)
    assert failed.status == "failed"
    assert words in failed.detail
    assert failed.remedy


def check_is_warned_of(target: Lakebase, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="lakemem"):
        with Memory(target) as memory:
            assert (memory.health()).row_level_security is False
    assert "does not keep users apart" in caplog.text
    assert finding(target, production=False).status == "warning"


def test_a_superuser_is_refused(
    admin_dsn: str, target: Lakebase, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    superuser = as_admin(admin_dsn, target)
    check_is_refused(superuser, "superuser or has BYPASSRLS")
    check_is_warned_of(superuser, caplog)
    monkeypatch.setenv("DATABRICKS_APP_NAME", "assistant")
    with pytest.raises(ConfigurationError, match="deployed app"):
        Memory(superuser).open()
    with Memory(superuser, production=False) as memory:
        assert (memory.health()).status == "ok"


def test_a_role_with_bypassrls_is_refused(admin_dsn: str, target: Lakebase, app: Lakebase) -> None:
    with Memory(app, production=True) as memory:
        assert (memory.health()).row_level_security is True
    with connect(as_admin(admin_dsn, target)) as connection:
        connection.execute(sql.SQL("ALTER ROLE {} BYPASSRLS").format(sql.Identifier(str(app.parameters["user"]))))
    check_is_refused(app, "superuser or has BYPASSRLS")


@pytest.mark.parametrize(
    ("change", "also_for_app"),
    [
        ("ALTER TABLE lakemem.memories DISABLE ROW LEVEL SECURITY", True),
        ("ALTER TABLE lakemem.memories NO FORCE ROW LEVEL SECURITY", False),
    ],
)
def test_a_table_without_row_level_security_is_refused(
    target: Lakebase, app: Lakebase, change: LiteralString, also_for_app: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with Memory(target, production=True) as memory:
        assert (memory.health()).row_level_security is True
    with connect(target) as connection:
        connection.execute(change)
    check_is_refused(target, "in memories: row-level security is off, or not forced on the owner")
    check_is_warned_of(target, caplog)
    if also_for_app:
        check_is_refused(app, "in memories")
    else:
        assert finding(app, production=True).status == "ok"
    # What the doctor says helps.
    remedy = finding(target, production=True).remedy
    statement = remedy.removeprefix("run ").partition(", and so")[0]
    with connect(target) as connection:
        connection.execute(statement.encode())
    assert finding(target, production=True).status == "ok"


def test_the_users_own_logins_are_held_to_the_same(admin_dsn: str, target: Lakebase) -> None:
    class Admin:
        def credential(self) -> object:
            from lakemem import Credential

            parameters = psycopg.conninfo.conninfo_to_dict(admin_dsn)
            return Credential(token=str(parameters.get("password") or ""), user=str(parameters["user"]))

    with Memory(target, production=True) as memory:
        with pytest.raises(ConfigurationError, match="BYPASSRLS"):
            memory.logged_in_as(Admin()).open()  # type: ignore[arg-type]
