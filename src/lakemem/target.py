"""Where the database is, as one value: a Lakebase, any Postgres, or an embedded one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict

from lakemem.errors import ConfigurationError

Kind: TypeAlias = Literal["instance", "endpoint", "branch", "dsn", "environment", "embedded"]

DEFAULT_LAKEBASE_DATABASE = "databricks_postgres"
DEFAULT_EMBEDDED_VERSION = 18

_WHERE_AND_WHO = {"host", "user", "password", "dbname"}


def is_deployed(environ: Mapping[str, str] | None = None) -> bool:
    """Whether this process is a deployed app: ``DATABRICKS_APP_NAME`` is set, as Databricks Apps do."""
    return bool((os.environ if environ is None else environ).get("DATABRICKS_APP_NAME"))


@dataclass(frozen=True, slots=True)
class Lakebase:
    """Where the database is. Make one with a class method; ``from_env()`` reads what the platform sets.

    Attributes:
        kind: what is named.
        name: the instance, endpoint or branch path, or the data folder of an embedded server.
        database: the name of the Postgres database, where the target says it.
    """

    kind: Kind
    name: str = ""
    database: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def instance(cls, name: str, *, database: str = DEFAULT_LAKEBASE_DATABASE, **parameters: Any) -> Lakebase:
        """A provisioned Lakebase instance, by its name, or any Lakebase by its DNS name.

        Args:
            parameters: of libpq, such as ``sslmode="verify-full"``, ``sslrootcert``, ``hostaddr``, ``user``.
        """
        return cls("instance", _required("instance name", name), database, parameters)

    @classmethod
    def endpoint(cls, path: str, *, database: str = DEFAULT_LAKEBASE_DATABASE, **parameters: Any) -> Lakebase:
        """An autoscaling endpoint: ``projects/P/branches/B/endpoints/E``; `parameters` as for an instance."""
        parts = _required("endpoint", path).split("/")
        if len(parts) != 6 or parts[0::2] != ["projects", "branches", "endpoints"] or not all(parts):
            raise ConfigurationError(f"an autoscaling endpoint reads projects/P/branches/B/endpoints/E, not {path!r}")
        return cls("endpoint", path, database, parameters)

    @classmethod
    def branch(
        cls, project: str, branch: str, *, database: str = DEFAULT_LAKEBASE_DATABASE, **parameters: Any
    ) -> Lakebase:
        """The read-write endpoint of an autoscaling project's branch; `parameters` as for an instance."""
        project = _required("project", project).removeprefix("projects/")
        branch = _required("branch", branch).rpartition("/")[2]
        return cls("branch", f"projects/{project}/branches/{branch}", database, parameters)

    @classmethod
    def dsn(cls, url: str) -> Lakebase:
        """Any Postgres, by a URL or a libpq connection string. A password in it stays out of the repr."""
        if not isinstance(url, str) or not url.strip():
            raise ConfigurationError("the DSN is empty: give a URL such as postgresql://user@host:5432/database")
        parameters = _parsed_dsn(url)
        host = str(parameters.get("host") or parameters.get("hostaddr") or "")
        return cls("dsn", host, _text(parameters.get("dbname")), parameters)

    @classmethod
    def embedded(
        cls, path: str | os.PathLike[str] | None = None, *, version: int = DEFAULT_EMBEDDED_VERSION
    ) -> Lakebase:
        """A Postgres that runs on this machine, out of a wheel (extra ``local``).

        Args:
            path: its data folder; by default one in the user's data folder, shared by all processes.
            version: 16 or 18.
        """
        if version not in (16, 18):
            raise ConfigurationError(f"the embedded Postgres comes in versions 16 and 18, not {version!r}")
        folder = "" if path is None else str(Path(path).expanduser())
        return cls("embedded", folder, None, {"version": version})

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        dsn: str | None = None,
        endpoint: str | None = None,
        project: str | None = None,
        branch: str | None = None,
        instance: str | None = None,
        database: str | None = None,
    ) -> Lakebase:
        """Find the target, in this order.

        1. the arguments; 2. ``LAKEMEM_DSN``; 3. ``LAKEBASE_AUTOSCALING_ENDPOINT``;
        4. ``LAKEBASE_AUTOSCALING_PROJECT`` with ``LAKEBASE_AUTOSCALING_BRANCH``;
        5. ``LAKEBASE_INSTANCE_NAME``; 6. ``PGHOST`` (or ``PGHOSTADDR``) and its family (``PGPORT``, ``PGUSER``, ...);
        7. an embedded Postgres. ``LAKEBASE_DATABASE_NAME`` names the database for 3 to 5.

        Raises:
            ConfigurationError: settings contradict each other, or one lacks the other it needs.
        """
        if any(argument is not None for argument in (dsn, endpoint, project, branch, instance)):
            return _from_settings(
                {
                    "dsn": dsn,
                    "endpoint": endpoint,
                    "project": project,
                    "branch": branch,
                    "instance": instance,
                },
                database,
            )
        environ = os.environ if environ is None else environ
        return _from_environment(environ, database)

    @property
    def is_lakebase(self) -> bool:
        """Whether a Databricks workspace knows its address and makes its tokens."""
        return self.kind in ("instance", "endpoint", "branch")

    def __str__(self) -> str:
        database = f", database {self.database}" if self.database else ""
        return {
            "instance": f"Lakebase instance {self.name}{database}",
            "endpoint": f"Lakebase endpoint {self.name}{database}",
            "branch": f"Lakebase branch {self.name}{database}",
            "dsn": f"Postgres at {self.name or 'the default socket'}{database}",
            "environment": f"Postgres at {self.name} (PGHOST){database}",
            "embedded": f"embedded Postgres {self.parameters.get('version', '')} "
            f"in {self.name or 'the user data folder'}",
        }[self.kind]


def _parsed_dsn(url: str) -> dict[str, Any]:
    try:
        parameters = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        pass
    else:
        # Where a password is not encoded, libpq takes the end of it for the host, the port or the database.
        scheme, _, rest = url.partition("://")
        login = re.match("[^@/]*@?", rest) if scheme in ("postgresql", "postgres") else None
        stray = login is not None and "@" in rest[login.end() :].partition("?")[0]
        ports = str(parameters.get("port") or "").split(",")
        if not stray and all(not port or port.isdecimal() for port in ports):
            return parameters
    # The words of psycopg's error may quote a part of the password.
    raise ConfigurationError(
        "the DSN is not a Postgres connection string: "
        "write it as postgresql://user:password@host:5432/database, special characters %-encoded"
    )


def _from_settings(settings: Mapping[str, str | None], database: str | None) -> Lakebase:
    given = {name: value for name, value in settings.items() if value is not None}
    kinds = {"project and branch" if name in ("project", "branch") else name for name in given}
    if len(kinds) > 1:
        raise ConfigurationError(f"give one target, not {' and '.join(sorted(kinds))}")
    named = {"database": database} if database else {}
    if "dsn" in given:
        target = Lakebase.dsn(given["dsn"])
        if database and target.database and database != target.database:
            raise ConfigurationError(
                f"the DSN names the database {target.database!r}, but database={database!r} was given"
            )
        return target if target.database or not database else _with_database(target, database)
    if "endpoint" in given:
        return Lakebase.endpoint(given["endpoint"], **named)
    if "instance" in given:
        return Lakebase.instance(given["instance"], **named)
    missing = {"project", "branch"} - set(given)
    if missing:
        raise ConfigurationError(f"project and branch go together: {missing.pop()} is missing")
    return Lakebase.branch(given["project"], given["branch"], **named)


def _from_environment(environ: Mapping[str, str], database: str | None) -> Lakebase:
    def setting(name: str) -> str | None:
        return environ.get(name, "").strip() or None

    wanted = setting("LAKEBASE_DATABASE_NAME")
    if database and wanted and database != wanted:
        raise ConfigurationError(f"LAKEBASE_DATABASE_NAME is {wanted!r}, but database={database!r} was given")
    named_by = "LAKEBASE_DATABASE_NAME" if wanted else "database="
    database = database or wanted
    named = {"database": database} if database else {}

    endpoint = setting("LAKEBASE_AUTOSCALING_ENDPOINT")
    project = setting("LAKEBASE_AUTOSCALING_PROJECT")
    branch = setting("LAKEBASE_AUTOSCALING_BRANCH")
    _check_autoscaling(endpoint, project, branch)

    if dsn := setting("LAKEMEM_DSN"):
        target = Lakebase.dsn(dsn)
        if database and target.database and database != target.database:
            raise ConfigurationError(
                f"LAKEMEM_DSN names the database {target.database!r}, but {named_by} is {database!r}: unset one of them"
            )
        return target if target.database or not database else _with_database(target, database)
    libpq = _libpq_settings(environ)
    # What names another server, or another role than the token's, is not meant for a Lakebase that has a name.
    beside_name = {option: value for option, value in libpq.items() if option not in _WHERE_AND_WHO}
    if endpoint:
        return Lakebase.endpoint(endpoint, **named, **beside_name)
    if project and branch:
        return Lakebase.branch(project, branch, **named, **beside_name)
    if instance := setting("LAKEBASE_INSTANCE_NAME"):
        return Lakebase.instance(instance, **named, **beside_name)
    if host := setting("PGHOST") or setting("PGHOSTADDR"):
        pg_database = setting("PGDATABASE")
        if database and pg_database and database != pg_database:
            raise ConfigurationError(
                f"PGDATABASE is {pg_database!r}, but {named_by} is {database!r}: unset one of them"
            )
        database = database or pg_database
        if _is_databricks_app(environ):
            return Lakebase("instance", host, database or DEFAULT_LAKEBASE_DATABASE, beside_name)
        return Lakebase("environment", host, database, libpq)
    if database:
        raise ConfigurationError(
            f"{named_by} is {database!r}, but nothing says where this database is: set LAKEMEM_DSN, "
            "LAKEBASE_AUTOSCALING_ENDPOINT, LAKEBASE_INSTANCE_NAME or PGHOST"
        )
    return Lakebase.embedded()


def _is_databricks_app(environ: Mapping[str, str]) -> bool:
    """Whether the platform injected PGHOST: it then logs in as the app's service principal, by tokens."""
    user = environ.get("PGUSER")
    return bool(user) and user == environ.get("DATABRICKS_CLIENT_ID") and not environ.get("PGPASSWORD")


def _check_autoscaling(endpoint: str | None, project: str | None, branch: str | None) -> None:
    if bool(project) != bool(branch) and not endpoint:
        have, lack = ("PROJECT", "BRANCH") if project else ("BRANCH", "PROJECT")
        raise ConfigurationError(
            f"LAKEBASE_AUTOSCALING_{have} is set, but LAKEBASE_AUTOSCALING_{lack} is not: set both, or neither"
        )
    if not endpoint:
        return
    path = Lakebase.endpoint(endpoint).name.split("/")
    for name, value, part in (("PROJECT", project, path[1]), ("BRANCH", branch, path[3])):
        if value and value.rpartition("/")[2] != part:
            raise ConfigurationError(
                f"LAKEBASE_AUTOSCALING_ENDPOINT names {part!r}, but LAKEBASE_AUTOSCALING_{name} {value!r}: "
                "unset one of them"
            )


def _libpq_settings(environ: Mapping[str, str]) -> dict[str, Any]:
    """What libpq itself would read, so that a mapping other than the process's environment works too."""
    port = environ.get("PGPORT", "")
    if port and not port.isdecimal():
        raise ConfigurationError(f"PGPORT must be a number, not {port!r}")
    names = {
        "PGHOST": "host",
        "PGHOSTADDR": "hostaddr",
        "PGPORT": "port",
        "PGUSER": "user",
        "PGPASSWORD": "password",
        "PGDATABASE": "dbname",
        "PGSSLMODE": "sslmode",
        "PGSSLROOTCERT": "sslrootcert",
        "PGAPPNAME": "application_name",
        "PGOPTIONS": "options",
    }
    return {option: environ[name] for name, option in names.items() if environ.get(name)}


def _with_database(target: Lakebase, database: str) -> Lakebase:
    return Lakebase(target.kind, target.name, database, {**target.parameters, "dbname": database})


def _required(what: str, value: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"the {what} is empty")
    return value


def _text(value: object) -> str | None:
    return None if value is None else str(value)
