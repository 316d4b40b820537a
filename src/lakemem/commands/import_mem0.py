"""``lakemem import mem0``: move the memories of mem0 into lakemem's tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from lakemem._sql import bind_statements
from lakemem._sync.migrate import Migrator
from lakemem.commands.import_sources import add_source, source_of, users_of, watching
from lakemem.commands.objects import embedder_of
from lakemem.commands.targets import add_target, connected, target_of
from lakemem.importing import Mem0Importer, Source
from lakemem.schema import schema_name
from lakemem.scopes import scope_owner, user_owner


def add(sources: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = sources.add_parser(
        "mem0",
        help="move the memories of mem0's pgvector store into lakemem",
        description="Moves the table in which mem0 keeps a collection on Postgres. Each memory becomes that of its "
        "user_id, or without one that of the shared scope named as its agent_id. The source is only read. When it "
        "was cut off, or the source has something new, run it again: nothing comes over twice.",
    )
    add_source(parser, required=True)
    parser.add_argument("--table", default="mem0", metavar="NAME", help="mem0's collection (default: mem0)")
    parser.add_argument(
        "--namespace", default="mem0", metavar="LABELS", help="where they go, labels joined by dots (default: mem0)"
    )
    parser.add_argument(
        "--embedding-model",
        metavar="MODEL",
        help="take over the vectors: this embedding model, which lakemem's embedder has too, made them",
    )
    parser.add_argument("--embedder", metavar="MODULE:OBJECT", help="gives vectors to memories that come without one")
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--user", metavar="ID", help="all of it becomes this user's")
    whose.add_argument("--scope", metavar="NAME", help="all of it becomes this shared scope's")
    whose.add_argument("--users", metavar="FILE", type=Path, help="a JSON object: mem0's user id -> user id")
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    target, schema = target_of(options), schema_name(options.schema)
    embedder = None if options.embedder is None else embedder_of(options.embedder)
    users = None if options.users is None else users_of(options.users)
    with connected(source_of(options.source)) as reading, connected(target) as writing, watching() as watcher:
        migrator = Migrator(schema)
        if target.kind == "embedded":
            migrator.apply(writing)
        description = migrator.check(writing)
        source = Source(
            reading,
            schema=options.source_schema,
            mem0_table=options.table,
            with_vectors=options.embedding_model is not None,
        )
        importer = Mem0Importer(
            source,
            writing,
            statements=bind_statements(schema, description.vector_schema),
            watcher=watcher,
            namespace=[label for label in options.namespace.split(".") if label],
            everything=_everything(options),
            users=users,
            vector_model=options.embedding_model,
            embedder=embedder,
        )
        report = importer.run()
    print(report)
    return 0


def _everything(options: argparse.Namespace) -> str | None:
    """Whose all of it becomes, where that is said."""
    if options.user is not None:
        return user_owner(options.user, "user")
    return None if options.scope is None else scope_owner(options.scope)
