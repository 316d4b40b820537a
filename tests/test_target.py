"""Where the database is: from arguments, from the environment, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakemem import AsyncMemory, ConfigurationError, Lakebase

ENDPOINT = "projects/p/branches/b/endpoints/e"

# Each step of the order, with what it sets, and the target that it makes.
STEPS: list[tuple[dict[str, str], tuple[str, str, str | None]]] = [
    ({"LAKEMEM_DSN": "postgresql://ada@dsn.example/agents"}, ("dsn", "dsn.example", "agents")),
    ({"LAKEBASE_AUTOSCALING_ENDPOINT": ENDPOINT}, ("endpoint", ENDPOINT, "databricks_postgres")),
    (
        {"LAKEBASE_AUTOSCALING_PROJECT": "p", "LAKEBASE_AUTOSCALING_BRANCH": "b"},
        ("branch", "projects/p/branches/b", "databricks_postgres"),
    ),
    ({"LAKEBASE_INSTANCE_NAME": "i"}, ("instance", "i", "databricks_postgres")),
    ({"PGHOST": "pg.example", "PGDATABASE": "agents"}, ("environment", "pg.example", "agents")),
    ({}, ("embedded", "", None)),
]


def found(target: Lakebase) -> tuple[str, str, str | None]:
    return (target.kind, target.name, target.database)


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_a_step_comes_before_all_steps_behind_it(step: int) -> None:
    environ = {name: value for settings, _ in STEPS[step:] for name, value in settings.items()}
    assert found(Lakebase.from_env(environ)) == STEPS[step][1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"dsn": "host=h dbname=d"}, ("dsn", "h", "d")),
        ({"dsn": "host=h", "database": "d"}, ("dsn", "h", "d")),
        ({"endpoint": ENDPOINT, "database": "d"}, ("endpoint", ENDPOINT, "d")),
        ({"project": "projects/p", "branch": "b"}, ("branch", "projects/p/branches/b", "databricks_postgres")),
        ({"instance": "other", "database": "d"}, ("instance", "other", "d")),
    ],
)
def test_arguments_come_before_the_environment(
    arguments: dict[str, str], expected: tuple[str, str, str | None]
) -> None:
    environ = {name: value for settings, _ in STEPS for name, value in settings.items()}
    assert found(Lakebase.from_env(environ, **arguments)) == expected


def test_by_default_the_environment_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEMEM_DSN", "postgresql://ada@dsn.example/agents")
    assert AsyncMemory().target.name == "dsn.example"


@pytest.mark.parametrize("settings", [settings for settings, _ in STEPS if settings])
def test_a_setting_that_is_empty_or_blank_is_not_set(settings: dict[str, str]) -> None:
    for value in ("", "  "):
        assert Lakebase.from_env(dict.fromkeys(settings, value)).kind == "embedded"


@pytest.mark.parametrize(("settings", "kind"), [(STEPS[n][0], STEPS[n][1][0]) for n in (1, 2, 3)])
def test_the_database_of_a_lakebase_can_be_named(settings: dict[str, str], kind: str) -> None:
    target = Lakebase.from_env({**settings, "LAKEBASE_DATABASE_NAME": "agents"})
    assert (target.kind, target.database) == (kind, "agents")


def test_the_family_of_pghost_is_read_from_the_mapping_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGUSER", "somebody-else")
    target = Lakebase.from_env(
        {
            "PGHOST": "pg.example",
            "PGHOSTADDR": "203.0.113.7",
            "PGPORT": "6543",
            "PGUSER": "ada",
            "PGPASSWORD": "hush",
            "PGDATABASE": "agents",
            "PGSSLMODE": "require",
            "PGSSLROOTCERT": "system",
            "PGAPPNAME": "app",
            "PGOPTIONS": "-c work_mem=8MB",
        }
    )
    assert dict(target.parameters) == {
        "host": "pg.example",
        "hostaddr": "203.0.113.7",
        "port": "6543",
        "user": "ada",
        "password": "hush",
        "dbname": "agents",
        "sslmode": "require",
        "sslrootcert": "system",
        "application_name": "app",
        "options": "-c work_mem=8MB",
    }
    assert "hush" not in f"{target} {target!r}"


def test_an_address_without_a_name_is_a_host_too() -> None:
    assert found(Lakebase.from_env({"PGHOSTADDR": "203.0.113.7"})) == ("environment", "203.0.113.7", None)


CONTRADICTIONS: list[tuple[dict[str, str], dict[str, str], list[str]]] = [
    ({"LAKEBASE_AUTOSCALING_PROJECT": "p"}, {}, ["LAKEBASE_AUTOSCALING_PROJECT", "LAKEBASE_AUTOSCALING_BRANCH"]),
    ({"LAKEBASE_AUTOSCALING_BRANCH": "b"}, {}, ["LAKEBASE_AUTOSCALING_PROJECT", "LAKEBASE_AUTOSCALING_BRANCH"]),
    (
        {"LAKEBASE_AUTOSCALING_ENDPOINT": ENDPOINT, "LAKEBASE_AUTOSCALING_PROJECT": "q"},
        {},
        ["LAKEBASE_AUTOSCALING_ENDPOINT", "LAKEBASE_AUTOSCALING_PROJECT", "'p'", "'q'"],
    ),
    (
        {"LAKEBASE_AUTOSCALING_ENDPOINT": ENDPOINT, "LAKEBASE_AUTOSCALING_BRANCH": "c"},
        {},
        ["LAKEBASE_AUTOSCALING_ENDPOINT", "LAKEBASE_AUTOSCALING_BRANCH", "'b'", "'c'"],
    ),
    (
        {"LAKEMEM_DSN": "postgresql://h/one", "LAKEBASE_DATABASE_NAME": "two"},
        {},
        ["LAKEMEM_DSN", "LAKEBASE_DATABASE_NAME", "'one'", "'two'"],
    ),
    ({"LAKEMEM_DSN": "postgresql://h/one"}, {"database": "two"}, ["LAKEMEM_DSN", "database=", "'one'", "'two'"]),
    (
        {"LAKEBASE_INSTANCE_NAME": "i", "LAKEBASE_DATABASE_NAME": "one"},
        {"database": "two"},
        ["LAKEBASE_DATABASE_NAME", "database=", "'one'", "'two'"],
    ),
    (
        {"PGHOST": "h", "PGDATABASE": "one", "LAKEBASE_DATABASE_NAME": "two"},
        {},
        ["PGDATABASE", "LAKEBASE_DATABASE_NAME", "'one'", "'two'"],
    ),
    ({"LAKEBASE_DATABASE_NAME": "one"}, {}, ["LAKEBASE_DATABASE_NAME", "'one'"]),
    ({}, {"database": "one"}, ["database=", "'one'"]),
    ({"PGHOST": "h", "PGPORT": "five"}, {}, ["PGPORT", "'five'"]),
    ({"LAKEBASE_AUTOSCALING_ENDPOINT": "e"}, {}, ["projects/P/branches/B/endpoints/E", "'e'"]),
    ({}, {"dsn": "host=h", "instance": "i"}, ["dsn", "instance"]),
    ({}, {"endpoint": ENDPOINT, "branch": "b"}, ["endpoint", "project and branch"]),
    ({}, {"project": "p"}, ["project and branch", "branch is missing"]),
    ({}, {"branch": "b"}, ["project and branch", "project is missing"]),
    ({}, {"dsn": "host=h dbname=one", "database": "two"}, ["DSN", "database=", "'one'", "'two'"]),
    ({}, {"dsn": " "}, ["DSN is empty"]),
    ({}, {"instance": ""}, ["instance name is empty"]),
]


@pytest.mark.parametrize(("environ", "arguments", "named"), CONTRADICTIONS)
def test_settings_that_contradict_each_other_are_refused_by_name(
    environ: dict[str, str], arguments: dict[str, str], named: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Lakebase.from_env(environ, **arguments)
    for name in named:
        assert name in str(caught.value)


def test_settings_that_agree_are_not_refused() -> None:
    target = Lakebase.from_env(
        {
            "LAKEBASE_AUTOSCALING_ENDPOINT": ENDPOINT,
            "LAKEBASE_AUTOSCALING_PROJECT": "projects/p",
            "LAKEBASE_AUTOSCALING_BRANCH": "projects/p/branches/b",
            "LAKEBASE_DATABASE_NAME": "agents",
            "PGDATABASE": "of-another-server",
        },
        database="agents",
    )
    assert found(target) == ("endpoint", ENDPOINT, "agents")
    same = {"PGHOST": "h", "PGDATABASE": "agents", "LAKEBASE_DATABASE_NAME": "agents"}
    assert Lakebase.from_env(same).database == "agents"


@pytest.mark.parametrize(
    "path", ["", "p", "projects/p", "projects/p/branches/b/endpoints/", "a/p/b/b/c/e", ENDPOINT + "/x", None, 5]
)
def test_an_endpoint_is_a_whole_path(path: str) -> None:
    with pytest.raises(ConfigurationError):
        Lakebase.endpoint(path)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:hush!hush@db.example:5432/agents",
        "postgres://ada:hush!hush@db.example/agents?sslmode=require&application_name=a@b",
        "postgresql://ada:p%40hush!hush@db.example/agents",
        "postgresql://ada:x:hush!hush@[::1]:5432/agents",
        "postgresql://ada:hush!hush@one.example:5432,two.example:5433/agents",
        "postgresql:///agents?host=/run/postgresql&user=ada&password=hush!hush",
        "host=db.example user=ada password=hush!hush dbname=agents",
        "host=db.example user=ada password='a hush!hush' dbname=agents",
    ],
)
def test_a_dsn_keeps_its_password_to_itself(url: str) -> None:
    target = Lakebase.dsn(url)
    assert "hush!hush" in str(target.parameters["password"])
    assert target.database == "agents"
    memory = AsyncMemory(target)
    assert "hush" not in f"{target} {target!r} {memory!r} {memory.for_user('ada')!r}"


@pytest.mark.parametrize(
    "url",
    [
        "hush",
        "postgresql://ada:p@hush@db.example/agents",
        "postgresql://ada:p@hush?@db.example/agents",
        "postgresql://ada:p/hush@db.example/agents",
        "postgresql://ada:p%hush@db.example/agents",
        "postgresql://ada:p%00hush@db.example/agents",
        "postgresql://ada:hush",
        "postgresql://ada:hush/agents",
        "postgresql://db.example:hush/agents",
        "postgresql://ada:hush@[db.example/agents",
        "postgresql://db.example/agents?hush",
        "postgresql://db.example/agents?password=a&hush=1",
        "mysql://ada:hush@db.example/agents",
        "host=db.example password=a hush",
        "host=db.example password='hush",
        "host=db.example port=hush",
    ],
)
def test_a_malformed_dsn_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="the DSN is not a Postgres connection string") as caught:
        Lakebase.dsn(url)
    assert "hush" not in f"{caught.value} {caught.value!r}"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    with pytest.raises(ConfigurationError) as caught:
        Lakebase.from_env({"LAKEMEM_DSN": url})
    assert "hush" not in str(caught.value)


def test_a_target_says_in_words_what_it_is() -> None:
    said = {
        str(Lakebase.instance("i")): "Lakebase instance i, database databricks_postgres",
        str(Lakebase.endpoint(ENDPOINT, database="d")): f"Lakebase endpoint {ENDPOINT}, database d",
        str(Lakebase.branch("p", "b")): "Lakebase branch projects/p/branches/b, database databricks_postgres",
        str(Lakebase.dsn("host=h dbname=d")): "Postgres at h, database d",
        str(Lakebase.dsn("dbname=d")): "Postgres at the default socket, database d",
        str(Lakebase.from_env({"PGHOST": "h"})): "Postgres at h (PGHOST)",
        str(Lakebase.embedded()): "embedded Postgres 18 in the user data folder",
        str(Lakebase.embedded("/data", version=16)): "embedded Postgres 16 in /data",
    }
    for words, expected in said.items():
        assert words == expected


def test_an_embedded_server_has_a_version_there_is_a_wheel_for() -> None:
    with pytest.raises(ConfigurationError, match="16 and 18, not 17"):
        Lakebase.embedded(version=17)


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Lakebase.embedded("~/pg").name == str(tmp_path / "pg")


def test_targets_are_values() -> None:
    assert Lakebase.instance("i") == Lakebase.instance("i")
    assert Lakebase.instance("i") != Lakebase.instance("j")
    with pytest.raises(AttributeError):
        Lakebase.instance("i").name = "j"  # type: ignore[misc]
