"""``lakemem import``: move the data of other libraries into lakemem's tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from lakemem._sql import bind_statements
from lakemem._sync.migrate import Migrator
from lakemem.commands import import_archive, import_mem0
from lakemem.commands.import_sources import add_source, source_of, users_of, watching
from lakemem.commands.targets import add_target, connected, target_of
from lakemem.errors import ConfigurationError
from lakemem.importing import Importer, Owners, Source
from lakemem.importing.importer import PARTS
from lakemem.schema import schema_name


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "import",
        help="move sessions, checkpoints, stores and memories of other libraries into lakemem, or an archive",
        description=(
            "Moves the tables of the OpenAI Agents SDK's SQLAlchemySession, of LangGraph's Postgres saver, and of "
            "LangGraph's Postgres store, which the Databricks packages use too. The source is only read. When it "
            "was cut off, or the source has something new, run it again: nothing comes over twice."
        ),
    )
    add_source(parser, required=False)
    parser.add_argument("--sessions-table", default="agent_sessions", metavar="NAME", help="(default: agent_sessions)")
    parser.add_argument("--messages-table", default="agent_messages", metavar="NAME", help="(default: agent_messages)")
    parser.add_argument("--only", action="append", choices=PARTS, help="a part of the data; can be repeated")
    parser.add_argument(
        "--vectors-by",
        metavar="MODEL",
        help="take over the store's vectors: this embedding model, which lakemem's embedder has too, made them",
    )
    whose = parser.add_argument_group("whose the data becomes (the sources do not say)")
    whose.add_argument("--user", metavar="ID", help="all of it becomes this user's")
    whose.add_argument("--scope", metavar="NAME", help="all of it becomes this shared scope's")
    whose.add_argument(
        "--user-from",
        metavar="REGEXP",
        help="the user stands in the thread's id, or in the store's namespace (joined by dots): '(?P<user>...)'",
    )
    whose.add_argument("--user-metadata", metavar="KEY", help="checkpoints name their user in their metadata")
    whose.add_argument(
        "--users",
        metavar="FILE",
        type=Path,
        help="a JSON object: what --user-from or --user-metadata found, else the thread's id -> user id",
    )
    add_target(parser)
    parser.set_defaults(run=run)
    sources = parser.add_subparsers(metavar="SOURCE", title="other sources")
    import_mem0.add(sources)
    import_archive.add(sources)


def run(options: argparse.Namespace) -> int:
    if options.source is None:
        raise ConfigurationError("name the source with --from; or import from mem0, or an archive: see --help")
    owners = Owners.of(
        user=options.user,
        scope=options.scope,
        pattern=options.user_from,
        metadata_key=options.user_metadata,
        users=None if options.users is None else users_of(options.users),
    )
    target, schema = target_of(options), schema_name(options.schema)
    with connected(source_of(options.source)) as reading, connected(target) as writing, watching() as watcher:
        migrator = Migrator(schema)
        if target.kind == "embedded":
            migrator.apply(writing)
        description = migrator.check(writing)
        source = Source(
            reading,
            schema=options.source_schema,
            sessions_table=options.sessions_table,
            messages_table=options.messages_table,
            with_vectors=options.vectors_by is not None,
        )
        importer = Importer(
            source,
            writing,
            statements=bind_statements(schema, description.vector_schema),
            owners=owners,
            watcher=watcher,
            vector_model=options.vectors_by,
        )
        reports = importer.run(options.only or PARTS)
    for report in reports:
        print(report)
    return 0
