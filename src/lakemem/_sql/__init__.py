"""Loads the SQL files beside it.

A file of statements is cut at its ``-- name:`` lines. ``{schema}`` stands for lakemem's schema and
``{vector}`` for the schema in which the extension `vector` is installed: both are put in once, quoted, when a
database is opened, so that no statement depends on the search path. ``{schema_text}`` is the schema's name as a
string. What several statements share stands in ``fragments``: ``{matches}`` is ``fragments/matches.sql``. A
statement that works on the rows of another includes it by its name: ``{recall.rows}``. Values are always
parameters.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from psycopg import sql

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_PARAMETER = re.compile(r"%\((\w+)\)s")
_INCLUDED = re.compile(r"\{(\w+(?:\.\w+)?)\}")
_MIGRATION = re.compile(r"^(\d{4})_(\w+)\.sql$")


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file. Its checksum is recorded when it is applied, and compared ever after."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def bound(self, schema: str, vector_schema: str) -> str:
        return _bind(self.text, schema, vector_schema)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement to prepare under its name.

    Attributes:
        text: with $1, $2 ... for the parameters.
        parameters: their names, in this order.
    """

    name: bytes
    text: bytes
    parameters: tuple[str, ...]


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations, in their order."""
    found = (
        Migration(int(match[1]), match[2], path.read_text("utf-8"))
        for path in files(__package__).joinpath("migrations").iterdir()
        if (match := _MIGRATION.match(path.name))
    )
    return tuple(sorted(found, key=lambda migration: migration.number))


def bind_statements(schema: str, vector_schema: str = "public") -> Mapping[str, bytes]:
    """Every statement as ``file.name``, bound to its schemas."""
    return {name: _bind(text, schema, vector_schema).encode() for name, text in _statements().items()}


def prepared_statements(schema: str, vector_schema: str) -> Mapping[str, Statement]:
    """Every statement as ``file.name``, bound to its schemas, as Postgres prepares it."""
    return {name: _numbered(name, _bind(text, schema, vector_schema)) for name, text in _statements().items()}


def _numbered(name: str, text: str) -> Statement:
    parameters = tuple(dict.fromkeys(_PARAMETER.findall(text)))
    numbers = {parameter: f"${number}" for number, parameter in enumerate(parameters, 1)}
    numbered = _PARAMETER.sub(lambda match: numbers[match[1]], text)
    # Doubled for psycopg, where there are parameters.
    complete = (numbered.replace("%%", "%") if parameters else numbered).encode()
    return Statement(
        # Behind a pooler, a server may have met another version of lakemem, or one on another schema: the same name
        # must not mean another text. Postgres compares 63 bytes of a name.
        name=f"lakemem {hashlib.sha256(complete).hexdigest()[:16]} {name}".encode()[:63],
        text=complete,
        parameters=parameters,
    )


@cache
def _statements() -> Mapping[str, str]:
    found = {}
    for path in files(__package__).iterdir():
        file, _, suffix = path.name.rpartition(".")
        if suffix != "sql":
            continue
        for name, body in named_statements(path.read_text("utf-8")).items():
            found[f"{file}.{name}"] = body
    return found


def named_statements(text: str) -> dict[str, str]:
    """Cut a file of statements at its ``-- name:`` lines."""
    pieces = _NAME.split(text)[1:]
    return {name: body.strip().rstrip(";") for name, body in zip(pieces[0::2], pieces[1::2], strict=True)}


def _bind(text: str, schema: str, vector_schema: str) -> str:
    names = {
        "schema": sql.Identifier(schema),
        "schema_text": sql.Literal(schema),
        "vector": sql.Identifier(vector_schema),
    }
    return _composed(text, names).as_string()


def _composed(text: str, names: Mapping[str, sql.Composable]) -> sql.Composed:
    parts = _parts()
    included = {name: _composed(parts[name], names) for name in set(_INCLUDED.findall(text)) & parts.keys()}
    return sql.SQL(text).format(**names, **included)


@cache
def _parts() -> Mapping[str, str]:
    """What a statement may include."""
    return {**_fragments(), **_statements()}


@cache
def _fragments() -> Mapping[str, str]:
    return {
        path.name.removesuffix(".sql"): path.read_text("utf-8").strip()
        for path in files(__package__).joinpath("fragments").iterdir()
        if path.name.endswith(".sql")
    }
