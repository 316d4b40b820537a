"""What the arguments of the Databricks packages come to: none is ignored without a word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lakemem import ConfigurationError, InvalidInputError, Lakebase
from lakemem.compat import (
    AsyncCheckpointSaver,
    AsyncDatabricksSession,
    AsyncDatabricksStore,
    CheckpointSaver,
    CompatWarning,
    DatabricksStore,
    LongTermMemory,
    ShortTermMemory,
)
from lakemem.compat.arguments import Settings

ENDPOINT = "projects/p/branches/b/endpoints/e"
DSN = Lakebase.dsn("postgresql://ada@127.0.0.1:1/agents")

CLASSES: list[Callable[..., Any]] = [
    lambda **arguments: AsyncDatabricksSession("t", **arguments),
    CheckpointSaver,
    AsyncCheckpointSaver,
    DatabricksStore,
    AsyncDatabricksStore,
    ShortTermMemory,
    LongTermMemory,
]
IDS = ["session", "saver", "async-saver", "store", "async-store", "short-term", "long-term"]


def settings(**arguments: Any) -> Settings:
    return Settings.of("Class", arguments)


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        ({"instance_name": "i"}, Lakebase.instance("i")),
        ({"instance_name": "i.database.cloud.databricks.com"}, Lakebase.instance("i.database.cloud.databricks.com")),
        ({"instance_name": "i", "database": "d", "username": "u"}, Lakebase.instance("i", database="d", user="u")),
        ({"autoscaling_endpoint": ENDPOINT}, Lakebase.endpoint(ENDPOINT)),
        ({"project": "p", "branch": "b"}, Lakebase.branch("p", "b")),
        ({"branch": "projects/p/branches/b"}, Lakebase.branch("p", "b")),
        ({"target": DSN}, DSN),
        ({"instance_name": None, "project": None, "target": DSN}, DSN),
    ],
)
def test_each_way_to_name_a_lakebase_is_taken(arguments: dict[str, Any], target: Lakebase) -> None:
    assert settings(**arguments).target == target


def test_without_a_name_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEMEM_DSN", "postgresql://ada@elsewhere/agents")
    assert settings().target.name == "elsewhere"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"instance_name": "i", "autoscaling_endpoint": ENDPOINT}, "autoscaling_endpoint and instance_name"),
        ({"instance_name": "i", "branch": "b"}, "instance_name and project and branch"),
        ({"target": DSN, "instance_name": "i"}, "instance_name and target"),
        ({"target": DSN, "database": "d"}, "database="),
        ({"target": DSN, "workspace_client": object()}, "workspace_client="),
        ({"project": "p"}, "branch= is missing"),
        ({"branch": "b"}, "project= is missing"),
        ({"username": "u"}, "username="),
        ({"target": DSN, "user": "a", "scope": "b"}, "user= or scope="),
        ({"target": DSN, "configure": print}, "configure="),
        ({"target": DSN, "connect_args": {}}, "connect_args="),
        ({"target": DSN, "poolclass": object}, "poolclass="),
        ({"target": DSN, "max_overflow": -1}, "max_size="),
        ({"target": DSN, "schema": ""}, "schema"),
    ],
)
def test_what_contradicts_itself_or_cannot_be_had_is_refused(
    arguments: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAKEMEM_DSN", raising=False)
    with pytest.raises((ConfigurationError, InvalidInputError), match=words):
        settings(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [{"token_cache_duration_seconds": 60}, {"pool_recycle": 840}, {"pool_pre_ping": True}, {"max_lifetime": 60.0}],
)
@pytest.mark.parametrize("make", CLASSES, ids=IDS)
def test_what_has_no_effect_is_said_at_the_line_of_the_caller(
    make: Callable[..., Any], arguments: dict[str, Any]
) -> None:
    with pytest.warns(CompatWarning, match=next(iter(arguments))) as said:
        make(target=DSN, **arguments)
    assert [warning.filename for warning in said] == [__file__]


@pytest.mark.parametrize("make", CLASSES, ids=IDS)
def test_an_argument_that_is_none_is_a_type_error(make: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="tabel"):
        make(target=DSN, tabel="x")


@pytest.mark.parametrize(
    ("arguments", "pool"),
    [
        ({}, {}),
        ({"min_size": 0, "max_size": 3, "timeout": 1.5}, {"min_size": 0, "max_size": 3, "timeout": 1.5}),
        ({"pool_size": 3, "max_overflow": 4, "pool_timeout": 9}, {"max_size": 7, "timeout": 9}),
        ({"max_overflow": 4}, {"max_size": 9}),
    ],
)
def test_options_of_pools_and_engines_size_the_pool(arguments: dict[str, Any], pool: dict[str, Any]) -> None:
    assert settings(target=DSN, **arguments).pool == pool


@pytest.mark.parametrize(
    ("arguments", "owner"), [({}, "scope:shared"), ({"user": "ada"}, "user:ada"), ({"scope": "team"}, "scope:team")]
)
def test_data_is_the_shared_scopes_unless_an_owner_is_named(arguments: dict[str, Any], owner: str) -> None:
    assert settings(target=DSN, **arguments).owner == owner


def test_the_schema_comes_from_the_argument_else_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEBASE_AGENT_MEMORY_SCHEMA", "env")
    assert settings(target=DSN).schema == "env"
    assert settings(target=DSN, schema="mine").schema == "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"embedding_endpoint": "e"}, "embedding_dims= is missing"),
        ({"embeddings": object()}, "embedding_dims= is missing"),
        ({"embedding_dims": 3}, "needs embedding_endpoint="),
    ],
)
@pytest.mark.parametrize("make", [DatabricksStore, AsyncDatabricksStore, LongTermMemory])
def test_embeddings_need_their_length(make: Callable[..., Any], arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make(target=DSN, **arguments)


@pytest.mark.parametrize("tables", [{"sessions_table": "s"}, {"messages_table": "m"}])
def test_tables_of_the_sessions_cannot_be_named(tables: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="lakemem import"):
        AsyncDatabricksSession("t", target=DSN, **tables)  # type: ignore[arg-type]


def test_a_long_term_memory_takes_its_user_with_every_call() -> None:
    with pytest.raises(ConfigurationError, match="user="):
        LongTermMemory(target=DSN, user="ada")
